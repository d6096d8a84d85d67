/** `rclone serve restic`: a REST server that others wrote, on a folder of its own, ended by its process id. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { isListening } from "./listening.ts";
import { freePort } from "./postgres.ts";
import { mustRun } from "./run.ts";
import { temporaryFolder } from "./temporary.ts";
import { withParent } from "./with-parent.ts";

export interface TestRestServer extends AsyncDisposable {
  readonly port: number;
  /** Where its repositories lie. */
  readonly folder: string;
  /** `rest:` location of a repository, without user and password. */
  location(path?: string): string;
  readonly user: string;
  readonly password: string;
  /** User and password (and the own CA, with `tls`) as Chatkeep and restic read them. */
  readonly env: Readonly<Record<string, string>>;
  readonly pid: number;
  stop(): Promise<void>;
}

export interface RestServerOptions {
  appendOnly?: boolean;
  /** With a certificate of a CA that nobody knows. */
  tls?: boolean;
  /** Asks nobody for a user and a password. */
  open?: boolean;
  /** Of another server: its data is served again. */
  folder?: string;
}

/** A CA, and a certificate of it for 127.0.0.1. */
async function makeCertificate(folder: string): Promise<void> {
  const make = async (line: string) => await mustRun("openssl", line.split(" "), { cwd: folder });
  const made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
  await make(`${made} -keyout ca.key -out ca.pem -subj /CN=own-ca`);
  const by = "-CA ca.pem -CAkey ca.key -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE";
  await make(`${made} -keyout key.pem -out cert.pem -subj /CN=127.0.0.1 ${by}`);
}

export async function startRestServer(options: RestServerOptions = {}): Promise<TestRestServer> {
  const outer = await temporaryFolder("chatkeep-rest");
  const folder = options.folder ?? outer.at("data");
  const user = "desk";
  const password = "of the rest/server: 1";
  const own = { RCLONE_USER: user, RCLONE_PASS: password };
  if (options.tls === true) await makeCertificate(outer.path);
  const args = [
    ...(options.appendOnly === true ? ["--append-only"] : []),
    ...(options.tls === true ? ["--cert", outer.at("cert.pem"), "--key", outer.at("key.pem")] : []),
  ];
  let log = "";
  for (let attempt = 0; attempt < 5; attempt += 1) {
    const port = await freePort();
    const serve = ["serve", "restic", "--addr", `127.0.0.1:${port}`, ...args, folder];
    const child = spawn(...withParent("rclone", serve), {
      env: { ...process.env, RCLONE_CONFIG: outer.at("none.conf"), ...(options.open === true ? {} : own) },
      stdio: ["ignore", "ignore", "pipe"],
    });
    child.stderr.on("data", (data: Buffer) => (log += data.toString()));
    const stop = async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, "exit");
      child.kill("SIGTERM");
      await ended;
    };
    for (let tries = 0; tries < 4000 && child.exitCode === null; tries += 1) {
      if (await isListening(port)) {
        return {
          port,
          folder,
          user,
          password,
          location: (path = "") => `rest:http${options.tls === true ? "s" : ""}://127.0.0.1:${port}/${path}`,
          env: {
            RESTIC_REST_USERNAME: user,
            RESTIC_REST_PASSWORD: password,
            ...(options.tls === true ? { RESTIC_CACERT: outer.at("ca.pem") } : {}),
          },
          pid: child.pid ?? 0,
          stop,
          async [Symbol.asyncDispose]() {
            await stop();
            await outer[Symbol.asyncDispose]();
          },
        };
      }
      await sleep(25);
    }
    await stop();
  }
  throw new Error(`rclone did not start:\n${log}`);
}
