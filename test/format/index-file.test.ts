/** Index files. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import type { ChunkId, PackId } from "../../src/base/ids.ts";
import { decodeIndex, encodeIndex, type IndexedPack } from "../../src/format/index-file.ts";
import { ROW_WORDS, scanIndex } from "../../src/format/index-scan.ts";
import { hostile, refusal, survives, withEachFieldReplaced } from "./refusal.ts";
import { chunkId } from "./sample-nodes.ts";

function packId(byte: number): PackId {
  return chunkId(byte) as string as PackId;
}

function packsIn(json: string): IndexedPack[] {
  const packs: IndexedPack[] = [];
  decodeIndex(json, (pack) => packs.push(pack));
  return packs;
}

/** What scanning finds, in the form of what decoding finds; undefined when that is left to decoding. */
function scanned(bytes: Buffer): IndexedPack[] | undefined {
  const packs: IndexedPack[] = [];
  const isDone = scanIndex(bytes, ({ id, rows }) => {
    const entries = Array.from({ length: rows.length / ROW_WORDS }, (_, one) => {
      const row = rows.subarray(one * ROW_WORDS, (one + 1) * ROW_WORDS);
      const [isTree, offset = 0, length = 0, uncompressedLength = 0] = row.subarray(8);
      const name = Buffer.from(row.slice(0, 8).buffer).toString("hex") as ChunkId;
      return {
        id: name,
        type: isTree === 1 ? ("tree" as const) : ("data" as const),
        offset,
        length,
        uncompressedLength,
      };
    });
    packs.push({ id, entries });
  });
  return isDone ? packs : undefined;
}

const SAMPLE =
  `{"packs":[{"id":"${packId(1)}","blobs":[` +
  `{"id":"${chunkId(2)}","type":"data","offset":0,"length":38},` +
  `{"id":"${chunkId(3)}","type":"data","offset":38,"length":112,"uncompressed_length":511}]},` +
  `{"id":"${packId(4)}","blobs":[{"id":"${chunkId(5)}","type":"tree","offset":0,"length":40,"uncompressed_length":9}]}]}`;

const uint32 = fc.nat({ max: 0xffff_ffff });
const entry = fc.record(
  {
    id: fc.nat({ max: 255 }).map(chunkId),
    type: fc.constantFrom("data" as const, "tree" as const),
    offset: uint32,
    length: uint32,
    uncompressedLength: uint32,
  },
  { noNullPrototype: true },
);
const anyPacks = fc.array(
  fc.record(
    { id: fc.nat({ max: 255 }).map(packId), entries: fc.array(entry, { maxLength: 5 }) },
    { noNullPrototype: true },
  ),
  { maxLength: 5 },
);

test("an index is written as restic writes it", () => {
  assert.equal(encodeIndex(packsIn(SAMPLE)), SAMPLE);
  assert.equal(encodeIndex([]), '{"packs":[]}');
});

test("packs come back in order, with all their chunks", () => {
  fc.assert(
    fc.property(anyPacks, (packs) => assert.deepEqual(packsIn(encodeIndex(packs)), packs)),
    { numRuns: 200 },
  );
});

test("what other programs add is passed over", () => {
  const json = SAMPLE.replace("{", `{"supersedes":["${packId(9)}"],"packs_to_delete":[],`).replaceAll(
    '"blobs"',
    '"time":"2024-01-01T00:00:00Z","size":5,"blobs"',
  );
  assert.deepEqual(packsIn(json), packsIn(SAMPLE));
  for (const empty of ["{}", '{"packs":null}', '{"packs":[]}']) assert.deepEqual(packsIn(empty), []);
});

test("an index with anything unusable in it is refused, and the failure names the chunk", () => {
  assert.match(
    refusal(() => packsIn(SAMPLE.replace('"tree"', '"link"'))),
    new RegExp(chunkId(5)),
  );
  assert.match(
    refusal(() => packsIn(SAMPLE.replace(":38}", ":-1}"))),
    new RegExp(chunkId(2)),
  );
  for (const bad of ["1.5", "4294967296", "18446744073709551615", '"38"', "null"]) {
    refusal(() => packsIn(SAMPLE.replace(":38}", `:${bad}}`)));
  }
  for (const bad of ["", "null", "[]", '{"packs":{}}', '{"packs":[1]}', '{"packs":[{}]}', '{"packs":[{"id":"x"}]}']) {
    refusal(() => packsIn(bad));
  }
  refusal(() => packsIn(SAMPLE.replace(packId(1), packId(1).toUpperCase().replace("0", "A"))));
});

test("hostile indexes are refused or read, and nothing else", () => {
  for (const changed of withEachFieldReplaced(SAMPLE)) survives(() => packsIn(changed));
  fc.assert(
    fc.property(hostile(SAMPLE), (json) => survives(() => encodeIndex(packsIn(json)))),
    { numRuns: 1000 },
  );
});

test("scanning finds what decoding finds, in packs with chunks", () => {
  const full = anyPacks
    .map((packs) => packs.filter(({ entries }) => entries.length > 0))
    .filter((packs) => packs.length > 0);
  fc.assert(
    fc.property(full, (packs) => assert.deepEqual(scanned(Buffer.from(encodeIndex(packs))), packs)),
    { numRuns: 200 },
  );
  const large = Array.from({ length: 3_000 }, (_, one) => chunkEntry(one));
  const packs = [{ id: packId(7), entries: large }];
  assert.deepEqual(scanned(Buffer.from(encodeIndex(packs))), packs);
});

test("scanning leaves what is laid out in another way to decoding, and never finds anything else", () => {
  for (const other of [
    SAMPLE.replace("{", '{"supersedes":[],'),
    SAMPLE.replace(":[", ": ["),
    SAMPLE.replace(":38}", ":038}"),
    SAMPLE.replace(":38}", ":3.8e1}"),
    SAMPLE.replace(":38}", ":}"),
    SAMPLE.replace(":38}", ":4294967296}"),
    SAMPLE.replace("0202", "020A"),
    `${SAMPLE} `,
    '{"packs":[]}',
    "",
  ]) {
    assert.equal(scanned(Buffer.from(other)), undefined, other);
  }
  const bytes = Buffer.from(SAMPLE);
  const change = fc.tuple(fc.nat({ max: bytes.length - 1 }), fc.nat({ max: 255 }));
  fc.assert(
    fc.property(change, fc.nat({ max: bytes.length }), ([at, byte], cut) => {
      const changed = Buffer.from(bytes);
      changed[at] = byte;
      for (const damaged of [changed, bytes.subarray(0, cut), Buffer.concat([changed, bytes.subarray(cut)])]) {
        const found = scanned(damaged);
        if (found !== undefined) assert.deepEqual(found, packsIn(damaged.toString("utf8")));
      }
    }),
    { numRuns: 2_000 },
  );
});

function chunkEntry(number: number): IndexedPack["entries"][number] {
  return { id: chunkId(number % 256), type: "data", offset: number, length: 1, uncompressedLength: number % 2 };
}
