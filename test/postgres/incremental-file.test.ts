import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { manifestWith, parseManifest } from "../../src/postgres/base-manifest.ts";
import { pathOfWhole, readIncrementalFile, wholeLabel } from "../../src/postgres/incremental-file.ts";
import { baseBackupCommand } from "../../src/postgres/replication-base.ts";
import { BLOCK, encodeIncremental, encodeManifest } from "../harness/incremental.ts";

/** As the server's messages cut it: anywhere. */
async function* inPieces(bytes: Buffer, length: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length);
}

const CUT = { blockBytes: BLOCK, segmentBlocks: 131_072 };

async function read(bytes: Buffer, length = 1000) {
  const file = await readIncrementalFile({ path: "base/5/INCREMENTAL.1", bytes: inPieces(bytes, length) }, CUT);
  const blocks: Buffer[] = [];
  for (const _ of file.blocks) blocks.push(await file.next());
  await file.end();
  return { numbers: [...file.blocks], keptBlocks: file.keptBlocks, bytes: Buffer.concat(blocks) };
}

test("a file of changed blocks is read as it was written, however it is cut", async () => {
  // 2045 numbers fill the header's first block to its last byte.
  for (const numbers of [[], [0], [3, 4, 700], Array.from({ length: 2045 }, (_, at) => 2 * at)]) {
    const blocks = new Map(numbers.map((number) => [number, randomBytes(BLOCK)]));
    const bytes = encodeIncremental({ blocks, keptBlocks: 5000 });
    assert.equal(bytes.length % (numbers.length === 0 ? 12 : BLOCK), 0);
    for (const length of numbers.length > 9 ? [30_000] : [7, 8192]) {
      const found = await read(bytes, length);
      assert.deepEqual([found.numbers, found.keptBlocks], [numbers, 5000]);
      assert.ok(found.bytes.equals(Buffer.concat([...blocks.values()])));
    }
  }
});

test("a file is told to be no longer than one can be, whatever the server says of its relation", async () => {
  const blocks = new Map([[131_071, randomBytes(BLOCK)]]);
  assert.equal((await read(encodeIncremental({ blocks, keptBlocks: 156_789 }))).keptBlocks, 131_072);
  assert.equal((await read(encodeIncremental({ blocks, keptBlocks: 131_071 }))).keptBlocks, 131_071);
});

test("what is no such file is refused: another beginning, blocks in no order, too few or too many bytes", async () => {
  const changed = { blocks: new Map([1, 2].map((number) => [number, randomBytes(BLOCK)])), keptBlocks: 3 };
  const whole = encodeIncremental(changed);
  const wrongs: Record<string, Buffer> = {
    "an empty one": Buffer.alloc(0),
    "its header cut": whole.subarray(0, 15),
    "its last block cut": whole.subarray(0, -1),
    "a byte more": Buffer.concat([whole, Buffer.alloc(1)]),
    "another beginning": Buffer.concat([Buffer.alloc(4), whole.subarray(4)]),
    "the same block twice": Buffer.concat([
      whole.subarray(0, 12),
      Buffer.from([1, 0, 0, 0, 1, 0, 0, 0]),
      whole.subarray(20),
    ]),
    "a block behind a file's last one": encodeIncremental({
      blocks: new Map([[131_072, randomBytes(BLOCK)]]),
      keptBlocks: 3,
    }),
    "more blocks than a file can have": Buffer.concat([
      whole.subarray(0, 4),
      Buffer.from("ffffffff", "hex"),
      whole.subarray(8),
    ]),
  };
  for (const [what, bytes] of Object.entries(wrongs)) {
    await assert.rejects(read(bytes), (error) => isFailure(error, "database/failed"), what);
  }
});

test("the name of a file of changed blocks is known where relations lie, and nowhere else", () => {
  assert.equal(pathOfWhole("base/16384/INCREMENTAL.2619.1"), "base/16384/2619.1");
  assert.equal(pathOfWhole("global/INCREMENTAL.1260_vm"), "global/1260_vm");
  assert.equal(
    pathOfWhole("pg_tblspc/16390/PG_17_202406281/5/INCREMENTAL.16391"),
    "pg_tblspc/16390/PG_17_202406281/5/16391",
  );
  for (const path of ["INCREMENTAL.conf", "base/16384/2619", "pg_wal/INCREMENTAL.1", "log/INCREMENTAL.1"])
    assert.equal(pathOfWhole(path), undefined, path);
});

test("the label of a base that was put together says nothing of what it was", () => {
  const label = "START WAL LOCATION: 0/4000028 (file 000000010000000000000004)\nSTART TIMELINE: 1\n";
  const from = "INCREMENTAL FROM LSN: 0/2000028\nINCREMENTAL FROM TLI: 1\n";
  assert.equal(wholeLabel(label + from), label);
});

test("a manifest names whole files in the place of those that came, and is otherwise the server's", () => {
  const sent = encodeManifest(
    new Map([
      ["base/5/INCREMENTAL.1", Buffer.from("a")],
      ["base/5/2", Buffer.from("b")],
      ["base/5/INCREMENTAL.3", Buffer.from("c")],
    ]),
  );
  const checksum = { algorithm: "SHA256", hex: "00".repeat(32) };
  const others = new Map([
    ["base/5/INCREMENTAL.1", { path: "base/5/1", size: 8192, checksum: undefined }],
    ["base/5/INCREMENTAL.3", { path: "base/5/3", size: 16_384, checksum }],
  ]);
  const made = manifestWith(sent, others);
  const [, kept] = parseManifest(sent);
  assert.deepEqual(parseManifest(made), [others.get("base/5/INCREMENTAL.1"), kept, others.get("base/5/INCREMENTAL.3")]);
  // A number of 64 bits is not rounded.
  assert.match(
    made.toString(),
    /^\{ "PostgreSQL-Backup-Manifest-Version": 2,\n"System-Identifier": 7412345678901234567,\n/,
  );
  assert.match(made.toString(), /\n\{ "Path": "base\/5\/1", "Size": 8192, "Last-Modified": "[^"]+" \},\n/);
  const unknown = new Map([["base/5/INCREMENTAL.4", { path: "base/5/4", size: 1, checksum: undefined }]]);
  assert.throws(
    () => manifestWith(sent, unknown),
    (error) => isFailure(error, "recovery/damaged"),
  );
  const changed = Buffer.from(sent.toString().replace('"Size": 1', '"Size": 2'));
  assert.throws(
    () => manifestWith(changed, new Map()),
    (error) => isFailure(error, "recovery/damaged"),
  );
});

test("a server is asked for what changed since a manifest only where it is given one", () => {
  const options = { label: "l", checkpoint: "fast" } as const;
  assert.match(baseBackupCommand(17, { ...options, since: Buffer.from("{}") }), /\bINCREMENTAL\b/);
  assert.doesNotMatch(baseBackupCommand(17, options), /INCREMENTAL/);
});
