import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFailure } from "../../src/base/errors.ts";
import { daysInMonth, daysOf, isoWeek, parseSpan, Zone } from "../../src/policy/calendar.ts";
import {
  isEmptyPolicy,
  pastMoments,
  PERIODS,
  planRetention,
  type RetentionPlan,
  type RetentionPoint,
  type RetentionPolicy,
} from "../../src/policy/retention.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

function point(time: string, rest: Partial<RetentionPoint> = {}): RetentionPoint {
  return { id: time, timeMs: Date.parse(time), tags: [], isProven: false, ...rest };
}

function points(...times: string[]): RetentionPoint[] {
  return times.map((time) => point(time));
}

/** One a day at that hour of UTC, the last of them on `last`. */
function daily(last: string, count: number): RetentionPoint[] {
  const end = Date.parse(last);
  return Array.from({ length: count }, (_, at) => point(new Date(end - at * DAY).toISOString()));
}

/** The ids that stay, and why. */
function kept(plan: RetentionPlan): Record<string, string> {
  return Object.fromEntries(plan.keep.map(({ point: { id }, reasons }) => [id, reasons.join("; ")]));
}

const UTC = { timeZone: "UTC", nowMs: Date.parse("2030-01-01T00:00:00Z") };

interface Case {
  name: string;
  zone: string;
  policy: RetentionPolicy;
  points: RetentionPoint[];
  kept: Record<string, string>;
}

