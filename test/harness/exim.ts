/**
 * Debian's Exim (which encrypts with GnuTLS) on a free port of loopback: it takes mail by STARTTLS and a login and keeps it in a
 * Maildir, where Python reads it. It takes root. Its queue, log and configuration are a folder of its own.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { readdir, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { makeAuthority } from "./certificates.ts";
import { freePort } from "./postgres.ts";
import { mustRun } from "./run.ts";
import { temporaryFolder, type TestFolder } from "./temporary.ts";

const SET_UP = resolve(import.meta.dirname, "../../scripts/setup/as-root.mjs");
const SERVER = "/usr/sbin/exim4";
const USER = "Debian-exim";

/** A mail as Python's `email` reads it, which has nothing to do with what wrote it. */
export interface KeptMail {
  /** Names in lower case, in the mail's order; encoded words are decoded. */
  headers: [name: string, value: string][];
  contentType: string;
  charset: string;
  /** The body, its encoding undone. */
  text: string;
  /** As it lies in the Maildir. */
  source: string;
  /** What is wrong with it by the standard. */
  defects: string[];
}

export interface Exim extends AsyncDisposable {
  /** The name in its certificate. */
  readonly host: string;
  readonly port: number;
  /** Path of the certificate that signed its own, as PEM. */
  readonly authority: string;
  /** Waits until so many lie there; returns them, in the order in which they were delivered. */
  mails(count: number): Promise<KeptMail[]>;
  /** What it says of each connection and delivery. */
  log(): string;
}

const READER = `
import email, email.policy, json, os, sys
mails = []
for name in os.listdir(sys.argv[1]):
    path = os.path.join(sys.argv[1], name)
    raw = open(path, "rb").read()
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    parts = [mail, *mail.walk()]
    mails.append((os.stat(path).st_mtime_ns, {
        "headers": [[name.lower(), str(value)] for name, value in mail.items()],
        "contentType": mail.get_content_type(),
        "charset": mail.get_content_charset(),
        "text": mail.get_content(),
        "source": raw.decode("ascii"),
        "defects": [repr(defect) for part in parts for defect in part.defects]
            + [repr(defect) for value in mail.values() for defect in value.defects],
    }))
print(json.dumps([mail for _, mail in sorted(mails, key=lambda one: one[0])]))`;

/** Starts it. @throws Error with what it said. */
export async function startExim({ user, password }: { user: string; password: string }): Promise<Exim> {
  if (process.getuid?.() !== 0) throw new Error("only root can start Exim");
  if (!existsSync(SERVER)) await mustRun(process.execPath, [SET_UP, "exim4-daemon-light"]);
  const folder = await temporaryFolder("chatkeep-exim");
  const log = () => (existsSync(folder.at("log-main")) ? readFileSync(folder.at("log-main"), "utf8") : "");
  let running: Running | undefined;
  const dispose = async () => {
    if (running !== undefined) await stop(running.child);
    await folder[Symbol.asyncDispose]();
  };
  try {
    const authority = await makeAuthority(folder.path, "root");
    const { certificate, key } = await authority.sign("localhost", ["localhost"]);
    await mustRun("chown", ["-R", USER, folder.path]);
    running = await start(folder, (port) => configuration(folder, { port, certificate, key, user, password }));
    return {
      host: "localhost",
      port: running.port,
      authority: authority.certificate,
      log,
      async mails(count) {
        await arrived(folder.at("mail/new"), count, log);
        const { stdout } = await mustRun("python3", ["-c", READER, folder.at("mail/new")]);
        return JSON.parse(stdout) as KeptMail[];
      },
      [Symbol.asyncDispose]: dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

interface Running {
  child: ChildProcess;
  port: number;
}

interface Settings {
  port: number;
  certificate: string;
  key: string;
  user: string;
  password: string;
}

function configuration(folder: TestFolder, { port, certificate, key, user, password }: Settings): string {
  return `
primary_hostname = localhost
spool_directory = ${folder.at("spool")}
log_file_path = ${folder.at("log-%s")}
pid_file_path = ${folder.at("pid")}
local_interfaces = <; [127.0.0.1]:${port}
host_lookup =
rfc1413_hosts =
tls_advertise_hosts = *
tls_certificate = ${certificate}
tls_privatekey = ${key}
auth_advertise_hosts = \${if def:tls_in_cipher {*}}
keep_environment =
deliver_drop_privilege
acl_smtp_rcpt = logged_in
acl_smtp_data = accept
begin acl
logged_in:
  accept encrypted = *
         authenticated = *
  deny message = log in first
begin routers
all:
  driver = accept
  transport = keep
begin transports
keep:
  driver = appendfile
  directory = ${folder.at("mail")}
  maildir_format
  # One mail, however many it is for.
  batch_max = 100
  user = ${USER}
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_condition = \${if and{{eq{$auth2}{${user}}}{eq{$auth3}{${password}}}}}
  server_set_id = $auth2
`;
}

/** A port that was free may be taken by the time that it is asked for: then another is tried. */
async function start(folder: TestFolder, configure: (port: number) => string): Promise<Running> {
  let logged = "";
  for (let attempt = 0; attempt < 5; attempt += 1) {
    const port = await freePort();
    await writeFile(folder.at("exim.conf"), configure(port), { mode: 0o600 });
    const child = spawn(SERVER, ["-C", folder.at("exim.conf"), "-bdf"], { stdio: ["ignore", "pipe", "pipe"] });
    process.once("exit", () => child.kill("SIGTERM"));
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (text: Buffer) => (logged += text.toString()));
    for (let tries = 0; tries < 4_000 && child.exitCode === null; tries += 1) {
      if (await greets(port)) return { child, port };
      await sleep(25);
    }
    await stop(child);
  }
  throw new Error(`Exim did not start:\n${logged}`);
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGTERM");
  await ended;
}

async function greets(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  try {
    const [greeting] = (await once(socket, "data")) as [Buffer];
    return greeting.toString().startsWith("220 ");
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

async function arrived(folder: string, count: number, log: () => string): Promise<void> {
  for (let attempt = 0; attempt < 600; attempt += 1) {
    const names = existsSync(folder) ? await readdir(folder) : [];
    if (names.length >= count) return;
    await sleep(100);
  }
  throw new Error(`there are fewer than ${count} mails:\n${log()}`);
}
