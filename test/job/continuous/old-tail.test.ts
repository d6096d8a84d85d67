/** After a failover: what the old primary wrote alone, by what a repository has, and how many commits that is. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { LIMITS } from "../../../src/base/limits.ts";
import { listContinuous } from "../../../src/job/continuous/list.ts";
import { commitsInTail, oldTailsIn } from "../../../src/job/continuous/old-tail.ts";
import { createMemoryStore } from "../../../src/store/memory-store.ts";
import { newRepository, signal } from "../../repo/small-backup.ts";
import { commit, insertion, OPTIONS, writeLog } from "../../wal/log-writer.ts";
import { LINE, putJournal, putSpan, SEGMENT, START } from "./spans.ts";

const SERVER = { segmentBytes: SEGMENT, major: 15 };

function at(bytes: number): bigint {
  return START + BigInt(bytes);
}

test("what lies behind where a timeline was left is the old server's alone, of each failover, and since when is known by what came after it", async () => {
  const repository = await newRepository(createMemoryStore());
  const parents = [1, 2].map((timeline) => ({ timeline, switchLsn: at(timeline * SEGMENT), reason: "" }));
  const tails = async () => {
    const history = { timeline: 3, parents };
    const found = await listContinuous(repository, LINE.installation, { signal });
    return oldTailsIn(found, { line: { ...LINE, timeline: 3 }, history });
  };
  await putSpan(repository, { at: 0, bytes: Buffer.alloc(SEGMENT), atMs: 1_000_000 });
  assert.deepEqual(await tails(), [], "nothing lies behind it");
  await putJournal(repository, { at: SEGMENT, bytes: Buffer.alloc(100) });
  const first = { line: LINE, from: at(SEGMENT), to: at(SEGMENT + 100), leftMs: undefined, server: undefined };
  assert.deepEqual(await tails(), [first]);
  await putSpan(repository, { at: SEGMENT, bytes: Buffer.alloc(SEGMENT), timeline: 2, atMs: 2_000_000 });
  await putJournal(repository, { at: 2 * SEGMENT, bytes: Buffer.alloc(50), timeline: 2 });
  await putSpan(repository, { at: 2 * SEGMENT, bytes: Buffer.alloc(SEGMENT), timeline: 3, atMs: 3_000_000 });
  const line = { ...LINE, timeline: 2 };
  const second = { ...first, line, from: at(2 * SEGMENT), to: at(2 * SEGMENT + 50), leftMs: 3_000_000 };
  assert.deepEqual(await tails(), [{ ...first, leftMs: 2_000_000 }, second]);
});

test("its commits are counted in spans and the journal alike, from one position to the other", async () => {
  const log = writeLog({ ...OPTIONS, from: START, systemId: LINE.systemId });
  const ends: bigint[] = [];
  for (let xid = 700; xid < 705; xid += 1) {
    log.add(insertion(xid, 16_384));
    log.add(commit(xid));
    ends.push(log.at);
    if (xid === 702) log.switchSegment();
  }
  const bytes = log.bytes();
  const repository = await newRepository(createMemoryStore());
  await putSpan(repository, { at: 0, bytes: bytes.subarray(0, SEGMENT) });
  await putJournal(repository, { at: SEGMENT, bytes: bytes.subarray(SEGMENT) });
  const count = async (from: bigint, to = log.at) => {
    const found = await commitsInTail(repository, { line: LINE, from, to, server: SERVER }, { signal });
    return found === undefined ? undefined : [found.count, found.last?.lsn];
  };
  const [first = 0n, second = 0n, , , last] = ends;
  assert.deepEqual(await count(first), [4, last]);
  assert.deepEqual(await count(first, second), [1, second]);
  assert.deepEqual(await count(second, second + 8n), [0, undefined]);
  const times = await commitsInTail(repository, { line: LINE, from: 0n, to: log.at, server: undefined }, { signal });
  assert.equal(times, undefined, "nobody knows how it is read");
  assert.equal(await count(0n), undefined, "it is more than is read for it");
  assert.ok(log.at > BigInt(LIMITS.oldTailBytes));
});
