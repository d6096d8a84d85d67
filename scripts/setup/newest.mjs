/**
 * The newest version of a program, for what is compared with it: Debian's own build from `sid`, unpacked into `.cache`. Nothing is
 * installed.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { findProgram } from "./programs.mjs";
import { CACHE, say } from "./say.mjs";
import { unpackFromSid } from "./sid.mjs";

const RETRY_AFTER_MS = 24 * 60 * 60 * 1000;

/**
 * Fetches it once. Where it cannot be had, says so, and is tried again a day later.
 *
 * @param name the package, and the program below `usr/bin`; it lies in `.cache/NAME-newest` then
 * @param others packages that it needs beside it, which are unpacked into the same folder
 * @param without what happens where it cannot be had
 */
export async function fetchNewest(name, others, without) {
  const unpacked = join(CACHE, `${name}-newest`);
  const givenUp = `${unpacked}.unavailable`;
  if (existsSync(join(unpacked, "usr/bin", name))) return;
  const givenUpAt = statSync(givenUp, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (Date.now() - givenUpAt < RETRY_AFTER_MS) {
    say(`the newest ${name} is not here (${readFileSync(givenUp, "utf8")}); ${without}`);
    return;
  }
  if (findProgram("apt-get") === undefined || findProgram("dpkg") === undefined) {
    say(`the newest ${name} comes from Debian, and this is not Debian; ${without}`);
    return;
  }
  say(`fetching the newest ${name} from Debian sid into .cache`);
  const problem = await unpackFromSid([name, ...others], unpacked);
  rmSync(givenUp, { force: true });
  if (problem === undefined) return;
  mkdirSync(CACHE, { recursive: true });
  writeFileSync(givenUp, problem);
  say(`the newest ${name} cannot be had (${problem}); ${without}`);
}
