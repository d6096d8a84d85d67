import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { test } from "node:test";
import { isFailure } from "../../../src/base/errors.ts";
import { removeJournal } from "../../../src/job/continuous/journal.ts";
import { listContinuous } from "../../../src/job/continuous/list.ts";
import { readWalFacts } from "../../../src/job/continuous/read-base.ts";
import { readWal } from "../../../src/job/continuous/read-wal.ts";
import type { Repository } from "../../../src/repo/repository.ts";
import { createMemoryStore, type MemoryStore } from "../../../src/store/memory-store.ts";
import { segmentName } from "../../../src/wal/lsn.ts";
import { temporaryFolder, type TestFolder } from "../../harness/temporary.ts";
import { newRepository, reopen, signal } from "../../repo/small-backup.ts";
import { LINE, putJournal, putSpan, SEGMENT, START, wantAll } from "./spans.ts";

async function withRepository(body: (repository: Repository, folder: TestFolder, store: MemoryStore) => Promise<void>) {
  await using folder = await temporaryFolder();
  const store = createMemoryStore();
  await body(await newRepository(store), folder, store);
}

const names = (count: number) =>
  Array.from({ length: count }, (_, at) => segmentName(1, START + BigInt(at * SEGMENT), SEGMENT));

/** What lies in the folder, in one piece. */
function joined(folder: TestFolder, count: number): Buffer {
  return Buffer.concat(names(count).map((name) => readFileSync(folder.at("wal", name))));
}

test("spans and the journal behind them become whole segments with zeros at the end", async () => {
  await withRepository(async (repository, folder) => {
    const log = randomBytes(3 * SEGMENT - 1000);
    await putSpan(repository, { at: 0, bytes: log.subarray(0, 2 * SEGMENT) });
    await putJournal(repository, { at: 2 * SEGMENT, bytes: log.subarray(2 * SEGMENT, 2 * SEGMENT + 77) });
    await putJournal(repository, { at: 2 * SEGMENT + 77, bytes: log.subarray(2 * SEGMENT + 77) });
    const read = await readWal(reopen(repository), await wantAll(repository), folder.at("wal"), { signal });
    assert.deepEqual(read.refused, []);
    assert.deepEqual(read.reached, [START + BigInt(log.length)]);
    assert.deepEqual(read.names, names(3));
    assert.deepEqual((await readdir(folder.at("wal"))).toSorted(), names(3));
    assert.ok(joined(folder, 3).equals(Buffer.concat([log, Buffer.alloc(1000)])));
  });
});

test("a place without a journal ends in a segment's beginning, and the next span has it whole: little is stored twice", async () => {
  await withRepository(async (repository, folder, store) => {
    const log = randomBytes(SEGMENT + 500_000);
    await putSpan(repository, { at: 0, bytes: log.subarray(0, SEGMENT + 300_000) });
    const before = [...store.files.values()].reduce((sum, { length }) => sum + length, 0);
    await putSpan(repository, { at: 0, bytes: log });
    const grew = [...store.files.values()].reduce((sum, { length }) => sum + length, 0) - before;
    assert.ok(grew < 520_000, `${grew} bytes for 200,000 more`);
    await readWal(repository, await wantAll(repository), folder.at("wal"), { signal });
    assert.ok(joined(folder, 2).subarray(0, log.length).equals(log));
    const { spans } = await listContinuous(repository, LINE.installation, { signal });
    const [first] = spans;
    assert.ok(first);
    const facts = await readWalFacts(repository, first, { signal });
    assert.deepEqual(
      facts.segments.map(({ name, bytes }) => [name, bytes]),
      [
        [names(2)[0], SEGMENT],
        [`${names(2)[1]}.partial`, 300_000],
      ],
    );
    assert.deepEqual(facts.span, first.span);
  });
});

