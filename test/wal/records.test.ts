import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { LIMITS } from "../../src/base/limits.ts";
import { isFailure } from "../../src/base/errors.ts";
import type { TransactionEnd, WalEvent } from "../../src/wal/events.ts";
import { formatLsn } from "../../src/wal/lsn.ts";
import { describeWalProblem } from "../../src/wal/problem.ts";
import { createWalReader } from "../../src/wal/reader.ts";
import {
  commit,
  deletion,
  filling,
  insertion,
  main,
  onBlock,
  OPTIONS,
  prepare,
  running,
  writeLog,
} from "./log-writer.ts";
import { readWhole } from "./real-log.ts";

function endOf(events: readonly WalEvent[], xid: number): TransactionEnd | undefined {
  return events.find((event) => event.kind === "commit" && event.xid === xid) as TransactionEnd | undefined;
}

test("records of any length, on pages and in segments of any size, anywhere in 64 bits, are all found, from any page on", () => {
  const length = fc.oneof(fc.nat(120), fc.nat(12_000), fc.nat(60_000));
  const sizes = fc.record({
    pageBytes: fc.constantFrom(1024, 4096, 8192, 65_536),
    segmentBytes: fc.constantFrom(2 ** 20, 2 ** 26),
    major: fc.constantFrom(13, 15, 18),
    from: fc.constantFrom(0n, 0xffff_fffffn * 2n ** 24n, 2n ** 62n, 2n ** 32n - 2n ** 16n),
  });
  fc.assert(
    fc.property(sizes, fc.array(length, { minLength: 1, maxLength: 60 }), fc.nat(), (size, lengths, page) => {
      const options = { ...OPTIONS, ...size };
      const log = writeLog(options);
      for (const one of lengths) log.add(filling(one));
      const bytes = log.bytes();
      const skipped = (page % Math.ceil(bytes.length / size.pageBytes)) * size.pageBytes;
      const from = options.from + BigInt(skipped);
      const { reader, problem } = readWhole({ ...options, from }, bytes.subarray(skipped), [1000, 7, 70_000]);
      const found = log.starts.filter((start) => start >= from);
      assert.equal(problem, undefined);
      assert.equal(reader.records, found.length);
      assert.equal(reader.firstRecord, found[0]);
      assert.equal(reader.validTo, found.length === 0 ? from : log.at);
      assert.equal(reader.position, log.at);
    }),
    { numRuns: 100 },
  );
});

test("the chain of records goes on over a boundary of 4 GiB, and is broken by one that is left out", () => {
  const options = { ...OPTIONS, from: 2n ** 33n - BigInt(OPTIONS.segmentBytes) };
  const log = writeLog(options);
  while (log.at < 2n ** 33n + 20_000n) log.add(filling(900));
  assert.equal(readWhole(options, log.bytes()).reader.validTo, log.at);

  // The same log without one record, each page's header being as it must.
  const short = writeLog(options);
  short.add(filling(50));
  const second = short.add(filling(50));
  short.add(filling(50));
  const bytes = short.bytes();
  const [a, b] = [Number(second - options.from), Number((short.starts[2] ?? 0n) - options.from)];
  const { problem, reader } = readWhole(options, Buffer.concat([bytes.subarray(0, a), bytes.subarray(b)]));
  assert.deepEqual([problem?.kind, problem?.seen], ["prev", formatLsn(second)]);
  assert.equal(reader.validTo, second);
});

test("what a switch leaves of a segment is passed over, also where nothing is left", () => {
  for (const left of [24, 32, 4000, 500_000]) {
    const log = writeLog();
    const full = BigInt(OPTIONS.segmentBytes);
    while (full - (log.at % full) > BigInt(left) + 8192n) log.add(filling(4000));
    const now = full - (log.at % full) - BigInt(left);
    // Less the heads of record and main data, and of the page that may begin.
    const page = Math.floor(Number((log.at + now - 1n) / 8192n)) - Math.floor(Number((log.at - 1n) / 8192n));
    log.add(filling(Number(now) - 29 - 24 * page));
    log.switchSegment();
    const next = OPTIONS.from + full;
    assert.equal(log.at, next);
    log.add(commit(700));
    const { events, reader, problem } = readWhole(OPTIONS, log.bytes(), [3000]);
    assert.equal(problem, undefined);
    assert.deepEqual(
      events.map(({ kind, lsn }) => [kind, lsn]),
      [
        ["switch", next],
        ["commit", log.at],
      ],
    );
    assert.equal(reader.validTo, log.at);
  }
});