const CASES: Case[] = [
  {
    name: "the last two, whenever they were",
    zone: "UTC",
    policy: { last: 2 },
    points: points("2026-11-24T10:00:00Z", "2026-11-24T10:00:01Z", "2026-01-01T00:00:00Z"),
    kept: { "2026-11-24T10:00:01Z": "last 1 of 2", "2026-11-24T10:00:00Z": "last 2 of 2" },
  },
  {
    name: "of each day the newest, and days without points do not count",
    zone: "UTC",
    policy: { daily: 3 },
    points: points(
      "2026-11-24T10:00:00Z",
      "2026-11-24T02:00:00Z",
      "2026-11-20T02:00:00Z",
      "2026-11-19T23:59:59Z",
      "2026-11-19T00:00:00Z",
      "2026-11-18T02:00:00Z",
    ),
    kept: {
      "2026-11-24T10:00:00Z": "daily 1 of 3",
      "2026-11-20T02:00:00Z": "daily 2 of 3",
      "2026-11-19T23:59:59Z": "daily 3 of 3",
    },
  },
  {
    name: "the oldest while counts are left, so that a history grows",
    zone: "UTC",
    policy: { yearly: 3 },
    points: points("2026-11-24T10:00:00Z", "2026-06-01T00:00:00Z", "2026-02-01T00:00:00Z"),
    kept: {
      "2026-11-24T10:00:00Z": "yearly 1 of 3",
      "2026-02-01T00:00:00Z": "the oldest, yearly 2 of 3",
    },
  },
  {
    name: "several rules, with the reasons of each",
    zone: "UTC",
    policy: { last: 1, daily: 2, monthly: 2 },
    points: points("2026-12-02T02:00:00Z", "2026-12-01T02:00:00Z", "2026-11-30T02:00:00Z", "2026-11-29T02:00:00Z"),
    kept: {
      "2026-12-02T02:00:00Z": "last 1 of 1; daily 1 of 2; monthly 1 of 2",
      "2026-12-01T02:00:00Z": "daily 2 of 2",
      "2026-11-30T02:00:00Z": "monthly 2 of 2",
    },
  },
  {
    name: "Berlin: midnight is at 22:00 UTC in summer and at 23:00 in winter",
    zone: "Europe/Berlin",
    policy: { daily: 2 },
    points: points("2026-10-25T22:30:00Z", "2026-10-24T22:30:00Z", "2026-10-24T21:30:00Z"),
    // The 25th began at 22:00 UTC and, having 25 hours, ends at 23:00.
    kept: { "2026-10-25T22:30:00Z": "daily 1 of 2", "2026-10-24T21:30:00Z": "daily 2 of 2" },
  },
  {
    name: "Berlin: the hour that is lived through twice is two hours",
    zone: "Europe/Berlin",
    policy: { hourly: 4 },
    points: points(
      "2026-10-25T02:30:00Z", // 03:30
      "2026-10-25T01:30:00Z", // 02:30 again
      "2026-10-25T00:45:00Z", // 02:45
      "2026-10-25T00:30:00Z", // 02:30
      "2026-10-24T23:30:00Z", // 01:30
    ),
    kept: {
      "2026-10-25T02:30:00Z": "hourly 1 of 4",
      "2026-10-25T01:30:00Z": "hourly 2 of 4",
      "2026-10-25T00:45:00Z": "hourly 3 of 4",
      "2026-10-24T23:30:00Z": "hourly 4 of 4",
    },
  },
  {
    name: "New York: the day that has 23 hours is a day",
    zone: "America/New_York",
    policy: { daily: 3 },
    points: points(
      "2026-03-09T03:30:00Z", // the 8th, 23:30
      "2026-03-08T05:30:00Z", // the 8th, 00:30
      "2026-03-08T04:30:00Z", // the 7th, 23:30
      "2026-03-07T04:30:00Z", // the 6th
    ),
    kept: {
      "2026-03-09T03:30:00Z": "daily 1 of 3",
      "2026-03-08T04:30:00Z": "daily 2 of 3",
      "2026-03-07T04:30:00Z": "daily 3 of 3",
    },
  },
  {
    name: "Lord Howe: summer time is half an hour",
    zone: "Australia/Lord_Howe",
    policy: { hourly: 3 },
    points: points(
      "2026-04-04T15:15:00Z", // 01:45 again, at +10:30
      "2026-04-04T14:45:00Z", // 01:45, at +11
      "2026-04-04T14:05:00Z", // 01:05
      "2026-04-04T13:45:00Z", // 00:45
      "2026-04-04T13:15:00Z",
    ),
    kept: {
      "2026-04-04T15:15:00Z": "hourly 1 of 3",
      "2026-04-04T14:45:00Z": "hourly 2 of 3",
      "2026-04-04T13:45:00Z": "hourly 3 of 3",
    },
  },
  {
    name: "Lord Howe: a day ends at 13:00 UTC in summer and at 13:30 in winter",
    zone: "Australia/Lord_Howe",
    policy: { daily: 9 },
    points: points("2026-07-01T13:20:00Z", "2026-06-30T13:40:00Z", "2026-01-01T13:20:00Z", "2026-01-01T12:40:00Z"),
    kept: {
      "2026-07-01T13:20:00Z": "daily 1 of 9",
      "2026-01-01T13:20:00Z": "daily 2 of 9",
      "2026-01-01T12:40:00Z": "daily 3 of 9",
    },
  },
  {
    name: "the leap day is a day of its own",
    zone: "UTC",
    policy: { daily: 3 },
    points: daily("2028-03-01T02:00:00Z", 5),
    kept: {
      "2028-03-01T02:00:00.000Z": "daily 1 of 3",
      "2028-02-29T02:00:00.000Z": "daily 2 of 3",
      "2028-02-28T02:00:00.000Z": "daily 3 of 3",
    },
  },
  {
    name: "a year ends at its own midnight",
    zone: "America/New_York",
    policy: { yearly: 2 },
    points: points("2027-01-01T05:00:00Z", "2027-01-01T04:59:59Z", "2026-12-31T12:00:00Z", "2025-05-05T00:00:00Z"),
    kept: { "2027-01-01T05:00:00Z": "yearly 1 of 2", "2027-01-01T04:59:59Z": "yearly 2 of 2" },
  },
  {
    name: "week 53 runs over the year's end",
    zone: "UTC",
    policy: { weekly: 3 },
    // 2026 has 53 weeks: 2026-W53 is 28 December to 3 January.
    points: points(
      "2027-01-04T00:00:00Z",
      "2027-01-03T23:00:00Z",
      "2026-12-31T00:00:00Z",
      "2026-12-28T00:00:00Z",
      "2026-12-27T23:59:59Z",
      "2026-12-20T00:00:00Z",
    ),
    kept: {
      "2027-01-04T00:00:00Z": "weekly 1 of 3",
      "2027-01-03T23:00:00Z": "weekly 2 of 3",
      "2026-12-27T23:59:59Z": "weekly 3 of 3",
    },
  },
  {
    name: "within counts from the newest point, not from now",
    zone: "UTC",
    policy: { within: "2d" },
    points: points("2026-11-24T10:00:00Z", "2026-11-22T10:00:01Z", "2026-11-22T10:00:00Z", "2020-01-01T00:00:00Z"),
    kept: { "2026-11-24T10:00:00Z": "within 2d", "2026-11-22T10:00:01Z": "within 2d" },
  },
  {
    name: "one a day within a span",
    zone: "UTC",
    policy: { withinDaily: "1m" },
    points: points("2026-03-31T12:00:00Z", "2026-03-31T10:00:00Z", "2026-03-01T00:00:00Z", "2026-02-28T11:00:00Z"),
    // A month before 31 March is the last day of February.
    kept: { "2026-03-31T12:00:00Z": "daily within 1m", "2026-03-01T00:00:00Z": "daily within 1m" },
  },
  {
    name: "tags stay beside the rules, whatever their age",
    zone: "UTC",
    policy: { last: 1, tags: ["keep", "before-4.16"] },
    points: [
      point("2026-11-24T10:00:00Z"),
      point("2026-11-23T10:00:00Z"),
      point("2019-11-23T10:00:00Z", { tags: ["before-4.16"] }),
    ],
    kept: { "2026-11-24T10:00:00Z": "last 1 of 1", "2019-11-23T10:00:00Z": "tag before-4.16" },
  },
  {
    name: "where only an old tag is kept, the newest stays too",
    zone: "UTC",
    policy: { tags: ["keep"] },
    points: [
      point("2026-11-24T10:00:00Z"),
      point("2026-11-23T10:00:00Z"),
      point("2019-11-23T10:00:00Z", { tags: ["keep"] }),
    ],
    kept: { "2026-11-24T10:00:00Z": "the newest", "2019-11-23T10:00:00Z": "tag keep" },
  },
  {
    name: "the newest proven and held points stay, however old",
    zone: "UTC",
    policy: { last: 1 },
    points: [
      point("2026-11-24T10:00:00Z"),
      point("2026-11-23T10:00:00Z", { isProven: true }),
      point("2026-11-22T10:00:00Z", { isProven: true }),
      point("2026-11-21T10:00:00Z", { holds: ["audit until 2027-01-01", "court"] }),
    ],
    kept: {
      "2026-11-24T10:00:00Z": "last 1 of 1",
      "2026-11-23T10:00:00Z": "the newest proven",
      "2026-11-21T10:00:00Z": "held: audit until 2027-01-01; held: court",
    },
  },
];

