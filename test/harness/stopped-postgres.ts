/** A PostgreSQL whose data stays when it is stopped: for tests of servers that are restarted, restored or go back in time. */
import type { ChildProcess } from "node:child_process";
import { chownSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { copyData } from "./cluster.ts";
import {
  freePort,
  initialise,
  installedServers,
  startKept,
  SETTINGS,
  type TestAddress,
  untilReady,
} from "./postgres.ts";

export class StoppedPostgres implements AsyncDisposable {
  readonly #folder: string;
  readonly #programs: string;
  readonly #user: { uid: number; gid: number } | undefined;
  readonly address: TestAddress;
  #child: ChildProcess | undefined;

  private constructor(folder: string, programs: string, port: number, user: { uid: number; gid: number } | undefined) {
    this.#folder = folder;
    this.#programs = programs;
    this.#user = user;
    this.address = { host: "127.0.0.1", port, user: "postgres", database: "postgres" };
  }

  /** Not started yet. @param given The folder of another server's programs. */
  static async make(given?: string): Promise<StoppedPostgres> {
    const programs = given ?? installedServers()[0]?.programs;
    if (programs === undefined) throw new Error("PostgreSQL is not installed: run 'npm test', which installs it");
    const folder = await mkdtemp(join(tmpdir(), "chatkeep-pg-"));
    const { user } = await initialise(folder, programs);
    await mkdir(join(folder, "socket"), { mode: 0o777 });
    if (user !== undefined) chownSync(join(folder, "socket"), user.uid, user.gid);
    return new StoppedPostgres(folder, programs, await freePort(), user);
  }

  get data(): string {
    return join(this.#folder, "data");
  }

  async start(settings: readonly string[] = []): Promise<void> {
    const { port } = this.address;
    const all = [...SETTINGS, ...settings, `port=${port}`, `unix_socket_directories=${join(this.#folder, "socket")}`];
    const server = [join(this.#programs, "postgres"), "-D", this.data, ...all.flatMap((setting) => ["-c", setting])];
    const { child, log } = startKept(server, { folder: "", user: this.#user });
    this.#child = child;
    await untilReady(child, this.address, log);
  }

  /** As when the machine loses its power: nothing is written any more. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    this.#child = undefined;
    const ended = new Promise((resolve) => child.once("close", resolve));
    process.kill(Number.parseInt(await readFile(join(this.data, "postmaster.pid"), "utf8"), 10), "SIGKILL");
    await ended;
  }

  async stop(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    this.#child = undefined;
    const ended = new Promise((resolve) => child.once("close", resolve));
    child.stdin?.end();
    await ended;
  }

  /** As `pg_ctl stop -m immediate`: sessions are cut, nothing is written, and the next start recovers. */
  async crash(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    this.#child = undefined;
    const ended = new Promise((resolve) => child.once("close", resolve));
    process.kill(Number.parseInt(await readFile(join(this.data, "postmaster.pid"), "utf8"), 10), "SIGQUIT");
    await ended;
  }

  /** Copies the data of the stopped server, and returns what puts it back. */
  async remember(): Promise<() => Promise<void>> {
    const kept = join(this.#folder, "kept");
    await copyData(this.data, kept);
    return async () => {
      await rm(this.data, { recursive: true });
      await copyData(kept, this.data);
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await rm(this.#folder, { recursive: true, force: true });
  }
}
