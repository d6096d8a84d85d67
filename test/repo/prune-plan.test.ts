/** Whatever lies where: what is needed stays once, what is not needed stays within its limit, and the plan is final. */
import assert from "node:assert/strict";
import { hash } from "node:crypto";
import { test } from "node:test";
import * as fc from "fast-check";
import { parseChunkId, parsePackId } from "../../src/base/ids.ts";
import type { PackEntry } from "../../src/format/pack.ts";
import { ChunkIndex } from "../../src/repo/index.ts";
import { packSizeBytes } from "../../src/repo/pack-record.ts";
import { PACK_ACTION, planPrune, type MaxUnused, type PlanOptions, type PrunePlan } from "../../src/repo/prune-plan.ts";

const id = (text: string) => hash("sha256", text);

/** What lies in a repository: of each pack its chunks by number, and which numbers are needed. */
interface Layout {
  packs: { isTree: boolean; chunks: number[]; isGone: boolean }[];
  used: Set<number>;
}

const layouts: fc.Arbitrary<Layout> = fc.record({
  packs: fc.array(
    fc.record({
      isTree: fc.boolean(),
      chunks: fc.uniqueArray(fc.integer({ min: 0, max: 40 }), { minLength: 1, maxLength: 12 }),
      isGone: fc.boolean(),
    }),
    { maxLength: 30 },
  ),
  used: fc.uniqueArray(fc.integer({ min: 0, max: 40 })).map((numbers) => new Set(numbers)),
});

const limits: fc.Arbitrary<MaxUnused> = fc.oneof(
  fc.constant("unlimited" as const),
  fc.record({ bytes: fc.integer({ min: 0, max: 2_000_000 }) }),
  fc.record({ percent: fc.integer({ min: 0, max: 100 }) }),
);

const lengthOf = (chunk: number) => 40 + ((chunk * 7919) % 900_000);
const chunkId = (chunk: number) => parseChunkId(id(`chunk ${chunk}`));

function entriesOf({ isTree, chunks }: Layout["packs"][number]): PackEntry[] {
  let offset = 0;
  return chunks.map((chunk) => {
    const length = lengthOf(chunk);
    offset += length;
    const type = isTree ? ("tree" as const) : ("data" as const);
    return { id: chunkId(chunk), type, offset: offset - length, length, uncompressedLength: 0 };
  });
}

function build({ packs, used }: Layout): { index: ChunkIndex; options: Omit<PlanOptions, "maxUnused"> } {
  const index = new ChunkIndex();
  const sizes = new Map<string, number>();
  for (const [at, pack] of packs.entries()) {
    const entries = entriesOf(pack);
    const name = parsePackId(id(`pack ${at}`));
    index.add({ id: name, entries });
    if (!pack.isGone) sizes.set(name, packSizeBytes(entries));
  }
  const rows = new Set<number>();
  for (const chunk of used) {
    for (const type of ["data", "tree"] as const) rows.add(index.rowOf(type, chunkId(chunk)));
  }
  return { index, options: { isUsed: (row) => rows.has(row), sizes } };
}

/** The repository as it is once the plan was carried out. */
function carryOut({ packs, used }: Layout, index: ChunkIndex, plan: PrunePlan): Layout {
  const kept = packs.filter((_pack, at) => plan.actions[at] === PACK_ACTION.keep);
  const anew = [false, true].map((isTree) => ({ isTree, chunks: [] as number[], isGone: false }));
  for (const [at, pack] of packs.entries()) {
    if (plan.actions[at] !== PACK_ACTION.repack) continue;
    const isKept = new Set<string>();
    for (let row = 0; row < index.size; row += 1) {
      if (index.packOf(row) === at && plan.isKept(row)) isKept.add(index.entryOf(row).id);
    }
    anew[pack.isTree ? 1 : 0]?.chunks.push(...pack.chunks.filter((chunk) => isKept.has(chunkId(chunk))));
  }
  return { packs: [...kept, ...anew.filter(({ chunks }) => chunks.length > 0)], used };
}

