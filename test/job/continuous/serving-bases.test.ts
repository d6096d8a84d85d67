/** Which bases go on with the log that is kept: by what a repository really has, and not by what somebody remembers. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { test } from "node:test";
import { listContinuous } from "../../../src/job/continuous/list.ts";
import {
  helpBy,
  type KeptLine,
  type Lists,
  servingBases,
  spansForHoles,
} from "../../../src/job/continuous/serving-bases.ts";
import { createMemoryStore } from "../../../src/store/memory-store.ts";
import type { TimelineParent } from "../../../src/wal/history.ts";
import { temporaryFolder } from "../../harness/temporary.ts";
import { newRepository, signal } from "../../repo/small-backup.ts";
import { factsOf, putBase } from "./bases.ts";
import { LINE, putSpan, SEGMENT, START } from "./spans.ts";

/** In segments behind the log's beginning. */
interface Stretch {
  from: number;
  to: number;
  timeline?: number;
}

const lsn = (segments: number) => START + BigInt(segments * SEGMENT);

async function listsOf({ bases = [], spans = [] }: { bases?: Stretch[]; spans?: Stretch[] }): Promise<Lists> {
  await using folder = await temporaryFolder();
  writeFileSync(folder.at("PG_VERSION"), "15\n");
  const repository = await newRepository(createMemoryStore());
  for (const { from, to, timeline = 1 } of bases) {
    await putBase(repository, folder.path, { facts: factsOf({ from: lsn(from), to: lsn(to), timeline }) });
  }
  for (const { from, to, timeline = 1 } of spans) {
    const histories = new Map(timeline === 1 ? [] : [[timeline, "1\t16/B3180000\twhy\n"]]);
    await putSpan(repository, { at: from * SEGMENT, bytes: randomBytes((to - from) * SEGMENT), timeline, histories });
  }
  return await listContinuous(repository, LINE.installation, { signal });
}

function kept(start: number, timeline = 1, parents: readonly TimelineParent[] = []): KeptLine {
  return { line: { ...LINE, timeline }, history: { timeline, parents }, start: lsn(start), position: lsn(start) };
}

function shown(lists: Lists, line: KeptLine, isGapped = false): number[] {
  return servingBases(lists, line, isGapped).map(({ base }) => Number(base.from - START) / SEGMENT);
}

test("a base serves while the log goes on from it, and from the moment on in which it was taken", async () => {
  const own = await listsOf({ bases: [{ from: 0.5, to: 0.625 }], spans: [{ from: 0, to: 2 }] });
  assert.deepEqual(shown(own, kept(2)), [0.5]);
  const first = await listsOf({ bases: [{ from: 4.5, to: 4.625 }] });
  assert.deepEqual(shown(first, kept(4)), [4.5]);
  assert.deepEqual(shown(first, kept(5)), []);
});

test("a base from before a gap serves nothing, whoever asks, and whether or not anything came since", async () => {
  const before = { bases: [{ from: 0.5, to: 0.625 }], spans: [{ from: 0, to: 2 }] };
  assert.deepEqual(shown(await listsOf(before), kept(3), true), []);
  const since = await listsOf({ ...before, spans: [...before.spans, { from: 3, to: 4 }] });
  // Another watch, which was not there when the gap came.
  assert.deepEqual(shown(since, kept(4)), []);
});

test("a base of a tail that was left, or of another branch, serves nothing on the timeline that is kept", async () => {
  const parents = [{ timeline: 1, switchLsn: lsn(1.5), reason: "" }];
  const lists = await listsOf({
    bases: [
      { from: 0.5, to: 0.625 },
      { from: 1.25, to: 1.625 },
      { from: 1.75, to: 1.875, timeline: 2 },
    ],
    spans: [
      { from: 0, to: 2 },
      { from: 1, to: 3, timeline: 2 },
      { from: 1, to: 3, timeline: 3 },
    ],
  });
  assert.deepEqual(shown(lists, kept(3, 3, parents)), [0.5]);
  assert.deepEqual(shown(lists, kept(3, 2, parents)), [0.5, 1.75]);
  // Nothing of the new timeline is stored yet, so only the server has said where it began.
  const old = await listsOf({ bases: [{ from: 0.5, to: 0.625 }], spans: [{ from: 0, to: 2 }] });
  assert.deepEqual(shown(old, kept(1, 4, parents)), [0.5]);
});

test("a repository that came later, or missed something, is helped by one that has it, and by no other", async () => {
  const whole = await listsOf({
    bases: [{ from: 1.5, to: 1.625 }],
    spans: [0, 1, 2].map((at) => ({ from: at, to: at + 1 })),
  });
  const help = (lists: Lists, other = whole, start = 3) => {
    const found = helpBy(other, { lists, kept: kept(start), isGapped: false, isDue: () => false });
    return found && [found.isCopied, found.spans.map(({ span }) => Number(span.from - START) / SEGMENT)];
  };
  assert.deepEqual(help(await listsOf({})), [true, [1, 2]]);
  assert.deepEqual(help(await listsOf({ bases: [{ from: 1.5, to: 1.625 }], spans: [{ from: 3, to: 4 }] })), [
    false,
    [1, 2],
  ]);
  // What the other has ends before this one's begins.
  assert.equal(help(await listsOf({}), whole, 4), undefined);
  assert.equal(help(await listsOf({ spans: [{ from: 5, to: 6 }] })), undefined);
  assert.equal(
    helpBy(whole, { lists: await listsOf({}), kept: kept(3), isGapped: false, isDue: () => true }),
    undefined,
  );
});

test("holes behind moments that can be had are filled, and no others", async () => {
  const whole = await listsOf({ spans: [0, 1, 2, 3].map((at) => ({ from: at, to: at + 1 })) });
  const spans = [
    { from: 0, to: 1 },
    { from: 3, to: 4 },
  ];
  const from = (lists: Lists) => spansForHoles(lists, whole).map(({ span }) => Number(span.from - START) / SEGMENT);
  assert.deepEqual(from(await listsOf({ bases: [{ from: 0.5, to: 0.625 }], spans })), [1, 2]);
  assert.deepEqual(from(await listsOf({ spans })), []);
});
