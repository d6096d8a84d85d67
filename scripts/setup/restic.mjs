/**
 * The newest restic, for the format's tests: Debian's own build from `sid`, unpacked into `.cache`. Nothing is installed.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { findProgram } from "./programs.mjs";
import { CACHE, say } from "./say.mjs";
import { unpackFromSid } from "./sid.mjs";

const UNPACKED = join(CACHE, "restic-newest");
const GIVEN_UP = join(CACHE, "restic-newest.unavailable");
const RETRY_AFTER_MS = 24 * 60 * 60 * 1000;

/** Fetches it once. Where it cannot be had, says so; the tests that want it say so, too. */
export async function fetchNewestRestic() {
  if (existsSync(join(UNPACKED, "usr/bin/restic"))) return;
  const givenUpAt = statSync(GIVEN_UP, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (Date.now() - givenUpAt < RETRY_AFTER_MS) {
    say(`the newest restic is not here (${readFileSync(GIVEN_UP, "utf8")}); tests use the one in PATH alone`);
    return;
  }
  if (findProgram("apt-get") === undefined || findProgram("dpkg") === undefined) {
    say("the newest restic comes from Debian, and this is not Debian; tests use the one in PATH alone");
    return;
  }
  say("fetching the newest restic from Debian sid into .cache");
  const problem = await unpackFromSid("restic", UNPACKED);
  rmSync(GIVEN_UP, { force: true });
  if (problem === undefined) return;
  mkdirSync(CACHE, { recursive: true });
  writeFileSync(GIVEN_UP, problem);
  say(`the newest restic cannot be had (${problem}); tests use the one in PATH alone`);
}
