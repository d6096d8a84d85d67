/**
 * The system's `ssh` as a child process, with SFTP on its input and output: so the user's own configuration, agent,
 * jump hosts and `known_hosts` hold.
 *
 * It never asks anything and never takes a host key that is not known. Its input ends when we do, and then so does it.
 * It is no part of our terminal's process group: Ctrl-C must not cut the connection before a lock is removed.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { Socket } from "node:net";
import { systemClock } from "../base/clock.ts";
import { Failure, messageOf } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { SftpChannel } from "./sftp-client.ts";
import type { SftpPlace } from "./sftp-location.ts";

/** Takes the place of `ssh`, with options of its own: `ssh -F /etc/chatkeep/ssh_config`. */
const SSH_COMMAND = "CHATKEEP_SFTP_COMMAND";

type Environment = Readonly<Record<string, string | undefined>>;

/** What ssh is given besides the place. ssh keeps the first value that it meets, so those of the command go before. */
const OPTIONS = [
  "BatchMode=yes",
  "StrictHostKeyChecking=yes",
  `ConnectTimeout=${LIMITS.sshConnectSeconds}`,
  `ServerAliveInterval=${LIMITS.sshAliveSeconds}`,
  "ServerAliveCountMax=3",
  "ClearAllForwardings=yes",
  "ForwardAgent=no",
  "ForwardX11=no",
  "PermitLocalCommand=no",
  "RequestTTY=no",
];

