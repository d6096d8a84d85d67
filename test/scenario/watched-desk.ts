/** A desk that is watched by a process of its own. */
import assert from "node:assert/strict";
import { appendFile, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { attachFile } from "../../src/demo/change.ts";
import { onDatabase } from "../../src/demo/database.ts";
import { seededRandom } from "../../src/demo/random.ts";
import type { WatchStatus } from "../../src/job/watch-book.ts";
import { startCli } from "../harness/cli.ts";
import { type Desk, type DeskOptions, openDesk } from "./desk.ts";

/** The server bounds what it keeps for slots, so that a permanent one is made. */
const SETTINGS = ["max_slot_wal_keep_size=1GB"];
const PATIENCE_MS = 120_000;

export interface Watching extends AsyncDisposable {
  readonly pid: number;
  /** What it said so far. */
  told(): string;
  /** Waits until what it writes down of itself is as it should be. */
  until(what: string, is: (status: WatchStatus) => boolean): Promise<WatchStatus>;
  /** Ends it as systemd does. Returns its exit status. */
  stop(): Promise<number | null>;
  /** Ends it as the kernel does. */
  kill(): Promise<void>;
}

/** A desk whose state lies below its root. */
export async function openWatchedDesk(options: DeskOptions = {}): Promise<Desk> {
  const settings = [...SETTINGS, ...(options.server?.settings ?? [])];
  const desk = await openDesk({ ...options, server: { ...options.server, settings } });
  await appendFile(desk.config, `state-dir: ${stateOf(desk)}\n`);
  return desk;
}

/** What of a desk a watch needs. */
export type WatchedPlace = Pick<Desk, "root" | "config">;

export function stateOf({ root }: Pick<Desk, "root">): string {
  return join(root, "state");
}

export async function readWatchStatus(desk: WatchedPlace): Promise<WatchStatus | undefined> {
  try {
    const [installation = ""] = await readdir(stateOf(desk));
    return JSON.parse(await readFile(join(stateOf(desk), installation, "watch.json"), "utf8")) as WatchStatus;
  } catch {
    return undefined;
  }
}

/** @param options `within`: a program, and its arguments, that becomes the watch. */
export function startWatch(
  desk: WatchedPlace,
  args: readonly string[],
  { env = {}, within = [] }: { env?: Readonly<Record<string, string>>; within?: readonly string[] } = {},
): Watching {
  const child = startCli(["--config", desk.config, "watch", ...args], { cwd: desk.root, env, within });
  let told = "";
  child.stderr?.on("data", (text: Buffer) => (told += text.toString()));
  const ended = new Promise<number | null>((resolve) => child.once("exit", (code) => resolve(code)));
  const end = async (signal: NodeJS.Signals) => {
    child.kill(signal);
    return await ended;
  };
  return {
    pid: child.pid ?? -1,
    told: () => told,
    async until(what, is) {
      const end = performance.now() + PATIENCE_MS;
      for (;;) {
        const status = await readWatchStatus(desk);
        // An earlier watch may have left one.
        if (status?.pid === child.pid && status !== undefined && is(status)) return status;
        const isOver = child.exitCode !== null || child.signalCode !== null;
        assert.ok(!isOver && performance.now() < end, `${what}: ${JSON.stringify(status)}\n${told}`);
        await sleep(50);
      }
    },
    stop: async () => await end("SIGTERM"),
    kill: async () => void (await end("SIGKILL")),
    async [Symbol.asyncDispose]() {
      await end("SIGKILL");
    },
  };
}

/** A base, and a restore point, are there. */
export function isReady({ base, repositories }: WatchStatus): boolean {
  return base !== null && repositories.every(({ durable }) => durable !== null);
}

/** A file whose row comes and goes before its bytes are there, and that the watch tells of: lost to nobody, and nothing to be done. */
export async function purgeBeforeCopy({ installation }: Pick<Desk, "installation">, watching: Watching): Promise<void> {
  const { database, storageRoot } = installation;
  await onDatabase(database, async (client) => {
    await attachFile(client, seededRandom("purged before it was copied"), storageRoot, async () => {
      await watching.until("the file is waited for", ({ repositories }) => (repositories[0]?.filesWaiting ?? 0) === 1);
      const newest = "(select max(id) from active_storage_blobs)";
      await client.query(`delete from active_storage_attachments where blob_id = ${newest}`);
      await client.query(`delete from active_storage_blobs where id = ${newest}`);
    });
  });
  const kind = "purged-before-copy";
  const { findings } = await watching.until("it is told", (status) => status.findings.some((one) => one.kind === kind));
  assert.deepEqual(
    findings.filter((one) => /^(?:purged|files)-/.test(one.kind)).map((one) => [one.kind, one.level]),
    [[kind, "note"]],
  );
}
