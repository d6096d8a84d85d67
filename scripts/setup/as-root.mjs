/**
 * The part of set-up that needs root: `node as-root.mjs PACKAGE…` installs Debian packages so that no service is
 * started, restarted or made. Debian asks /usr/sbin/policy-rc.d before it touches a service, and
 * /etc/postgresql-common/createcluster.d before it makes a cluster: both are set for as long as apt-get runs, then
 * put back as they were. Uses Node's own modules only.
 */
import { spawn } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, rmdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { pathToFileURL } from "node:url";

const MARK = "# Chatkeep's set-up put this here while apt-get runs";
const POLICY = "/usr/sbin/policy-rc.d";
const POLICY_SAVED = `${POLICY}.before-chatkeep`;
const CLUSTER_CONFIG = "/etc/postgresql-common/createcluster.conf";
const CLUSTER_GUARD = "/etc/postgresql-common/createcluster.d/zz-chatkeep-setup.conf";

function holdsMark(path) {
  try {
    return readFileSync(path, "utf8").includes(MARK);
  } catch {
    return false;
  }
}

/** True when a set-up was killed before it could put things back. */
export function hasLeftovers() {
  return existsSync(POLICY_SAVED) || existsSync(CLUSTER_GUARD) || holdsMark(POLICY);
}

function removeGuards() {
  if (holdsMark(POLICY)) rmSync(POLICY);
  if (existsSync(POLICY_SAVED) && !existsSync(POLICY)) renameSync(POLICY_SAVED, POLICY);
  rmSync(CLUSTER_GUARD, { force: true });
  for (const folder of [dirname(CLUSTER_GUARD), dirname(CLUSTER_CONFIG)]) {
    try {
      rmdirSync(folder);
    } catch {
      // It was there before us, or holds what the package brought.
    }
  }
}

function placeGuards() {
  if (existsSync(CLUSTER_CONFIG) && !readFileSync(CLUSTER_CONFIG, "utf8").includes(dirname(CLUSTER_GUARD))) {
    throw new Error(`${CLUSTER_CONFIG} was changed and would make a cluster: install the packages by hand`);
  }
  if (existsSync(POLICY)) renameSync(POLICY, POLICY_SAVED);
  writeFileSync(POLICY, `#!/bin/sh\n${MARK}\nexit 101\n`);
  chmodSync(POLICY, 0o755);
  mkdirSync(dirname(CLUSTER_GUARD), { recursive: true });
  writeFileSync(CLUSTER_GUARD, `${MARK}\ncreate_main_cluster = false\n`);
}

const ENVIRONMENT = {
  DEBIAN_FRONTEND: "noninteractive",
  APT_LISTCHANGES_FRONTEND: "none",
  // Ubuntu's needrestart would restart services that use an upgraded library.
  NEEDRESTART_SUSPEND: "1",
};

function aptGet(args) {
  return new Promise((done) => {
    const child = spawn("apt-get", ["--yes", "-o", "DPkg::Lock::Timeout=300", ...args], {
      env: { ...process.env, ...ENVIRONMENT, PATH: `${process.env.PATH ?? ""}:/usr/sbin:/usr/bin:/sbin:/bin` },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    child.stdout.on("data", (data) => (output += data));
    child.stderr.on("data", (data) => (output += data));
    child.on("error", (error) => done({ status: 127, output: error.message }));
    child.on("close", (status) => done({ status: status ?? 1, output }));
  });
}

async function mustAptGet(args) {
  const { status, output } = await aptGet(args);
  if (status !== 0) throw new Error(`apt-get ${args[0]} failed with status ${status}:\n${output.trim().slice(-2000)}`);
}

async function install(packages) {
  // What is there stays: a package that would push out another one (a second mail server) is not installed.
  const args = [
    "install",
    "--no-install-recommends",
    "--no-remove",
    "-o",
    "Dpkg::Options::=--force-confold",
    ...packages,
  ];
  // Package lists are fetched only when the ones at hand do not know the packages, or are too old to download by.
  const isKnown = (await aptGet([...args, "--simulate"])).status === 0;
  if (isKnown && (await aptGet([...args, "--download-only"])).status === 0) return await mustAptGet(args);
  await mustAptGet(["update"]);
  await mustAptGet(args);
}

async function main(packages) {
  // Set-up waits for apt-get to end: stopping in its middle would leave packages half installed.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => {});
  removeGuards();
  if (packages.length === 0) return;
  placeGuards();
  try {
    await install(packages);
  } finally {
    removeGuards();
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  try {
    await main(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`set-up: ${error.message}\n`);
    process.exitCode = 1;
  }
}