for (const { name, zone, policy, points: given, kept: expected } of CASES) {
  test(name, () => {
    const plan = planRetention(given, policy, { ...UTC, timeZone: zone });
    assert.deepEqual(kept(plan), expected);
    assert.equal(plan.keep.length + plan.remove.length, given.length);
    assert.deepEqual(
      plan.remove.map(({ timeMs }) => timeMs),
      plan.remove.map(({ timeMs }) => timeMs).toSorted((a, b) => a - b),
      "the oldest go first",
    );
  });
}

test("points an hour ahead stay, say so, and take nobody's place", () => {
  const nowMs = Date.parse("2026-11-24T10:00:00Z");
  const forged = Array.from({ length: 20 }, (_, at) => point(new Date(nowMs + (at + 1) * HOUR).toISOString()));
  const real = daily("2026-11-24T10:00:00Z", 4);
  const plan = planRetention([...forged, ...real], { daily: 2 }, { timeZone: "UTC", nowMs });
  for (const { point: one, reasons } of plan.keep.slice(0, 20)) {
    assert.ok(one.timeMs > nowMs);
    assert.deepEqual(reasons, ["in the future"]);
  }
  assert.deepEqual(
    plan.keep.slice(20).map(({ reasons }) => reasons),
    [["daily 1 of 2"], ["daily 2 of 2"]],
  );
  assert.equal(plan.remove.length, 2);
});

