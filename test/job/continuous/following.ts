/** A server's log followed into repositories by a follower in this process, and what came of it compared with the server's own files. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "pg";
import { Failure } from "../../../src/base/errors.ts";
import {
  type FollowLogOptions,
  LogFollower,
  type LineBegun,
  type LogState,
  type PlaceJoined,
} from "../../../src/job/continuous/follow-log.ts";
import type { SpanPlace } from "../../../src/job/continuous/keeper.ts";
import { listContinuous } from "../../../src/job/continuous/list.ts";
import { readWal } from "../../../src/job/continuous/read-wal.ts";
import { repositoryPlace } from "../../../src/job/continuous/repository-place.ts";
import type { WatchedPlace } from "../../../src/job/continuous/watched-place.ts";
import type { Repository } from "../../../src/repo/repository.ts";
import { type Lsn, parseLsn, parseSegmentName } from "../../../src/wal/lsn.ts";
import { FLUSH, type TestAddress } from "../../harness/postgres.ts";
import { temporaryFolder } from "../../harness/temporary.ts";
import { hasty, reopen } from "../../repo/small-backup.ts";
import { IDENTITY } from "../memory-desk.ts";

export const SEGMENT = 16 * 1024 * 1024;
export const TIMES = {
  flushMs: 100,
  spanBytes: 2 * SEGMENT,
  spanMs: 600_000,
  retryMs: 20,
  retryMostMs: 100,
  patienceMs: 200,
};
const PATIENCE_MS = 120_000;

/** One statement on a server of its own address. */
export async function ask(address: TestAddress, sql: string): Promise<Record<string, unknown>[]> {
  const client = new Client(address);
  client.on("error", () => {});
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

export async function write(address: TestAddress, rows: number): Promise<void> {
  await ask(address, `insert into rows (body) select repeat(md5(g::text), 30) from generate_series(1, ${rows}) g`);
}

/** How a repository behaves. */
export interface Gate {
  /** What is to be stored is refused. */
  refusal: Failure | undefined;
  /** Spans are. */
  spanRefusal?: Failure | undefined;
  /** What it has is not told, either. */
  isAway?: boolean;
  /** Nothing is answered before this. */
  silence?: Promise<void> | undefined;
}

/** As a call to a place that does not answer: it ends with its signal. */
async function answered(gate: Gate | undefined, { signal }: { signal: AbortSignal }): Promise<void> {
  const { promise, reject } = Promise.withResolvers<never>();
  const stop = () => reject(signal.reason);
  signal.addEventListener("abort", stop, { once: true });
  try {
    await Promise.race([gate?.silence, promise]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

function gated(place: WatchedPlace, gate: Gate | undefined): WatchedPlace {
  const pass = <T, O extends { signal: AbortSignal }>(act: (what: T, options: O) => Promise<void>, isSpan = false) => {
    return async (what: T, options: O) => {
      await answered(gate, options);
      const refusal = gate?.refusal ?? (isSpan ? gate?.spanRefusal : undefined);
      if (refusal !== undefined) throw refusal;
      await act(what, options);
    };
  };
  return {
    ...place,
    async newest(options) {
      await answered(gate, options);
      if (gate?.isAway === true) throw gate.refusal;
      return await place.newest(options);
    },
    async standing(line, segmentBytes, options) {
      await answered(gate, options);
      if (gate?.isAway === true) throw gate.refusal;
      return await place.standing(line, segmentBytes, options);
    },
    async spanPlace(facts) {
      const inner = await place.spanPlace(facts);
      return {
        name: inner.name,
        hasJournal: inner.hasJournal,
        putJournal: pass(async (entry, options) => await inner.putJournal(entry, options)),
        saveSpan: pass(async (entry, options) => await inner.saveSpan(entry, options), true),
        readJournal: async (...args) => await inner.readJournal(...args),
        sweepJournal: async (to, options) => await inner.sweepJournal(to, options),
        close: async () => await inner.close?.(),
      } satisfies SpanPlace;
    },
  };
}

export interface Following extends AsyncDisposable {
  readonly begun: LineBegun[];
  readonly joined: PlaceJoined[];
  readonly troubles: (string | undefined)[];
  state(): LogState | undefined;
  /** Waits until something holds. @throws what ended the following before. */
  until(what: string, holds: () => boolean): Promise<void>;
  /** Waits until everything that was written so far is in every repository. */
  caughtUp(): Promise<Lsn>;
  stop(): Promise<void>;
}

/** @param options `gate` of every repository; `gates` of single ones, by their names. */
export function follow(
  address: TestAddress,
  repositories: Readonly<Record<string, Repository>>,
  {
    gate,
    gates = {},
    ...more
  }: Partial<FollowLogOptions> & { gate?: Gate; gates?: Readonly<Record<string, Gate>> } = {},
): Following {
  const stop = new AbortController();
  const begun: LineBegun[] = [];
  const joined: PlaceJoined[] = [];
  const troubles: (string | undefined)[] = [];
  let state: LogState | undefined;
  const follower = new LogFollower({
    address: () => address,
    installation: IDENTITY.id,
    places: Object.entries(repositories).map(([name, repository]) => {
      const open = async () => reopen(repository);
      const place = repositoryPlace({ name, open, identity: IDENTITY, program: "chatkeep test", clock: hasty });
      return gated(place, gates[name] ?? gate);
    }),
    times: TIMES,
    maxBytes: 8 * SEGMENT,
    maxRetainedBytes: 2 ** 40,
    clock: hasty,
    signal: stop.signal,
    onLine: (line) => begun.push(line),
    onSession: (trouble) => troubles.push(trouble?.failure.code),
    onTrouble: () => {},
    ...more,
    onJoined: (one) => {
      joined.push(one);
      more.onJoined?.(one);
    },
    onState: (now) => {
      state = now;
      more.onState?.(now);
    },
  });
  const running = follower.run();
  let failed: unknown;
  running.catch((error: unknown) => (failed = error));
  const until = async (what: string, holds: () => boolean) => {
    const end = performance.now() + PATIENCE_MS;
    while (!holds()) {
      if (failed !== undefined) throw failed;
      assert.ok(performance.now() < end, `${what}; ${troubles.join(" ")}`);
      await sleep(20);
    }
  };
  const end = async () => {
    stop.abort(new Failure("run/cancelled", "the test is over"));
    await assert.rejects(running, /the test is over/);
  };
  return {
    begun,
    joined,
    troubles,
    state: () => state,
    until,
    async caughtUp() {
      const to = await flushed(address);
      await until(`everything to ${to} is durable`, () => (state?.durableTo ?? 0n) >= to);
      return to;
    },
    stop: end,
    async [Symbol.asyncDispose]() {
      if (!stop.signal.aborted) await end();
    },
  };
}

/** As {@link write}, and then so many segments of which little is used: much log for little work. */
export async function grow(address: TestAddress, segments: number): Promise<void> {
  for (let segment = 0; segment < segments; segment += 1) {
    await write(address, 50);
    await ask(address, "select pg_switch_wal()");
  }
}

export async function flushed(address: TestAddress): Promise<Lsn> {
  await ask(address, FLUSH);
  const [now] = await ask(address, "select pg_current_wal_flush_lsn()::text as lsn");
  return parseLsn(String(now?.["lsn"]));
}

/**
 * All that a repository has from where it began is what the server has in its own files. Returns where it ends.
 * @param damaged So many objects of its journal cannot be used.
 */
export async function assertSameAsServer(
  address: TestAddress,
  repository: Repository,
  timeline = 1,
  damaged = 0,
  segmentBytes = SEGMENT,
): Promise<Lsn> {
  await using folder = await temporaryFolder();
  const { signal } = new AbortController();
  const fresh = reopen(repository);
  await fresh.loadIndex({ signal });
  const { spans, journal } = await listContinuous(fresh, IDENTITY.id, { signal });
  const pieces = [...spans.map(({ span }) => span), ...journal.objects].filter((one) => one.timeline === timeline);
  const [line] = pieces.toSorted((a, b) => (a.from < b.from ? -1 : 1));
  assert.ok(line !== undefined);
  const legs = [{ timeline, from: line.from, to: undefined }];
  const [version] = await ask(address, "select current_setting('server_version_num')::int / 10000 as major");
  const log = { spans, journal: journal.objects, major: Number(version?.["major"]) };
  const wanted = { ...line, segmentBytes, legs, ...log };
  const { names, reached, refused } = await readWal(fresh, wanted, folder.at("wal"), { signal });
  assert.equal(refused.length, damaged);
  const [end = 0n] = reached;
  for (const name of names) {
    if (name.endsWith(".history")) continue;
    const start = parseSegmentName(name, segmentBytes)?.start ?? end;
    const length = Math.min(segmentBytes, Number(end - start));
    const [row] = await ask(address, `select pg_read_binary_file('pg_wal/${name}', 0, ${length}) as bytes`);
    const ours = (await readFile(join(folder.at("wal"), name))).subarray(0, length);
    assert.ok(ours.equals(row?.["bytes"] as Buffer), `${name} is not what the server has`);
  }
  return end;
}
