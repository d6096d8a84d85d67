/** A real server's log goes to a repository, over sessions that are cut, watches that end, and a place that refuses. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { after, before, test } from "node:test";
import { Failure } from "../../../src/base/errors.ts";
import {
  type FollowLogOptions,
  LogFollower,
  type LineBegun,
  type LogState,
} from "../../../src/job/continuous/follow-log.ts";
import { listContinuous } from "../../../src/job/continuous/list.ts";
import { readWal } from "../../../src/job/continuous/read-wal.ts";
import { repositoryPlace } from "../../../src/job/continuous/repository-place.ts";
import { parseLsn, parseSegmentName, type Lsn } from "../../../src/wal/lsn.ts";
import type { Repository } from "../../../src/repo/repository.ts";
import { createMemoryStore } from "../../../src/store/memory-store.ts";
import { startPostgres, type TestServer } from "../../harness/postgres.ts";
import { temporaryFolder } from "../../harness/temporary.ts";
import { hasty, newRepository, reopen } from "../../repo/small-backup.ts";
import { IDENTITY } from "../memory-desk.ts";

const SEGMENT = 16 * 1024 * 1024;
const TIMES = { flushMs: 100, spanBytes: 2 * SEGMENT, spanMs: 600_000, retryMs: 20, retryMostMs: 100 };
const PATIENCE_MS = 60_000;
let server: TestServer;

before(async () => {
  server = await startPostgres({ settings: ["max_slot_wal_keep_size=1GB"] });
  await server.query("create table rows (id bigint generated always as identity, body text)");
});
after(async () => {
  await server.stop();
});

interface Watch extends AsyncDisposable {
  readonly begun: LineBegun[];
  readonly troubles: (string | undefined)[];
  state(): LogState | undefined;
  /** Waits until everything that was written so far is in every repository. */
  caughtUp(): Promise<Lsn>;
  stop(): Promise<void>;
}

function watch(repositories: Readonly<Record<string, Repository>>, more: Partial<FollowLogOptions> = {}): Watch {
  const stop = new AbortController();
  const begun: LineBegun[] = [];
  const troubles: (string | undefined)[] = [];
  let state: LogState | undefined;
  const follower = new LogFollower({
    address: server.address,
    installation: IDENTITY.id,
    places: Object.entries(repositories).map(([name, repository]) => {
      const open = async () => reopen(repository);
      return repositoryPlace({ name, open, identity: IDENTITY, program: "chatkeep test", clock: hasty });
    }),
    times: TIMES,
    maxBytes: 8 * SEGMENT,
    maxRetainedBytes: undefined,
    clock: hasty,
    signal: stop.signal,
    onLine: (line) => begun.push(line),
    onState: (now) => (state = now),
    onSession: (trouble) => troubles.push(trouble?.failure.code),
    onTrouble: () => {},
    ...more,
  });
  const running = follower.run();
  let failed: unknown;
  running.catch((error: unknown) => (failed = error));
  const end = async () => {
    stop.abort(new Failure("run/cancelled", "the test is over"));
    await assert.rejects(running, /the test is over/);
  };
  return {
    begun,
    troubles,
    state: () => state,
    async caughtUp() {
      const to = await flushed();
      const until = performance.now() + PATIENCE_MS;
      for (;;) {
        if (failed !== undefined) throw failed;
        const durable = state?.durableTo ?? 0n;
        if (durable >= to) return to;
        assert.ok(performance.now() < until, `${durable} of ${to}`);
        await sleep(20);
      }
    },
    stop: end,
    async [Symbol.asyncDispose]() {
      if (!stop.signal.aborted) await end();
    },
  };
}

async function write(rows: number): Promise<void> {
  await server.query(`insert into rows (body) select repeat(md5(g::text), 30) from generate_series(1, ${rows}) g`);
}

async function flushed(): Promise<Lsn> {
  const [row] = await server.query("select pg_logical_emit_message(true, 'test', 'flush')::text as lsn");
  const [now] = await server.query("select pg_current_wal_flush_lsn()::text as lsn");
  return parseLsn(String(now?.["lsn"] ?? row?.["lsn"]));
}

