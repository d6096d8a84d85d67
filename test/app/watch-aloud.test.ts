/** What a watch says on its terminal of what it finds. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { WatchAloud } from "../../src/app/watch-aloud.ts";
import type { Finding } from "../../src/base/findings.ts";
import { LIMITS } from "../../src/base/limits.ts";
import { HandClock } from "../harness/hand-clock.ts";

const away: Finding = { kind: "log-not-received", level: "alarm", message: "nobody answers", hint: "Is it up?" };
const slow: Finding = { kind: "log-behind", level: "warning", message: "it is slow", hint: "Wait." };
const clock: Finding = { kind: "clock-differs", level: "note", message: "the clock is off", hint: "Set it." };
const parted: Finding = { kind: "log-parted", level: "alarm", event: "1", message: "it parted", hint: "Look." };

function aloud() {
  const said: string[] = [];
  const hand = new HandClock();
  const watch = new WatchAloud({
    clock: hand,
    warn: (what) => void said.push(typeof what === "string" ? what : `${what.level}: ${what.message}`),
  });
  return { said, hand, watch };
}

test("what needs somebody is said when it appears, however long it lasts, and when it is over; a note is not", async () => {
  const { said, hand, watch } = aloud();
  for (let look = 0; look < 30; look += 1) {
    watch.say([away, clock]);
    await hand.advance(LIMITS.watchReportMs);
  }
  watch.say([slow]);
  watch.say([{ ...slow, level: "alarm" }]);
  watch.say([]);
  assert.deepEqual(said, [
    "alarm: nobody answers",
    "over, after 2 min 30 s: nobody answers",
    "warning: it is slow",
    "alarm: it is slow",
    "over, after 0.0 s: it is slow",
  ]);
});

test("what comes and goes all the time is said as seldom as channels are told, and what happened is never over", async () => {
  const { said, hand, watch } = aloud();
  for (let look = 0; look < 60; look += 1) {
    watch.say(look % 2 === 0 ? [away, parted] : [parted]);
    await hand.advance(LIMITS.watchReportMs);
  }
  assert.deepEqual(said, ["alarm: nobody answers", "alarm: it parted", "over, after 5.0 s: nobody answers"]);
  await hand.advance(LIMITS.watchToldAgainMs);
  watch.say([away]);
  assert.deepEqual(said.slice(3), ["alarm: nobody answers"]);
});
