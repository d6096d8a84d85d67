/**
 * `chatkeep demo --continuous`: an installation is watched while messages flow; its database server is killed amid them and its
 * files are deleted. What comes back is compared with what was acknowledged, which was counted outside of the database.
 */
import { appendFile, mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Globals, Surroundings } from "../app/surroundings.ts";
import { runRestore, runWatch } from "../app/verbs.ts";
import { formatBytes, formatCount, formatSeconds, plural } from "../base/bytes.ts";
import { Failure } from "../base/errors.ts";
import type { WatchStatus } from "../job/watch-book.ts";
import type { ServerAddress } from "../postgres/address.ts";
import { findServerMajor, openScratchServer, type ScratchServer } from "../postgres/scratch.ts";
import { countInstallation } from "./counts.ts";
import { type DemoAddress, onDatabase } from "./database.ts";
import { buildInstallation, type DemoInstallation } from "./installation.ts";
import { describe, type Say, setUp, step } from "./stage.ts";
import { startTraffic, type Traffic } from "./traffic.ts";

/** What a server must have to be followed; and it is a real one: what it acknowledges is on its disk. */
const SETTINGS = {
  wal_level: "replica",
  max_wal_senders: "4",
  max_replication_slots: "4",
  max_slot_wal_keep_size: "1GB",
  fsync: "on",
  full_page_writes: "on",
  synchronous_commit: "on",
} as const;

const SIZE = { messages: 4_000, conversations: 300, files: 60 };
const FLUSH_SECONDS = 1;
/** What was acknowledged longer ago than the time to flush and this is promised. */
const SLACK_SECONDS = 2;
const PROMISED_MS = (FLUSH_SECONDS + SLACK_SECONDS) * 1000;
const TRAFFIC = { writers: 4, pauseMs: 10 };
/** So many messages at least, and for so long at least. */
const MESSAGES = 400;
const FLOW_MS = 8_000;
const READY_MS = 120_000;
const POLL_MS = 100;

/** @returns whether everything that was promised is back. */
export async function playSecondAct(root: string, s: Surroundings, say: Say): Promise<boolean> {
  const { signal, progress } = s;
  const major = await findServerMajor({ signal });
  const places = { kinds: ["programs", "embedded"] as const, major, extensions: [], signal };
  say("A throwaway Chatwoot is watched, its database is destroyed while messages are written, and they are back.");
  say("");
  await using server = await openScratchServer({ ...places, settings: SETTINGS });
  const home = join(root, "home");
  const installation = await buildInstallation({ root: home, address: server.address, size: SIZE, signal, progress });
  step(say, 1, "An installation", [
    `Chatwoot ${installation.version}'s shape on PostgreSQL ${server.version}: ${describe(await countInstallation(installation))}`,
    ...installation.notes,
  ]);
  const { globals, quiet } = await setUp(root, installation, s);
  const state = join(root, "state");
  await mkdir(state, { mode: 0o700 });
  await appendFile(globals.config ?? "", `state-dir: ${JSON.stringify(state)}\n`);
  await using watching = startWatching(globals, state, quiet);
  const { base } = await watching.until(isProtected);
  step(say, 2, "Watched", [
    `'chatkeep watch' follows the write-ahead log: what is committed is in the repository after ${plural(FLUSH_SECONDS, "second")}`,
    `a base of the cluster (${formatBytes(base?.bytes ?? 0)}) and a first restore point are in the repository`,
  ]);
  const lost = await flowAndDestroy({ installation, server }, s, say);
  await watching.end();
  await using other = await openScratchServer(places);
  const { seconds, ids } = await bringBack(root, { globals, target: other.address, installation }, s);
  step(say, 5, "Brought back", [
    `in ${formatSeconds(seconds)}, with 'chatkeep restore now': the base, and the log up to its last byte`,
  ]);
  return tell(say, lost, ids);
}

/** A base, a point and all of the log so far are there. */
function isProtected({ base, repositories }: WatchStatus): boolean {
  return base !== null && repositories.every(({ durable }) => durable !== null);
}

interface WatchingHere extends AsyncDisposable {
  /** Waits until what it writes down of itself is as it should be. @throws what the watch failed with. */
  until(is: (status: WatchStatus) => boolean): Promise<WatchStatus>;
  end(): Promise<void>;
}

