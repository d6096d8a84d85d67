/** When an account has lost more than it may: what it is compared with, and what stays. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { array, assert as assertAll, boolean, integer, property, record } from "fast-check";
import type { AccountCounts, Peak } from "../../src/base/account-counts.ts";
import {
  type AcknowledgedFall,
  comparePeaks,
  type EarlierCounts,
  type FallLimits,
  isShrinkage,
} from "../../src/policy/shrinkage.ts";

const LIMITS: FallLimits = { messages: { percent: 10, count: 100 }, contacts: { percent: 10, count: 5 } };
const DAY_MS = 86_400_000;

function dayOf(day: number): string {
  return new Date(Date.UTC(2026, 0, 1) + day * DAY_MS).toISOString();
}

interface Day {
  /** Messages of account 1; undefined when the account is gone. */
  messages: number | undefined;
  /** Somebody acknowledges what the day's point says. */
  isAcknowledged?: boolean;
}

function accountsOf({ messages }: Day): AccountCounts[] {
  const whole = { account: null, name: null, counts: { messages: messages ?? 0, contacts: 0 } };
  return messages === undefined ? [whole] : [whole, { account: "1", name: "Acme", counts: { messages } }];
}

/** Points day by day, each compared with the last: what each keeps. */
function run(days: readonly Day[], limits = LIMITS): Peak[][] {
  let before: EarlierCounts | undefined;
  const acknowledged: AcknowledgedFall[] = [];
  return days.map((day, at) => {
    const accounts = accountsOf(day);
    const peaks = comparePeaks(before, accounts, { limits, acknowledged });
    before = { accounts, peaks, point: `point-${at}`, at: dayOf(at) };
    if (day.isAcknowledged === true && peaks.some(isShrinkage)) {
      for (const { account, kind } of peaks) {
        const one = accounts.find((known) => known.account === account);
        const count = kind === "account" ? (one?.name == null ? 0 : 1) : (one?.counts[kind] ?? 0);
        acknowledged.push({ account, kind, count, point: `point-${at}`, at: dayOf(at) });
      }
    }
    return peaks;
  });
}

/** For each day, what is an alarm of account 1: its kind, from how many to how many. */
function alarms(days: readonly (Day | number)[], limits = LIMITS): string[][] {
  const all = run(
    days.map((day) => (typeof day === "number" ? { messages: day } : day)),
    limits,
  );
  return all.map((peaks) =>
    peaks
      .filter(({ account }) => account === "1")
      .filter(isShrinkage)
      .map(({ kind, count, lowest }) => `${kind} ${count} ${lowest}`),
  );
}

test("a fall is an alarm when it is more than so many and more than so many of a hundred", () => {
  const cases: [from: number, to: number, isAlarm: boolean][] = [
    [2000, 1800, false],
    [2000, 1799, true],
    [500, 400, false],
    [500, 399, true],
    [100, 0, false],
    [10_000, 9_001, false],
    [1000, 1000, false],
    [1000, 5000, false],
  ];
  for (const [from, to, isAlarm] of cases) {
    const [, second] = alarms([from, to]);
    assert.deepEqual(second, isAlarm ? [`messages ${from} ${to}`] : [], `${from} to ${to}`);
  }
  assert.deepEqual(alarms([2000, 100], { contacts: { percent: 1, count: 1 } }), [[], []]);
});

test("the first point compares with nothing", () => {
  assert.deepEqual(alarms([5]), [[]]);
  assert.deepEqual(comparePeaks(undefined, accountsOf({ messages: 5 }), { limits: LIMITS, acknowledged: [] }), []);
});

test("a loss that is small each day is an alarm once it is too much in all, however slow it goes", () => {
  const days = Array.from({ length: 400 }, (_, day) => Math.round(10_000 * 0.999 ** day));
  const found = alarms(days).findIndex((day) => day.length > 0);
  assert.deepEqual(alarms(days)[found], [`messages 10000 ${days[found]}`]);
  assert.ok((days[found] ?? 0) < 9_000 && (days[found - 1] ?? 0) >= 9_000);
});

