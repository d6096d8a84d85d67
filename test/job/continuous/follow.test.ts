/** Files that came since the newest restore point are followed into a repository, from a real desk's database and folder. */
import assert from "node:assert/strict";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { after, test } from "node:test";
import { systemClock } from "../../../src/base/clock.ts";
import { Failure } from "../../../src/base/errors.ts";
import { LIMITS } from "../../../src/base/limits.ts";
import { silent } from "../../../src/base/progress.ts";
import { attachFile } from "../../../src/demo/change.ts";
import { onDatabase } from "../../../src/demo/database.ts";
import { storagePath } from "../../../src/demo/files.ts";
import { seededRandom } from "../../../src/demo/random.ts";
import { Follower, type FollowPlace } from "../../../src/job/continuous/follow.ts";
import { followFiles } from "../../../src/job/continuous/follow-files.ts";
import { openFollowPlace } from "../../../src/job/continuous/follow-place.ts";
import { followsOf, readFollowed } from "../../../src/job/continuous/followed-files.ts";
import { prune } from "../../../src/job/prune.ts";
import { Sources } from "../../../src/job/sources.ts";
import { connect } from "../../../src/postgres/connect.ts";
import { readSystemIdentifier } from "../../../src/postgres/server-facts.ts";
import { hasty, reopen, signal } from "../../repo/small-backup.ts";
import { followedIn } from "../../harness/followed.ts";
import { HandClock } from "../../harness/hand-clock.ts";
import { backUpInto, IDENTITY, openMemoryDesk } from "../memory-desk.ts";

const desk = await openMemoryDesk();
after(async () => await desk[Symbol.asyncDispose]());
await backUpInto(desk.repository, desk);
const database = await connect(desk.demo.database, { signal });
after(async () => await database.close());
const random = seededRandom("followed files");

const INTO = {
  open: async () => reopen(desk.repository),
  sources: () => new Sources({ installation: desk.installation, progress: silent, signal }),
  installation: IDENTITY,
  program: "chatkeep test",
  clock: hasty,
  signal,
};

async function openPlace() {
  return await openFollowPlace(INTO);
}

async function upload(): Promise<{ id: bigint; key: string; path: string }> {
  return await onDatabase(desk.demo.database, async (client) => {
    await attachFile(client, random, desk.demo.storageRoot);
    const { rows } = await client.query<{ id: string; key: string }>(
      "select id::text, key from active_storage_blobs b order by b.id desc limit 1",
    );
    const [row] = rows;
    assert.ok(row !== undefined);
    return { id: BigInt(row.id), key: row.key, path: storagePath(desk.demo.storageRoot, row.key) };
  });
}

/** Names of all files in the newest snapshot of followed files, and how many such snapshots there are. */
async function kept(): Promise<{ names: string[]; snapshots: number }> {
  const repository = reopen(desk.repository);
  const { snapshots } = await repository.listSnapshots({ signal });
  const [newest, ...others] = followsOf(snapshots, IDENTITY.id);
  if (newest === undefined) return { names: [], snapshots: 0 };
  const { folders } = await readFollowed(repository, newest, { signal });
  return {
    names: [...folders.values()].flatMap((nodes) => [...nodes.keys()]).toSorted(),
    snapshots: others.length + 1,
  };
}

test("what the newest point has is not read again, what is new is kept, and stays kept when Chatwoot purges it", async () => {
  const follower = new Follower({ place: await openPlace(), clock: systemClock });
  assert.deepEqual(await follower.look(database, { signal }), {
    files: 0,
    bytes: 0,
    waiting: 0,
    lost: [],
    isRefused: false,
  });
  assert.equal((await kept()).snapshots, 0);
  const [one, other] = [await upload(), await upload()];
  assert.equal((await follower.look(database, { signal })).files, 2);
  assert.deepEqual(await kept(), { names: [one.key, other.key].toSorted(), snapshots: 1 });
  await onDatabase(desk.demo.database, async (client) => {
    await client.query("delete from active_storage_attachments where blob_id = $1", [one.id.toString()]);
    await client.query("delete from active_storage_blobs where id = $1", [one.id.toString()]);
  });
  await rm(one.path);
  const third = await upload();
  assert.equal((await follower.look(database, { signal })).files, 1);
  assert.deepEqual(await kept(), { names: [one.key, other.key, third.key].toSorted(), snapshots: 1 });
});

test("who begins anew goes on with what was kept", async () => {
  const before = await kept();
  const follower = new Follower({ place: await openPlace(), clock: systemClock });
  assert.equal((await follower.look(database, { signal })).files, 0);
  const next = await upload();
  assert.equal((await follower.look(database, { signal })).files, 1);
  assert.deepEqual(await kept(), { names: [...before.names, next.key].toSorted(), snapshots: 1 });
});

