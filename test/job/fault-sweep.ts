/**
 * Every call that a verb makes of its store goes wrong, one after another, in each way that fits it. The verb must fail
 * loudly or have done what it says, and must do it where a call is only late; nothing that was there before may be lost; and a run without faults must then end
 * where one run would have ended.
 */
import assert from "node:assert/strict";
import { setImmediate as nextTurn } from "node:timers/promises";
import { Failure, isFailure } from "../../src/base/errors.ts";
import type { MemoryStore } from "../../src/store/memory-store.ts";
import type { Store } from "../../src/store/store.ts";
import { seededRandom } from "../../src/demo/random.ts";
import { CUT, type Fault, FaultyStore, FLIPPED, type StoreCall } from "../harness/faulty-store.ts";

/** `told`: it went through, and its summary says that something is not as it should be. */
export type Outcome = "done" | "told";

/** One try of a verb, on a store of its own. */
export interface Attempt {
  readonly store: MemoryStore;
  /** Runs the verb as a process of its own would; through `store`, which may go wrong. */
  run(store: Store, signal: AbortSignal): Promise<Outcome>;
  /** As a person would after a run that failed; by default the same again. */
  finish?(store: Store, signal: AbortSignal): Promise<Outcome>;
  /** Nothing that was there before is lost, or worse than it was. */
  assertKept(): Promise<void>;
  /** What the verb is for was done, wholly. */
  assertDone(): Promise<void>;
}

export interface SweptVerb {
  readonly name: string;
  begin(): Promise<Attempt>;
}

interface Way {
  readonly how: Fault | "gone" | "rotten" | "never answers" | "comes late" | "comes late, as all" | "answers late";
  fits(call: StoreCall): boolean;
}

const WAYS: Readonly<Record<string, Way>> = {
  fails: { how: { how: "fail" }, fits: () => true },
  "is done and said to have failed": {
    how: { how: "fail-after" },
    fits: ({ verb }) => verb !== "get" && verb !== "stat",
  },
  "fails, as all after it do": { how: "gone", fits: () => true },
  "gives changed bytes": { how: FLIPPED, fits: ({ verb }) => verb === "get" },
  "gives changed bytes, as all after it do": { how: "rotten", fits: ({ verb }) => verb === "get" },
  "gives cut bytes": { how: CUT, fits: ({ verb }) => verb === "get" },
  "lists late": { how: { how: "late" }, fits: ({ verb }) => verb === "list" },
  "comes late, after others that were made meanwhile": { how: "comes late", fits: () => true },
  "comes late, as all after it do": { how: "comes late, as all", fits: () => true },
  "is done and answers late, after others that were made meanwhile": { how: "answers late", fits: () => true },
  "never answers, and the run is stopped": {
    how: "never answers",
    // Whoever is stopped lets go of his lock first: that a store falls silent is noticed by the store itself.
    fits: ({ verb, kind }) => !(verb === "remove" && kind === "locks"),
  },
};

/** What is only late is no fault: the verb must be done at once. */
function isLate({ how }: Way): boolean {
  return how === "comes late" || how === "comes late, as all" || how === "answers late";
}

/** So many calls overtake one that is late, unless nobody makes any: then so many turns pass. */
const OVERTAKING_CALLS = 5;
const IDLE_TURNS = 100;

async function overtaken(store: FaultyStore): Promise<void> {
  const from = store.calls.length;
  let seen = from;
  for (let idle = 0; idle < IDLE_TURNS && seen < from + OVERTAKING_CALLS; idle += 1) {
    await nextTurn();
    if (store.calls.length > seen) idle = 0;
    seen = store.calls.length;
  }
}

interface Case {
  nth: number;
  what: string;
  way: Way;
}

export interface SweepOptions {
  /** How many cases at most; those left out are chosen by the seed. */
  limit?: number | undefined;
  seed: string;
}

