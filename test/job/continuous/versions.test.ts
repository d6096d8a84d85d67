/** What a repository has twice, and not the same: the server's own counts, and where nobody can tell the rest stays usable. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { test } from "node:test";
import { isFailure } from "../../../src/base/errors.ts";
import { LIMITS } from "../../../src/base/limits.ts";
import { silent } from "../../../src/base/progress.ts";
import { forget } from "../../../src/job/forget.ts";
import { listContinuous, lookAtWindow, settleListed } from "../../../src/job/continuous/list.ts";
import { findServingBases, openMomentSource } from "../../../src/job/continuous/moment-source.ts";
import { readWal } from "../../../src/job/continuous/read-wal.ts";
import { servingBases } from "../../../src/job/continuous/serving-bases.ts";
import type { Repository } from "../../../src/repo/repository.ts";
import { createMemoryStore } from "../../../src/store/memory-store.ts";
import { temporaryFolder, type TestFolder } from "../../harness/temporary.ts";
import { newRepository, reopen, signal } from "../../repo/small-backup.ts";
import { commit, filling, writeLog } from "../../wal/log-writer.ts";
import { forgetting, ONE } from "../kept-points.ts";
import { factsOf, putBase } from "./bases.ts";
import { LINE, putJournal, putSpan, SEGMENT, START, wantAll } from "./spans.ts";

const at = (bytes: number) => START + BigInt(bytes);
const REQUEST = { by: "policy", policy: { last: 3 }, timeZone: "UTC", installation: { id: ONE } } as const;

/** A log that reads well, of so many segments, with a commit in each. */
function realLog(segments: number): Buffer {
  const { systemId, timeline } = LINE;
  const log = writeLog({ from: START, major: 15, systemId, timeline, segmentBytes: SEGMENT, pageBytes: 8192 });
  for (let n = 1; log.at < at(segments * SEGMENT); n += 1) log.add(n % 200 === 0 ? commit(n) : filling(2000));
  return log.bytes().subarray(0, segments * SEGMENT);
}

function flipped(bytes: Buffer, byte: number): Buffer {
  const copy = Buffer.from(bytes);
  copy.writeUInt8(copy.readUInt8(byte) ^ 1, byte);
  return copy;
}

async function withBase(body: (repository: Repository, folder: TestFolder) => Promise<void>) {
  await using folder = await temporaryFolder();
  const repository = await newRepository(createMemoryStore());
  await putBase(repository, folder.path, { facts: factsOf({ endedUs: 1_000_000n }) });
  await body(repository, folder);
}

/** What a moment replays, as one piece from {@link START} on. */
async function replayed(repository: Repository, lsn: bigint, folder: TestFolder): Promise<Buffer> {
  const search = { repository, installationId: LINE.installation, asked: { kind: "lsn", lsn } as const, signal };
  const { serving, continuous } = await findServingBases(search);
  const [first] = serving;
  assert.ok(first !== undefined);
  const options = { repository, database: undefined, roles: [], progress: silent, signal };
  await using source = await openMomentSource(first, continuous, options);
  const parts: Buffer[] = [];
  for (const name of source.wal.names) {
    const path = folder.at(`${name}-${lsn}`);
    await source.wal.fetch(name, path);
    parts.push(readFileSync(path));
  }
  return Buffer.concat(parts);
}

test("of two spans with one segment the one counts that reads on, whichever came first", async () => {
  const log = realLog(3);
  const bad = flipped(log.subarray(SEGMENT, 2 * SEGMENT), 300_000);
  const good = log.subarray(SEGMENT, 2 * SEGMENT);
  for (const order of [
    [good, bad],
    [bad, good],
    [good, bad.subarray(0, 600_000)],
  ]) {
    await withBase(async (repository, folder) => {
      await putSpan(repository, { at: 0, bytes: log.subarray(0, SEGMENT) });
      for (const bytes of order) await putSpan(repository, { at: SEGMENT, bytes });
      await putSpan(repository, { at: 2 * SEGMENT, bytes: log.subarray(2 * SEGMENT) });
      const { window } = await lookAtWindow(repository, LINE.installation, { signal });
      assert.deepEqual(
        [window.ranges.map(({ from, to }) => [from, to]), window.gaps],
        [[[at(1000), at(3 * SEGMENT)]], []],
      );
      assert.ok((await replayed(repository, at(3 * SEGMENT), folder)).equals(log));
    });
  }
});