test("an alarm stays although the numbers come back, until it is acknowledged, and then counts from there", () => {
  const acknowledged: Day = { messages: 700, isAcknowledged: true };
  assert.deepEqual(alarms([1000, 600, 1200, acknowledged, 700, 620, 580]), [
    [],
    ["messages 1000 600"],
    ["messages 1000 600"],
    ["messages 1000 600"],
    [],
    [],
    ["messages 700 580"],
  ]);
});

test("an account that is gone is an alarm if it had anything, once", () => {
  const gone: Day = { messages: undefined };
  assert.deepEqual(alarms([50, gone, { ...gone, isAcknowledged: true }, gone]), [
    [],
    ["account 1 0"],
    ["account 1 0"],
    [],
  ]);
  assert.deepEqual(alarms([0, gone]), [[], []]);
  assert.deepEqual(alarms([500, gone])[1], ["account 1 0", "messages 500 0"]);
});

test("a point of before what was acknowledged is not compared with what it had", () => {
  // The repository that was written to while the first one was away has the fall and the word about it.
  const before = { accounts: accountsOf({ messages: 1000 }), peaks: [], point: "old", at: dayOf(0) };
  const said: AcknowledgedFall = { account: "1", kind: "messages", count: 600, point: "other", at: dayOf(1) };
  const options = { limits: LIMITS, acknowledged: [said, { ...said, account: null }] };
  assert.deepEqual(comparePeaks(before, accountsOf({ messages: 600 }), options), []);
  const [, worse] = comparePeaks(before, accountsOf({ messages: 400 }), options);
  assert.deepEqual([worse?.count, worse?.lowest, worse?.point], [600, 400, "other"]);
});

test("what cannot be counted any more is not taken for gone", () => {
  const before = { accounts: accountsOf({ messages: 1000 }), peaks: [], point: "old", at: dayOf(0) };
  const now = [
    { account: null, name: null, counts: { contacts: 0 } },
    { account: "1", name: "Acme", counts: {} },
  ];
  const options = { limits: LIMITS, acknowledged: [] };
  const peaks = comparePeaks(before, now, options);
  assert.deepEqual(peaks.filter(isShrinkage), []);
  // Nor is what there was forgotten: less of it, once it can be counted again, is an alarm.
  const next = { accounts: now, peaks, point: "uncounted", at: dayOf(1) };
  const later = comparePeaks(next, accountsOf({ messages: 300 }), options).filter(isShrinkage);
  assert.deepEqual(
    later.map(({ account, kind, count, lowest, point }) => [account, kind, count, lowest, point]),
    [
      [null, "messages", 1000, 300, "old"],
      ["1", "messages", 1000, 300, "old"],
    ],
  );
  const same = comparePeaks(next, accountsOf({ messages: 1000 }), options);
  assert.deepEqual(same, []);
});

test("what the server could not read of accounts alone is counted as a whole, and no account has less for it", () => {
  const counts = { messages: 1000, contacts: 0 };
  const before = { accounts: accountsOf({ messages: 1000 }), peaks: [], point: "old", at: dayOf(0) };
  const whole: AccountCounts = { account: null, name: null, counts, uncounted: ["messages", "account"] };
  const now: AccountCounts[] = [whole, { account: "1", name: null, counts: {} }];
  assert.deepEqual(comparePeaks(before, now, { limits: LIMITS, acknowledged: [] }).filter(isShrinkage), []);
});

test("in any history the alarm is on exactly while the most since the last word is too far above the least", () => {
  const dayArbitrary = record({ messages: integer({ min: 0, max: 2000 }), isAcknowledged: boolean() });
  assertAll(
    property(array(dayArbitrary, { minLength: 1, maxLength: 30 }), (days) => {
      let most = -Infinity;
      let open: { count: number; lowest: number } | undefined;
      for (const [at, told] of alarms(days).entries()) {
        const { messages = 0, isAcknowledged = false } = days[at] ?? {};
        const fall = most - messages;
        if (open !== undefined) open.lowest = Math.min(open.lowest, messages);
        else if (fall > 100 && fall * 100 > 10 * most) open = { count: most, lowest: messages };
        most = Math.max(most, messages);
        assert.deepEqual(told, open === undefined ? [] : [`messages ${open.count} ${open.lowest}`]);
        if (open === undefined || !isAcknowledged) continue;
        open = undefined;
        most = messages;
      }
    }),
  );
});
