/** A record that makes a tablespace is found wherever it lies in a segment, and names another folder with a right checksum. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CRC32C_START, extendCrc32c, finishCrc32c } from "../../src/wal/crc32c.ts";
import { madeTablespaces, movedTablespace, pageBytesOf, type SegmentPart } from "../../src/wal/made-tablespaces.ts";

const PAGE = 8192;
const BYTES = 4 * PAGE;
const ADDRESS = 0x5000_0000n;
const PLACE = "/srv/fast disk";

function sum(record: Buffer): number {
  return finishCrc32c(extendCrc32c(extendCrc32c(CRC32C_START, record, 24, record.length), record, 0, 20));
}

function makes(location: string, rmgr = 5): Buffer {
  const name = Buffer.from(`${location}\0`, "latin1");
  const main = Buffer.concat([Buffer.from([0x10, 0x40, 0, 0]), name]);
  const long = Buffer.from([254, main.length & 255, main.length >> 8, 0, 0]);
  const record = Buffer.concat([Buffer.alloc(24), main.length < 256 ? Buffer.from([255, main.length]) : long, main]);
  record.writeUInt32LE(record.length, 0);
  record.writeBigUInt64LE(ADDRESS - 64n, 8);
  record[17] = rmgr;
  record.writeUInt32LE(sum(record), 20);
  return record;
}

/** A segment of four pages, with a record at a place in it; what goes beyond its end is left out. */
function segmentWith(record: Buffer, at: number): SegmentPart {
  const bytes = new Uint8Array(BYTES);
  const view = Buffer.from(bytes.buffer);
  for (let page = 0; page < BYTES; page += PAGE) view.writeBigUInt64LE(ADDRESS + BigInt(page), page + 8);
  view.writeUInt32LE(PAGE, 36);
  let place = at;
  for (const byte of record) {
    if (place % PAGE === 0) place += 24;
    if (place < BYTES) bytes[place] = byte;
    place += 1;
  }
  return { bytes, origin: 0, segmentBytes: BYTES, pageBytes: PAGE };
}

const ALL = { from: 0, to: BYTES };

test("one is found at any place of a page, also where it goes on on the next, and moved without another byte", () => {
  for (const location of [PLACE, `/${"x".repeat(600)}`]) {
    const record = makes(location);
    for (const at of [40, PAGE + 24, ...Array.from({ length: 20 }, (_, n) => 2 * PAGE - 8 * (n + 1))]) {
      const part = segmentWith(record, at);
      const { whole, isCut } = madeTablespaces(part, ALL);
      assert.equal(isCut, false);
      assert.deepEqual(
        whole.map((made) => [made.oid, made.location.toString("latin1")]),
        [[0x4010, location]],
        `at ${at}`,
      );
      const [made] = whole;
      assert.ok(made !== undefined);
      const name = "../a".padEnd(location.length, "/");
      const moved = movedTablespace(part, made, name);
      assert.deepEqual(moved, makes(name));
      // What is written where the record lay is the same segment with the other name.
      for (const [index, place] of made.places.entries()) part.bytes[place] = moved[index] ?? 0;
      assert.deepEqual(part.bytes, segmentWith(makes(name), at).bytes);
    }
  }
});

test("what is no whole record of that kind is left alone, whatever it looks like", () => {
  const wrong = makes(PLACE);
  wrong[30] = 1;
  for (const record of [wrong, makes(PLACE, 4), makes("")]) {
    assert.deepEqual(madeTablespaces(segmentWith(record, 80), ALL), { whole: [], isCut: false });
  }
  assert.equal(pageBytesOf(new Uint8Array(40)), undefined);
});

test("one that goes beyond the segment's end or began before it is told", () => {
  const record = makes(PLACE);
  for (let at = BYTES - 24; at > BYTES - record.length; at -= 8) {
    assert.deepEqual(madeTablespaces(segmentWith(record, at), ALL), { whole: [], isCut: true }, `at ${at}`);
  }
  for (const there of [8, 16]) {
    const part = segmentWith(record.subarray(there), 40);
    Buffer.from(part.bytes.buffer).writeUInt16LE(3, 2);
    Buffer.from(part.bytes.buffer).writeUInt32LE(record.length - there, 16);
    assert.deepEqual(madeTablespaces(part, ALL), { whole: [], isCut: true }, `${there} bytes before`);
  }
});