test("where nobody can tell, the moments that need it cannot be had, and those on either side can", async () => {
  await withBase(async (repository, folder) => {
    const log = randomBytes(5 * SEGMENT);
    const fork = SEGMENT + 300_000;
    await putSpan(repository, { at: 0, bytes: log.subarray(0, 2 * SEGMENT) });
    await putSpan(repository, { at: SEGMENT, bytes: flipped(log, fork).subarray(SEGMENT, 3 * SEGMENT) });
    await putSpan(repository, { at: 3 * SEGMENT, bytes: log.subarray(3 * SEGMENT) });
    await mkdir(folder.at("empty"));
    const later = { from: at(3 * SEGMENT), to: at(3 * SEGMENT + 1000), endedUs: 9_000_000n };
    await putBase(repository, folder.at("empty"), { facts: factsOf(later) });
    const { window } = await lookAtWindow(repository, LINE.installation, { signal });
    assert.deepEqual(
      window.ranges.map(({ from, to }) => [from, to]),
      [
        [at(1000), at(fork)],
        [at(3 * SEGMENT + 1000), at(5 * SEGMENT)],
      ],
    );
    assert.deepEqual(
      window.gaps.map(({ reason, from, to }) => [reason, from, to]),
      [
        ["log-twice", at(fork), at(2 * SEGMENT)],
        ["no-base", at(2 * SEGMENT), at(3 * SEGMENT + 1000)],
      ],
    );
    const before = await replayed(repository, at(fork), folder);
    assert.ok(before.subarray(0, fork).equals(log.subarray(0, fork)));
    assert.ok(
      before.subarray(fork).every((byte) => byte === 0),
      "nothing of either version is replayed",
    );
    const behind = await replayed(repository, at(5 * SEGMENT), folder);
    assert.ok(behind.equals(log.subarray(3 * SEGMENT)));
    await assert.rejects(replayed(repository, at(2 * SEGMENT + 5), folder), (error) =>
      isFailure(error, "moment/outside"),
    );
    await assert.rejects(
      readWal(repository, await wantAll(repository), folder.at("all"), { signal }),
      (error) => isFailure(error, "repo/damaged") && error.message.includes("two different versions"),
    );
  });
});

test("at the log's end the window ends where versions begin, says why, and no earlier base is taken to serve what comes", async () => {
  await withBase(async (repository) => {
    const log = randomBytes(2 * SEGMENT);
    await putSpan(repository, { at: 0, bytes: log });
    await putSpan(repository, { at: SEGMENT, bytes: flipped(log, SEGMENT + 70_000).subarray(SEGMENT) });
    const { window, ...lists } = await lookAtWindow(repository, LINE.installation, { signal });
    assert.deepEqual(
      [window.ranges.map(({ to }) => to), window.gaps.map(({ reason, to }) => [reason, to])],
      [[at(SEGMENT + 70_000)], [["log-twice", at(2 * SEGMENT)]]],
    );
    const kept = { line: LINE, history: { timeline: 1, parents: [] }, start: at(0), position: at(2 * SEGMENT + 100) };
    assert.equal(servingBases(lists, kept, false).length, 1);
    const settled = await settleListed(repository, lists, { signal });
    assert.deepEqual(servingBases({ ...lists, settled }, kept, false), []);
  });
});

test("of two objects of the journal with one stretch the one counts that reads on; else the log ends there", async () => {
  const log = realLog(1).subarray(0, 90_000);
  for (const isReal of [true, false]) {
    await withBase(async (repository, folder) => {
      const bytes = isReal ? log : randomBytes(90_000);
      await putJournal(repository, { at: 0, bytes: bytes.subarray(0, 30_000) });
      await putJournal(repository, { at: 30_000, bytes: flipped(bytes, 40_000).subarray(30_000, 60_000) });
      await putJournal(repository, { at: 30_000, bytes: bytes.subarray(30_000, 70_000) });
      await putJournal(repository, { at: 70_000, bytes: bytes.subarray(70_000) });
      const { window } = await lookAtWindow(repository, LINE.installation, { signal });
      const end = isReal ? 90_000 : 40_000;
      assert.deepEqual(
        [window.ranges.map(({ to }) => to), window.gaps.map(({ reason }) => reason)],
        [[at(end)], isReal ? [] : ["log-twice"]],
      );
      const read = await replayed(repository, at(end), folder);
      assert.ok(read.subarray(0, end).equals(bytes.subarray(0, end)) && read.subarray(end).every((byte) => byte === 0));
    });
  }
});