test("a policy that is empty, keeps nothing or makes no sense is refused", () => {
  const three = daily("2026-11-24T10:00:00Z", 3);
  for (const policy of [
    {},
    { last: 0, daily: 0 },
    { tags: [] },
    { tags: ["nobody has it"] },
    { last: -1 },
    { daily: 1.5 },
    { within: "two days" },
    { within: "" },
    { within: "0d" },
  ]) {
    assert.throws(
      () => planRetention(three, policy, UTC),
      (error) => isFailure(error, "usage/invalid") && error.hint !== undefined,
      JSON.stringify(policy),
    );
  }
  assert.throws(
    () => planRetention(three, { last: 1 }, { ...UTC, timeZone: "Europe/Atlantis" }),
    (error) => isFailure(error, "usage/invalid"),
  );
  assert.equal(isEmptyPolicy({ tags: ["x"] }), false);
  assert.deepEqual(planRetention([], { last: 1 }, UTC), { keep: [], remove: [] });
});

const ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"];
const START = Date.parse("2024-01-01T00:00:00Z");
const NOW = Date.parse("2028-06-01T00:00:00Z");

const anyPoints = fc
  .uniqueArray(fc.integer({ min: 0, max: (NOW - START) / 60_000 + 600 }), { minLength: 1, maxLength: 40 })
  .chain((minutes) =>
    fc.tuple(
      ...minutes.map((minute) =>
        fc.record({
          id: fc.constant(String(minute)),
          timeMs: fc.constant(START + minute * 60_000),
          tags: fc.subarray(["a", "b"]),
          isProven: fc.boolean(),
          isNotWhole: fc.boolean(),
          holds: fc.constantFrom<string[]>([], [], [], ["audit"]),
        }),
      ),
    ),
  );

const count = fc.option(fc.integer({ min: 0, max: 8 }), { nil: undefined });
const span = fc.option(fc.constantFrom("3h", "5d", "2m10d", "1y"), { nil: undefined });
const anyPolicy: fc.Arbitrary<RetentionPolicy> = fc.record({
  last: fc.integer({ min: 1, max: 5 }),
  hourly: count,
  daily: count,
  weekly: count,
  monthly: count,
  yearly: count,
  within: span,
  withinDaily: span,
  withinMonthly: span,
  tags: fc.subarray(["a"]),
});

const anyCase = fc.record({ list: anyPoints, policy: anyPolicy, timeZone: fc.constantFrom(...ZONES) });
const idsOf = (plan: RetentionPlan) => new Set(plan.keep.map(({ point: { id } }) => id));

test("forgetting twice is forgetting once, and so is going on after a part of it", () => {
  fc.assert(
    fc.property(anyCase, fc.infiniteStream(fc.boolean()), ({ list, policy, timeZone }, coin) => {
      const options = { timeZone, nowMs: NOW };
      const plan = planRetention(list, policy, options);
      const left = plan.keep.map(({ point: one }) => one);
      // The same points; one that has become the oldest may be kept for one more reason.
      const again = planRetention(left, policy, options);
      assert.deepEqual([idsOf(again), again.remove], [idsOf(plan), []]);
      const half = [...left, ...plan.remove.filter(() => coin.next().value)];
      assert.deepEqual(idsOf(planRetention(half, policy, options)), idsOf(plan));
    }),
    { numRuns: 200 },
  );
});

