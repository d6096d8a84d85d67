/**
 * What the bench times of continuous protection, each in a process of its own: `base PORT USER REPOSITORY [built]` takes a base into
 * a repository, built on the newest there where that is asked, and prints what that added, what it has and what was sent;
 * `log PORT USER TIMELINE FROM TO REPOSITORY` follows the log into one until a span or the journal has everything up to `TO`;
 * `recover REPOSITORY` brings the newest moment back and prints how far that is. A repository that is not there is made; `make REPOSITORY`
 * does nothing else. Each loads what it needs alone.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../src/base/clock.ts";
import { LIMITS } from "../src/base/limits.ts";
import { openReplication } from "../src/postgres/replication.ts";
import { createRepository, openRepository, type Repository } from "../src/repo/repository.ts";
import { openStore } from "../src/store/open-store.ts";
import { formatLsn, parseLsn } from "../src/wal/lsn.ts";

const IDENTITY = { id: "0a61c0de-0000-4000-8000-000000000001", name: "bench" };
const PROGRAM = "Chatkeep bench";
const clock = systemClock;
const never = new AbortController().signal;

function addressOf(port = "", user = "") {
  return { host: "127.0.0.1", port: Number(port), user, database: "postgres" };
}

async function repositoryAt(path = ""): Promise<Repository> {
  const store = await openStore(path);
  const options = { password: "bench", clock, signal: never };
  if (existsSync(join(path, "config"))) return await openRepository(store, options);
  // Deriving a key as slowly as it should be is no part of what is timed.
  const cost = { N: 1024, r: 8, p: 1 };
  return await createRepository(store, { ...options, hostname: "bench", username: "bench", cost });
}

async function expectedAt(address: ReturnType<typeof addressOf>) {
  await using session = await openReplication(address, { signal: never });
  const { systemId, timeline, flushed } = await session.identifySystem();
  return { systemId, timeline, least: flushed };
}

async function base([port, user, path, how]: readonly string[]): Promise<void> {
  const { listContinuous } = await import("../src/job/continuous/list.ts");
  const { takeBase } = await import("../src/job/continuous/take-base.ts");
  const repository = await repositoryAt(path);
  const { bases } = await listContinuous(repository, IDENTITY.id, { signal: never });
  const earlier = how === "built" ? bases.at(-1) : undefined;
  const writer = { repository, identity: IDENTITY, program: PROGRAM, clock, signal: never };
  const address = addressOf(port, user);
  const expected = await expectedAt(address);
  const options = { address, rate: undefined, checkpoint: "fast", expected, earlier } as const;
  const { addedBytes, facts, sentBytes, whyWhole } = await takeBase(writer, options);
  if (whyWhole !== undefined) throw new Error(whyWhole);
  process.stdout.write(`${addedBytes} ${facts.base.bytes} ${sentBytes}\n`);
}

async function log([port, user, timeline, from, to, path]: readonly string[]): Promise<void> {
  const { LogLine } = await import("../src/job/continuous/line.ts");
  const { receive } = await import("../src/job/continuous/receive.ts");
  const { repositoryPlace } = await import("../src/job/continuous/repository-place.ts");
  const repository = await repositoryAt(path);
  const [start, end] = [parseLsn(from ?? ""), parseLsn(to ?? "")];
  const enough = new AbortController();
  await using session = await openReplication(addressOf(port, user), { signal: enough.signal });
  const [{ systemId }, segmentBytes] = [await session.identifySystem(), await session.segmentBytes()];
  const major = Math.floor(Number(await session.showSetting("server_version_num")) / 10_000);
  const pageBytes = Number(await session.showSetting("wal_block_size"));
  const opened = { name: "bench", open: async () => repository, identity: IDENTITY, program: PROGRAM, clock };
  const place = await repositoryPlace(opened).spanPlace({ segmentBytes, histories: new Map() });
  const times = {
    flushMs: 1000,
    spanBytes: LIMITS.spanBytes,
    spanMs: LIMITS.spanMs,
    retryMs: LIMITS.spanRetryMs,
    retryMostMs: LIMITS.watchRetryMostMs,
    patienceMs: LIMITS.heldUpMs,
  };
  const line = new LogLine({
    line: { installation: IDENTITY.id, systemId, timeline: Number(timeline) },
    history: { timeline: Number(timeline), parents: [] },
    major,
    segmentBytes,
    pageBytes,
    start,
    places: [{ place, savedTo: start, durableTo: start, since: start }],
    times,
    maxBytes: LIMITS.tailBytes,
    clock,
    onDurable: () => {},
    onLeft: () => {},
    onTrouble: (_, trouble) => void (trouble === undefined || process.stderr.write(`${trouble.message}\n`)),
  });
  const storing = line.store({ signal: never });
  try {
    await receive({
      session,
      line,
      slot: undefined,
      onServer: () => void (line.tail.end < end || enough.abort()),
      onConfirm: () => {},
      signal: enough.signal,
    });
  } catch (error) {
    if (!enough.signal.aborted) throw error;
  }
  line.tail.finish();
  await storing;
}

async function recoverNow([path]: readonly string[]): Promise<void> {
  const { silent } = await import("../src/base/progress.ts");
  const { findServingBases, openMomentSource } = await import("../src/job/continuous/moment-source.ts");
  const { recover } = await import("../src/postgres/recovery.ts");
  const repository = await repositoryAt(path);
  await repository.loadIndex({ signal: never });
  const ports = { repository, database: undefined, roles: ["postgres"], progress: silent, signal: never };
  const search = { repository, installationId: IDENTITY.id, asked: { kind: "now" }, signal: never } as const;
  const { serving, continuous } = await findServingBases(search);
  const [newest] = serving;
  if (newest === undefined) throw new Error("the repository has no moment");
  await using source = await openMomentSource(newest, continuous, ports);
  const places = { kinds: ["programs"] } as const;
  await using recovered = await recover({ ...source, places, progress: silent, signal: never });
  process.stdout.write(`${formatLsn(recovered.replayedTo)}\n`);
}

async function make([path]: readonly string[]): Promise<void> {
  await repositoryAt(path);
}

const VERBS = { base, log, make, recover: recoverNow } as const;
const [what, ...args] = process.argv.slice(2);
const verb = Object.entries(VERBS).find(([name]) => name === what)?.[1];
if (verb === undefined) throw new Error(`unknown: ${what ?? "nothing"}`);
await verb(args);
