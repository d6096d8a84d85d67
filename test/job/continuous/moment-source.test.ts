/** What serves a moment, and what is told of one that nothing serves. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { Failure, isFailure } from "../../../src/base/errors.ts";
import { parseChunkId } from "../../../src/base/ids.ts";
import { type Progress, silent } from "../../../src/base/progress.ts";
import { findServingBases, openMomentSource, withServingBase } from "../../../src/job/continuous/moment-source.ts";
import { earlierBaseNeeded, needsEarlierBase, recoveryFailure } from "../../../src/postgres/recovery-failure.ts";
import type { AskedMoment } from "../../../src/point/moment.ts";
import type { Repository } from "../../../src/repo/repository.ts";
import { createMemoryStore } from "../../../src/store/memory-store.ts";
import { temporaryFolder, type TestFolder } from "../../harness/temporary.ts";
import { newRepository, signal } from "../../repo/small-backup.ts";
import { factsOf, putBase } from "./bases.ts";
import { LINE, putSpan, SEGMENT, START } from "./spans.ts";

const DAY_US = 1_796_083_200_000_000n; // 2026-12-01
const us = (seconds: number) => DAY_US + BigInt(seconds) * 1_000_000n;
const shown = (seconds: number) => `2026-12-01T00:00:${String(seconds).padStart(2, "0")}.000000Z`;
const at = (bytes: number) => START + BigInt(bytes);

let folder: TestFolder;
let repository: Repository;

/** A base, and a segment of the log after it with a commit at each of the seconds. */
async function putRange(bytes: number, seconds: readonly number[]): Promise<void> {
  const [first = 0] = seconds;
  const times = { beganUs: us(first - 2), endedUs: us(first - 1) };
  await putBase(repository, folder.path, {
    facts: factsOf({ from: at(bytes + 100), to: at(bytes + 5000), ...times }),
  });
  const commits = seconds.map((second, n) => ({ lsn: at(bytes + 10_000 * (n + 1)), timeUs: us(second) }));
  await putSpan(repository, { at: bytes, bytes: randomBytes(SEGMENT), commits });
}

before(async () => {
  folder = await temporaryFolder();
  repository = await newRepository(createMemoryStore());
  // Two segments of the log between them were never received.
  await putRange(0, [10, 20]);
  await putRange(3 * SEGMENT, [40, 50]);
});
after(async () => await folder[Symbol.asyncDispose]());

async function serving(asked: AskedMoment, of = repository) {
  return (await findServingBases({ repository: of, installationId: LINE.installation, asked, signal })).serving;
}

async function assertOutside(asked: AskedMoment, message: string, of = repository): Promise<void> {
  await assert.rejects(serving(asked, of), (error) => {
    assert.ok(isFailure(error, "moment/outside"));
    assert.equal(error.message, message);
    assert.ok((error.hint ?? "") !== "" && !message.includes("\n"));
    return true;
  });
}

test("a moment in a gap is refused with the nearest on either side, one outside with the nearest that there is", async () => {
  const inGap = `the moment ${shown(30)} cannot be had: the nearest before it is ${shown(20)}, the nearest after it is ${shown(39)}`;
  await assertOutside({ kind: "time", us: us(30) }, inGap);
  const early = `the moment ${shown(5)} cannot be had: the nearest after it is ${shown(9)}`;
  await assertOutside({ kind: "time", us: us(5) }, early);
  const late = `the moment ${shown(59)} cannot be had: the nearest before it is ${shown(50)}`;
  await assertOutside({ kind: "time", us: us(59) }, late);
});

test("a position in a gap is refused with the stretches that are there", async () => {
  await assertOutside(
    { kind: "lsn", lsn: at(2 * SEGMENT) },
    "the moment lsn:16/B3200000 cannot be had: the log is there from lsn:16/B3001388 to lsn:16/B3100000, and from lsn:16/B3301388 to lsn:16/B3400000",
  );
});

test("a position on a timeline that is not there is refused with those that are", async () => {
  await assertOutside(
    { kind: "lsn", lsn: at(10_000), timeline: 9 },
    "the moment lsn:9:16/B3002710 cannot be had: there is no timeline 9 here; the log is there from lsn:1:16/B3001388 to lsn:1:16/B3100000, and from lsn:1:16/B3301388 to lsn:1:16/B3400000",
  );
  await assertOutside(
    { kind: "lsn", lsn: at(2 * SEGMENT), timeline: 1 },
    "the moment lsn:1:16/B3200000 cannot be had: the log is there from lsn:1:16/B3001388 to lsn:1:16/B3100000, and from lsn:1:16/B3301388 to lsn:1:16/B3400000",
  );
});

