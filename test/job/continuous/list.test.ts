import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { removeJournal } from "../../../src/job/continuous/journal.ts";
import { listContinuous, lookAtWindow } from "../../../src/job/continuous/list.ts";
import { readWal } from "../../../src/job/continuous/read-wal.ts";
import { serve } from "../../../src/policy/window.ts";
import { createMemoryStore } from "../../../src/store/memory-store.ts";
import { FaultyStore } from "../../harness/faulty-store.ts";
import { temporaryFolder } from "../../harness/temporary.ts";
import { newRepository, reopen, signal } from "../../repo/small-backup.ts";
import { factsOf, putBase } from "./bases.ts";
import { LINE, putJournal, putSpan, SEGMENT, START } from "./spans.ts";

const at = (bytes: number) => START + BigInt(bytes);
const commit = (bytes: number, seconds: number) => ({ lsn: at(bytes), timeUs: BigInt(seconds) * 1_000_000n });

test("the window goes through spans into the journal, with the times of what was committed there", async () => {
  const repository = await newRepository(createMemoryStore());
  await using folder = await temporaryFolder();
  const log = randomBytes(SEGMENT + 900);
  const base = { beganUs: 5_000_000n, endedUs: 10_000_000n };
  await putBase(repository, folder.path, { facts: factsOf(base) });
  await putSpan(repository, { at: 0, bytes: log.subarray(0, SEGMENT), commits: [commit(2000, 11), commit(9000, 50)] });
  await putJournal(repository, { at: SEGMENT - 100, bytes: log.subarray(SEGMENT - 100, SEGMENT + 400), commits: [] });
  await putJournal(repository, {
    at: SEGMENT + 400,
    bytes: log.subarray(SEGMENT + 400),
    commits: [commit(SEGMENT + 500, 70)],
  });
  const { window, refused, odd } = await lookAtWindow(repository, LINE.installation, { signal });
  assert.deepEqual([refused, odd, window.gaps], [[], [], []]);
  assert.deepEqual(
    window.ranges.map(({ from, to, fromUs, toUs }) => [from, to, fromUs, toUs]),
    [[at(1000), at(log.length), 10_000_000n, 70_000_000n]],
  );
});

test("where a timeline comes from is known from the journal before a span says it, and from spans after", async () => {
  const repository = await newRepository(createMemoryStore());
  await using folder = await temporaryFolder();
  const [old, young] = [randomBytes(SEGMENT), randomBytes(700)];
  await putBase(repository, folder.path);
  await putSpan(repository, { at: 0, bytes: old });
  const histories = new Map([[2, "1\t16/B3080000\tno recovery target specified\n"]]);
  await putJournal(repository, { at: 0, bytes: young, timeline: 2 });
  const unknown = await lookAtWindow(repository, LINE.installation, { signal });
  assert.deepEqual(
    unknown.window.gaps.map(({ reason }) => reason),
    ["history-unknown"],
  );
  const rest = Buffer.concat([old.subarray(0, 0x80000), randomBytes(100)]);
  await putJournal(repository, { at: 0, bytes: rest, timeline: 2, histories });
  const { window, spans, journal } = await lookAtWindow(repository, LINE.installation, { signal });
  const served = serve(window, { lsn: at(0x80000 + 100) });
  assert.deepEqual(served?.legs, [
    { timeline: 1, from: START, to: at(0x80000) },
    { timeline: 2, from: at(0x80000), to: at(0x80000 + 100) },
  ]);
  const wanted = { ...LINE, segmentBytes: SEGMENT, legs: served.legs, spans, journal: journal.objects.slice(1) };
  const read = await readWal(repository, wanted, folder.at("wal"), { signal });
  assert.deepEqual(read.names.slice(0, 1), ["00000002.history"]);
  await putSpan(repository, { at: 0, bytes: randomBytes(SEGMENT), timeline: 2, histories });
  const { histories: known } = await listContinuous(repository, LINE.installation, { signal });
  assert.deepEqual(known, [
    { systemId: LINE.systemId, timeline: 2, parents: [{ timeline: 1, switchLsn: at(0x80000), reason: "" }] },
  ]);
});

test("a span that is stored while the journal is read hides no moment: what there is, is listed anew", async () => {
  const inner = createMemoryStore();
  await using folder = await temporaryFolder();
  const watch = await newRepository(inner);
  const log = randomBytes(SEGMENT);
  await putBase(watch, folder.path);
  await putJournal(watch, { at: 0, bytes: log.subarray(0, 5000), commits: [commit(2000, 11)] });
  await putJournal(watch, { at: 5000, bytes: log.subarray(5000), commits: [commit(9000, 50)] });
  const store = async () => {
    await putSpan(watch, { at: 0, bytes: log, commits: [commit(2000, 11), commit(9000, 50)] });
    const { journal } = await listContinuous(watch, LINE.installation, { signal });
    await removeJournal(watch, journal.objects, { signal });
  };
  let storing: Promise<void> | undefined;
  const faulty = new FaultyStore(inner, ({ verb, name }) =>
    verb === "get" && name?.includes("journal") ? { how: "wait", until: (storing ??= store()) } : undefined,
  );
  const { window, spans, journal } = await lookAtWindow(reopen(watch, faulty), LINE.installation, { signal });
  assert.ok(storing !== undefined);
  assert.deepEqual([spans.length, journal.objects.length, window.gaps], [1, 0, []]);
  assert.deepEqual(
    window.ranges.map(({ to, toUs }) => [to, toUs]),
    [[at(SEGMENT), 50_000_000n]],
  );
});