test("a record that a crash cut is given up where the server says so, and is an error where it does not", () => {
  for (const before of [100, 4000, 8100, 8124]) {
    const log = writeLog();
    log.add(filling(before));
    const lost = log.addLost(commit(9, new Uint32Array(5000)));
    const note = Buffer.alloc(16);
    note.writeBigUInt64LE(lost, 0);
    log.add({ rmgr: 0, info: 0xd0, body: main(note) });
    log.add(commit(700));
    const bytes = log.bytes();
    const { events, problem } = readWhole(OPTIONS, bytes, [before, 11]);
    assert.equal(problem, undefined, String(before));
    assert.deepEqual(
      events.map((event) => [event.kind, event.kind === "overwritten" ? event.lost : 0n]),
      [
        ["overwritten", lost],
        ["commit", 0n],
      ],
    );
    const page = Math.ceil(Number(lost - OPTIONS.from + 1n) / 8192) * 8192;
    bytes[page + 2] = 0;
    const untold = readWhole(OPTIONS, bytes);
    assert.deepEqual([untold.problem?.kind, untold.reader.records], ["continuation", 1]);
  }
});

/** A log of three pages, with something at a place of it changed. */
function changed(at: number, ...values: readonly number[]): string {
  const log = writeLog();
  for (let n = 0; n < 200; n += 1) log.add(filling(100));
  const bytes = log.bytes();
  bytes.set(values, at);
  const { problem } = readWhole(OPTIONS, bytes);
  return problem === undefined ? "" : `${problem.kind} at ${describeWalProblem(problem)}`;
}

test("what does not fit is told with where, what should be there and what is", () => {
  const first = [
    changed(0, 0x13, 0xd1),
    changed(0, 1, 2),
    changed(2, 0x12),
    changed(2, 0),
    changed(4, 2),
    changed(11, 1),
    changed(24, 0),
    changed(34, 0),
    changed(37, 0),
    changed(8192, ...Buffer.alloc(8192)),
    changed(8192 + 16, 1),
    changed(40, ...Buffer.alloc(4)),
    changed(40, 23),
    changed(43, 0x7f),
    changed(57, 99),
    changed(60, 0, 0, 0, 0),
    changed(55, 0x17),
  ];
  assert.deepEqual(first, [
    "version at 16/0: the page's version is 0xD113 (PostgreSQL 16), not 0xD110 (PostgreSQL 15)",
    "version at 16/0: the page's version is 0x201, not 0xD110 (PostgreSQL 15)",
    "page at 16/0: the page's header is 0x12, not known flags",
    "page at 16/0: the page's header is a short one, not the long header of a segment's first page",
    "timeline at 16/0: the page's timeline is 2, not 1",
    "page-address at 16/0: the page's position is 16/1000000, not 16/0",
    "system at 16/0: the cluster's system identifier is 7012345678901234432, not 7012345678901234567",
    "segment-size at 16/0: the size of segments is 0, not 1048576",
    "page-size at 16/0: the size of pages is 0, not 8192",
    "end at 16/2000: nothing was written from here on",
    "continuation at 16/2000: what is left of the record before the page is 1 bytes, not 38 bytes",
    "end at 16/28: nothing was written from here on",
    "length at 16/28: the record's length is 23 bytes, not 24 bytes to 1 GiB",
    "length at 16/28: the record's length is 2130706558 bytes, not 24 bytes to 1 GiB",
    "resource-manager at 16/28: the record's kind is 99, not one of PostgreSQL 15",
    "crc at 16/28: the record's checksum is d75508df, not 00000000",
    "prev at 16/28: the record's link to the one before is 17000000/0, not a position before it",
  ]);
});

