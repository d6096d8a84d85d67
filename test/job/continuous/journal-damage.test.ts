/**
 * An object of a repository's journal is damaged or gone while no watch runs: the next one does not count what it held as durable,
 * fetches it from another repository or from the server, and where nobody has it begins anew behind a gap that it tells.
 */
import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { readJournal, writeJournal } from "../../../src/job/continuous/journal.ts";
import { listContinuous } from "../../../src/job/continuous/list.ts";
import { readWal } from "../../../src/job/continuous/read-wal.ts";
import { journalFolder } from "../../../src/point/continuous.ts";
import type { Repository } from "../../../src/repo/repository.ts";
import { createMemoryStore, type MemoryStore } from "../../../src/store/memory-store.ts";
import { formatLsn, parseSegmentName } from "../../../src/wal/lsn.ts";
import { startPostgres, type TestServer } from "../../harness/postgres.ts";
import { temporaryFolder } from "../../harness/temporary.ts";
import { firstOf } from "../../harness/whole.ts";
import { newRepository, reopen, signal } from "../../repo/small-backup.ts";
import { IDENTITY } from "../memory-desk.ts";
import { factsOf, putBase } from "./bases.ts";
import { ask, assertSameAsServer, follow, SEGMENT, TIMES, write } from "./following.ts";

/** No segments come together to a span, which would take the place of what is damaged. */
const WITHOUT_SPANS = { times: { ...TIMES, spanBytes: 16 * SEGMENT } };

let server: TestServer;

before(async () => {
  const settings = ["max_slot_wal_keep_size=1GB", "min_wal_size=32MB", "wal_recycle=off"];
  server = await startPostgres({ settings });
  await server.query("create table rows (id bigint generated always as identity, body text)");
});
after(async () => {
  await server.stop();
});

type Harm = (store: MemoryStore, key: string, place: Place) => Promise<void> | void;

/** To the half: how small one is depends on what was written when it was flushed. */
const cutShort: Harm = (store, key) => {
  const bytes = bytesOf(store, key);
  store.files.set(key, bytes.subarray(0, Math.floor(bytes.length / 2)));
};
const flipped: Harm = (store, key) => {
  const bytes = Buffer.from(bytesOf(store, key));
  const at = Math.floor(bytes.length / 2);
  bytes.writeUInt8(bytes.readUInt8(at) ^ 0x40, at);
  store.files.set(key, bytes);
};
const gone: Harm = (store, key) => void store.files.delete(key);
/** As whole as any, of bytes that are not the log: what was written of a record before it ends in nothing. */
const another: Harm = async (store, key, { repository }) => {
  const object = (await journalOf(repository)).find(({ name }) => key.endsWith(name));
  assert.ok(object !== undefined);
  const { bytes } = await readJournal(reopen(repository), object, { signal });
  store.files.delete(key);
  const changed = Buffer.from(bytes);
  for (let at = 5000; at < 9000; at += 1) changed.writeUInt8(changed.readUInt8(at) ^ 0x55, at);
  const span = { ...object, firstCommitUs: undefined, lastCommitUs: undefined };
  await writeJournal(repository, { span, commits: [], bytes: [changed] }, { signal });
};

function bytesOf(store: MemoryStore, key: string): Buffer {
  return Buffer.from(store.files.get(key) ?? assert.fail(`${key} is not there`));
}

async function journalOf(repository: Repository) {
  return (await listContinuous(reopen(repository), IDENTITY.id, { signal })).journal.objects;
}

/** Harms an object that others lie before and behind, and that has records where it is harmed: behind a switch of segments are zeros. */
async function harmMiddle(place: Place, harm: Harm): Promise<void> {
  const { repository, store } = place;
  const objects = await journalOf(repository);
  for (const object of objects.slice(1, -1)) {
    const { bytes } = await readJournal(reopen(repository), object, { signal });
    const records = bytes.subarray(5000, 9000).filter((byte) => byte !== 0);
    if (records.length < 1000) continue;
    await harm(store, `chatkeep/${journalFolder(IDENTITY.id)}/${object.name}`, place);
    return;
  }
  assert.fail(`${objects.length} objects, and none in the middle has records`);
}