test("a file that the newest point has otherwise than it was uploaded is followed when it is right", async () => {
  const cut = await upload();
  const whole = await readFile(cut.path);
  await writeFile(cut.path, Buffer.alloc(whole.length));
  await backUpInto(desk.repository, desk);
  await writeFile(cut.path, whole);
  const follower = new Follower({ place: await openPlace(), clock: systemClock });
  assert.equal((await follower.look(database, { signal })).files, 1);
  assert.ok((await kept()).names.includes(cut.key));
});

test("a file that is not there yet is waited for, and one that never comes is told once", async () => {
  const clock = new HandClock();
  const follower = new Follower({ place: await openPlace(), clock });
  const [late, never] = [await upload(), await upload()];
  await mkdir(dirname(`${late.path}.aside`), { recursive: true });
  await rename(late.path, `${late.path}.aside`);
  await rm(never.path);
  assert.deepEqual(await follower.look(database, { signal }), {
    files: 0,
    bytes: 0,
    waiting: 2,
    lost: [],
    isRefused: false,
  });
  await rename(`${late.path}.aside`, late.path);
  const found = await follower.look(database, { signal });
  assert.deepEqual([found.files, found.waiting, found.lost], [1, 1, []]);
  await clock.advance(LIMITS.followedLateMs);
  const { lost } = await follower.look(database, { signal });
  assert.deepEqual(
    lost.map(({ blob, reason }) => [blob.key, reason]),
    [[never.key, "missing"]],
  );
  assert.deepEqual((await follower.look(database, { signal })).lost, []);
});

test("a file that was purged before it could be copied is told as that, and not as missing", async () => {
  const follower = new Follower({ place: await openPlace(), clock: systemClock });
  const gone = await upload();
  await rm(gone.path);
  await follower.look(database, { signal });
  await onDatabase(desk.demo.database, async (client) => {
    await client.query("delete from active_storage_attachments where blob_id = $1", [gone.id.toString()]);
    await client.query("delete from active_storage_blobs where id = $1", [gone.id.toString()]);
  });
  const { lost } = await follower.look(database, { signal });
  assert.deepEqual(
    lost.map(({ blob, reason }) => [blob.key, reason]),
    [[gone.key, "purged"]],
  );
});

/** As a restore in place to an earlier moment leaves it: these rows are gone, and their ids are given again. */
async function giveAgain(from: bigint): Promise<void> {
  await onDatabase(desk.demo.database, async (client) => {
    await client.query("delete from active_storage_attachments where blob_id >= $1", [from.toString()]);
    await client.query("delete from active_storage_blobs where id >= $1", [from.toString()]);
    await client.query("select setval('active_storage_blobs_id_seq', $1, false)", [from.toString()]);
  });
}

test("a file whose id another one had before a restore in place is followed, whether that one came or was waited for", async () => {
  const follower = new Follower({ place: await openPlace(), clock: systemClock });
  const [came, late] = [await upload(), await upload()];
  await rm(late.path);
  const before = await follower.look(database, { signal });
  assert.equal(before.files, 1);
  await giveAgain(came.id);
  const [one, other] = [await upload(), await upload()];
  assert.deepEqual([one.id, other.id], [came.id, late.id]);
  const { files, waiting, lost } = await follower.look(database, { signal });
  assert.deepEqual([files, waiting], [2, before.waiting - 1]);
  assert.deepEqual(
    lost.map(({ blob, reason }) => [blob.key, reason]),
    [[late.key, "purged"]],
  );
  const { names } = await kept();
  for (const { key } of [came, one, other]) assert.ok(names.includes(key), key);
});

test("files of a database from long ago are followed, whose ids are far below those of the newest point", async () => {
  const place = await openPlace();
  const file = await upload();
  const firstId = file.id + 5n * BigInt(LIMITS.followedIds);
  const far = { firstId, has: place.has.bind(place), keep: place.keep.bind(place) };
  const follower = new Follower({ place: far, clock: systemClock });
  assert.equal((await follower.look(database, { signal })).files, 1);
  assert.ok((await kept()).names.includes(file.key));
  const next = await upload();
  assert.equal((await follower.look(database, { signal })).files, 1);
  assert.ok((await kept()).names.includes(next.key));
});

test("where the repository does not take it, the next look tries it again", async () => {
  const place = await openPlace();
  let refuses = true;
  const follower = new Follower({
    place: {
      firstId: place.firstId,
      has: async (blob) => await place.has(blob),
      keep: async (blobs, options) => {
        if (refuses) throw new Failure("store/unreachable", "no answer");
        return await place.keep(blobs, options);
      },
    },
    clock: systemClock,
  });
  const file = await upload();
  await assert.rejects(follower.look(database, { signal }), /no answer/);
  refuses = false;
  assert.equal((await follower.look(database, { signal })).files, 1);
  assert.ok((await kept()).names.includes(file.key));
});

