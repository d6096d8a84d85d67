import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import * as fc from "fast-check";
import type { WalEvent } from "../../src/wal/events.ts";
import { formatLsn, parseLsn } from "../../src/wal/lsn.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";
import { mustRun } from "../harness/run.ts";
import { ends, LOG_SETTINGS, readLog, readWhole, type RealLog, rowsByFile, work } from "./real-log.ts";

let server: TestServer;
let log: RealLog;
let events: readonly WalEvent[];
let dumped: Dumped;

before(async () => {
  server = await startPostgres({ settings: LOG_SETTINGS });
  await work(server);
  log = await readLog(server);
  const read = readWhole(log.options, log.bytes);
  assert.equal(read.problem, undefined);
  assert.equal(formatLsn(read.reader.validTo), formatLsn(log.end));
  events = read.events;
  dumped = await dump(log);
});

after(async () => {
  await server.stop();
});

interface Dumped {
  records: { at: bigint; length: number }[];
  ends: string[];
  rows: Record<string, string>;
}

const LINE = /^rmgr: (\S+) .*tx: +(\d+), lsn: (\S+), prev \S+ desc: (\S+) (.*)$/;

/** The same by pg_waldump. */
async function dump({ options, end, folder }: RealLog): Promise<Dumped> {
  const args = ["--path", folder, "--start", formatLsn(options.from + 40n), "--end", formatLsn(end)];
  const { stdout } = await mustRun(join(server.programs, "pg_waldump"), args, { env: { ...process.env, TZ: "UTC" } });
  const found: Dumped = { records: [], ends: [], rows: {} };
  const rows = new Map<string, [number, number, number]>();
  for (const line of stdout.trimEnd().split("\n")) {
    const [, rmgr, xid = "", lsn = "", what = "", rest = ""] = LINE.exec(line) ?? [];
    if (rmgr === undefined) throw new Error(`not understood: ${line}`);
    found.records.push({
      at: parseLsn(`0/${lsn.slice(2)}`),
      length: Number(/len \(rec\/tot\): +\d+\/ *(\d+)/.exec(line)?.[1]),
    });
    if (rmgr === "Transaction" && /^(?:COMMIT|ABORT)/.test(what)) {
      const [, prepared = xid, time = "", micros = ""] = /^(?:(\d+): )?(\S+ \S+)\.(\d+) UTC/.exec(rest) ?? [];
      const us = BigInt(Date.parse(`${time.replace(" ", "T")}Z`)) * 1000n + BigInt(micros);
      const short = formatLsn(BigInt(`0x${lsn.replace("/", "")}`));
      found.ends.push(`${short} ${prepared} ${what.startsWith("COMMIT") ? "commit" : "abort"} ${us}`);
    }
    if (!rmgr.startsWith("Heap")) continue;
    const [, name = ""] = /blkref #0: rel (\S+)/.exec(rest) ?? [];
    const counts = rows.get(name) ?? [0, 0, 0];
    if (what.startsWith("INSERT")) counts[0] += 1;
    else if (what.startsWith("MULTI_INSERT"))
      counts[0] += Number(/^(?:\S+ )?(\d+) tuples/.exec(rest)?.[1] ?? /ntuples: (\d+)/.exec(rest)?.[1]);
    else if (/^(?:HOT_)?UPDATE/.test(what)) counts[1] += 1;
    else if (what.startsWith("DELETE")) counts[2] += 1;
    else continue;
    rows.set(name, counts);
  }
  found.rows = Object.fromEntries([...rows].map(([name, counts]) => [name, counts.join("/")]));
  return found;
}

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