test("what the refusal names can be had, and now is the newest", async () => {
  for (const [seconds, end] of [
    [20, SEGMENT],
    [39, 4 * SEGMENT],
    [9, SEGMENT],
    [50, 4 * SEGMENT],
  ] as const) {
    const [served] = await serving({ kind: "time", us: us(seconds) });
    assert.equal(served?.legs.at(-1)?.to, at(end), `${seconds}`);
  }
  const [newest] = await serving({ kind: "now" });
  assert.deepEqual([newest?.asked, newest?.isEnd], [{ kind: "time", us: us(50) }, true]);
});

test("where nothing was ever followed, that is said", async () => {
  const empty = await newRepository(createMemoryStore());
  const nothing = "the repository has nothing that a moment could be recovered from";
  await assertOutside({ kind: "now" }, nothing, empty);
  await assertOutside({ kind: "time", us: us(20) }, nothing, empty);
});

async function servingNow() {
  return await findServingBases({ repository, installationId: LINE.installation, asked: { kind: "now" }, signal });
}

test("a base that is damaged is told, and the one before it serves the moment; a drill takes no other", async () => {
  const { serving } = await servingNow();
  const [one] = serving;
  assert(one !== undefined);
  const before = { ...one, base: { ...one.base, id: "b".repeat(64) as typeof one.base.id } };
  const said: string[] = [];
  const progress: Progress = { ...silent, say: (line) => void said.push(line) };
  const damaged = new Failure("recovery/damaged", "the base is damaged");
  const attempt = async (served: typeof one) => {
    if (served === one) throw damaged;
    return served.base.id;
  };
  assert.equal(await withServingBase([one, before], attempt, { progress }), before.base.id);
  assert.equal(said.length, 1);
  assert.match(said[0] ?? "", /the base is damaged; the base of 2026-12-01T00:00:38\.000000Z is taken in its place/);
  await assert.rejects(withServingBase([one, before], attempt, { progress, isProof: true }), damaged);
  await assert.rejects(withServingBase([one], attempt, { progress }), damaged);
  const needs = earlierBaseNeeded();
  const neither = async (served: typeof one) => {
    throw served === one ? damaged : needs;
  };
  await assert.rejects(withServingBase([one, before], neither, { progress }), damaged);
  assert.equal(said.length, 2);
  // A clock that was set back: the newest base serves by its time, and that time comes no more in the log behind it.
  const ended = recoveryFailure("FATAL:  recovery ended before configured recovery target was reached", 15);
  const set = async (served: typeof one) => {
    if (served === one) throw ended;
    return served.base.id;
  };
  assert.equal(await withServingBase([one, before], set, { progress, isProof: true }), before.base.id);
  await assert.rejects(withServingBase([one], set, { progress }), ended);
  const refused = new Failure("store/full", "no room");
  const full = async () => {
    throw refused;
  };
  await assert.rejects(withServingBase([one, before], full, { progress }), refused);
});

test("a base of which a part is gone is damaged, and not the repository's fault alone", async () => {
  const { serving, continuous } = await servingNow();
  const [one] = serving;
  assert(one !== undefined);
  const tree = parseChunkId("c".repeat(64));
  const base = { ...one.base, snapshot: { ...one.base.snapshot, tree } };
  const options = { repository, database: undefined, roles: [], progress: silent, signal };
  await assert.rejects(openMomentSource({ ...one, base }, continuous, options), (error) => {
    return (
      isFailure(error, "recovery/damaged") && /the base .* of 2026-12-01T00:00:38.* is damaged/.test(error.message)
    );
  });
});

test("a recovery across log of wal_level = minimal says what lies in its way", () => {
  const failure = recoveryFailure("FATAL:  WAL was generated with wal_level=minimal, cannot continue recovering", 15);
  assert.deepEqual([failure.code, needsEarlierBase(failure)], ["recovery/failed", false]);
  assert.match(failure.message, /wal_level = minimal/);
});