test("the newest, the newest proven, the newest proven that is whole, held and future points always stay", () => {
  fc.assert(
    fc.property(anyCase, ({ list, policy, timeZone }) => {
      const ids = idsOf(planRetention(list, policy, { timeZone, nowMs: NOW }));
      const newestFirst = list.toSorted((a, b) => b.timeMs - a.timeMs);
      const present = newestFirst.filter(({ timeMs }) => timeMs <= NOW);
      const must = [
        present[0],
        present.find(({ isProven }) => isProven),
        present.find(({ isProven, isNotWhole }) => isProven && !isNotWhole) ??
          present.find(({ isNotWhole }) => !isNotWhole),
        ...list.filter(({ timeMs, holds }) => timeMs > NOW || holds.length > 0),
      ];
      for (const one of must) assert.ok(one === undefined || ids.has(one.id));
    }),
    { numRuns: 200 },
  );
});

test("whoever asks for more keeps no less", () => {
  fc.assert(
    fc.property(anyCase, fc.constantFrom("last", ...PERIODS), ({ list, policy, timeZone }, rule) => {
      const options = { timeZone, nowMs: NOW };
      const less = idsOf(planRetention(list, policy, options));
      const more = idsOf(planRetention(list, { ...policy, [rule]: (policy[rule] ?? 0) + 1 }, options));
      assert.ok(less.isSubsetOf(more));
    }),
    { numRuns: 200 },
  );
});

test("a calendar counts as the machine's own does", () => {
  fc.assert(
    fc.property(fc.integer({ min: -40_000, max: 60_000 }), (days) => {
      const date = new Date(days * DAY);
      const wall = { year: date.getUTCFullYear(), month: date.getUTCMonth() + 1, day: date.getUTCDate() };
      assert.equal(daysOf(wall), days);
      assert.equal(daysInMonth(wall.year, wall.month), new Date(Date.UTC(wall.year, wall.month, 0)).getUTCDate());
    }),
  );
  for (const [year, month, day, expected] of [
    [2026, 1, 1, "2026-1"],
    [2025, 12, 29, "2026-1"],
    [2027, 1, 3, "2026-53"],
    [2027, 1, 4, "2027-1"],
    [2021, 1, 3, "2020-53"],
    [2024, 12, 30, "2025-1"],
    [2028, 12, 31, "2028-52"],
    [2022, 1, 2, "2021-52"],
  ] as const) {
    const { year: of, week } = isoWeek({ year, month, day });
    assert.equal(`${of}-${week}`, expected, `${year}-${month}-${day}`);
  }
});

test("a wall time and its instant agree in every zone", () => {
  fc.assert(
    fc.property(fc.constantFrom(...ZONES), fc.integer({ min: START, max: NOW }), (name, timeMs) => {
      const zone = new Zone(name);
      const wall = zone.wallTime(timeMs);
      const again = zone.instantOf(wall);
      // Where an hour is lived through twice, the earlier of both is meant.
      assert.ok(again <= timeMs && timeMs - again <= HOUR + 1000, `${name} ${timeMs}`);
      assert.deepEqual(zone.wallTime(again), wall);
    }),
  );
});

