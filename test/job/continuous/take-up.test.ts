import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { behindGap, planTakeUp, standingOf } from "../../../src/job/continuous/take-up.ts";

const SEGMENT = 100;
const LINE = { systemId: "7", timeline: 2 };

function stretch(from: number, to: number, line = LINE) {
  return { ...line, from: BigInt(from), to: BigInt(to) };
}

test("a repository stands where its newest span ends, and further where its journal goes on without a gap", () => {
  const spans = [stretch(100, 300), stretch(300, 500), stretch(900, 950, { systemId: "7", timeline: 1 })];
  const at = (journal: ReturnType<typeof stretch>[]) => standingOf(LINE, spans, journal, SEGMENT);
  assert.deepEqual(at([]), { savedTo: 500n, durableTo: 500n, since: 100n });
  assert.deepEqual(at([stretch(530, 560), stretch(500, 530)]), { savedTo: 500n, durableTo: 560n, since: 100n });
  assert.deepEqual(at([stretch(500, 530), stretch(540, 560)]), { savedTo: 500n, durableTo: 530n, since: 100n });
  assert.deepEqual(at([stretch(450, 530), stretch(470, 510)]), { savedTo: 500n, durableTo: 530n, since: 100n });
  assert.deepEqual(at([stretch(500, 530, { systemId: "8", timeline: 2 })]), {
    savedTo: 500n,
    durableTo: 500n,
    since: 100n,
  });
});

test("a span that ends inside a segment, and a journal that begins in one, are taken up at the segment's beginning", () => {
  assert.deepEqual(standingOf(LINE, [stretch(100, 370)], [], SEGMENT), { savedTo: 300n, durableTo: 370n, since: 100n });
  assert.deepEqual(standingOf(LINE, [], [stretch(120, 150)], SEGMENT), { savedTo: 100n, durableTo: 150n, since: 120n });
  assert.equal(standingOf(LINE, [], [], SEGMENT), undefined);
});

test("what the journal has behind a gap counts when the server lacks what lies between, from where a line began there", () => {
  const spans = [stretch(100, 300)];
  const at = (...journal: ReturnType<typeof stretch>[]) => standingOf(LINE, spans, journal, SEGMENT);
  const before = { savedTo: 300n, durableTo: 340n, since: 100n };
  const objects = [stretch(300, 340), stretch(600, 650), stretch(640, 710)];
  assert.deepEqual(at(...objects), { ...before, newest: { savedTo: 600n, durableTo: 710n } });
  // Of what goes on amid a segment something lacks that was not told.
  assert.deepEqual(at(stretch(300, 340), stretch(610, 650)), before);
  assert.deepEqual(at(...objects, stretch(720, 760)), { ...before, newest: { savedTo: 600n, durableTo: 710n } });
  assert.deepEqual(at(...objects, stretch(800, 860))?.newest, { savedTo: 800n, durableTo: 860n });
  assert.deepEqual(behindGap(before), before);
  const standing = at(...objects);
  assert.ok(standing !== undefined);
  const behind = behindGap(standing);
  assert.deepEqual(behind, { savedTo: 600n, durableTo: 710n, since: 600n, isBehindGap: true });
  const goesOn = { savedTo: 600n, durableTo: 710n, since: 600n, isGapped: true };
  assert.deepEqual(planTakeUp([behind], 700n), { start: 600n, to: 710n, from: [0], places: [goesOn] });
});

test("a repository has everything from where its newest stretch of spans begins, in whatever order and however they overlap", () => {
  const spans = [stretch(700, 900), stretch(0, 200), stretch(500, 800), stretch(300, 500), stretch(600, 700)];
  assert.equal(standingOf(LINE, spans, [], SEGMENT)?.since, 300n);
});

test("who reaches what the server has goes on, who does not begins anew, and nothing begins later than it must", () => {
  const behind = { savedTo: 100n, durableTo: 190n, since: 0n };
  const inJournal = { savedTo: 300n, durableTo: 420n, since: 200n };
  const inSpans = { savedTo: 500n, durableTo: 530n, since: 400n };
  assert.deepEqual(planTakeUp([behind, inJournal, inSpans, undefined], 400n), {
    start: 300n,
    to: 420n,
    from: [1, 2],
    places: [
      { savedTo: 300n, durableTo: 300n, since: 300n, isGapped: true },
      { ...inJournal, isGapped: false },
      { ...inSpans, isGapped: false },
      { savedTo: 300n, durableTo: 300n, since: 300n, isGapped: false },
    ],
  });
  assert.deepEqual(planTakeUp([behind, undefined], 400n).start, 400n);
  const places = [{ ...inSpans, isGapped: false }];
  assert.deepEqual(planTakeUp([inSpans], 200n), { start: 500n, to: 530n, from: [0], places });
});

test("where one journal ends another goes on, so that nothing lacks that any two of them have", () => {
  const cut = { savedTo: 300n, durableTo: 450n, since: 300n };
  const whole = { savedTo: 400n, durableTo: 720n, since: 100n };
  const far = { savedTo: 0n, durableTo: 200n, since: 0n };
  assert.deepEqual(planTakeUp([whole, cut, far], 700n), {
    start: 300n,
    to: 720n,
    from: [0, 1],
    places: [
      { ...whole, isGapped: false },
      { ...cut, isGapped: false },
      { savedTo: 300n, durableTo: 300n, since: 300n, isGapped: true },
    ],
  });
});

test("whoever goes on has everything before in its spans and journal, whatever the standings are", () => {
  const standing = fc.option(
    fc.tuple(fc.nat(20), fc.nat(300)).map(([segment, more]) => {
      return { savedTo: BigInt(segment * SEGMENT), durableTo: BigInt(segment * SEGMENT + more), since: 0n };
    }),
    { nil: undefined },
  );
  fc.assert(
    fc.property(fc.array(standing, { minLength: 1, maxLength: 4 }), fc.nat(25), (standings, segment) => {
      const oldest = BigInt(segment * SEGMENT);
      const { start, to, from, places } = planTakeUp(standings, oldest);
      const sources = from.map((at) => standings[at]);
      const reached = sources
        .toSorted((a, b) => Number((a?.savedTo ?? 0n) - (b?.savedTo ?? 0n)))
        .reduce((end, one) => (one && one.savedTo <= end && one.durableTo > end ? one.durableTo : end), start);
      // What lies between the start and the server's oldest is in journals, one after the other.
      assert.equal(to, reached);
      assert.ok(start >= oldest || to >= oldest);
      const known = standings.filter((one) => one !== undefined);
      assert.ok(!known.some((one) => one.savedTo < start && one.durableTo >= start), "it begins as early as it can");
      for (const [at, { savedTo, durableTo, since, isGapped }] of places.entries()) {
        assert.ok(savedTo >= start && durableTo >= savedTo);
        const before = standings[at];
        if (before !== undefined && !isGapped) assert.deepEqual({ savedTo, durableTo, since }, before);
        if (isGapped) assert.ok(before !== undefined && before.durableTo < oldest && before.durableTo < start);
      }
    }),
  );
});