const whole = layouts.map(({ packs, used }) => ({ used, packs: packs.map((pack) => ({ ...pack, isGone: false })) }));

test("every chunk that is needed is kept, once, in a pack that stays or is copied", () => {
  fc.assert(
    fc.property(whole, limits, (layout, maxUnused) => {
      const { index, options } = build(layout);
      const plan = planPrune(index, { ...options, maxUnused });
      assert.deepEqual(plan.lacking, []);
      const times = new Map<number, number>();
      for (let row = 0; row < index.size; row += 1) {
        if (!plan.isKept(row)) continue;
        const action = plan.actions[index.packOf(row)];
        assert.ok(action === PACK_ACTION.keep || action === PACK_ACTION.repack);
        times.set(index.firstCopy(row), (times.get(index.firstCopy(row)) ?? 0) + 1);
      }
      for (let row = 0; row < index.size; row += 1) {
        const first = index.firstCopy(row);
        assert.equal(times.get(first) ?? 0, options.isUsed(first) ? 1 : 0);
      }
    }),
    { numRuns: 300 },
  );
});

test("what stays though nobody needs it is within the limit, and a second plan has nothing to do", () => {
  fc.assert(
    fc.property(whole, limits, (layout, maxUnused) => {
      const { index, options } = build(layout);
      const plan = planPrune(index, { ...options, maxUnused });
      const limit =
        maxUnused === "unlimited" || ("percent" in maxUnused && maxUnused.percent === 100)
          ? Infinity
          : "bytes" in maxUnused
            ? maxUnused.bytes
            : (plan.usedBytes * maxUnused.percent) / (100 - maxUnused.percent);
      assert.ok(plan.unusedBytes <= limit + 1e-6);
      const after = build(carryOut(layout, index, plan));
      const second = planPrune(after.index, { ...after.options, maxUnused });
      assert.deepEqual([second.removed, second.repacked, second.freedBytes], [0, 0, 0]);
      assert.equal(second.usedBytes, plan.usedBytes);
    }),
    { numRuns: 300 },
  );
});

test("no more is written anew than is allowed", () => {
  fc.assert(
    fc.property(whole, limits, fc.integer({ min: 0, max: 5_000_000 }), (layout, maxUnused, maxRepackBytes) => {
      const { index, options } = build(layout);
      assert.ok(planPrune(index, { ...options, maxUnused, maxRepackBytes }).repackBytes <= maxRepackBytes);
    }),
    { numRuns: 200 },
  );
});

test("a pack that is gone is named when it had the only copy of something needed, and only then", () => {
  fc.assert(
    fc.property(layouts, (layout) => {
      const { index, options } = build(layout);
      const plan = planPrune(index, { ...options, maxUnused: { percent: 5 } });
      const isThere = (isTree: boolean, chunk: number) =>
        layout.packs.some((pack) => !pack.isGone && pack.isTree === isTree && pack.chunks.includes(chunk));
      const expected = layout.packs.flatMap(({ isTree, chunks }, at) =>
        chunks.some((chunk) => layout.used.has(chunk) && !isThere(isTree, chunk)) ? [id(`pack ${at}`)] : [],
      );
      assert.deepEqual([...plan.lacking].toSorted(), expected.toSorted());
    }),
    { numRuns: 300 },
  );
});

test("of packs that hold the same the one that is needed as a whole stays", () => {
  const packs = [
    [1, 2, 9],
    [1, 2],
  ].map((chunks) => ({ isTree: false, chunks, isGone: false }));
  const { index, options } = build({ packs, used: new Set([1, 2]) });
  const plan = planPrune(index, { ...options, maxUnused: { percent: 5 } });
  assert.deepEqual([...plan.actions], [PACK_ACTION.remove, PACK_ACTION.keep]);
});
