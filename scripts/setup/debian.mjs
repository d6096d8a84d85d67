/** Installs Debian packages, as root or with sudo; where neither will do, says exactly what to install. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { hasLeftovers } from "./as-root.mjs";
import { findProgram } from "./programs.mjs";
import { SetupError, runQuietly, say } from "./say.mjs";

const AS_ROOT = join(import.meta.dirname, "as-root.mjs");

function isDebian() {
  try {
    const release = readFileSync("/etc/os-release", "utf8");
    return /^ID(_LIKE)?=.*\bdebian\b/m.test(release) && findProgram("apt-get") !== undefined;
  } catch {
    return false;
  }
}

/** How to become root: nothing to put in front, sudo, or undefined where it cannot be had. */
async function rootPrefix() {
  if (process.getuid?.() === 0) return [];
  const sudo = findProgram("sudo");
  if (sudo === undefined) return undefined;
  // Without a terminal nobody can type a password: then only a sudo that asks for none will do.
  const args = process.stdin.isTTY ? ["-v"] : ["-n", "true"];
  const { status } = await runQuietly(sudo, args, { isShown: process.stdin.isTTY });
  return status === 0 ? [sudo] : undefined;
}

async function runAsRoot(prefix, packages) {
  const [program, ...args] = [...prefix, process.execPath, AS_ROOT, ...packages];
  const { status } = await runQuietly(program, args, { isShown: true });
  if (status !== 0) throw new SetupError(`installing ${packages.join(", ")} failed`);
}

/** Installs the packages of these needs. */
export async function installPackages(needs) {
  const packages = needs.map((need) => need.package);
  const list = needs.map((need) => `\n  ${need.words}`).join("");
  const what = "these are missing, and set-up may not install them here";
  if (!isDebian()) throw new SetupError(`${what} (it knows only Debian's packages); please do:${list}`);
  const prefix = await rootPrefix();
  if (prefix === undefined) {
    throw new SetupError(
      `${what} (it needs root or sudo); please do, as root: apt-get install ${packages.join(" ")}${list}`,
    );
  }
  say(`installing ${packages.join(", ")} with apt-get; no service is started`);
  await runAsRoot(prefix, packages);
}

/** A set-up that was killed may have left its guards in the system: takes them away. */
export async function putBackLeftovers() {
  if (!hasLeftovers()) return;
  const prefix = await rootPrefix();
  if (prefix === undefined) return;
  say("putting back what an earlier set-up left behind");
  await runAsRoot(prefix, []);
}
