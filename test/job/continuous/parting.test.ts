/**
 * A server whose disk is brought back from before, and that goes on from there: the same cluster and timeline, and another log at
 * positions that a repository has. Nothing of it is mixed with what is there, it is told, and the log is followed again behind all that.
 */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { listContinuous } from "../../../src/job/continuous/list.ts";
import { Parting } from "../../../src/job/continuous/parting.ts";
import { readWal } from "../../../src/job/continuous/read-wal.ts";
import type { WatchedPlace } from "../../../src/job/continuous/watched-place.ts";
import type { Repository } from "../../../src/repo/repository.ts";
import { createMemoryStore } from "../../../src/store/memory-store.ts";
import { formatLsn } from "../../../src/wal/lsn.ts";
import { HandClock } from "../../harness/hand-clock.ts";
import { StoppedPostgres } from "../../harness/stopped-postgres.ts";
import { temporaryFolder } from "../../harness/temporary.ts";
import { newRepository, reopen, signal } from "../../repo/small-backup.ts";
import { IDENTITY } from "../memory-desk.ts";
import { ask, follow, SEGMENT, write } from "./following.ts";

const SETTINGS = ["max_slot_wal_keep_size=1GB"];
let server: StoppedPostgres;
let bringBack: () => Promise<void>;

before(async () => {
  server = await StoppedPostgres.make();
  await server.start(SETTINGS);
  await ask(server.address, "create table rows (id bigint generated always as identity, body text)");
  await server.stop();
  bringBack = await server.remember();
  await server.start(SETTINGS);
});
after(async () => await server[Symbol.asyncDispose]());

async function piecesOf(repository: Repository) {
  const { spans, journal } = await listContinuous(reopen(repository), IDENTITY.id, { signal });
  const names = [...spans.map(({ id, span }) => ({ ...span, name: id as string })), ...journal.objects];
  return names.map(({ name, from, to }) => ({ name, from, to })).toSorted((a, b) => (a.from < b.from ? -1 : 1));
}

test("a disk from before is told while it is behind, and then followed behind a gap; what it lost stays as it was", async () => {
  const repository = await newRepository(createMemoryStore());
  const first = follow(server.address, { primary: repository });
  await write(server.address, 2_000);
  await first.caughtUp();
  await first.stop();
  const kept = await piecesOf(repository);
  const reach = kept.at(-1)?.to ?? 0n;
  await server.stop();
  await bringBack();
  await server.start(SETTINGS);
  // A watch that begins meanwhile waits for the right server, or for this one to come so far.
  const second = follow(server.address, { primary: repository });
  await second.until("it is told", () => second.troubles.includes("wal/other-cluster"));
  assert.equal(second.begun.length, 0);
  const isPast = async () =>
    (await ask(server.address, `select pg_current_wal_flush_lsn() > '${formatLsn(reach)}' as past`))[0]?.["past"];
  while ((await isPast()) !== true) await write(server.address, 500);
  await second.until("what it sends does not fit", () => second.troubles.includes("wal/damaged"));
  await ask(server.address, "select pg_switch_wal()");
  await write(server.address, 500);
  await second.until("it is followed again", () => second.begun.some(({ partedAt }) => partedAt !== undefined));
  const again = second.begun.at(-1);
  const [start, partedAt] = [again?.start ?? 0n, again?.partedAt ?? 0n];
  assert.deepEqual(again?.gapped, ["primary"]);
  assert.ok(partedAt > 0n && partedAt <= reach && start > reach);
  const end = await second.caughtUp();
  await second.stop();
  const pieces = await piecesOf(repository);
  assert.deepEqual(pieces.slice(0, kept.length), kept);
  const later = pieces.slice(kept.length);
  assert.ok(later.every(({ from }) => from >= start) && later.length > 0);
  await assertIsServers(repository, start, end);

  // The next one has forgotten that, finds it out again, and goes on without another gap.
  await using third = follow(server.address, { primary: repository });
  await write(server.address, 100);
  await third.until("it goes on", () => third.begun.at(-1)?.start === start);
  assert.ok(third.begun.every((begun) => begun.gapped.length === 0 && begun.partedAt === undefined));
  await assertIsServers(repository, start, await third.caughtUp());
});

async function assertIsServers(repository: Repository, start: bigint, end: bigint): Promise<void> {
  await using folder = await temporaryFolder();
  const fresh = reopen(repository);
  await fresh.loadIndex({ signal });
  const { spans, journal } = await listContinuous(fresh, IDENTITY.id, { signal });
  const [system] = await ask(server.address, "select system_identifier::text as id from pg_control_system()");
  const line = { installation: IDENTITY.id, systemId: String(system?.["id"]), timeline: 1 };
  const legs = [{ timeline: 1, from: start, to: undefined }];
  const wanted = { ...line, segmentBytes: SEGMENT, legs, spans, journal: journal.objects };
  const { names, reached } = await readWal(fresh, wanted, folder.at("wal"), { signal });
  assert.ok((reached[0] ?? 0n) >= end);
  const [name = ""] = names;
  const length = Math.min(SEGMENT, Number(end - start));
  const [row] = await ask(server.address, `select pg_read_binary_file('pg_wal/${name}', 0, ${length}) as bytes`);
  const ours = await readFile(folder.at(`wal/${name}`));
  assert.ok(ours.subarray(0, length).equals(row?.["bytes"] as Buffer));
}

test("what does not fit must not do so three times, and is no reason for one base after the other", async () => {
  const clock = new HandClock();
  const parting = new Parting(clock);
  const line = { installation: IDENTITY.id, systemId: "7", timeline: 1 };
  const place: WatchedPlace = {
    name: "primary",
    newest: async () => undefined,
    standing: async (_, __, { after = -1n }) =>
      after < 180n ? { savedTo: 100n, durableTo: 180n, since: 100n, reach: 200n } : undefined,
    readJournal: async function* () {},
    spanPlace: () => assert.fail("nothing is stored"),
  };
  const asking = {
    oldest: 100n,
    identity: { systemId: "7", timeline: 1, flushed: 250n },
    segmentBytes: 100,
    address: server.address,
  };
  const begin = async (flushed: bigint) => {
    const standings = [{ place, standing: await parting.within(place).standing(line, 100, { signal }) }];
    return parting.beginning({ line, standings }, { ...asking, identity: { ...asking.identity, flushed } });
  };
  assert.deepEqual(await begin(180n), { oldest: 100n, lacking: [], partedAt: undefined });
  assert.deepEqual(
    [170n, 180n, 180n, 170n].map((at) => parting.misfit(line, at)),
    [false, false, false, false],
  );
  assert.deepEqual([parting.misfit(line, 170n), parting.misfit(line, 170n)], [false, true]);
  await assert.rejects(begin(299n), /behind 0\/AA it has other bytes than what is kept, which ends at 0\/C8/);
  assert.deepEqual(await begin(430n), { oldest: 400n, lacking: ["primary"], partedAt: 170n });
  const again = () => [1, 2, 3].map(() => parting.misfit(line, 500n));
  assert.deepEqual(again(), [false, false, false]);
  await clock.advance(10 * 60_000);
  assert.equal(parting.misfit(line, 500n), true);
});
