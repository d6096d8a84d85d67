import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import {
  type Base,
  baseOf,
  baseTags,
  describePiece,
  followOf,
  followTags,
  formatMicros,
  journalName,
  parseJournalName,
  parseMicros,
  type WalSpan,
  walOf,
  walTags,
} from "../../src/point/continuous.ts";

const LINE = { installation: "acme", systemId: "7412345678901234567", timeline: 3 };

test("an instant keeps its microseconds", () => {
  assert.equal(formatMicros(1_795_449_530_123_456n), "2026-11-23T15:58:50.123456Z");
  const us = fc.bigInt({ min: 0n, max: 4_000_000_000_000_000n });
  fc.assert(fc.property(us, (at) => assert.equal(parseMicros(formatMicros(at)), at)));
  for (const text of [undefined, "", "2026-11-23T15:58:50Z", "2026-13-23T15:58:50.123456Z"]) {
    assert.equal(parseMicros(text), undefined);
  }
});

test("a span of the log says in its tags what it is", () => {
  const span: WalSpan = {
    ...LINE,
    from: 0x16_b300_0000n,
    to: 0x16_b700_0000n,
    firstCommitUs: 1n,
    lastCommitUs: undefined,
  };
  assert.deepEqual(walOf(walTags(span)), span);
  const setBack = { mostUs: 2_100_000_000_000_000n, leastUs: 1_795_449_530_123_456n };
  assert.deepEqual(walOf(walTags({ ...span, setBack })), { ...span, setBack });
  for (const minimal of [
    { from: span.from, to: span.to, lastUs: 7n },
    { from: span.from, to: span.to },
  ]) {
    assert.deepEqual(walOf(walTags({ ...span, minimal })), { ...span, minimal });
  }
  assert.equal(baseOf(walTags(span)), undefined);
  for (const tag of walTags(span).filter((each) => !each.startsWith("first="))) {
    assert.equal(walOf(walTags(span).filter((each) => each !== tag)), undefined, tag);
  }
});

test("a base says in its tags what it is", () => {
  const base: Base = { ...LINE, from: 1n, to: 2n, major: 15, segmentBytes: 2 ** 24, beganUs: 5n, bytes: 991 };
  assert.deepEqual(baseOf(baseTags(base)), base);
  for (const tag of baseTags(base)) assert.equal(baseOf(baseTags(base).filter((each) => each !== tag)), undefined, tag);
});

test("followed files say in their tags what they are", () => {
  const follow = { installation: "acme", beganMs: 1_795_449_530_123, files: 3, bytes: 991 };
  assert.deepEqual(followOf(followTags(follow)), follow);
  for (const tag of followTags(follow)) {
    assert.equal(followOf(followTags(follow).filter((each) => each !== tag)), undefined, tag);
  }
});

test("names of the journal sort as their positions do", () => {
  const line = { ...LINE, firstCommitUs: undefined, lastCommitUs: undefined };
  const lsn = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
  fc.assert(
    fc.property(lsn, lsn, (a, b) => {
      const [one, other] = [a, b].map((from) => journalName({ ...line, from, to: from }, "0a1b2c3d"));
      assert.ok(one !== undefined && other !== undefined);
      assert.equal(one < other, a < b);
      assert.deepEqual(parseJournalName(one), { systemId: LINE.systemId, timeline: 3, from: a, to: a });
    }),
  );
  assert.equal(parseJournalName("7412345678901234567-00000003-0-1"), undefined);
});

test("a piece is named by the times that a list shows, and by positions where it has none", () => {
  const at = { ...LINE, from: 0x16_b300_0000n, to: 0x16_b700_0000n };
  const base = { ...at, major: 15, segmentBytes: 16_777_216, bytes: 5, beganUs: 0n, endedUs: 1_795_449_530_123_456n };
  assert.equal(describePiece(baseTags(base)), "the base of 2026-11-23T15:58:50.123456Z");
  const quiet = walTags({ ...at, firstCommitUs: undefined, lastCommitUs: undefined });
  assert.equal(describePiece(quiet), "the log from 16/B3000000 to 16/B7000000 of timeline 3");
  const busy = walTags({ ...at, firstCommitUs: 0n, lastCommitUs: 1_795_449_530_123_456n });
  assert.match(describePiece(busy), /timeline 3 \(1970-01-01T00:00:00.000000Z to 2026-11-23T15:58:50.123456Z\)$/);
  assert.equal(describePiece(followTags({ installation: "acme", beganMs: 1, files: 2, bytes: 3 })), "followed files");
  assert.match(describePiece(quiet.filter((tag) => !tag.startsWith("from="))), /nobody knows/);
});
