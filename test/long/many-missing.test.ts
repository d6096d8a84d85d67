/** More files that are missing than a manifest names: all are listed beside it, and what is known of each is kept. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Client } from "pg";
import type { Finding } from "../../src/base/findings.ts";
import { LIMITS } from "../../src/base/limits.ts";
import { isFailure } from "../../src/base/errors.ts";
import { countMissing, type Manifest } from "../../src/point/manifest.ts";
import { makeCheapToOpen } from "../scenario/cheap-key.ts";
import { openDesk } from "../scenario/desk.ts";
import { savedPoints } from "../scenario/saved-point.ts";

const MISSING = LIMITS.missingNamed + 500;
const LIST = "ranges/storage/s3_compatible.missing.jsonl";

const addBlobs = (client: Client, prefix: string, count: number) =>
  client.query(
    `insert into active_storage_blobs (key, filename, byte_size, checksum, service_name, created_at)
     select $1 || n, 'photo ' || n || E'\\n.jpg', 100, 'aaaaaaaaaaaaaaaaaaaaaa==', 's3_compatible', now() - interval '1 day'
     from generate_series(1, $2::int) n`,
    [prefix, count],
  );

test("a service that is out is told by count in the manifest and file by file beside it, drilled, and known to the next point", async () => {
  await using desk = await openDesk({ size: { messages: 60, conversations: 10, files: 4 } });
  const { repository } = await makeCheapToOpen(desk);
  const client = new Client(desk.installation.database);
  await client.connect();
  const backup = async () => await desk.summary(["backup"], 3);
  const listed = async (point: unknown) =>
    (await desk.chatkeep(["dump", String(point), LIST])).stdout
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as { id: string; key: string; since: string; reason: string; filename: string });
  try {
    await addBlobs(client, "first", MISSING);
    const first = await backup();
    const [reader] = await savedPoints(repository);
    assert.ok(reader);
    const manifest: Manifest = await reader.manifest();
    const service = manifest.storage.find(({ name }) => name === "s3_compatible");
    assert.ok(service);
    assert.deepEqual([manifest.schema, service.missing.length], [2, LIMITS.missingNamed]);
    assert.deepEqual(countMissing(service), { blobs: MISSING, purged: 0, lost: MISSING, absent: MISSING });
    assert.equal((first["storage"] as { missing: number }).missing, MISSING);
    const all = await listed(first["point"]);
    const { rows } = await client.query<{ id: string; key: string; filename: string }>(
      "select id::text, key, filename from active_storage_blobs where service_name = 's3_compatible' order by 1::bigint",
    );
    assert.deepEqual(
      all.map(({ id, key, filename }) => ({ id, key, filename })).toSorted((a, b) => Number(a.id) - Number(b.id)),
      rows.toSorted((a, b) => Number(a.id) - Number(b.id)),
    );

    // What was missing before stays known as that, and what is new is not.
    await addBlobs(client, "second", 3);
    const second = await backup();
    const since = new Map((await listed(second["point"])).map((blob) => [blob.key, blob.since]));
    assert.equal(since.size, MISSING + 3);
    assert.ok(all.every((blob) => since.get(blob.key) === blob.since));
    assert.ok((since.get("second1") ?? "") > (all[0]?.since ?? ""));
    const [out] = (second["findings"] as Finding[]).filter(({ kind }) => kind === "storage-not-read");
    assert.match(out?.message ?? "", /^1,503 uploaded files of storage 's3_compatible' are not saved/);

    assert.equal((await desk.summary(["drill"]))["proven"], true);
    const shown = (await desk.chatkeep(["show", "latest"])).stdout;
    assert.match(shown, /1,503 uploaded files are not as the database describes them/);
    assert.match(shown, new RegExp(`and 1,493 more: chatkeep dump POINT ${LIST.replaceAll(".", "\\.")}`));
    const restored = await desk.summary(["restore", "latest", "--only", "storage", "--to", "files", "--yes"]);
    const kinds = (restored["findings"] as Finding[]).map(({ kind }) => kind);
    assert.deepEqual(kinds, ["point-misses-files"]);

    const [newest] = (await savedPoints(repository)).toReversed();
    assert.ok(newest);
    const entry = (await newest.manifest()).storage.find(({ name }) => name === "s3_compatible");
    assert.ok(entry?.missingInAll);
    const fewer = { ...entry, missingInAll: { ...entry.missingInAll, blobs: 1 } };
    await assert.rejects(newest.missing(fewer), (error) => isFailure(error, "point/invalid"));
  } finally {
    await client.end();
  }
});