for (const [zone, from, span_, expected] of [
  ["Europe/Berlin", "2026-10-26T11:00:00Z", "1d", "2026-10-25T11:00:00.000Z"],
  ["Europe/Berlin", "2026-10-25T11:00:00Z", "1d", "2026-10-24T10:00:00.000Z"],
  ["Europe/Berlin", "2026-10-25T11:00:00Z", "24h", "2026-10-24T11:00:00.000Z"],
  ["Europe/Berlin", "2026-03-30T00:30:00Z", "1d", "2026-03-29T00:30:00.000Z"],
  ["UTC", "2028-02-29T12:00:00Z", "1y", "2027-02-28T12:00:00.000Z"],
  ["UTC", "2026-03-31T12:00:00Z", "1m", "2026-02-28T12:00:00.000Z"],
  ["UTC", "2026-01-15T12:00:00Z", "13m", "2024-12-15T12:00:00.000Z"],
  ["UTC", "2026-01-01T00:00:00.500Z", "1y1m1d1h", "2024-11-29T23:00:00.500Z"],
] as const) {
  test(`${span_} before ${from} in ${zone}`, () => {
    assert.equal(new Date(new Zone(zone).before(Date.parse(from), parseSpan(span_))).toISOString(), expected);
  });
}

test("points that were made every few minutes are thinned out: all of a day, one an hour of a week, and what the policy keeps", () => {
  const end = Date.parse("2026-11-24T10:02:00Z");
  const made = Array.from({ length: (10 * DAY) / (10 * 60_000) }, (_, at) => {
    return point(new Date(end - at * 10 * 60_000).toISOString(), { isInterval: true });
  });
  const ordinary = daily("2026-11-24T02:30:00Z", 10);
  const plan = planRetention([...made, ...ordinary], { daily: 3 }, UTC);
  const [stay, others] = [true, undefined].map((isInterval) =>
    plan.keep.filter(({ point: one }) => one.isInterval === isInterval),
  );
  const agesOf = (least: number, most: number) =>
    stay?.map(({ point: { timeMs } }) => end - timeMs).filter((age) => age >= least && age < most) ?? [];
  assert.equal(agesOf(0, DAY).length, 144);
  // Of each hour the newest: the hours of the wall clock, not of the newest point.
  assert.ok(agesOf(DAY, 2 * DAY).every((age) => new Date(end - age).getUTCMinutes() === 52));
  assert.equal(agesOf(2 * DAY, 7 * DAY).length, 5 * 24);
  assert.equal(agesOf(7 * DAY + HOUR, Infinity).length, 0, "the policy keeps three days, and they are within the week");
  assert.ok((others?.length ?? 0) < 3, "a point that nobody tagged so gets no more than the policy gives");
  const [newest] = plan.keep;
  assert.deepEqual(newest?.reasons, [
    "daily 1 of 3",
    "made every few minutes, within 1d",
    "made every few minutes, hourly within 7d",
  ]);
});

test("points that were made every few minutes take no place of others among the last", () => {
  const ordinary = daily("2026-11-24T02:30:00Z", 20);
  const alone = planRetention(ordinary, { last: 15 }, UTC);
  const made = Array.from({ length: 50 }, (_, at) => {
    return point(new Date(Date.parse("2026-11-24T10:02:00Z") - at * 300_000).toISOString(), { isInterval: true });
  });
  const { keep } = planRetention([...made, ...ordinary], { last: 15 }, UTC);
  const kept = keep.filter(({ point: one }) => one.isInterval !== true);
  assert.deepEqual(
    kept.map(({ point: one }) => one.id),
    alone.keep.map(({ point: one }) => one.id),
  );
  assert.equal(keep[0]?.reasons[0], "last 1 of 15");
  assert.equal(keep.length - kept.length, 50);
});

test("of moments the one that was proven last stays, and no older proof", () => {
  const moments = [
    { madeMs: 0, holds: [], provenMs: 10 },
    { madeMs: 5, holds: [], provenMs: 20 },
    { madeMs: 6, holds: [] },
    { madeMs: 100, holds: [] },
  ];
  const past = pastMoments(moments, { nowMs: 110, keepMs: 50 });
  assert.deepEqual(
    past.map(({ madeMs }) => madeMs),
    [0, 6],
  );
  assert.deepEqual(pastMoments([{ madeMs: 0, holds: [] }], { nowMs: 110, keepMs: 50 }).length, 1);
});