/** Words as a shell cuts them: quotes and backslashes, and nothing else of a shell. */
export function splitCommand(text: string): string[] {
  const words: string[] = [];
  const pattern = /((?:[^\s"'\\]|\\[^]|'[^']*'|"(?:[^"\\]|\\[^])*")+)|\s+|([^])/g;
  for (const [, word, stray] of text.matchAll(pattern)) {
    if (stray !== undefined) {
      throw new Failure("usage/invalid", `${SSH_COMMAND} has a quote that does not end`, {
        hint: "It is a program and its options, in a shell's quotes: ssh -F '/etc/chatkeep/ssh config'.",
      });
    }
    if (word === undefined) continue;
    words.push(word.replaceAll(/'([^']*)'|"((?:[^"\\]|\\[^])*)"|\\([^])/g, unquote));
  }
  return words;
}

function unquote(
  _: string,
  single: string | undefined,
  double: string | undefined,
  escaped: string | undefined,
): string {
  return single ?? double?.replaceAll(/\\(["\\$`])/g, "$1") ?? escaped ?? "";
}

/** The program and its arguments. */
export function sshCommand({ user, host, port }: SftpPlace, env: Environment): { program: string; args: string[] } {
  const [program = "ssh", ...before] = splitCommand(env[SSH_COMMAND] ?? "");
  return {
    program,
    args: [
      ...before,
      ...OPTIONS.map((option) => `-o${option}`),
      ...(port === undefined ? [] : ["-p", String(port)]),
      ...(user === undefined ? [] : ["-l", user]),
      "-s",
      "--",
      host,
      "sftp",
    ],
  };
}

/** Our own secrets and restic's are none of ssh's business. */
function childEnvironment(env: Environment): Environment {
  const kept = Object.entries({ ...process.env, ...env }).filter(([name]) => !/^(CHATKEEP|RESTIC)_/.test(name));
  return Object.fromEntries(kept);
}

/** Starts ssh; whether it connects is seen when the server is greeted. */
export function openSshChannel(place: SftpPlace, env: Environment): SftpChannel {
  const { program, args } = sshCommand(place, env);
  const child = spawn(program, args, { env: childEnvironment(env), stdio: ["pipe", "pipe", "pipe"], detached: true });
  const kept: Buffer[] = [];
  let keptBytes = 0;
  child.stderr.on("data", (data: Buffer) => {
    if (keptBytes < LIMITS.stderrKeptBytes) kept.push(data);
    keptBytes += data.length;
  });
  let startFailure: Failure | undefined;
  const ended = new Promise<void>((resolve) => {
    child.on("error", (error) => {
      startFailure ??= cannotStart(program, error);
      resolve();
    });
    // The streams may outlive it: a connection that ssh keeps for others holds them.
    child.on("exit", () => resolve());
    child.on("close", () => resolve());
  });
  const closed = new Promise<void>((resolve) => child.on("close", () => resolve()));
  return {
    toServer: child.stdin,
    fromServer: child.stdout,
    hold: (isNeeded) => hold(child, isNeeded),
    async end() {
      child.stdin.end();
      await within(LIMITS.sshStopMs, ended, () => child.kill("SIGKILL"));
      await ended;
      if (startFailure === undefined) await within(LIMITS.sshStopMs, closed, () => {});
      for (const stream of child.stdio) stream?.destroy();
      return startFailure ?? explain(Buffer.concat(kept).toString("utf8"), place);
    },
  };
}

function cannotStart(program: string, error: Error): Failure {
  return new Failure("program/missing", `cannot start '${program}': ${messageOf(error)}`, {
    hint: `Install OpenSSH's client (Debian: openssh-client), or name it in ${SSH_COMMAND}.`,
    cause: error,
  });
}

/** Waits no longer than `ms` for what never rejects, and then does something about it. */
async function within(ms: number, promise: Promise<void>, orElse: () => void): Promise<void> {
  const over = new AbortController();
  const late = systemClock.sleep(ms, over.signal).then(orElse, () => {});
  await Promise.race([promise, late]);
  over.abort();
}

function hold(child: ChildProcess, isNeeded: boolean): void {
  for (const part of [child, ...child.stdio]) {
    if (part !== child && !(part instanceof Socket)) continue;
    const held = part as { ref(): void; unref(): void };
    if (isNeeded) held.ref();
    else held.unref();
  }
}

const NO_HELP = /^(@|Warning: Permanently added|\*\*|debug\d|Authenticated to|Connection closed by|kex_exchange|\s*$)/;

/** What ssh printed, in words that say what to do. Its first line that means something is kept. */
export function explain(stderr: string, { host, port, user }: SftpPlace): Failure {
  const lines = stderr.split(/\r?\n/).map((line) => line.replaceAll(/[^\x20-\x7e\u00a0-\uffff]+/g, " ").trim());
  const line = lines.find((text) => !NO_HELP.test(text)) ?? lines.find((text) => /^(Connection closed|kex)/.test(text));
  const said = line === undefined || line === "" ? "" : `: ${line.slice(0, 300)}`;
  const byHand = `ssh ${port === undefined ? "" : `-p ${port} `}${user === undefined ? "" : `${user}@`}${host}`;
  if (/REMOTE HOST IDENTIFICATION HAS CHANGED|POSSIBLE DNS SPOOFING|REVOKED HOST KEY/.test(stderr)) {
    return new Failure("store/denied", `the host key of '${host}' is not the one that is known`, {
      hint: `Somebody may stand between you and the server. When the server was made anew: 'ssh-keygen -R ${port === undefined ? host : `[${host}]:${port}`}', then '${byHand}' once by hand, comparing the fingerprint.`,
    });
  }
  if (/Host key verification failed|host key is known for/.test(stderr)) {
    return new Failure("store/denied", `the host key of '${host}' is not known`, {
      hint: `Connect once by hand as the user that runs Chatkeep ('${byHand}') and compare the fingerprint, or add the output of 'ssh-keyscan' to known_hosts.`,
    });
  }
  if (/Permission denied \(|Too many authentication failures|No more authentication methods/.test(stderr)) {
    return new Failure("store/denied", `'${host}' lets '${user ?? "this user"}' not log in${said}`, {
      hint: `Chatkeep never types a password: give this user a key that the server knows, in its ssh configuration or agent; '${byHand}' must work without a question.`,
    });
  }
  if (/subsystem request failed/.test(stderr)) {
    return new Failure("store/denied", `'${host}' offers no SFTP${said}`, {
      hint: "Turn on the subsystem 'sftp' in the server's sshd_config, or choose another place.",
    });
  }
  if (
    /Bad configuration option|bad configuration options|Bad owner or permissions|terminating,|unknown option/.test(
      stderr,
    )
  ) {
    return new Failure("usage/invalid", `ssh refuses its configuration${said}`, {
      hint: `Mend the ssh configuration of the user that runs Chatkeep, or ${SSH_COMMAND}.`,
    });
  }
  return new Failure(
    "store/unreachable",
    `no connection to '${host}'${said === "" ? ": it ended without a word" : said}`,
    {
      hint: `Is the name right, the server up, and the network between? '${byHand}' shows the same by hand.`,
    },
  );
}