test("after the first thing that does not fit nothing is read any more", () => {
  const log = writeLog();
  log.add(commit(1));
  const reader = createWalReader(OPTIONS);
  const bytes = log.bytes();
  assert.equal(reader.push(bytes).events.length, 1);
  const told = reader.push(Buffer.alloc(64));
  assert.equal(told.problem?.kind, "end");
  const { at } = log;
  log.add(commit(2));
  assert.deepEqual(reader.push(log.bytes().subarray(bytes.length)), { events: [], problem: told.problem });
  assert.equal(reader.validTo, at);
});

test("where no record can begin, or of a major that nobody knows, there is nothing to read", () => {
  for (const options of [
    { ...OPTIONS, from: 1n },
    { ...OPTIONS, from: 16n },
    { ...OPTIONS, major: 12 },
  ]) {
    assert.throws(
      () => createWalReader(options),
      (error) => isFailure(error, "internal/bug"),
    );
  }
});

test("a record that is right but laid out otherwise is refused, not misread", () => {
  for (const body of [Buffer.from([77, 0]), main(Buffer.alloc(7)), Buffer.from([255, 9, 0])]) {
    const log = writeLog();
    log.add({ rmgr: 1, xid: 5, body });
    const { events, problem } = readWhole(OPTIONS, log.bytes());
    assert.deepEqual([problem?.kind, events], ["layout", []]);
  }
});

test("whatever a record holds whose checksum is right, it is told or refused", () => {
  const record = fc.record({
    rmgr: fc.constantFrom(0, 1, 2, 8, 9, 10),
    info: fc.nat(255),
    xid: fc.nat(9),
    body: fc.oneof(
      fc.uint8Array({ maxLength: 120 }),
      fc.uint8Array({ maxLength: 120 }).map(main),
      fc.uint8Array({ maxLength: 40 }).map((data) => onBlock(16_384, data)),
    ),
  });
  let told = 0;
  fc.assert(
    fc.property(fc.array(record, { minLength: 1, maxLength: 4 }), (records) => {
      const log = writeLog();
      for (const one of records) log.add(one);
      const { problem, reader } = readWhole(OPTIONS, log.bytes());
      assert.ok(problem === undefined || problem.kind === "layout", problem?.kind ?? "");
      told += reader.records;
      // A switch may stand anywhere: then what follows is padding.
      if (problem === undefined) assert.equal(reader.position, log.at);
    }),
    { numRuns: 2000 },
  );
  assert.ok(told > 1000, String(told));
});

test("a record of many MiB is checked without being held", () => {
  const log = writeLog({ ...OPTIONS, segmentBytes: 2 ** 28 });
  const options = { ...OPTIONS, segmentBytes: 2 ** 28 };
  // One that nobody looks into, and a row of a table whose old version is logged whole.
  log.add(filling(40 * 2 ** 20));
  log.add({ rmgr: 10, info: 0x10, xid: 7, body: onBlock(16_384, Buffer.alloc(20 * 2 ** 20)) });
  log.add(commit(7));
  const bytes = log.bytes();
  const reader = createWalReader(options);
  const { arrayBuffers } = process.memoryUsage();
  let most = 0;
  const events: WalEvent[] = [];
  for (let at = 0; at < bytes.length; at += 2 ** 20) {
    events.push(...reader.push(bytes.subarray(at, at + 2 ** 20)).events);
    most = Math.max(most, process.memoryUsage().arrayBuffers - arrayBuffers);
  }
  assert.equal(reader.validTo, log.at);
  assert.deepEqual(
    endOf(events, 7)?.rows.map(({ relation, deleted }) => [relation, deleted]),
    [[16_384, 1]],
  );
  assert.ok(most < 2 ** 20, `${most} bytes`);
});

