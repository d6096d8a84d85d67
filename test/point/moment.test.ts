import assert from "node:assert/strict";
import { test } from "node:test";
import {
  formatPosition,
  isMomentAlone,
  isSameMoment,
  momentOf,
  momentTags,
  parseMoment,
} from "../../src/point/moment.ts";

const NOW_MS = Date.parse("2026-11-23T16:00:00.500Z");
const NOW_US = BigInt(NOW_MS) * 1000n;

test("a moment is a time with its zone, so long ago, now, or a position of the log", () => {
  const times = {
    "2026-11-23T16:58:50+01:00": BigInt(Date.parse("2026-11-23T15:58:50Z")) * 1000n,
    "2026-11-23 15:58:50.1Z": BigInt(Date.parse("2026-11-23T15:58:50.100Z")) * 1000n,
    "2026-11-23T15:58:50.123456Z": BigInt(Date.parse("2026-11-23T15:58:50.123Z")) * 1000n + 456n,
    "2026-11-23T15:58:50.00000199Z": BigInt(Date.parse("2026-11-23T15:58:50Z")) * 1000n + 1n,
    "-90s": NOW_US - 90_000_000n,
    "-5m": NOW_US - 300_000_000n,
    "-2h": NOW_US - 7_200_000_000n,
    "-1d": NOW_US - 86_400_000_000n,
  };
  for (const [word, us] of Object.entries(times))
    assert.deepEqual(parseMoment(word, NOW_MS), { kind: "time", us }, word);
  const place = { lsn: 0x16b3748n, timeline: 2, systemId: "7570000000000000001" };
  for (const asked of [{ lsn: place.lsn }, { lsn: place.lsn, timeline: 2 }, place]) {
    assert.deepEqual(parseMoment(formatPosition(asked), NOW_MS), { kind: "lsn", ...asked });
  }
  assert.equal(formatPosition(place), "lsn:7570000000000000001.2:0/16B3748");
  for (const word of ["lsn:1:", "lsn:x:0/1", "lsn:7.:0/1", "lsn:1:2:0/1"])
    assert.equal(parseMoment(word, NOW_MS), undefined);
  assert.deepEqual(parseMoment("now", NOW_MS), { kind: "now" });
  assert.deepEqual(parseMoment("lsn:16/B374D848", NOW_MS), { kind: "lsn", lsn: 0x16b374d848n });
  for (const word of [
    "latest",
    "proven",
    "0123abcd",
    "2026-11-23",
    "2026-11-23T16:58",
    "5m",
    "-5",
    "-5w",
    "lsn:",
    "lsn:0",
    "lsn:0/x",
  ])
    assert.equal(parseMoment(word, NOW_MS), undefined, word);
});

test("only a plain time may mean a restore point, too", () => {
  for (const word of ["now", "-5m", "lsn:0/16B3748"]) assert(isMomentAlone(word), word);
  for (const word of ["2026-11-23T16:58:50Z", "latest", "abcd"]) assert.equal(isMomentAlone(word), false, word);
});

test("tags of a moment say all of it, and those of others nothing", () => {
  const facts = {
    us: NOW_US + 7n,
    upTo: 5n << 32n,
    systemId: "7300000000000000001",
    timeline: 3,
    replayedTo: 99n,
    madeMs: NOW_MS,
  };
  assert.deepEqual(momentOf(["chatkeep", ...momentTags(facts)]), facts);
  assert.deepEqual(momentOf(momentTags({ ...facts, upTo: undefined })), { ...facts, upTo: undefined });
  assert.equal(momentOf(["chatkeep", "at=2026-11-23T16:00:00Z"]), undefined);
  for (const lacking of ["moment=", "system=", "timeline=", "lsn=", "made="]) {
    assert.equal(momentOf(momentTags(facts).filter((tag) => !tag.startsWith(lacking))), undefined, lacking);
  }
});

test("a moment is the same in the same history, by its time, or by the position that it was brought to", () => {
  const line = { systemId: "1", timeline: 1 };
  const ofTime = { ...line, us: 5n, upTo: undefined, replayedTo: 9n, madeMs: 0 };
  const ofPosition = { ...ofTime, upTo: 8n };
  assert(isSameMoment(ofTime, { kind: "time", us: 5n }, line));
  assert(isSameMoment(ofPosition, { kind: "lsn", lsn: 8n }, line));
  assert.equal(isSameMoment(ofTime, { kind: "time", us: 6n }, line), false);
  assert.equal(isSameMoment(ofPosition, { kind: "time", us: 5n }, line), false);
  for (const facts of [ofTime, ofPosition]) {
    assert(isSameMoment(facts, { kind: "lsn", lsn: 9n }, line));
    assert.equal(isSameMoment(facts, { kind: "lsn", lsn: 7n }, line), false);
  }
  assert.equal(isSameMoment(ofTime, { kind: "time", us: 5n }, { ...line, timeline: 2 }), false);
});