/** `chatkeep watch` in this process: it outlives the database, as one on another machine would. The demo says itself what happens. */
function startWatching(globals: Globals, state: string, s: Surroundings): WatchingHere {
  const stop = new AbortController();
  const signal = AbortSignal.any([s.signal, stop.signal]);
  const flags = { mode: "stream" as const, flushEvery: `${FLUSH_SECONDS}s`, interval: undefined };
  let failed: { error: unknown } | undefined;
  const running = runWatch(globals, flags, { ...s, signal, warn: undefined }).catch((error: unknown) => {
    if (!stop.signal.aborted) failed = { error };
  });
  const end = async () => {
    stop.abort(new Failure("run/cancelled", "the demo goes on"));
    await running;
  };
  return {
    async until(is) {
      const deadline = s.clock.monotonic() + READY_MS;
      for (;;) {
        const status = await readStatus(state);
        if (status !== undefined && is(status)) return status;
        if (failed !== undefined) throw failed.error;
        if (s.clock.monotonic() > deadline) {
          const said = status?.findings.map(({ message }) => message).join("; ") ?? "";
          throw new Failure("program/failed", "the demo's installation did not come under protection in time", {
            hint: said === "" ? "The machine may be too busy: try again." : `It said: ${said}`,
          });
        }
        await s.clock.sleep(POLL_MS, s.signal);
      }
    },
    end,
    [Symbol.asyncDispose]: end,
  };
}

/** What `watch` wrote down; undefined where it has not yet. */
async function readStatus(state: string): Promise<WatchStatus | undefined> {
  const [installation] = await readdir(state);
  if (installation === undefined) return undefined;
  const text = await readFile(join(state, installation, "watch.json"), "utf8").catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as WatchStatus);
}

interface Lost {
  readonly messages: Traffic["messages"];
  /** When the server was killed, on the monotonic clock. */
  readonly atMs: number;
}

async function flowAndDestroy(
  { installation, server }: { installation: DemoInstallation; server: ScratchServer },
  s: Surroundings,
  say: Say,
): Promise<Lost> {
  const { clock, signal } = s;
  const traffic = startTraffic(installation, { ...TRAFFIC, clock, signal });
  const began = clock.monotonic();
  while (traffic.messages.length < MESSAGES || clock.monotonic() - began < FLOW_MS) {
    await Promise.race([clock.sleep(POLL_MS, signal), traffic.over]);
  }
  step(say, 3, "Messages flow", [
    `${formatCount(traffic.messages.length)} in ${formatSeconds((clock.monotonic() - began) / 1000)}, by ${TRAFFIC.writers} who write at once, and ${plural(traffic.files, "file")}`,
  ]);
  const atMs = clock.monotonic();
  await server[Symbol.asyncDispose]();
  await traffic.over;
  step(say, 4, "Disaster", [
    "the database server is killed amid them, and its data folder is deleted",
    `it had acknowledged ${plural(traffic.messages.length, "message")}, counted outside of it`,
  ]);
  return { messages: traffic.messages, atMs };
}

/** Into an empty server. @returns the ids of the messages that are there. */
async function bringBack(
  root: string,
  { globals, target, installation }: { globals: Globals; target: ServerAddress; installation: DemoInstallation },
  s: Surroundings,
): Promise<{ seconds: number; ids: ReadonlySet<number> }> {
  const began = s.clock.monotonic();
  const { host, port, user } = target;
  const { database } = installation.database;
  const there: DemoAddress = { host, port, user, database };
  await onDatabase({ ...there, database: target.database }, async (client) => {
    await client.query(`CREATE DATABASE ${JSON.stringify(database)} TEMPLATE template0`);
  });
  const databaseUrl = `postgresql://${user}@${encodeURIComponent(host)}:${port}/${database}`;
  const flags = { to: join(root, "restored"), databaseUrl };
  await runRestore(globals, "now", flags, { ...s, person: undefined });
  const seconds = (s.clock.monotonic() - began) / 1000;
  return await onDatabase(there, async (client) => {
    const { rows } = await client.query<{ id: string }>("SELECT id FROM messages");
    return { seconds, ids: new Set(rows.map(({ id }) => Number(id))) };
  });
}

/** Whether all is back that was promised; and what of the last seconds is. */
function tell(say: Say, { messages, atMs }: Lost, ids: ReadonlySet<number>): boolean {
  const promised = messages.filter((one) => one.atMs < atMs - PROMISED_MS);
  const young = messages.filter((one) => one.atMs >= atMs - PROMISED_MS);
  const back = (all: Traffic["messages"]) => all.filter(({ id }) => ids.has(id)).length;
  const isWhole = promised.length > 0 && back(promised) === promised.length;
  const seconds = FLUSH_SECONDS + SLACK_SECONDS;
  step(say, 6, isWhole ? "Nothing is lost" : "SOMETHING IS LOST", [
    `acknowledged more than ${plural(seconds, "second")} before: ${formatCount(back(promised))} of ${plural(promised.length, "message")} are back`,
    `acknowledged in the last ${plural(seconds, "second")}: ${formatCount(back(young))} of ${formatCount(young.length)}, which nobody promised`,
  ]);
  say("");
  say("Next, for a real Chatwoot:");
  for (const line of [
    "chatkeep watch              protects it continuously",
    "chatkeep status             says from when to when any moment can be had",
    "chatkeep moments            finds the moment before something was deleted",
    "chatkeep restore -5m        brings back what was five minutes ago",
  ]) {
    say(`   ${line}`);
  }
  return isWhole;
}