test("a transaction of a million parts is told whole; of one with more than can be kept the end is told", () => {
  const options = { ...OPTIONS, segmentBytes: 2 ** 28 };
  const log = writeLog(options);
  log.add(running(3));
  const many = new Uint32Array(1_000_000).map((_, n) => 1000 + n);
  log.add(insertion(1000, 1));
  log.add(insertion(1_000_999, 1));
  log.add(commit(999, many));
  log.add(commit(5, new Uint32Array(LIMITS.walTransactionBytes / 4)));
  const { events, problem } = readWhole(options, log.bytes());
  assert.equal(problem, undefined);
  const [whole, cut] = [endOf(events, 999), endOf(events, 5)];
  assert.deepEqual([whole?.isWhole, whole?.subxids.length, whole?.rows[0]?.inserted], [true, 1_000_000, 2]);
  const timeUs = BigInt(Date.UTC(2026, 0)) * 1000n;
  assert.deepEqual([cut?.isWhole, cut?.timeUs, cut?.subxids.length], [false, timeUs, 0]);
});

test("an insertion that ON CONFLICT takes back is none, and TRUNCATE's tables are told where the log names them", () => {
  const log = writeLog();
  log.add(insertion(7, 16_384));
  log.add(insertion(7, 16_384));
  log.add(deletion(7, 16_384, 8));
  log.add(deletion(7, 16_385));
  const oids = [5, 2, 0, 24_576, 24_577];
  log.add({ rmgr: 10, info: 0x30, xid: 7, body: main(Buffer.from(new Uint32Array(oids).buffer)) });
  log.add(commit(7));
  const end = endOf(readWhole(OPTIONS, log.bytes()).events, 7);
  assert.deepEqual(
    end?.rows.map(({ relation, inserted, updated, deleted }) => [relation, inserted, updated, deleted]),
    [
      [16_384, 1, 0, 0],
      [16_385, 0, 0, 1],
    ],
  );
  assert.deepEqual(end?.truncated, [24_576, 24_577]);
});

test("a transaction is whole when it was seen from its beginning", () => {
  const log = writeLog();
  log.add(commit(10));
  // 11 runs; 12 is the next.
  log.add(running(12, 11));
  for (const xid of [11, 12, 13]) log.add(commit(xid));
  // All before 14 have ended. Numbers go round.
  log.add(running(14));
  log.add(running(2 ** 31));
  log.add(running(2 ** 32 - 10));
  log.add(commit(3));
  const { events } = readWhole(OPTIONS, log.bytes());
  const told = [10, 11, 12, 13, 3].map((xid) => endOf(events, xid)?.isWhole);
  assert.deepEqual(told, [false, false, true, true, true]);
});

test("rows of more than can be kept are forgotten, and what they belong to is told as not whole", () => {
  const options = { ...OPTIONS, segmentBytes: 2 ** 28 };
  const log = writeLog(options);
  log.add(running(3));
  log.add(insertion(3, 1));
  for (let n = 0; n < LIMITS.walOpenFiles; n += 1) log.add(insertion(4, 16_384 + n));
  for (const xid of [3, 4]) log.add(commit(xid));
  log.add(insertion(5, 16_384));
  log.add(commit(5));
  const { events } = readWhole(options, log.bytes());
  assert.deepEqual(
    [3, 4, 5].map((xid) => endOf(events, xid)?.isWhole),
    [false, false, true],
  );
  assert.equal(endOf(events, 5)?.rows[0]?.inserted, 1);
});

test("what a crash cut short is not kept for a later transaction of the same number, but what was prepared is", () => {
  for (const major of [13, 15]) {
    const log = writeLog({ ...OPTIONS, major });
    for (const xid of [7, 8, 9]) log.add(insertion(xid, 16_384));
    log.add(prepare(8, "kept", { major, subxids: [9] }));
    // CHECKPOINT_SHUTDOWN.
    log.add({ rmgr: 0, body: main(Buffer.alloc(88)) });
    for (const xid of [7, 8]) log.add(commit(xid));
    const { events } = readWhole({ ...OPTIONS, major }, log.bytes());
    assert.deepEqual(
      events.map((event) => [event.kind, event.kind === "prepare" ? event.gid : ""]),
      [
        ["prepare", "kept"],
        ["restart", ""],
        ["commit", ""],
        ["commit", ""],
      ],
    );
    assert.deepEqual(endOf(events, 7)?.rows, []);
    assert.equal(endOf(events, 8)?.rows[0]?.inserted, 2);
  }
});
