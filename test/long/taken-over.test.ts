/**
 * What a backup takes over from the point before it must be there, whole and still asked for: a repository that lost a
 * pack, a point that restic repaired, a row that changed, a copy that was better than what is on the disk now.
 */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { createHash } from "node:crypto";
import { attachFile } from "../../src/demo/change.ts";
import { onDatabase } from "../../src/demo/database.ts";
import { seededRandom } from "../../src/demo/random.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { blobPath } from "../../src/chatwoot/blobs.ts";
import { blobFolder } from "../../src/point/layout.ts";
import { runRestic } from "../harness/restic.ts";
import { firstOf, longTest } from "../harness/whole.ts";
import { makeCheapToOpen } from "../scenario/cheap-key.ts";
import { type Desk, openDesk } from "../scenario/desk.ts";
import { savedPoints } from "../scenario/saved-point.ts";

let desk: Desk;
let repository: Repository;
before(async () => {
  desk = await openDesk({ hasServerForDrills: true, size: { messages: 200, conversations: 20, files: 24 } });
  ({ repository } = await makeCheapToOpen(desk));
});
after(async () => await desk[Symbol.asyncDispose]());
// Every test begins with a point that is whole.
beforeEach(async () => {
  await desk.summary(["backup", "--full"]);
});

interface Finding {
  kind: string;
  level: string;
}

function kinds(summary: Record<string, unknown>): string[] {
  return (summary["findings"] as Finding[]).filter(({ level }) => level !== "note").map(({ kind }) => kind);
}

/** Packs, the largest first: that holds files. */
function packs(): string[] {
  const folder = join(desk.repository, "data");
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /^[0-9a-f]{64}$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted((a, b) => statSync(b).size - statSync(a).size);
}

/** Takes packs away until somebody puts them back. */
function loseAll(paths: readonly string[]): () => void {
  for (const path of paths) renameSync(path, join(desk.root, path.slice(path.lastIndexOf("/") + 1)));
  return () => {
    for (const path of paths) {
      const kept = join(desk.root, path.slice(path.lastIndexOf("/") + 1));
      if (!existsSync(path)) renameSync(kept, path);
    }
  };
}

async function drills(): Promise<boolean> {
  return (await desk.summary(["drill"]))["proven"] === true;
}

/** Flips a byte of every copy of what the newest point has at a path: of a folder its tree, of a file its first chunk. */
async function damage(path: string): Promise<void> {
  const point = (await savedPoints(repository)).at(-1);
  const node = await point?.find(path);
  const [type, id] =
    node?.subtree === undefined ? (["data", node?.content?.[0]] as const) : (["tree", node.subtree] as const);
  assert.ok(point !== undefined && id !== undefined, path);
  const index = await point.repository.loadIndex({ signal: new AbortController().signal });
  for (const { pack, offset, length } of index.find(type, id)) {
    const file = join(desk.repository, "data", pack.slice(0, 2), pack);
    const bytes = readFileSync(file);
    const at = offset + Math.floor(length / 2);
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    rmSync(file);
    writeFileSync(file, bytes);
  }
}

async function oneBlob(): Promise<{ id: string; key: string; path: string; bytes: Buffer }> {
  return await onDatabase(desk.installation.database, async (client) => {
    const { rows } = await client.query<{ id: string; key: string }>(
      "select id::text, key from active_storage_blobs where byte_size > 1000 order by id limit 1",
    );
    const [blob] = rows;
    assert.ok(blob !== undefined);
    const path = blobPath(desk.installation.storageRoot, blob.key);
    return { ...blob, path, bytes: readFileSync(path) };
  });
}

test("a lost pack of files is an alarm, and the new point has all of them again", async () => {
  const putBack = loseAll(packs().slice(0, 1));
  const summary = await desk.summary(["backup"], 3);
  assert.ok(kinds(summary).includes("packs-lost"), JSON.stringify(summary["findings"]));
  assert.ok(await drills());
  putBack();
});

