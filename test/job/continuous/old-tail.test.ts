/** After a failover: what the old primary wrote alone, by what repositories have, and how many commits that is. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure } from "../../../src/base/errors.ts";
import { LIMITS } from "../../../src/base/limits.ts";
import { commitsInTail, oldTailOf } from "../../../src/job/continuous/old-tail.ts";
import type { Standing } from "../../../src/job/continuous/take-up.ts";
import { createMemoryStore } from "../../../src/store/memory-store.ts";
import { newRepository, signal } from "../../repo/small-backup.ts";
import { commit, insertion, OPTIONS, writeLog } from "../../wal/log-writer.ts";
import { LINE, putJournal, putSpan, SEGMENT, START } from "./spans.ts";

const FACTS = { segmentBytes: SEGMENT, major: 15 };

function has(name: string, to: bigint | undefined | Failure) {
  const standing: Standing | undefined | Failure =
    typeof to === "bigint" ? { savedTo: 0n, durableTo: to, since: 0n } : to;
  return { place: { name }, standing };
}

test("what lies behind where a timeline was left is the old server's alone, in those that have it, the most first", () => {
  const away = has("away", new Failure("store/unreachable", "no answer"));
  const tail = (standings: ReturnType<typeof has>[]) => oldTailOf({ line: LINE, at: 100n }, standings, FACTS);
  assert.equal(tail([has("one", 100n), has("two", undefined), away]), undefined);
  const found = tail([has("less", 120n), has("none", 90n), has("most", 150n), away]);
  assert.deepEqual(found, { line: LINE, from: 100n, to: 150n, repositories: ["most", "less"], ...FACTS });
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
    const found = await commitsInTail(repository, { line: LINE, from, to, ...FACTS }, { signal });
    return found === undefined ? undefined : [found.count, found.last?.lsn];
  };
  const [first = 0n, second = 0n, , , last] = ends;
  assert.deepEqual(await count(first), [4, last]);
  assert.deepEqual(await count(first, second), [1, second]);
  assert.deepEqual(await count(second, second + 8n), [0, undefined]);
  assert.equal(await count(0n), undefined, "it is more than is read for it");
  assert.ok(log.at > BigInt(LIMITS.oldTailBytes));
});