interface Place {
  readonly repository: Repository;
  readonly store: MemoryStore;
}

async function makePlace(): Promise<Place> {
  const store = createMemoryStore();
  return { repository: await newRepository(store), store };
}

/** A watch that has ended, and whose log the repositories have in their journals. */
async function watched(places: Readonly<Record<string, Repository>>): Promise<void> {
  await ask(server.address, "select pg_drop_replication_slot(slot_name) from pg_replication_slots");
  await using following = follow(server.address, places, WITHOUT_SPANS);
  // The last lies in a segment of its own: what is before it the server may let go of.
  for (const last of [false, false, true]) {
    if (last) await ask(server.address, "select pg_switch_wal()");
    await write(server.address, 500);
    const end = formatLsn(await following.caughtUp());
    // What the server was told to be durable it may let go of.
    const told = `select restart_lsn >= '${end}' as is_told from pg_replication_slots where not temporary`;
    while ((await ask(server.address, told))[0]?.["is_told"] !== true) await sleep(20);
  }
}

/** The server lets go of everything that no slot keeps. */
async function letGo(): Promise<void> {
  await ask(server.address, "select pg_switch_wal()");
  await write(server.address, 10);
  await ask(server.address, "checkpoint");
  await ask(server.address, "checkpoint");
}

const HARMS = Object.entries({ "cut short": cutShort, gone, "another's": another });

for (const [what, harm] of firstOf(HARMS, 1)) {
  test(`where an object of the journal is ${what}, the server is asked from there`, async () => {
    const place = await makePlace();
    const { repository: primary } = place;
    await watched({ primary });
    await harmMiddle(place, harm);
    await using following = follow(server.address, { primary }, WITHOUT_SPANS);
    await write(server.address, 1_000);
    const end = await following.caughtUp();
    const refused = what === "gone" ? [] : ["primary"];
    assert.deepEqual(
      following.begun.map((one) => [one.gapped, one.refused.map(({ name }) => name)]),
      [[[], refused]],
    );
    assert.ok((await assertSameAsServer(server.address, primary, 1, what === "cut short" ? 1 : 0)) >= end);
  });
}

test("where the server has let go of what a damaged object held, a gap is told, and the watch goes on", async () => {
  const place = await makePlace();
  const { repository: primary } = place;
  await watched({ primary });
  await harmMiddle(place, cutShort);
  const before = await journalOf(primary);
  await letGo();
  await using following = follow(server.address, { primary }, WITHOUT_SPANS);
  await write(server.address, 1_000);
  const end = await following.caughtUp();
  const last = following.begun.at(-1);
  assert.deepEqual(last?.gapped, ["primary"]);
  const added = (await journalOf(primary)).filter(({ name }) => !before.some((one) => one.name === name));
  assert.ok(added.every(({ from }) => from >= (last?.start ?? 0n)));
  assert.ok(added.some(({ to }) => to >= end));
});

test("where another repository has what a damaged object held, nothing lacks", async () => {
  const place = await makePlace();
  const { repository: other } = await makePlace();
  const { repository: primary } = place;
  await watched({ primary, other });
  await harmMiddle(place, flipped);
  await letGo();
  await using following = follow(server.address, { primary, other }, WITHOUT_SPANS);
  await write(server.address, 1_000);
  const end = await following.caughtUp();
  assert.deepEqual(following.begun.at(-1)?.gapped, []);
  await using folder = await temporaryFolder();
  const [ours, theirs] = [await logOf(primary, folder.at("ours")), await logOf(other, folder.at("theirs"))];
  assert.ok(ours.end >= end && theirs.end >= end);
  assert.equal(ours.begin, theirs.begin);
  const length = Number((ours.end < theirs.end ? ours.end : theirs.end) - ours.begin);
  assert.ok(ours.bytes.subarray(0, length).equals(theirs.bytes.subarray(0, length)));
});

