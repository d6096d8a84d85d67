/** Index files. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import type { PackId } from "../../src/base/ids.ts";
import { decodeIndex, encodeIndex, type IndexedPack } from "../../src/format/index-file.ts";
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
