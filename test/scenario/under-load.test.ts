/** Backups of a desk that does not stand still: what each point saved fits together, whatever the moment. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { blobPath } from "../../src/chatwoot/blobs.ts";
import { loadGenerator } from "../harness/load-generator.ts";
import type { PointReader } from "../../src/job/point-reader.ts";
import { startCli } from "../harness/cli.ts";
import { sampled } from "../harness/whole.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { type Desk, openDesk } from "./desk.ts";
import { savedFiles, savedPoints, savedRows } from "./saved-point.ts";

const BACKUPS = sampled(2, 10);

interface Tally {
  blobs: number;
  purged: number;
}

/** Every blob row of the point has its file with the right bytes, or is recorded as one that has none. */
async function checkFiles(point: PointReader, wasMissing: ReadonlySet<string>): Promise<Tally> {
  const blobs = (await savedRows(point, "active_storage_blobs")) ?? [];
  const files = await savedFiles(point);
  const manifest = await point.manifest();
  const recorded = new Map(manifest.storage.flatMap(({ missing }) => missing).map((blob) => [blob.key, blob.reason]));
  const tally: Tally = { blobs: blobs.length, purged: 0 };
  for (const { id, key, checksum, byte_size: bytes } of blobs) {
    const file = files.get(key ?? "");
    files.delete(key ?? "");
    const reason = recorded.get(key ?? "");
    recorded.delete(key ?? "");
    if (reason === undefined) assert.deepEqual(file, { md5: checksum, bytes: Number(bytes) }, `blob ${id} (${key})`);
    else {
      assert.equal(reason, wasMissing.has(key ?? "") ? "missing" : "purged", `blob ${id} (${key})`);
      assert.equal(file, undefined, `blob ${id} is recorded as ${reason}, and has a file`);
      if (reason === "purged") tally.purged += 1;
    }
  }
  assert.deepEqual([...files.keys()], [], "files that no row of the point names");
  assert.deepEqual([...recorded.keys()], [], "files recorded as missing that no row of the point names");
  return tally;
}

/** Rows that were committed together were saved together. */
async function checkRows(point: PointReader): Promise<void> {
  const ids = async (table: string) => new Set((await savedRows(point, table))?.map(({ id }) => id));
  const [blobs, messages, conversations] = await Promise.all(
    ["active_storage_blobs", "messages", "conversations"].map(ids),
  );
  for (const row of (await savedRows(point, "active_storage_attachments")) ?? []) {
    assert.ok(blobs?.has(row["blob_id"] ?? ""), `attachment ${row["id"]} without its blob`);
  }
  for (const row of (await savedRows(point, "attachments")) ?? []) {
    assert.ok(messages?.has(row["message_id"] ?? ""), `attachment ${row["id"]} without its message`);
  }
  for (const row of (await savedRows(point, "messages")) ?? []) {
    assert.ok(conversations?.has(row["conversation_id"] ?? ""), `message ${row["id"]} without its conversation`);
  }
}

/** Runs a backup and acts at the beginning of its stages. */
async function backUpWith(desk: Desk, act: (stage: string) => Promise<void>): Promise<Record<string, unknown>> {
  const child = startCli(["--config", desk.config, "--json", "backup"], { cwd: desk.root });
  assert.ok(child.stdout && child.stderr);
  const status = new Promise((resolve) => child.once("close", resolve));
  child.stderr.resume();
  let last: Record<string, unknown> = {};
  for await (const line of createInterface({ input: child.stdout })) {
    last = JSON.parse(line) as Record<string, unknown>;
    if (last["type"] === "stage") await act(String(last["name"]));
  }
  assert.equal(await status, 0, JSON.stringify(last));
  return last;
}

test("a file that comes after its row is waited for, and one whose row goes first is noted as purged", async () => {
  await using desk = await openDesk({ hasTwoReaders: true, size: { messages: 60, conversations: 10, files: 4 } });
  const { repository } = await makeCheapToOpen(desk);
  const { database, storageRoot } = desk.installation;
  const content = Buffer.from("came late");
  const md5 = createHash("md5").update(content).digest("base64");
  await desk.server.query(
    `insert into active_storage_blobs (key, filename, byte_size, checksum, service_name, created_at)
     select key, 'late.txt', ${content.length}, '${md5}', 'local', now() from unnest(array['latefile', 'purgedfile']) key`,
    database.database,
  );
  const summary = await backUpWith(desk, async (stage) => {
    if (stage === "reading the database") {
      await desk.server.query("delete from active_storage_blobs where key = 'purgedfile'", database.database);
    }
    if (stage === "waiting for files that are still being uploaded") {
      await mkdir(dirname(blobPath(storageRoot, "latefile")), { recursive: true });
      await writeFile(blobPath(storageRoot, "latefile"), content);
    }
  });
  const [point] = await savedPoints(repository);
  assert.ok(point);
  assert.deepEqual(await checkFiles(point, new Set()), { blobs: 6, purged: 1 });
  assert.deepEqual((await savedFiles(point)).get("latefile"), { md5, bytes: content.length });
  const { missing, purged } = summary["storage"] as Record<string, unknown>;
  assert.deepEqual({ missing, purged }, { missing: 0, purged: 1 });
});

test(`in ${BACKUPS} backups under load each blob row has its file, or is noted as purged, or was missing before`, async () => {
  await using desk = await openDesk({
    hasTwoReaders: true,
    hasServerForDrills: true,
    size: { messages: 300, conversations: 30, files: 30 },
  });
  const { repository } = await makeCheapToOpen(desk);
  const { storageRoot, database } = desk.installation;
  const [lost] = await desk.server.query("select key from active_storage_blobs order by id limit 1", database.database);
  const lostKey = String(lost?.["key"]);
  await rm(blobPath(storageRoot, lostKey));
  // The load may purge this blob too, which ends with a point where it is not listed at all.
  const stop = new AbortController();
  const load = loadGenerator(desk.installation, { signal: stop.signal, restMs: 40 });
  let counts;
  try {
    // The first point tells of the file that is gone; for the later ones it is known, and no reason to alarm anybody.
    for (let number = 1; number <= BACKUPS; number++) await desk.summary(["backup"], number === 1 ? 3 : 0);
  } finally {
    stop.abort();
    counts = await load;
  }
  const points = await savedPoints(repository);
  assert.equal(points.length, BACKUPS);
  const blobs: number[] = [];
  for (const point of points) {
    blobs.push((await checkFiles(point, new Set([lostKey]))).blobs);
    await checkRows(point);
  }
  assert.ok(counts.messages > 0 && counts.attached.length > 0 && counts.purged.length > 0, JSON.stringify(counts));
  assert.ok(new Set(blobs).size > 1, `the load changed nothing that was saved: ${blobs.join()}`);
  for (const point of [points.at(-1), points[0]]) {
    const drilled = await desk.summary(["drill", point?.point.id ?? ""]);
    assert.equal(drilled["proven"], true, JSON.stringify(drilled["checks"]));
  }
});