test("where a journal has another log than the server's, and another repository the right one, nothing lacks in that one", async () => {
  const place = await makePlace();
  const { repository: other } = await makePlace();
  const { repository: primary } = place;
  await watched({ primary, other });
  await harmMiddle(place, another);
  await letGo();
  await using following = follow(server.address, { primary, other }, WITHOUT_SPANS);
  await write(server.address, 1_000);
  const end = await following.caughtUp();
  assert.deepEqual(
    following.begun.map((one) => [one.gapped, one.refused.map(({ name }) => name)]),
    [[[], ["primary"]]],
  );
  const [row] = await ask(server.address, "select current_setting('server_version_num')::int / 10000 as major");
  await using folder = await temporaryFolder();
  const theirs = await logOf(other, folder.at("theirs"));
  const ours = await logOf(primary, folder.at("ours"), Number(row?.["major"]));
  assert.ok(ours.end >= end && theirs.end >= end);
  assert.equal(ours.begin, theirs.begin);
  const length = Number((ours.end < theirs.end ? ours.end : theirs.end) - ours.begin);
  assert.ok(ours.bytes.subarray(0, length).equals(theirs.bytes.subarray(0, length)));
});

test("where a record's beginning is wrong in one journal, and another has its end and the right beginning, nothing lacks", async () => {
  const place = await makePlace();
  const { repository: other } = await makePlace();
  const { repository: primary } = place;
  await watched({ primary, other });
  const [row] = await ask(server.address, "select current_setting('server_version_num')::int / 10000 as major");
  const major = Number(row?.["major"]);
  await using folder = await temporaryFolder();
  await mkdir(folder.at("empty"));
  for (const repository of [primary, other]) {
    const { systemId, from } = (await journalOf(repository))[0] ?? assert.fail("there is no journal");
    const facts = factsOf({ systemId, major, segmentBytes: SEGMENT, from, to: from + 1000n });
    await putBase(repository, folder.at("empty"), { facts });
  }
  await harmMiddle(place, async (store, key) => {
    const object = (await journalOf(primary)).find(({ name }) => key.endsWith(name)) ?? assert.fail(key);
    const { bytes } = await readJournal(reopen(primary), object, { signal });
    store.files.delete(key);
    // No record ends at an odd position: the last byte is of one that goes on in the other journal.
    const begun = Buffer.from(bytes.subarray(0, 6001));
    begun.writeUInt8(begun.readUInt8(6000) ^ 0x55, 6000);
    const span = { ...object, to: object.from + 6001n, firstCommitUs: undefined, lastCommitUs: undefined };
    await writeJournal(primary, { span, commits: [], bytes: [begun] }, { signal });
  });
  await letGo();
  await using following = follow(server.address, { primary, other }, WITHOUT_SPANS);
  await write(server.address, 1_000);
  const end = await following.caughtUp();
  assert.deepEqual(
    following.begun.map((one) => [one.gapped, one.refused.map(({ name }) => name)]),
    [
      [[], ["other"]],
      [[], ["primary"]],
    ],
  );
  // What was taken of the wrong beginning meanwhile does not count.
  assert.ok((await logOf(other, folder.at("theirs"), major)).end >= end);
});

/** All that a repository has, from its first segment on. */
async function logOf(repository: Repository, folder: string, major?: number) {
  const fresh = reopen(repository);
  await fresh.loadIndex({ signal });
  const { spans, journal } = await listContinuous(fresh, IDENTITY.id, { signal });
  const [first] = [...spans.map(({ span }) => span), ...journal.objects].toSorted((a, b) => (a.from < b.from ? -1 : 1));
  assert.ok(first !== undefined);
  const legs = [{ timeline: 1, from: first.from, to: undefined }];
  const wanted = { ...first, segmentBytes: SEGMENT, major, legs, spans, journal: journal.objects };
  const { names, reached } = await readWal(fresh, wanted, folder, { signal });
  const bytes = Buffer.concat(await Promise.all(names.map(async (name) => await readFile(`${folder}/${name}`))));
  return { begin: parseSegmentName(names[0] ?? "", SEGMENT)?.start ?? 0n, end: reached[0] ?? 0n, bytes };
}