// Before anything is repaired: that may put files and rows into one pack, and without its rows nobody knows what a parent had.
test("what an index mended by restic no longer names is read again", async () => {
  const restic = { repo: desk.repository, password: readFileSync(desk.passwordFile, "utf8").trim() };
  const putBack = loseAll(packs().filter((path) => statSync(path).size > 500_000));
  try {
    const repaired = await runRestic(["rebuild-index"], { ...restic, status: "any" });
    assert.equal(repaired.status, 0, repaired.stderr);
    const summary = await desk.summary(["backup"], 3);
    assert.ok(kinds(summary).includes("files-lost-in-repository"), JSON.stringify(summary["findings"]));
    assert.ok(await drills());
  } finally {
    putBack();
  }
});

test("what repair finds damaged inside packs is stored again by the next backup, and earlier points are whole", async () => {
  const { id, key, path } = await oneBlob();
  const { group, folder } = blobFolder(BigInt(id));
  const [earlier] = (await savedPoints(repository)).toReversed();
  assert.ok(earlier);
  const [range] = (await earlier.folder("database/data/public.messages")) ?? [];
  await damage(`storage/local/${group}/${folder}/${key}`);
  await damage(`database/data/public.messages/${range?.name}`);
  const repaired = await desk.summary(["repair", "packs"], 13);
  const lost = repaired["lost"] as { points: string[] }[];
  assert.ok(lost.length >= 2 && lost.every(({ points }) => points.includes(earlier.point.id)), JSON.stringify(lost));
  const snapshots = () => readdirSync(join(desk.repository, "snapshots")).toSorted();
  const marked = snapshots();
  assert.deepEqual((await desk.summary(["repair", "packs"], 13))["lost"], lost);
  assert.deepEqual(snapshots(), marked, "what is marked already is not marked again");

  // Marked in the list, told before it is restored, and whole again as soon as the backup has it all.
  assert.ok((await notWhole()).has(earlier.point.id));
  assert.match(
    (await desk.chatkeep(["list"])).stdout,
    new RegExp(`^${earlier.point.id.slice(0, 8)}.*✗ not whole`, "m"),
  );
  assert.match((await desk.chatkeep(["show", earlier.point.id])).stdout, /whole +no: 'repair packs' found/);
  const plan = await desk.chatkeep(["restore", earlier.point.id, "--only", "config", "--to", "x", "--plan"]);
  assert.match(plan.stdout + plan.stderr, /is not whole: 'repair packs' of/);
  assert.match(
    (await desk.chatkeep(["doctor"])).stdout,
    /^(alarm|warning): \d+ restore points? in 'primary' (is|are) not whole/m,
  );
  await desk.summary(["backup"], 3);
  assert.deepEqual(await notWhole(), new Set());
  assert.equal((await desk.summary(["verify", "--read-data"]))["errors"], 0);
  const password = readFileSync(desk.passwordFile, "utf8").trim();
  await runRestic(["check", "--read-data"], { repo: desk.repository, password });
  const to = join(desk.root, "healed");
  await desk.summary(["restore", earlier.point.id, "--only", "storage", "--to", to, "--yes"]);
  const restored = readFileSync(join(to, "storage", path.slice(desk.installation.storageRoot.length)));
  assert.ok(restored.equals(readFileSync(path)));
  assert.equal((await desk.summary(["drill", earlier.point.id]))["proven"], true);
  await desk.summary(["repair", "packs"]);
  const { stdout } = await runRestic(["snapshots", "--json", "--tag", "chatkeep-not-whole"], {
    repo: desk.repository,
    password,
  });
  assert.deepEqual(JSON.parse(stdout), []);
});

async function notWhole(): Promise<Set<string>> {
  const { points } = await desk.summary(["list"]);
  const marked = (points as { point: string; notWhole: boolean }[]).filter((line) => line.notWhole);
  return new Set(marked.map(({ point }) => point));
}

longTest("with every pack lost a new point is made without a parent, and proven", async () => {
  const putBack = loseAll(packs());
  const summary = await desk.summary(["backup"], 3);
  assert.ok(kinds(summary).includes("parent-damaged"), JSON.stringify(summary["findings"]));
  assert.equal(summary["parent"], null);
  assert.ok(await drills());
  putBack();
});

test("a folder of the parent that is damaged is an alarm, and is written anew although nothing in it changed", async () => {
  await damage("storage/local/0/0");
  const summary = await desk.summary(["backup"], 3);
  assert.deepEqual(kinds(summary), ["chunks-damaged"]);
  assert.ok(await drills());
});