/** @returns how many cases were tried, of how many. */
export async function sweep(verb: SweptVerb, { limit, seed }: SweepOptions): Promise<{ tried: number; of: number }> {
  const cases = await enumerateCases(verb);
  const chosen = choose(cases, limit ?? cases.length, `${seed}/${verb.name}`);
  let tried = 0;
  for (const one of chosen) if (await tryCase(verb, one)) tried += 1;
  // Calls that are made side by side may come in another order, and be fewer once one has failed.
  assert.ok(tried >= chosen.length * 0.9, `only ${tried} of ${chosen.length} cases came about`);
  return { tried, of: cases.length };
}

/** A run without faults says which calls there are. */
async function enumerateCases(verb: SweptVerb): Promise<Case[]> {
  const attempt = await verb.begin();
  const recorder = new FaultyStore(attempt.store);
  assert.equal(await attempt.run(recorder, new AbortController().signal), "done");
  await attempt.assertKept();
  await attempt.assertDone();
  return recorder.calls.flatMap((call) =>
    Object.entries(WAYS)
      .filter(([, way]) => way.fits(call))
      .map(([what, way]) => ({ nth: call.count, what, way })),
  );
}

function choose(cases: Case[], limit: number, seed: string): Case[] {
  if (cases.length <= limit) return cases;
  const random = seededRandom(seed);
  const chosen = [...cases];
  while (chosen.length > limit) chosen.splice(random.below(chosen.length), 1);
  return chosen;
}

async function tryCase(verb: SweptVerb, { nth, what, way }: Case): Promise<boolean> {
  const attempt = await verb.begin();
  const faulty = new FaultyStore(attempt.store);
  const locks = new Set(locksOf(attempt.store));
  const stop = new AbortController();
  let cameAbout = false;
  faulty.script = (call) => {
    const goesOn = way.how === "gone" || way.how === "rotten" || way.how === "comes late, as all";
    if (call.count < nth || (call.count > nth && !goesOn)) return undefined;
    if (!way.fits(call)) return undefined;
    cameAbout = true;
    if (way.how === "gone") return { how: "fail" };
    if (way.how === "rotten") return FLIPPED;
    if (way.how === "answers late") return { how: "wait-after", until: overtaken(faulty) };
    if (way.how === "comes late" || way.how === "comes late, as all") return { how: "wait", until: overtaken(faulty) };
    if (way.how !== "never answers") return way.how;
    setImmediate(() => stop.abort(new Failure("run/cancelled", "stopped by a test")));
    return { how: "wait", until: new Promise(() => {}) };
  };
  const outcome = await attempt.run(faulty, stop.signal).catch((error: unknown) => {
    const where = `${verb.name}: call ${nth} (${describe(faulty.calls[nth - 1])}) ${what}`;
    if (!isFailure(error) || error.code === "internal/bug")
      throw new Error(`${where}: no plain failure`, { cause: error });
    return "failed" as const;
  });
  try {
    // The process is gone, and its lock is taken for what it is.
    for (const name of locksOf(attempt.store)) if (!locks.has(name)) attempt.store.files.delete(name);
    await attempt.assertKept();
    if (outcome === "done") await attempt.assertDone();
    if (isLate(way)) assert.equal(outcome, "done", "it was only late");
    const { signal } = new AbortController();
    const again = await (outcome === "failed" && attempt.finish
      ? attempt.finish(attempt.store, signal)
      : attempt.run(attempt.store, signal));
    assert.equal(again, "done", "the run after it");
    await attempt.assertKept();
    await attempt.assertDone();
  } catch (error) {
    throw new Error(`${verb.name}: call ${nth} (${describe(faulty.calls[nth - 1])}) ${what}, it ${outcome}`, {
      cause: error,
    });
  }
  return cameAbout;
}

function locksOf(store: MemoryStore): string[] {
  return [...store.files.keys()].filter((name) => name.startsWith("locks/"));
}

function describe(call: StoreCall | undefined): string {
  return call === undefined ? "none" : `${call.verb} ${call.kind ?? ""}/${call.name?.slice(0, 8) ?? ""}`;
}
