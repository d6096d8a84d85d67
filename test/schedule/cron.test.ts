import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { nextTime, parseCron, previousTime } from "../../src/schedule/cron.ts";
import { toOnCalendar } from "../../src/schedule/on-calendar.ts";
import { run } from "../harness/run.ts";

/** What systemd is given for each, and when it then comes after Saturday, 2026-11-28 12:00 UTC. */
const TIMES: [cron: string, zone: string, calendar: string[], next: string][] = [
  ["30 2 * * *", "UTC", ["*-*-* 02:30:00 UTC"], "2026-11-29T02:30:00Z"],
  ["30 2 * * *", "Europe/Berlin", ["*-*-* 02:30:00 Europe/Berlin"], "2026-11-29T01:30:00Z"],
  ["@daily", "UTC", ["*-*-* 00:00:00 UTC"], "2026-11-29T00:00:00Z"],
  ["0 */6 * * *", "UTC", ["*-*-* 00,06,12,18:00:00 UTC"], "2026-11-28T18:00:00Z"],
  ["*/15 * * * *", "UTC", ["*-*-* *:00,15,30,45:00 UTC"], "2026-11-28T12:15:00Z"],
  ["* * * * *", "UTC", ["*-*-* *:*:00 UTC"], "2026-11-28T12:01:00Z"],
  ["0 3 * * 7", "UTC", ["Sun *-*-* 03:00:00 UTC"], "2026-11-29T03:00:00Z"],
  ["0 3 * * mon-FRI", "UTC", ["Mon,Tue,Wed,Thu,Fri *-*-* 03:00:00 UTC"], "2026-11-30T03:00:00Z"],
  ["0 3 1,15 * *", "UTC", ["*-*-01,15 03:00:00 UTC"], "2026-12-01T03:00:00Z"],
  ["0 3 1 jul *", "UTC", ["*-07-01 03:00:00 UTC"], "2027-07-01T03:00:00Z"],
  ["0 3 15 * 1", "UTC", ["Mon *-*-* 03:00:00 UTC", "*-*-15 03:00:00 UTC"], "2026-11-30T03:00:00Z"],
  ["5 4 31 * 3", "UTC", ["Wed *-*-* 04:05:00 UTC", "*-*-31 04:05:00 UTC"], "2026-12-02T04:05:00Z"],
  ["10-20/5,50 8-9 * 12 *", "UTC", ["*-12-* 08,09:10,15,20,50:00 UTC"], "2026-12-01T08:10:00Z"],
];

const NOW = Date.parse("2026-11-28T12:00:00Z");

for (const [cron, zone, calendar, next] of TIMES) {
  test(`'${cron}' in ${zone} is ${calendar.join(" and ")} to systemd`, () => {
    const times = parseCron(cron, zone);
    assert.deepEqual(toOnCalendar(times), calendar);
    assert.equal(new Date(nextTime(times, NOW)).toISOString().replace(".000", ""), next);
  });
}

test("systemd reads the same times out of them", async () => {
  for (const [cron, zone, calendars, next] of TIMES) {
    const args = ["calendar", "--base-time=2026-11-28 12:00:00 UTC", ...calendars];
    const result = await run("systemd-analyze", args, { env: { TZ: "UTC", LC_ALL: "C" } });
    assert.equal(result.status, 0, `${cron} in ${zone}: ${result.stderr}`);
    const shown = [...result.stdout.matchAll(/^ *(?:Next elapse|\(in UTC\)): \w+ (\S+ \S+) UTC$/gm)];
    const earliest = shown.map(([, at]) => at ?? "").toSorted()[0];
    assert.equal(`${earliest?.replace(" ", "T")}Z`, next, result.stdout);
  }
});

test("a time that summer time leaves out is run once all the same", () => {
  const times = parseCron("30 2 * * *", "Europe/Berlin");
  const next = nextTime(times, Date.parse("2027-03-27T12:00:00Z"));
  assert.ok(next > Date.parse("2027-03-28T00:00:00Z") && next < Date.parse("2027-03-28T03:00:00Z"));
});

test("the last time before now is known, too", () => {
  const times = parseCron("30 2 * * *", "UTC");
  assert.equal(previousTime(times, NOW), Date.parse("2026-11-28T02:30:00Z"));
});

for (const [given, message] of [
  ["30 2 * *", /is no time that every cron understands/],
  ["0 30 2 * * *", /is no time that every cron understands/],
  ["@reboot", /is no time that every cron understands/],
  ["0 2 L * *", /is no time that every cron understands/],
  ["0 2 * * 5#1", /is no time that every cron understands/],
  ["0 2 15W * *", /is no time that every cron understands/],
  ["30 24 * * *", /is no time: Invalid value for hour: 24/],
  ["0 2 30 2 *", /it never comes/],
  ["0 2 */2 * 1", /means both days together to one cron and either of them to another/],
  ["", /is no time/],
] as const) {
  test(`'${given}' is refused with what is wrong with it`, () => {
    assert.throws(
      () => parseCron(given, "UTC"),
      (error) => isFailure(error, "config/invalid") && message.test(error.message),
    );
  });
}