test("a storage that is not known, or lets nobody read, is told beside what is waited for", async () => {
  const installation = { ...desk.installation, storage: [] };
  const sources = () => new Sources({ installation, progress: silent, signal });
  const place = await openFollowPlace({ ...INTO, sources });
  const follower = new Follower({ place, clock: systemClock });
  await upload();
  const { waiting, isRefused } = await follower.look(database, { signal });
  assert.ok(waiting > 0 && isRefused);
});

/** Rows of so many files, as the database gives them. */
function rowsOf(count: number) {
  return Array.from({ length: count }, (_, at) => {
    return { id: String(at + 1), key: `key${at}`, filename: "f", bytes: "1", checksum: null, service: "local" };
  });
}

test("files that came while the repository took none for long are followed, and were they more than the newest that are asked for", async () => {
  let rows = rowsOf(5);
  const fake = {
    async query(_text: string, [from]: readonly unknown[] = []) {
      return rows.filter(({ id }) => BigInt(id) >= BigInt(String(from))).slice(0, LIMITS.followedPage);
    },
  } as unknown as typeof database;
  let refuses = false;
  const asked: bigint[] = [];
  const keep: FollowPlace["keep"] = async (wanted) => {
    if (refuses) throw new Failure("store/unreachable", "no answer");
    asked.push(...wanted.map(({ id }) => id));
    return [];
  };
  const place = { firstId: 0n, has: async () => false, keep };
  const follower = new Follower({ place, clock: hasty });
  await follower.look(fake, { signal });
  refuses = true;
  rows = rowsOf(2 * LIMITS.followedIds);
  await assert.rejects(follower.look(fake, { signal }), /no answer/);
  refuses = false;
  await follower.look(fake, { signal });
  assert.equal(new Set(asked).size, 2 * LIMITS.followedIds);
});

test("files wait until the log's cluster is known, and those of another one are not taken", async () => {
  const stop = new AbortController();
  const events: string[] = [];
  const enough = Promise.withResolvers<void>();
  const other = "7000000000000000001";
  const own = await readSystemIdentifier(database);
  // After each of what happens, which cluster the log is of.
  const clusters = [other, own, own, other, own];
  let asked = 0;
  const following = followFiles({
    ...INTO,
    signal: stop.signal,
    address: () => desk.demo.database,
    cluster: () => ((asked += 1) < 3 ? undefined : (clusters[events.length] ?? own)),
    everyMs: 1,
    onLook: () => void events.push("looked"),
    onTrouble: (trouble) => {
      if (events.length >= 5) enough.resolve();
      if (trouble === undefined) return;
      assert.match(
        trouble.message,
        /database is on another server than the one whose log is followed \(.*, not 7000000/,
      );
      events.push(trouble.code);
    },
  });
  await Promise.race([enough.promise, following]);
  stop.abort(new Failure("run/cancelled", "the test is over"));
  await assert.rejects(following, /the test is over/);
  assert.deepEqual(events.slice(0, 5), ["wal/other-cluster", "looked", "looked", "wal/other-cluster", "looked"]);
});

test("where somebody removed what was followed, and pruned, nothing new asks for what went, and what is live is followed anew", async () => {
  const stop = new AbortController();
  const purged = await upload();
  const live = await upload();
  let looks = 0;
  const onLook = Promise.withResolvers<void>();
  const looked = [onLook];
  const following = followFiles({
    ...INTO,
    signal: stop.signal,
    address: () => desk.demo.database,
    everyMs: 1,
    onLook: ({ files }) => {
      if (files === 0) return;
      looks += 1;
      looked.at(-1)?.resolve();
    },
    onTrouble: (trouble) => {
      if (trouble !== undefined) looked.at(-1)?.reject(trouble);
    },
  });
  await Promise.race([onLook.promise, following]);
  await onDatabase(desk.demo.database, async (client) => {
    await client.query("delete from active_storage_attachments where blob_id = $1", [purged.id.toString()]);
    await client.query("delete from active_storage_blobs where id = $1", [purged.id.toString()]);
  });
  await rm(purged.path);
  const repository = reopen(desk.repository);
  const { snapshots } = await repository.listSnapshots({ signal });
  for (const { listed } of followsOf(snapshots, IDENTITY.id)) {
    await repository.store.remove({ kind: "snapshots", name: listed.id }, { signal });
  }
  const options = { maxUnused: { bytes: 0 }, dryRun: false, clock: hasty, progress: silent, signal };
  await prune({ repository: reopen(desk.repository), ...options });
  const again = Promise.withResolvers<void>();
  looked.push(again);
  const next = await upload();
  await Promise.race([again.promise, following]);
  stop.abort(new Failure("run/cancelled", "the test is over"));
  await assert.rejects(following, /the test is over/);
  const { names } = await kept();
  assert.ok(looks >= 2 && names.includes(live.key) && names.includes(next.key));
  assert.ok(!names.includes(purged.key));
  assert.ok((await followedIn(reopen(desk.repository), IDENTITY.id)).size > 0);
});