test("a span of another log in the place of the journal's: forget leaves the journal, and what comes back is the server's", async () => {
  await withBase(async (repository, folder) => {
    const log = realLog(3);
    const bad = flipped(log, SEGMENT + 300_000);
    await putSpan(repository, { at: 0, bytes: log.subarray(0, SEGMENT) });
    await putSpan(repository, { at: SEGMENT, bytes: bad.subarray(SEGMENT, 2 * SEGMENT) });
    await putSpan(repository, { at: 2 * SEGMENT, bytes: log.subarray(2 * SEGMENT) });
    for (const [from, to] of [
      [SEGMENT, SEGMENT + 200_000],
      [SEGMENT + 200_000, SEGMENT + 900_000],
      [SEGMENT + 900_000, 2 * SEGMENT],
    ] as const) {
      await putJournal(repository, { at: from, bytes: log.subarray(from, to) });
    }
    // What lies before the first byte that differs is in the span, too; behind it the span does not count.
    const line = { bases: 0, spans: 0, follows: 0, journal: 1 };
    const summary = await forget(forgetting(reopen(repository), REQUEST));
    assert.deepEqual(summary.continuous?.[0]?.forgotten, line);
    const end = at(3 * SEGMENT);
    assert.ok((await replayed(reopen(repository), end, folder)).equals(log));
  });
});

test("a beginning of the server's log and a longer span of another's: what the journal has of the rest counts", async () => {
  await withBase(async (repository, folder) => {
    const log = realLog(3);
    const bad = flipped(log, SEGMENT + 300_000);
    await putSpan(repository, { at: 0, bytes: log.subarray(0, SEGMENT + 600_000) });
    await putSpan(repository, { at: SEGMENT, bytes: bad.subarray(SEGMENT, 2 * SEGMENT) });
    await putSpan(repository, { at: 2 * SEGMENT, bytes: log.subarray(2 * SEGMENT) });
    for (const [from, to] of [
      [SEGMENT + 500_000, SEGMENT + 900_000],
      [SEGMENT + 900_000, 2 * SEGMENT],
    ] as const) {
      await putJournal(repository, { at: from, bytes: log.subarray(from, to) });
    }
    const { window } = await lookAtWindow(repository, LINE.installation, { signal });
    assert.deepEqual(
      [window.ranges.map(({ from, to }) => [from, to]), window.gaps],
      [[[at(1000), at(3 * SEGMENT)]], []],
    );
    const { forgotten } = (await forget(forgetting(reopen(repository), REQUEST))).continuous?.[0] ?? {};
    assert.equal(forgotten?.journal, 0);
    assert.ok((await replayed(reopen(repository), at(3 * SEGMENT), folder)).equals(log));
  });
});

test("what overlaps and is the same is one log", async () => {
  await withBase(async (repository, folder) => {
    const log = randomBytes(3 * SEGMENT);
    await putSpan(repository, { at: 0, bytes: log.subarray(0, 2 * SEGMENT) });
    await putSpan(repository, { at: SEGMENT, bytes: log.subarray(SEGMENT) });
    await putSpan(repository, { at: 2 * SEGMENT, bytes: log.subarray(2 * SEGMENT, 2 * SEGMENT + 5000) });
    const { bases, spans, histories } = await listContinuous(repository, LINE.installation, { signal });
    assert.deepEqual(await settleListed(repository, { bases, spans, histories }, { signal }), {
      wrong: [],
      undecided: [],
    });
    assert.ok((await replayed(repository, at(3 * SEGMENT), folder)).equals(log));
  });
});

test("beginnings that stayed beside whole segments are one log, however many, and what differs among them is settled", async () => {
  await withBase(async (repository, folder) => {
    const log = realLog(LIMITS.settledSegments + 2);
    await putSpan(repository, { at: 0, bytes: log });
    for (let from = 0; from < log.length; from += SEGMENT) {
      await putSpan(repository, { at: from, bytes: log.subarray(from, from + 1000) });
    }
    const bad = flipped(log, 300_000);
    for (const length of [200_000, 600_000, SEGMENT]) {
      await putSpan(repository, { at: 0, bytes: bad.subarray(0, length) });
    }
    const { window, ...lists } = await lookAtWindow(repository, LINE.installation, { signal });
    assert.deepEqual([window.ranges.map(({ to }) => to), window.gaps], [[at(log.length)], []]);
    const { wrong, undecided } = await settleListed(repository, lists, { signal });
    assert.deepEqual(undecided, []);
    assert.deepEqual(
      wrong.map(({ from, to }) => [from, to]),
      [
        [at(300_000), at(SEGMENT)],
        [at(300_000), at(600_000)],
      ],
    );
    assert.ok((await replayed(repository, at(log.length), folder)).equals(log));
  });
});

test("a beginning that the right version and a wrong one share counts, and the longer wrong one does not", async () => {
  await withBase(async (repository, folder) => {
    const log = realLog(2);
    const bad = flipped(log, SEGMENT + 400_000).subarray(SEGMENT);
    await putSpan(repository, { at: 0, bytes: log });
    await putSpan(repository, { at: SEGMENT, bytes: bad.subarray(0, 300_000) });
    await putSpan(repository, { at: SEGMENT, bytes: bad.subarray(0, 900_000) });
    assert.ok((await replayed(repository, at(2 * SEGMENT), folder)).equals(log));
  });
});
