/**
 * A real sshd with SFTP for one test file: its own host key, users' keys and port, on loopback, ended by its process id.
 * It is run by a user that is not root, so that it needs no folder of the system's, and rights are what they are.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { chmod, chown, mkdir, readFile, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { userInfo } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort, serverUser } from "./postgres.ts";
import { mustRun } from "./run.ts";
import { temporaryFolder } from "./temporary.ts";
import { withParent } from "./with-parent.ts";

const SSHD = "/usr/sbin/sshd";
const HOST = "desk-files";

export interface TestSshd extends AsyncDisposable {
  readonly port: number;
  /** The user that may log in. */
  readonly user: string;
  /** Where relative paths begin, on this machine. It belongs to the user. */
  readonly folder: string;
  /** `sftp:` location of a path below the folder. */
  location(path: string): string;
  /** What ssh and Chatkeep need to find and trust the server. */
  readonly env: { readonly CHATKEEP_SFTP_COMMAND: string };
  /** As `-o sftp.command=…` wants it. */
  readonly resticCommand: string;
  /** The client's configuration, and the host keys that it trusts: may be changed. */
  readonly sshConfig: string;
  readonly knownHosts: string;
  /** Makes a path below the folder somebody else's, or the user's again. */
  readonly uid: number;
  readonly gid: number;
  log(): string;
  /** Ends the server; connections that were made go on. */
  stop(): Promise<void>;
  /** Ends the server and every connection, and starts it again at the same port when something is done. */
  away(meanwhile: () => Promise<void>): Promise<void>;
}

function userName(uid: number): string {
  const line = readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .find((text) => text.split(":")[2] === String(uid));
  return line?.split(":")[0] ?? userInfo().username;
}

async function makeKey(path: string): Promise<string> {
  await mustRun("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", path]);
  return (await readFile(`${path}.pub`, "utf8")).trim();
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "data");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

interface Running {
  child: ChildProcess;
  port: number;
  log: () => string;
}

/** Undefined where it does not answer. */
async function runAt(
  port: number,
  config: string,
  user: { uid: number; gid: number },
  onLog: (text: string) => void,
): Promise<ChildProcess | undefined> {
  const child = spawn(...withParent(SSHD, ["-f", config, "-D", "-e"]), {
    stdio: ["ignore", "ignore", "pipe"],
    ...(process.getuid?.() === 0 ? user : {}),
  });
  child.stderr.on("data", (data: Buffer) => onLog(data.toString()));
  for (let tries = 0; tries < 4000 && child.exitCode === null; tries += 1) {
    if (await answers(port)) return child;
    await sleep(25);
  }
  child.kill("SIGKILL");
  return undefined;
}

/** A session has several, and one of them alone keeps its connection. */
async function processesBelow(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8").catch(() => "");
  const children = text
    .split(" ")
    .filter((each) => each.trim() !== "")
    .map(Number);
  return [...children, ...(await Promise.all(children.map(processesBelow))).flat()];
}

/** One may end because another has. */
function killIfThere(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** A port that was free may be taken by the time that it is asked for: then another is tried. */
async function run(config: (port: number) => Promise<string>, user: { uid: number; gid: number }): Promise<Running> {
  let log = "";
  for (let attempt = 0; attempt < 5; attempt += 1) {
    const port = await freePort();
    const child = await runAt(port, await config(port), user, (text) => (log += text));
    if (child !== undefined) return { child, port, log: () => log };
  }
  throw new Error(`sshd did not start:\n${log}`);
}

/** @param options `lines` of sshd_config. */
export async function startSshd(options: { lines?: readonly string[] } = {}): Promise<TestSshd> {
  const outer = await temporaryFolder("chatkeep-sshd");
  const user = serverUser() ?? { uid: userInfo().uid, gid: userInfo().gid };
  const name = userName(user.uid);
  // The server's user must reach its own part, and no other.
  await chmod(outer.path, 0o711);
  const folder = outer.at("files");
  const own = outer.at("sshd");
  for (const path of [folder, own]) await mkdir(path, { mode: 0o700 });
  const hostKey = await makeKey(outer.at("sshd", "host_key"));
  await writeFile(outer.at("sshd", "authorized_keys"), `${await makeKey(outer.at("id"))}\n`);
  const configure = async (port: number) => {
    const lines = [
      `Port ${port}`,
      "ListenAddress 127.0.0.1",
      `HostKey ${own}/host_key`,
      "PidFile none",
      `AuthorizedKeysFile ${own}/authorized_keys`,
      "StrictModes no",
      "UsePAM no",
      "PasswordAuthentication no",
      "KbdInteractiveAuthentication no",
      "MaxStartups 100",
      ...(options.lines ?? [`Subsystem sftp internal-sftp -d ${folder}`]),
    ];
    await writeFile(`${own}/sshd_config`, `${lines.join("\n")}\n`);
    return `${own}/sshd_config`;
  };
  await configure(1);
  for (const path of [folder, own, ...["host_key", "authorized_keys", "sshd_config"].map((file) => `${own}/${file}`)]) {
    await chown(path, user.uid, user.gid);
  }
  const running = await run(configure, user);
  const knownHosts = outer.at("known_hosts");
  const sshConfig = outer.at("ssh_config");
  await writeFile(knownHosts, `[127.0.0.1]:${running.port} ${hostKey}\n`);
  const client = [
    `Host ${HOST}`,
    "HostName 127.0.0.1",
    `Port ${running.port}`,
    `User ${name}`,
    "Host *",
    `IdentityFile ${outer.at("id")}`,
    "IdentitiesOnly yes",
    "IdentityAgent none",
    `UserKnownHostsFile ${knownHosts}`,
    "GlobalKnownHostsFile /dev/null",
    "UpdateHostKeys no",
  ];
  await writeFile(sshConfig, `${client.join("\n")}\n`);
  const { port } = running;
  let { child } = running;
  let later = "";
  const stop = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill("SIGTERM");
    await ended;
  };
  const endSessions = async () => {
    const sessions = await processesBelow(child.pid ?? -1);
    await stop();
    for (const pid of sessions) killIfThere(pid);
  };
  return {
    port,
    user: name,
    ...user,
    folder,
    location: (path) => `sftp:${HOST}:${path}`,
    env: { CHATKEEP_SFTP_COMMAND: `ssh -F ${sshConfig}` },
    resticCommand: `ssh -F ${sshConfig} ${HOST} -s sftp`,
    sshConfig,
    knownHosts,
    log: () => running.log() + later,
    stop,
    async away(meanwhile) {
      await endSessions();
      await meanwhile();
      const again = await runAt(port, `${own}/sshd_config`, user, (text) => (later += text));
      if (again === undefined) throw new Error(`sshd did not start again:\n${later}`);
      child = again;
    },
    async [Symbol.asyncDispose]() {
      // A client that nobody ended would keep its process going.
      await endSessions();
      await outer[Symbol.asyncDispose]();
    },
  };
}
