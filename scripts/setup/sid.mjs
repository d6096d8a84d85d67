/**
 * Packages of Debian's `sid`, unpacked into one folder: `node sid.mjs PACKAGE FOLDER`. Nothing is installed: apt works in
 * folders of ours, with a source list of ours, on the mirror that the machine itself uses.
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { CACHE, lastLines, runQuietly, say } from "./say.mjs";

const KEYRINGS = ["/usr/share/keyrings/debian-archive-keyring.pgp", "/usr/share/keyrings/debian-archive-keyring.gpg"];

/** The mirror of the machine's own apt sources that carries Debian itself (not security, not somebody else's). */
async function debianMirror() {
  const format = "$(REPO_URI) $(ORIGIN)";
  const { stdout } = await runQuietly("apt-get", ["indextargets", "--format", format, "Identifier: Packages"]);
  const all = stdout.split("\n").map((line) => line.split(" ")[0] ?? "");
  return all.find((uri) => /\/debian\/?$/.test(uri));
}

function aptOptions(work) {
  const options = {
    "Dir::Etc::sourcelist": join(work, "sources.list"),
    "Dir::Etc::sourceparts": "/dev/null",
    "Dir::Etc::preferencesparts": "/dev/null",
    "Dir::Etc::preferences": "/dev/null",
    "Dir::State": join(work, "state"),
    "Dir::State::status": "/dev/null",
    "Dir::Cache": join(work, "cache"),
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
async function download(names, into, work) {
  const mirror = await debianMirror();
  if (mirror === undefined) return "this machine's apt has no Debian mirror";
  const { stdout: architecture } = await runQuietly("dpkg", ["--print-architecture"]);
  const keyring = KEYRINGS.find((path) => existsSync(path));
  const options = [`arch=${architecture.trim()}`, ...(keyring === undefined ? [] : [`signed-by=${keyring}`])];
  for (const folder of ["state/lists/partial", "cache/archives/partial"]) {
    mkdirSync(join(work, folder), { recursive: true });
  }
  writeFileSync(join(work, "sources.list"), `deb [${options.join(" ")}] ${mirror} sid main\n`);
  for (const args of [["update"], ["download", ...names]]) {
    const { status, output } = await runQuietly("apt-get", [...aptOptions(work), ...args], { cwd: work });
    if (status !== 0) return lastLines(output, 1);
  }
  const files = readdirSync(work).filter((name) => name.endsWith(".deb"));
  if (files.length < names.length) return `apt-get downloaded ${files.length} of ${names.length} packages`;
  for (const file of files) {
    const { status, output } = await runQuietly("dpkg", ["-x", join(work, file), into]);
    if (status !== 0) return lastLines(output, 1);
  }
  return undefined;
}

/** Returns why it failed, or undefined when the folder is there, whole. */
export async function unpackFromSid(names, folder) {
  mkdirSync(CACHE, { recursive: true });
  const work = mkdtempSync(join(CACHE, "apt-"));
  try {
    const problem = await download(names, join(work, "unpacked"), work);
    if (problem !== undefined) return problem;
    rmSync(folder, { recursive: true, force: true });
    renameSync(join(work, "unpacked"), folder);
    return undefined;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

const [, file, name, folder] = process.argv;
if (file !== undefined && import.meta.url === pathToFileURL(file).href && name !== undefined && folder !== undefined) {
  const problem = await unpackFromSid([name], folder);
  if (problem !== undefined) {
    say(`${name} cannot be had from Debian sid: ${problem}`);
    process.exit(1);
  }
}