test("what comes twice and is the same is fine; what is not is refused with its position", async () => {
  await withRepository(async (repository, folder) => {
    const log = randomBytes(2 * SEGMENT);
    await putSpan(repository, { at: 0, bytes: log.subarray(0, SEGMENT + 1000) });
    await putSpan(repository, { at: SEGMENT, bytes: log.subarray(SEGMENT, SEGMENT + 2000) });
    await putJournal(repository, { at: SEGMENT + 500, bytes: log.subarray(SEGMENT + 500, SEGMENT + 5000) });
    await putJournal(repository, { at: SEGMENT + 4000, bytes: log.subarray(SEGMENT + 4000) });
    await readWal(repository, await wantAll(repository), folder.at("wal"), { signal });
    assert.ok(joined(folder, 2).equals(log));
    const other = Buffer.from(log.subarray(SEGMENT + 1500, SEGMENT + 9000));
    other.writeUInt8(other.readUInt8(3000) ^ 1, 3000);
    await putJournal(repository, { at: SEGMENT + 1500, bytes: other });
    await assert.rejects(
      readWal(repository, await wantAll(repository), folder.at("again"), { signal }),
      (error) => isFailure(error, "repo/damaged") && error.message.includes("two different versions"),
    );
    // What lies before is there for a moment before.
    const wanted = { ...(await wantAll(repository, 2 * SEGMENT)), isOpenEnd: true };
    const read = await readWal(repository, wanted, folder.at("before"), { signal });
    const [reached = 0n] = read.reached;
    assert.ok(reached >= START + BigInt(SEGMENT + 1500) && reached <= START + BigInt(SEGMENT + 4500));
    const last = readFileSync(folder.at("before", names(2)[1] ?? ""));
    const length = Number(reached - START) - SEGMENT;
    assert.ok(last.subarray(0, length).equals(log.subarray(SEGMENT, SEGMENT + length)));
    assert.ok(last.subarray(length).every((byte) => byte === 0));
  });
});

test("two spans that say different things of one segment are refused", async () => {
  await withRepository(async (repository, folder) => {
    const log = randomBytes(SEGMENT);
    const other = Buffer.from(log);
    other.writeUInt8(other.readUInt8(7) ^ 1, 7);
    await putSpan(repository, { at: 0, bytes: log });
    await putSpan(repository, { at: 0, bytes: other.subarray(0, 5000) });
    await assert.rejects(
      readWal(repository, await wantAll(repository), folder.at("wal"), { signal }),
      (error) => isFailure(error, "repo/damaged") && error.message.includes("two different versions"),
    );
  });
});

test("behind a gap nothing counts, and a moment behind it is refused", async () => {
  await withRepository(async (repository, folder) => {
    const log = randomBytes(4 * SEGMENT);
    await putSpan(repository, { at: 0, bytes: log.subarray(0, SEGMENT) });
    await putJournal(repository, { at: SEGMENT, bytes: log.subarray(SEGMENT, SEGMENT + 10) });
    await putJournal(repository, { at: SEGMENT + 20, bytes: log.subarray(SEGMENT + 20, SEGMENT + 40) });
    await putSpan(repository, { at: 2 * SEGMENT, bytes: log.subarray(2 * SEGMENT) });
    const read = await readWal(repository, await wantAll(repository), folder.at("wal"), { signal });
    assert.deepEqual(read.reached, [START + BigInt(SEGMENT + 10)]);
    assert.deepEqual((await readdir(folder.at("wal"))).toSorted(), names(2));
    assert.ok(joined(folder, 2).equals(Buffer.concat([log.subarray(0, SEGMENT + 10), Buffer.alloc(SEGMENT - 10)])));
    await assert.rejects(
      readWal(repository, await wantAll(repository, 3 * SEGMENT), folder.at("again"), { signal }),
      (error) => isFailure(error, "moment/outside"),
    );
    const before = { ...(await wantAll(repository, 3 * SEGMENT)), isOpenEnd: true };
    const found = await readWal(repository, before, folder.at("before"), { signal });
    assert.deepEqual(found.reached, [START + BigInt(SEGMENT + 10)]);
  });
});

