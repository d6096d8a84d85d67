import assert from "node:assert/strict";
import { test } from "node:test";
import { missingFindings, storageFindings } from "../../src/job/findings.ts";
import type { StorageState } from "../../src/job/storage-state.ts";
import type { MissingBlob } from "../../src/point/manifest.ts";

const STARTED = "2026-11-28T02:30:00.000Z";
const MARCH = "2026-03-03T02:30:00.000Z";
const MAY = "2026-05-05T02:30:00.000Z";

function told(...missing: Partial<MissingBlob>[]): string[] {
  const whole = missing.map((some, at): MissingBlob => {
    return { id: String(at), key: "k", filename: "f", bytes: 1, reason: "missing", since: MARCH, ...some };
  });
  const found = missingFindings({
    point: "ab12cd34ef".repeat(6),
    startedAt: STARTED,
    service: "local",
    missing: whole,
  });
  return found.map(({ level, message }) => `${level}: ${message}`);
}

test("what a point lacks of the uploaded files is told with how many, and since when", () => {
  assert.deepEqual(told({}), [
    "note: restore point ab12cd34 lacks 1 uploaded file of storage 'local', or has it damaged: since 2026-03-03",
  ]);
  assert.deepEqual(told({ since: MAY }, { reason: "altered" }, { reason: "unreadable" }), [
    "note: restore point ab12cd34 lacks 3 uploaded files of storage 'local', or has them damaged: since 2026-03-03, the last since 2026-05-05",
  ]);
});

test("it is an alarm while the newest point is the first to say so", () => {
  assert.deepEqual(told({}, { since: STARTED }), [
    "alarm: restore point ab12cd34 lacks 2 uploaded files of storage 'local', or has them damaged: since 2026-03-03, the last since 2026-11-28, 1 of them new in this point",
  ]);
});

test("what Chatwoot deleted, and what an earlier copy stands in for, is not lost", () => {
  assert.deepEqual(told(), []);
  assert.deepEqual(told({ reason: "purged" }, { kept: true, since: STARTED }), []);
});

/** A service of so many files, of which the first ones are lost. */
function stateOf(files: number, lost: number, some: Partial<MissingBlob> = {}): StorageState {
  const missing = Array.from({ length: lost }, (_, at): MissingBlob => {
    return { id: String(at), key: "k", filename: "voice.ogg", bytes: 1, reason: "missing", since: MARCH, ...some };
  });
  const folder = { count: files, bytes: files, withoutChecksum: 0, hash: "", tree: undefined };
  const service = {
    name: "local",
    folders: new Map([["0", folder]]),
    missing: new Map(missing.map((blob) => [blob.id, blob])),
    reasons: new Map(),
  };
  return new Map([["local", service]]);
}

function levelOnceKnown(files: number, lost: number): string | undefined {
  const state = stateOf(files, lost);
  return storageFindings(state, state, () => undefined)[0]?.level;
}

test("a known loss is let be while it is small; a service that lacks much of what it had stays an alarm", () => {
  assert.equal(levelOnceKnown(20, 1), "note");
  assert.equal(levelOnceKnown(20, 10), "note");
  assert.equal(levelOnceKnown(20, 11), "alarm");
  assert.equal(levelOnceKnown(3, 3), "alarm", "few, but all");
  assert.equal(levelOnceKnown(1, 1), "alarm");
  assert.equal(levelOnceKnown(100_000, 2_000), "note", "an old installation");
  assert.equal(levelOnceKnown(100_000, 2_001), "alarm");
});

test("a large loss says how to acknowledge it, and is another one as soon as something is added", () => {
  const before = stateOf(20, 15);
  const [first] = storageFindings(before, undefined, () => undefined);
  const [next] = storageFindings(before, before, () => undefined);
  assert.deepEqual([first?.level, next?.level], ["alarm", "alarm"]);
  assert.equal(next?.subject, first?.subject, "what is acknowledged on the first day is on the next");
  assert.match(next?.hint ?? "", /'chatkeep ack blobs-missing'/);
  const [later] = storageFindings(stateOf(20, 15, { since: MAY }), before, () => undefined);
  assert.notEqual(later?.subject, first?.subject);
  const [small] = storageFindings(stateOf(20, 1), undefined, () => undefined);
  assert.doesNotMatch(small?.hint ?? "", /chatkeep ack/);
});

test("names that customers gave to files are for the terminal alone", () => {
  const [finding] = storageFindings(stateOf(20, 1), undefined, () => undefined);
  assert.match(finding?.message ?? "", /not there: voice\.ogg \(blob 0\)$/);
  assert.match(finding?.discreet ?? "", /not there: blob 0$/);
});

function hintOf(some: Partial<MissingBlob>): string {
  return storageFindings(stateOf(20, 1, some), undefined, () => undefined)[0]?.hint ?? "";
}

test("where an earlier copy was kept, the hint is this point and not an older one", () => {
  assert.match(hintOf({ kept: true }), /^This restore point has .*'chatkeep restore latest --only storage --to DIR'/);
  assert.doesNotMatch(hintOf({ kept: true }), /older restore point/);
  assert.match(hintOf({}), /older restore point/);
});