const OF_ROWS = ["database/data/public.active_storage_blobs", "database/data/public.active_storage_blobs/0.copy"];

for (const path of firstOf(OF_ROWS, 1)) {
  test(`${path} of the parent is damaged: an alarm, and the backup goes on`, async () => {
    await damage(path);
    await onDatabase(desk.installation.database, async (client) => {
      await attachFile(client, seededRandom(path), desk.installation.storageRoot);
    });
    const summary = await desk.summary(["backup"], 3);
    assert.deepEqual(kinds(summary), ["chunks-damaged"]);
    assert.equal((summary["storage"] as { missing: number }).missing, 0);
  });
}

longTest("a text of the parent that is damaged is stored anew in the point that is made without it", async () => {
  await damage("database/schema.sql");
  const kindsFound = kinds(await desk.summary(["backup"], 3));
  assert.ok(kindsFound.includes("parent-damaged") && kindsFound.includes("chunks-damaged"), kindsFound.join(", "));
  const dumped = await desk.chatkeep(["dump", "latest", "database/schema.sql"]);
  assert.deepEqual([dumped.status, dumped.stderr], [0, ""]);
});

test("a row that asks for other bytes under the same key gets them", async () => {
  const blob = await oneBlob();
  const other = Buffer.from(blob.bytes.toReversed());
  writeFileSync(blob.path, other);
  await setChecksum(blob.id, other);
  await desk.summary(["backup"]);
  assert.ok(await drills());
  writeFileSync(blob.path, blob.bytes);
  await setChecksum(blob.id, blob.bytes);
});

async function setChecksum(id: string, bytes: Buffer): Promise<void> {
  const checksum = createHash("md5").update(bytes).digest("base64");
  await onDatabase(desk.installation.database, async (client) => {
    await client.query("update active_storage_blobs set checksum = $2 where id = $1", [id, checksum]);
  });
}

test("a file that was altered on the disk is an alarm, and its right copy stays in every later point", async () => {
  const blob = await oneBlob();
  writeFileSync(blob.path, Buffer.from(blob.bytes.toReversed()));
  const summary = await desk.summary(["backup", "--full"], 3);
  assert.ok(kinds(summary).includes("blobs-altered"));
  await desk.summary(["backup"]);
  const to = join(desk.root, "kept");
  await desk.summary(["restore", "latest", "--only", "storage", "--to", to, "--yes"]);
  assert.deepEqual(readFileSync(blobPath(join(to, "storage"), blob.key)), blob.bytes);
  writeFileSync(blob.path, blob.bytes);
});

test("a key that is no file name is a finding, and stops nothing", async () => {
  const insert = `insert into active_storage_blobs (key, filename, byte_size, service_name, created_at)
    values ($1, 'odd', 1, 'local', now() - interval '1 day')`;
  await onDatabase(desk.installation.database, async (client) => {
    for (const key of ["..abcdef", "ab..cd", "../../etc/passwd"]) await client.query(insert, [key]);
  });
  const first = await desk.summary(["backup"], 3);
  assert.ok(kinds(first).includes("blobs-unreadable"), JSON.stringify(first["findings"]));
  const second = await desk.summary(["backup"], 3);
  assert.ok(kinds(second).includes("blobs-unreadable"), "what is not saved is an alarm every time");
  await onDatabase(desk.installation.database, async (client) => {
    await client.query("delete from active_storage_blobs where filename = 'odd'");
  });
});

longTest("files of a bucket that is not set up are an alarm at every backup, and doctor says so", async () => {
  await onDatabase(desk.installation.database, async (client) => {
    await client.query("update active_storage_blobs set service_name = 'amazon' where id % 4 = 0");
  });
  for (const verb of [["backup", "--dry-run"], ["backup"], ["backup"], ["doctor"]]) {
    assert.ok(kinds(await desk.summary(verb, 3)).includes("storage-not-read"), verb.join(" "));
  }
  await onDatabase(desk.installation.database, async (client) => {
    await client.query("update active_storage_blobs set service_name = 'local'");
  });
});
