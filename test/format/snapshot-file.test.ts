/** Snapshot files. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFailure } from "../../src/base/errors.ts";
import type { SnapshotId } from "../../src/base/ids.ts";
import { formatGoTime } from "../../src/format/go-time.ts";
import { decodeSnapshot, encodeSnapshot, type Snapshot } from "../../src/format/snapshot-file.ts";
import { hostile, refusal, survives, withEachFieldReplaced } from "./refusal.ts";
import { chunkId } from "./sample-nodes.ts";

function snapshotId(byte: number): SnapshotId {
  return chunkId(byte) as string as SnapshotId;
}

const FULL: Snapshot = {
  time: "2026-02-03T04:05:06.789012345+01:00",
  parent: snapshotId(1),
  tree: chunkId(2),
  paths: ["/chatkeep", "/a<b"],
  hostname: "acme",
  username: "root",
  uid: 1000,
  gid: 1001,
  excludes: ["*.tmp"],
  tags: ["chatkeep", "installation=x"],
  original: snapshotId(3),
  programVersion: "chatkeep 0.1.0",
  summary: {
    backupStart: "2026-02-03T04:05:06Z",
    backupEnd: "2026-02-03T04:05:07Z",
    filesNew: 1,
    filesChanged: 2,
    filesUnmodified: 3,
    dirsNew: 4,
    dirsChanged: 5,
    dirsUnmodified: 6,
    dataBlobs: 7,
    treeBlobs: 8,
    dataAdded: 9,
    dataAddedPacked: 10,
    totalFilesProcessed: 11,
    totalBytesProcessed: 12,
  },
};

const JSON_OF_FULL =
  `{"time":"2026-02-03T04:05:06.789012345+01:00","parent":"${chunkId(1)}","tree":"${chunkId(2)}",` +
  `"paths":["/chatkeep","/a\\u003cb"],"hostname":"acme","username":"root","uid":1000,"gid":1001,"excludes":["*.tmp"],` +
  `"tags":["chatkeep","installation=x"],"original":"${chunkId(3)}","program_version":"chatkeep 0.1.0",` +
  `"summary":{"backup_start":"2026-02-03T04:05:06Z","backup_end":"2026-02-03T04:05:07Z","files_new":1,"files_changed":2,` +
  `"files_unmodified":3,"dirs_new":4,"dirs_changed":5,"dirs_unmodified":6,"data_blobs":7,"tree_blobs":8,"data_added":9,` +
  `"data_added_packed":10,"total_files_processed":11,"total_bytes_processed":12}}`;

const LEAST = { time: "2026-02-03T04:05:06Z", tree: chunkId(2), paths: ["/chatkeep"] };

test("a snapshot is written with restic's fields in restic's order, and comes back", () => {
  assert.equal(encodeSnapshot(FULL), JSON_OF_FULL);
  assert.deepEqual(decodeSnapshot(JSON_OF_FULL), FULL);
  assert.equal(encodeSnapshot(LEAST), `{"time":"2026-02-03T04:05:06Z","tree":"${chunkId(2)}","paths":["/chatkeep"]}`);
  assert.deepEqual(decodeSnapshot(encodeSnapshot(LEAST)), LEAST);
});

test("any part may be missing but time, tree and paths", () => {
  const text = fc.string({ unit: "binary", minLength: 1, maxLength: 10 });
  const texts = fc.array(text, { minLength: 1, maxLength: 3 });
  const any: fc.Arbitrary<Snapshot> = fc.record(
    {
      time: fc.bigInt({ min: 0n, max: 1n << 62n }).map(formatGoTime),
      tree: fc.nat({ max: 255 }).map(chunkId),
      paths: fc.array(text),
      parent: fc.nat({ max: 255 }).map(snapshotId),
      original: fc.nat({ max: 255 }).map(snapshotId),
      hostname: text,
      username: text,
      uid: fc.integer({ min: 1, max: 0xffff_ffff }),
      gid: fc.integer({ min: 1, max: 0xffff_ffff }),
      excludes: texts,
      tags: texts,
      programVersion: text,
      summary: fc.constant(FULL.summary ?? assert.fail()),
    },
    { requiredKeys: ["time", "tree", "paths"], noNullPrototype: true },
  );
  fc.assert(
    fc.property(any, (snapshot) => {
      const json = encodeSnapshot(snapshot);
      assert.deepEqual(decodeSnapshot(json), JSON.parse(JSON.stringify(snapshot)));
      assert.equal(encodeSnapshot(decodeSnapshot(json)), json);
    }),
    { numRuns: 200 },
  );
});

test("empty lists and zeros are written as absent, as Go's omitempty does", () => {
  const empty = { ...LEAST, hostname: "", username: "", uid: 0, gid: 0, excludes: [], tags: [], programVersion: "" };
  assert.equal(encodeSnapshot(empty), encodeSnapshot(LEAST));
});

test("fields that we do not know, and null, are passed over", () => {
  const json = JSON_OF_FULL.replace("{", '{"label":"x","delete":{"a":[1]},').replace('"uid":1000', '"uid":null');
  const { uid: _, ...rest } = FULL;
  assert.deepEqual(decodeSnapshot(json), rest);
  assert.deepEqual(decodeSnapshot(`{"time":"2026-02-03T04:05:06Z","tree":"${chunkId(2)}","paths":null}`).paths, []);
});

test("a snapshot without a tree, or with anything unusable in it, is refused", () => {
  for (const field of ["time", "tree"]) {
    const { [field]: _, ...rest } = JSON.parse(JSON_OF_FULL) as Record<string, unknown>;
    assert.match(
      refusal(() => decodeSnapshot(JSON.stringify(rest))),
      new RegExp(`'${field}'`),
    );
  }
  for (const bad of [
    '"tree":"xyz"',
    '"tree":1',
    '"paths":"x"',
    '"paths":[1]',
    '"parent":"latest"',
    '"summary":1',
    '"uid":-1',
  ]) {
    refusal(() => decodeSnapshot(`${JSON_OF_FULL.slice(0, -1)},${bad}}`));
  }
});

test("a snapshot with an impossible time is our fault", () => {
  assert.throws(
    () => encodeSnapshot({ ...LEAST, time: "today" }),
    (error) => isFailure(error, "internal/bug"),
  );
});

test("hostile snapshots are refused or read, and nothing else", () => {
  for (const changed of withEachFieldReplaced(JSON_OF_FULL)) {
    survives(() => {
      const json = encodeSnapshot(decodeSnapshot(changed));
      assert.equal(encodeSnapshot(decodeSnapshot(json)), json);
    });
  }
  fc.assert(
    fc.property(hostile(JSON_OF_FULL), (json) => survives(() => decodeSnapshot(json))),
    { numRuns: 1000 },
  );
});
