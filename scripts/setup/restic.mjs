/**
 * The newest restic, for the format's tests: Debian's own build from `sid`, unpacked into `.cache`. Nothing is
 * installed: apt works in folders of ours, with a source list of ours, on the mirror that the machine itself uses.
 */
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { findProgram } from "./programs.mjs";
import { CACHE, lastLines, runQuietly, say } from "./say.mjs";

const UNPACKED = join(CACHE, "restic-newest");
const GIVEN_UP = join(CACHE, "restic-newest.unavailable");
const WORK = join(CACHE, "apt");
const RETRY_AFTER_MS = 24 * 60 * 60 * 1000;
const KEYRINGS = ["/usr/share/keyrings/debian-archive-keyring.pgp", "/usr/share/keyrings/debian-archive-keyring.gpg"];

/** The mirror of the machine's own apt sources that carries Debian itself (not security, not somebody else's). */
async function debianMirror() {
  const format = "$(REPO_URI) $(ORIGIN)";
  const { stdout } = await runQuietly("apt-get", ["indextargets", "--format", format, "Identifier: Packages"]);
  const all = stdout.split("\n").map((line) => line.split(" ")[0] ?? "");
  return all.find((uri) => /\/debian\/?$/.test(uri));
}

function aptOptions() {
  const options = {
    "Dir::Etc::sourcelist": join(WORK, "sources.list"),
    "Dir::Etc::sourceparts": "/dev/null",
    "Dir::Etc::preferencesparts": "/dev/null",
    "Dir::Etc::preferences": "/dev/null",
    "Dir::State": join(WORK, "state"),
    "Dir::State::status": "/dev/null",
    "Dir::Cache": join(WORK, "cache"),
    // `sid` is a moving suite: a mirror that lags behind is good enough, its signature is checked all the same.
    "Acquire::Check-Valid-Until": "false",
    "Acquire::Languages": "none",
    // apt's own user may not be able to look into this folder.
    "APT::Sandbox::User": "root",
    "APT::Update::Post-Invoke": "",
    "APT::Update::Post-Invoke-Success": "",
  };
  return Object.entries(options).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
}

/** Returns why it failed, or undefined. */
async function download() {
  const mirror = await debianMirror();
  if (mirror === undefined) return "this machine's apt has no Debian mirror";
  const { stdout: architecture } = await runQuietly("dpkg", ["--print-architecture"]);
  const keyring = KEYRINGS.find((path) => existsSync(path));
  const options = [`arch=${architecture.trim()}`, ...(keyring === undefined ? [] : [`signed-by=${keyring}`])];
  for (const folder of ["state/lists/partial", "cache/archives/partial"]) {
    mkdirSync(join(WORK, folder), { recursive: true });
  }
  writeFileSync(join(WORK, "sources.list"), `deb [${options.join(" ")}] ${mirror} sid main\n`);
  for (const args of [["update"], ["download", "restic"]]) {
    const { status, output } = await runQuietly("apt-get", [...aptOptions(), ...args], { cwd: WORK });
    if (status !== 0) return lastLines(output, 1);
  }
  const file = readdirSync(WORK).find((name) => name.endsWith(".deb"));
  if (file === undefined) return "apt-get downloaded nothing";
  const { status, output } = await runQuietly("dpkg", ["-x", join(WORK, file), UNPACKED]);
  return status === 0 ? undefined : lastLines(output, 1);
}

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
  rmSync(UNPACKED, { recursive: true, force: true });
  const problem = await download();
  rmSync(WORK, { recursive: true, force: true });
  rmSync(GIVEN_UP, { force: true });
  if (problem === undefined) return;
  rmSync(UNPACKED, { recursive: true, force: true });
  mkdirSync(CACHE, { recursive: true });
  writeFileSync(GIVEN_UP, problem);
  say(`the newest restic cannot be had (${problem}); tests use the one in PATH alone`);
}
