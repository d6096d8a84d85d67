import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import * as fc from "fast-check";
import type { WalEvent } from "../../src/wal/events.ts";
import { formatLsn } from "../../src/wal/lsn.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";
import { dump, type Judged } from "./judges.ts";
import { ends, LOG_SETTINGS, readLog, readWhole, type RealLog, rowsByFile, work } from "./real-log.ts";

let server: TestServer;
let log: RealLog;
let events: readonly WalEvent[];
let dumped: Judged;

before(async () => {
  server = await startPostgres({ settings: LOG_SETTINGS });
  await work(server);
  log = await readLog(server);
  const read = readWhole(log.options, log.bytes);
  assert.equal(read.problem, undefined);
  assert.equal(formatLsn(read.reader.validTo), formatLsn(log.end));
  events = read.events;
  dumped = await dump(server, log);
});

after(async () => {
  await server.stop();
});

test("records, ends of transactions with their times, and rows are those that pg_waldump finds", () => {
  assert.equal(readWhole(log.options, log.bytes).reader.records, dumped.records.length);
  assert.deepEqual(ends(events), dumped.ends);
  assert.deepEqual(rowsByFile(events), dumped.rows);
  assert.ok(dumped.records.length > 10_000 && dumped.ends.length > 25);
});

const PAGE = 8192;

/** A part of the log that begins with a page, amid a record as often as not. */
const windowOfLog = fc.record({ page: fc.nat(), pages: fc.integer({ min: 1, max: 24 }) }).map(({ page, pages }) => {
  const from = (page % Math.floor(log.bytes.length / PAGE)) * PAGE;
  const bytes = log.bytes.subarray(from, from + pages * PAGE);
  return { options: { ...log.options, from: log.options.from + BigInt(from) }, bytes };
});

test("whatever pieces the bytes come in, and wherever they begin, the answers are the same", () => {
  const pieces = fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 30 });
  fc.assert(
    fc.property(windowOfLog, pieces, ({ options, bytes }, lengths) => {
      const whole = readWhole(options, bytes, [bytes.length]);
      const cut = readWhole(options, bytes, lengths);
      assert.deepEqual(cut.events, whole.events);
      assert.deepEqual(cut.problem, whole.problem);
      for (const name of ["validTo", "firstRecord", "records", "position"] as const) {
        assert.equal(cut.reader[name], whole.reader[name], name);
      }
    }),
    { numRuns: 150 },
  );
});

/** Where in the log's bytes the n-th byte of a record lies: pages' headers come between. */
function placeOf({ at, length }: { at: bigint; length: number }, n: number): number {
  let place = Number(at - log.options.from);
  for (let left = n % length; left > 0; left -= 1) {
    place += 1;
    if (place % PAGE === 0) place += place % log.options.segmentBytes === 0 ? 40 : 24;
  }
  return place;
}

test("a bit that flipped in any record is noticed, and nothing behind it is told", () => {
  const heads = dumped.records.filter(({ at }) => Number(log.end - at) > 16 * PAGE);
  fc.assert(
    fc.property(fc.nat(), fc.nat(2 ** 20), fc.nat(7), (which, byte, bit) => {
      const record = heads[which % heads.length] ?? { at: 0n, length: 1 };
      const from = Number(record.at - log.options.from);
      const bytes = Buffer.from(log.bytes.subarray(from, from + record.length + 8 * PAGE));
      const place = placeOf(record, byte) - from;
      const options = { ...log.options, from: record.at };
      assert.equal(readWhole(options, bytes).problem, undefined);
      bytes[place] = (bytes[place] ?? 0) ^ (1 << bit);
      const { problem, events, reader } = readWhole(options, bytes);
      assert.ok(problem !== undefined, `${formatLsn(record.at)} byte ${byte % record.length} bit ${bit}`);
      assert.deepEqual([events, reader.validTo, reader.records], [[], record.at, 0]);
    }),
    { numRuns: 400 },
  );
});