/** All that a repository has from where it began is what the server has in its own files. Returns where it ends. */
async function assertSameAsServer(repository: Repository): Promise<Lsn> {
  await using folder = await temporaryFolder();
  const { signal } = new AbortController();
  const fresh = reopen(repository);
  await fresh.loadIndex({ signal });
  const { spans, journal } = await listContinuous(fresh, IDENTITY.id, { signal });
  const from = [...spans.map(({ span }) => span.from), ...journal.objects.map((one) => one.from)].toSorted((a, b) =>
    a < b ? -1 : 1,
  )[0];
  const line = spans[0]?.span ?? journal.objects[0];
  assert.ok(from !== undefined && line !== undefined);
  const legs = [{ timeline: line.timeline, from, to: undefined }];
  const wanted = { ...line, segmentBytes: SEGMENT, legs, spans, journal: journal.objects };
  const { names, reached, refused } = await readWal(fresh, wanted, folder.at("wal"), { signal });
  assert.deepEqual(refused, []);
  const [end = 0n] = reached;
  for (const name of names) {
    const start = parseSegmentName(name, SEGMENT)?.start ?? end;
    const length = Math.min(SEGMENT, Number(end - start));
    const [row] = await server.query(`select pg_read_binary_file('pg_wal/${name}', 0, ${length}) as bytes`);
    const ours = (await readFile(join(folder.at("wal"), name))).subarray(0, length);
    assert.ok(ours.equals(row?.["bytes"] as Buffer), `${name} is not what the server has`);
  }
  return end;
}

test("what a server writes is in the journal, and in spans when segments are whole, byte for byte", async () => {
  const repository = await newRepository(createMemoryStore());
  await using following = watch({ primary: repository });
  await write(1_000);
  const first = await following.caughtUp();
  assert.ok((await assertSameAsServer(repository)) >= first);
  await write(60_000);
  const second = await following.caughtUp();
  assert.ok((await assertSameAsServer(repository)) >= second);
  const { spans, journal } = await listContinuous(repository, IDENTITY.id, new AbortController());
  assert.ok(spans.length > 0);
  const saved = spans.reduce((most, { span }) => (span.to > most ? span.to : most), 0n);
  assert.ok(
    journal.objects.every(({ to }) => to > saved),
    "what spans hold is gone from the journal",
  );
  assert.deepEqual(
    following.begun.map(({ gapped, away }) => ({ gapped, away })),
    [{ gapped: [], away: [] }],
  );
});

test("a session that is cut is followed by another, and a watch by the next one, without a gap", async () => {
  const repository = await newRepository(createMemoryStore());
  const first = watch({ primary: repository });
  await write(20_000);
  await first.caughtUp();
  await server.query("select pg_terminate_backend(pid) from pg_stat_replication");
  await write(20_000);
  await first.caughtUp();
  assert.ok(
    first.troubles.some((code) => code !== undefined),
    "the cut was noticed",
  );
  await write(3_000);
  await first.stop();
  await write(20_000);
  await using second = watch({ primary: repository });
  const end = await second.caughtUp();
  assert.deepEqual(
    second.begun.map(({ gapped }) => gapped),
    [[]],
  );
  assert.ok((await assertSameAsServer(repository)) >= end);
});

test("a second repository that comes later has everything from then on, and the first goes on", async () => {
  const [one, other] = [await newRepository(createMemoryStore()), await newRepository(createMemoryStore())];
  const first = watch({ one });
  await write(5_000);
  await first.caughtUp();
  await first.stop();
  await using both = watch({ one, other });
  await write(5_000);
  const end = await both.caughtUp();
  assert.ok((await assertSameAsServer(one)) >= end);
  assert.ok((await assertSameAsServer(other)) >= end);
});

test("another server behind the same address is refused, and nothing of it is mixed in", async () => {
  const repository = await newRepository(createMemoryStore());
  await using stranger = await startPostgres({ settings: ["max_slot_wal_keep_size=1GB"] });
  const address = { ...server.address };
  await using following = watch({ primary: repository }, { address });
  await write(1_000);
  await following.caughtUp();
  address.port = stranger.address.port;
  await server.query("select pg_terminate_backend(pid) from pg_stat_replication");
  const until = performance.now() + PATIENCE_MS;
  while (!following.troubles.includes("wal/other-cluster")) {
    assert.ok(performance.now() < until, String(following.troubles));
    await sleep(20);
  }
  address.port = server.address.port;
  await write(1_000);
  const end = await following.caughtUp();
  assert.ok((await assertSameAsServer(repository)) >= end);
  assert.equal(following.begun.length, 1);
});