test("another cluster's, and another timeline's, are never taken for this one's", async () => {
  await withRepository(async (repository, folder) => {
    const log = randomBytes(SEGMENT);
    await putSpan(repository, { at: 0, bytes: log });
    await putSpan(repository, { at: SEGMENT, bytes: randomBytes(SEGMENT), systemId: "1" });
    await putJournal(repository, { at: SEGMENT, bytes: randomBytes(100), systemId: "1" });
    const histories = new Map([[2, "1\t16/B3080000\tno recovery target specified\n"]]);
    const second = randomBytes(SEGMENT);
    await putSpan(repository, { at: 0, bytes: second, timeline: 2, histories });
    const wanted = await wantAll(repository);
    const read = await readWal(repository, wanted, folder.at("wal"), { signal });
    assert.deepEqual(read.reached, [START + BigInt(SEGMENT)]);
    const legs = [
      { timeline: 1, from: START, to: START + 0x80000n },
      { timeline: 2, from: START + 0x80000n, to: undefined },
    ];
    const both = await readWal(repository, { ...wanted, legs }, folder.at("both"), { signal });
    const onTwo = segmentName(2, START, SEGMENT);
    assert.deepEqual(both.names, ["00000002.history", names(1)[0], onTwo]);
    assert.ok(readFileSync(folder.at("both", onTwo)).equals(second));
    assert.equal(readFileSync(folder.at("both", "00000002.history"), "utf8"), histories.get(2));
  });
});

test("what a damaged journal object held is a gap unless another has it, and is told", async () => {
  await withRepository(async (repository, folder, store) => {
    const log = randomBytes(1000);
    await putJournal(repository, { at: 0, bytes: log.subarray(0, 500) });
    const [name] = [...store.files.keys()].filter((key) => key.startsWith("chatkeep/"));
    assert.ok(name !== undefined);
    store.files.set(name, randomBytes(300));
    await putJournal(repository, { at: 500, bytes: log.subarray(500) });
    const nothing = await readWal(repository, await wantAll(repository), folder.at("none"), { signal });
    assert.deepEqual([nothing.reached, nothing.refused.length, nothing.names], [[START], 1, []]);
    await putJournal(repository, { at: 0, bytes: log.subarray(0, 500) });
    const read = await readWal(repository, await wantAll(repository), folder.at("wal"), { signal });
    assert.deepEqual([read.reached, read.refused.length], [[START + 1000n], 1]);
    assert.ok(joined(folder, 1).subarray(0, 1000).equals(log));
  });
});

test("what a watch took out of the journal since it was listed is read from the span that it went into", async () => {
  await withRepository(async (repository, folder) => {
    const log = randomBytes(SEGMENT + 9000);
    await putSpan(repository, { at: 0, bytes: log.subarray(0, SEGMENT) });
    await putJournal(repository, { at: SEGMENT, bytes: log.subarray(SEGMENT, SEGMENT + 4000) });
    await putJournal(repository, { at: SEGMENT + 4000, bytes: log.subarray(SEGMENT + 4000) });
    await repository.loadIndex({ signal });
    const asFarAsItGoes = await wantAll(repository);
    const toItsEnd = await wantAll(repository, log.length);
    const watch = reopen(repository);
    await putSpan(watch, { at: SEGMENT, bytes: log.subarray(SEGMENT) });
    const { journal } = await listContinuous(watch, LINE.installation, { signal });
    await removeJournal(watch, journal.objects, { signal });
    for (const [place, wanted] of Object.entries({ wal: toItsEnd, again: asFarAsItGoes })) {
      const read = await readWal(repository, wanted, folder.at(place), { signal });
      assert.deepEqual([read.refused, read.reached], [[], [START + BigInt(log.length)]]);
    }
    assert.ok(joined(folder, 2).subarray(0, log.length).equals(log));
    // What is nowhere any more is said to lack.
    const beyond = { ...toItsEnd, journal: [...journal.objects], spans: [], legs: toItsEnd.legs };
    const empty = await newRepository(createMemoryStore());
    await assert.rejects(readWal(empty, beyond, folder.at("none"), { signal }), (error) =>
      isFailure(error, "moment/outside"),
    );
  });
});
