import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure } from "../../../src/base/errors.ts";
import { LIMITS } from "../../../src/base/limits.ts";
import { Keeper, type SpanBytes, type SpanPlace, type SpanToStore } from "../../../src/job/continuous/keeper.ts";
import { WalTail } from "../../../src/job/continuous/wal-tail.ts";
import { HandClock, settle } from "../../harness/hand-clock.ts";

const SEGMENT = 100;
const START = 1_000n;
const TIMES = {
  flushMs: 5_000,
  spanBytes: 400,
  spanMs: 600_000,
  retryMs: 1_000,
  retryMostMs: 60_000,
  patienceMs: 5_000,
};
const { signal } = new AbortController();
const LINE = { installation: "acme", systemId: "7", timeline: 1 };

/** A place that takes note of what it is given, and refuses while it is told to. */
class NotedPlace implements SpanPlace {
  readonly name = "primary";
  readonly hasJournal: boolean;
  readonly calls: string[] = [];
  readonly entries: SpanBytes[] = [];
  readonly spans: SpanToStore[] = [];
  /** What its journal has, from {@link START} on. */
  readonly journal: Buffer[] = [];
  readonly goOn: boolean[] = [];
  refusal: Failure | undefined;
  spanRefusal: Failure | undefined;
  /** Then the first half of what goes to the journal is stored, and the rest is not. */
  halfRefusal: Failure | undefined;
  beforeSpan: (() => Promise<void>) | undefined;
  beforeJournal: (() => Promise<void>) | undefined;

  constructor(hasJournal = true) {
    this.hasJournal = hasJournal;
  }

  #take(kind: string, { span }: Pick<SpanBytes, "span">): void {
    if (this.refusal !== undefined) throw this.refusal;
    this.calls.push(`${kind} ${span.from - START}-${span.to - START}`);
  }

  async putJournal(entry: SpanBytes, { onStored }: { onStored: (to: bigint) => void }): Promise<void> {
    await this.beforeJournal?.();
    if (this.halfRefusal !== undefined) {
      const half = (entry.span.from + entry.span.to) / 2n;
      this.calls.push(`half ${entry.span.from - START}-${half - START}`);
      onStored(half);
      throw this.halfRefusal;
    }
    this.#take("journal", entry);
    this.entries.push(entry);
    this.journal.push(...entry.bytes.map((bytes) => Buffer.from(bytes)));
    onStored(entry.span.to);
  }

  async saveSpan(entry: SpanToStore, { goesOn }: { goesOn: () => boolean }): Promise<void> {
    if (this.spanRefusal !== undefined) throw this.spanRefusal;
    await this.beforeSpan?.();
    const bytes = typeof entry.bytes === "function" ? await entry.bytes() : entry.bytes;
    this.#take("span", entry);
    this.spans.push({ ...entry, bytes: [Buffer.concat(bytes)] });
    this.goOn.push(goesOn());
  }

  async readJournal(_: unknown, { from, to }: { from: bigint; to: bigint }): Promise<Buffer> {
    this.calls.push(`read ${from - START}-${to - START}`);
    return Buffer.concat(this.journal).subarray(Number(from - START), Number(to - START));
  }

  async sweepJournal(savedTo: bigint): Promise<void> {
    this.calls.push(`sweep ${savedTo - START}`);
  }

  async close(): Promise<void> {
    this.calls.push("close");
  }
}

function world({
  hasJournal = true,
  savedTo = START,
  durableTo = START,
  segmentBytes = SEGMENT,
  times = TIMES,
  maxBytes = 1_000_000,
} = {}) {
  const stop = new AbortController();
  const place = new NotedPlace(hasJournal);
  const clock = new HandClock();
  const tail = new WalTail({ start: START, segmentBytes, maxBytes });
  const troubles: (string | undefined)[] = [];
  const keeper = new Keeper({
    place,
    tail,
    line: LINE,
    savedTo,
    durableTo,
    times,
    clock,
    onProgress: () => {
      keeper.noteBefore(keeper.neededFrom);
      tail.letGo(keeper.neededFrom);
    },
    onTrouble: (trouble) => troubles.push(trouble?.code),
  });
  const run = keeper.run({ signal: stop.signal });
  run.catch(() => {});
  return {
    place,
    clock,
    tail,
    troubles,
    keeper,
    run,
    add: async (length: number, commits: bigint[] = []) => {
      await tail.add(
        {
          start: tail.end,
          bytes: Buffer.alloc(length),
          commits: commits.map((at) => ({ lsn: tail.end + at, timeUs: at })),
          cameMs: clock.monotonic(),
        },
        stop,
      );
      await settle();
    },
    stop: async () => {
      stop.abort(new Failure("run/cancelled", "the test is over"));
      await assert.rejects(run, /the test is over/);
    },
  };
}

test("what came is in the journal when it has been here for the time to flush, and not before", async () => {
  const { place, clock, keeper, add, stop } = world();
  await add(30);
  await clock.advance(4_000);
  await add(10);
  assert.deepEqual(place.calls, []);
  await clock.advance(1_000);
  assert.deepEqual(place.calls, ["journal 0-40"]);
  assert.equal(keeper.durableTo, START + 40n);
  await clock.advance(60_000);
  assert.deepEqual(place.calls, ["journal 0-40"]);
  await stop();
});

test("whole segments become a span when enough of them are here, or some have been for long, and the journal is swept", async () => {
  const { place, clock, keeper, tail, add, stop } = world();
  await add(450);
  assert.deepEqual(place.calls, ["span 0-400", "sweep 400"]);
  assert.equal(tail.start, START + 400n);
  await add(60);
  await clock.advance(5_000);
  assert.deepEqual(place.calls.slice(2), ["journal 400-510"]);
  await clock.advance(600_000);
  assert.deepEqual(place.calls.slice(3), ["span 400-500", "sweep 500"]);
  assert.equal(keeper.savedTo, START + 500n);
  assert.equal(keeper.durableTo, START + 510n);
  await stop();
});

test("a segment that fills slowly becomes a span before it is whole, when its journal has grown long", async () => {
  const { place, clock, keeper, tail, add, stop } = world({ segmentBytes: 1_000 });
  for (let object = 0; object < LIMITS.journalObjects; object += 1) {
    await add(1);
    await clock.advance(6_000);
  }
  assert.equal(place.calls.filter((call) => call.startsWith("journal")).length, LIMITS.journalObjects);
  assert.deepEqual(place.calls.slice(-2), [`span 0-${LIMITS.journalObjects}`, `sweep ${LIMITS.journalObjects}`]);
  assert.deepEqual([keeper.savedTo, tail.start], [START, START]);
  await stop();
});

test("a place that takes restic's names alone gets the segment's beginning as a span, and then the segment whole", async () => {
  const { place, clock, keeper, tail, add, stop } = world({ hasJournal: false });
  await add(130);
  await clock.advance(5_000);
  assert.deepEqual(place.calls, ["span 0-130"]);
  assert.deepEqual([keeper.savedTo, keeper.durableTo, tail.start], [START + 100n, START + 130n, START + 100n]);
  await add(40);
  await clock.advance(5_000);
  assert.deepEqual(place.calls.slice(1), ["span 100-170"]);
  await stop();
});

test("a place that refuses is tried again for as long as it takes, and nothing is said to be durable meanwhile", async () => {
  const { place, clock, keeper, troubles, add, stop } = world();
  place.refusal = new Failure("store/unreachable", "no answer");
  await add(30);
  await clock.advance(5_000);
  for (const wait of [1_000, 2_000, 4_000]) await clock.advance(wait);
  assert.deepEqual(
    troubles,
    Array.from({ length: 4 }, () => "store/unreachable"),
  );
  assert.equal(keeper.durableTo, START);
  assert.equal(keeper.failingSinceMs, 5_000);
  place.refusal = undefined;
  await clock.advance(60_000);
  assert.equal(keeper.durableTo, START + 30n);
  assert.deepEqual([troubles.at(-1), keeper.failingSinceMs], [undefined, undefined]);
  await stop();
});

test("what was stored before a place refused the rest is durable, and not stored again", async () => {
  const { place, clock, keeper, troubles, add, stop } = world();
  place.halfRefusal = new Failure("store/unreachable", "no answer");
  await add(40, [10n, 30n]);
  await clock.advance(5_000);
  assert.deepEqual([keeper.durableTo, troubles], [START + 20n, ["store/unreachable"]]);
  place.halfRefusal = undefined;
  await clock.advance(5_000);
  assert.deepEqual(place.calls, ["half 0-20", "journal 20-40"]);
  assert.deepEqual(
    place.entries.map(({ commits }) => commits.map(({ timeUs }) => timeUs)),
    [[30n]],
  );
  assert.deepEqual([keeper.durableTo, troubles.at(-1)], [START + 40n, undefined]);
  await stop();
});

test("a segment that becomes whole while its beginning is being stored is in the next span from its first byte on", async () => {
  const { place, clock, keeper, tail, add, stop } = world({ hasJournal: false });
  place.beforeSpan = async () => {
    place.beforeSpan = undefined;
    await tail.add({ start: tail.end, bytes: Buffer.alloc(100), commits: [], cameMs: clock.monotonic() }, { signal });
  };
  await add(30);
  await clock.advance(5_000);
  assert.deepEqual(place.calls, ["span 0-30"]);
  assert.deepEqual([keeper.savedTo, tail.start], [START, START]);
  await clock.advance(5_000);
  assert.deepEqual(place.calls.slice(1), ["span 0-130"]);
  assert.equal(keeper.savedTo, START + 100n);
  await stop();
});

test("while a span is being stored, what comes behind it is durable in time, and the span's bytes stay until both are stored", async () => {
  const { place, clock, keeper, tail, add, stop } = world();
  const [span, journal] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  place.beforeSpan = async () => await span.promise;
  await add(410);
  await add(30);
  await clock.advance(4_999);
  assert.deepEqual(place.calls, []);
  await clock.advance(1);
  assert.deepEqual([place.calls, keeper.durableTo], [["journal 0-440"], START + 440n]);
  place.beforeJournal = async () => await journal.promise;
  await add(30);
  await clock.advance(5_000);
  span.resolve();
  await settle();
  assert.deepEqual([place.calls.slice(1), tail.start], [["span 0-400"], START]);
  journal.resolve();
  await settle();
  await settle();
  assert.deepEqual(place.calls.slice(2), ["journal 440-470", "sweep 400"]);
  assert.deepEqual([keeper.savedTo, keeper.durableTo, tail.start], [START + 400n, START + 470n, START + 400n]);
  await clock.advance(60_000);
  assert.equal(place.calls.length, 4);
  await stop();
});

test("while a span is being stored and the server has another, or no more comes, nothing behind it is stored twice", async () => {
  for (const isFinished of [false, true]) {
    const { place, clock, tail, add, run, stop } = world();
    const span = Promise.withResolvers<void>();
    place.beforeSpan = async () => await span.promise;
    if (!isFinished) tail.heard(START + 1_000n);
    await add(450);
    if (isFinished) tail.finish();
    await clock.advance(20_000);
    assert.deepEqual(place.calls, []);
    span.resolve();
    await settle();
    if (isFinished) await run;
    assert.deepEqual(place.calls.slice(0, 2), ["span 0-400", "sweep 400"]);
    if (!isFinished) await stop();
  }
});

test("a place that does not answer is told of while it is waited for, and no longer when it has answered", async () => {
  const { place, clock, troubles, add, stop } = world();
  const answer = Promise.withResolvers<void>();
  place.beforeJournal = async () => await answer.promise;
  await add(30);
  await clock.advance(5_000);
  await clock.advance(LIMITS.watchSlowMs);
  assert.deepEqual(troubles, ["store/unreachable"]);
  answer.resolve();
  await settle();
  await settle();
  assert.deepEqual(troubles, ["store/unreachable", undefined]);
  assert.deepEqual(place.calls, ["journal 0-30"]);
  await stop();
});

test("while somebody prunes, what comes is durable in the journal, and the span is stored when it can be", async () => {
  const { place, clock, keeper, troubles, add, stop } = world();
  place.spanRefusal = new Failure("repo/locked", "somebody prunes");
  await add(450);
  await clock.advance(5_000);
  assert.deepEqual(place.calls, ["journal 0-450"]);
  assert.equal(keeper.durableTo, START + 450n);
  assert.deepEqual(troubles, []);
  place.spanRefusal = undefined;
  await clock.advance(60_000);
  assert.deepEqual(place.calls.slice(1), ["span 0-400", "sweep 400"]);
  await stop();
});

test("while somebody prunes for so long that memory is full, what the journal has is let go of, and read back when a span can be stored", async () => {
  const { place, clock, keeper, tail, troubles, stop } = world({ maxBytes: 500 });
  place.spanRefusal = new Failure("repo/locked", "somebody prunes");
  const written: Buffer[] = [];
  const come = async (length: number) => {
    const bytes = Buffer.alloc(length, written.length + 1);
    const commits = [1n, 60_000_000n, 70_000_000n].map((timeUs, at) => {
      return { lsn: tail.end + BigInt(at + 1), timeUs: BigInt(written.length) * 1_000n + timeUs };
    });
    written.push(bytes);
    void tail.add({ start: tail.end, bytes, commits, cameMs: clock.monotonic() }, { signal }).catch(() => {});
    for (let turn = 0; turn < 10; turn += 1) await settle();
  };
  for (let piece = 0; piece < 12; piece += 1) await come(110);
  assert.ok(!tail.isFull, "whoever receives goes on");
  assert.deepEqual([keeper.savedTo, troubles], [START, []]);
  await clock.advance(5_000);
  assert.equal(keeper.durableTo, tail.end);
  assert.ok(tail.start > START + 400n);
  const before = tail.start;
  place.spanRefusal = undefined;
  place.calls.length = 0;
  for (let turn = 0; turn < 20; turn += 1) await clock.advance(60_000);
  const spans = place.spans.map(({ span }) => [Number(span.from - START), Number(span.to - START)]);
  const [first, ...others] = spans;
  assert.deepEqual(first, [0, 400]);
  for (const [at, [from]] of others.entries()) assert.equal(from, spans[at]?.[1], "one follows the other");
  assert.equal(keeper.savedTo, START + 1_300n);
  const reads = place.calls.filter((call) => call.startsWith("read"));
  assert.equal(reads.length, Math.ceil(Number(before - START) / 400), "and no more than that is read back");
  const all = Buffer.concat(place.spans.flatMap(({ bytes }) => (typeof bytes === "function" ? [] : bytes)));
  assert.deepEqual(all, Buffer.concat(written).subarray(0, 1_300));
  // What was committed is told of each span as if memory had had it all the time.
  const counted = place.spans.reduce((sum, { commits }) => sum + commits.count, 0);
  assert.equal(counted, 36);
  for (const { span, commits } of place.spans) {
    assert.deepEqual([span.firstCommitUs, span.lastCommitUs], [commits.first?.timeUs, commits.last?.timeUs]);
    assert.ok(commits.first !== undefined && commits.first.lsn > span.from && commits.first.lsn <= span.to);
    assert.ok(commits.last !== undefined && commits.last.lsn > span.from && commits.last.lsn <= span.to);
  }
  await stop();
});

test("while spans are made of the journal, what comes is in the journal first", async () => {
  const { place, clock, keeper, tail, stop } = world({ maxBytes: 500 });
  place.spanRefusal = new Failure("repo/locked", "somebody prunes");
  const come = async (length: number) => {
    void tail.add({ start: tail.end, bytes: Buffer.alloc(length), commits: [], cameMs: clock.monotonic() }, { signal });
    for (let turn = 0; turn < 10; turn += 1) await settle();
  };
  for (let piece = 0; piece < 12; piece += 1) await come(110);
  await clock.advance(5_000);
  await come(30);
  assert.equal(keeper.durableTo, tail.end - 30n);
  place.calls.length = 0;
  place.spanRefusal = undefined;
  await clock.advance(60_000);
  assert.equal(place.calls[0], "journal 1320-1350");
  assert.equal(place.calls[1], "read 0-400");
  await stop();
});

test("what the journal does not have any more is damage", async () => {
  const { place, clock, tail, run } = world({ maxBytes: 500 });
  place.spanRefusal = new Failure("repo/locked", "somebody prunes");
  for (let piece = 0; piece < 6; piece += 1) {
    void tail.add({ start: tail.end, bytes: Buffer.alloc(110), commits: [], cameMs: 0 }, { signal }).catch(() => {});
    for (let turn = 0; turn < 10; turn += 1) await settle();
  }
  place.spanRefusal = undefined;
  place.journal.length = 0;
  await clock.advance(60_000);
  await assert.rejects(run, /the journal of 'primary' cannot be read at 0\/[0-9A-F]+ any more/);
});

test("while the server has a whole span more, what came waits for it, and is not stored twice", async () => {
  const { place, clock, tail, add, stop } = world();
  tail.heard(START + 1_000n);
  await add(150);
  await clock.advance(TIMES.flushMs - 1);
  assert.deepEqual(place.calls, []);
  await add(300);
  assert.deepEqual(place.calls, ["span 0-400", "sweep 400"]);
  await stop();
});

test("a span that does not come, because the server's line is slow, keeps nothing from being durable for long", async () => {
  const { place, clock, tail, keeper, add, stop } = world({ times: { ...TIMES, flushMs: 10 } });
  tail.heard(START + 1_000n);
  await add(150);
  await clock.advance(LIMITS.spanComingMs - 1);
  assert.deepEqual(place.calls, []);
  await clock.advance(1);
  assert.deepEqual(place.calls, ["journal 0-150"]);
  assert.equal(keeper.durableTo, START + 150n);
  await stop();
});

test("while a span that could be stored is refused, the journal is written at its usual pace", async () => {
  const { place, clock, tail, add, stop } = world({ times: { ...TIMES, flushMs: 10 } });
  place.spanRefusal = new Failure("repo/locked", "somebody prunes");
  tail.heard(START + 1_000n);
  await add(450);
  await clock.advance(10);
  assert.deepEqual(place.calls, ["journal 0-450"]);
  await stop();
});

test("a place is told whether the next span follows at once, and when nothing more is stored there", async () => {
  const { place, tail, run, add } = world();
  tail.heard(START + 900n);
  await add(450);
  await add(400);
  tail.finish();
  await run;
  assert.deepEqual(place.goOn, [true, false]);
  assert.equal(place.calls.at(-1), "close");
});

test("damage is not tried again", async () => {
  const { place, clock, run, add } = world();
  place.refusal = new Failure("repo/damaged", "a flipped bit");
  await add(30);
  await clock.advance(5_000);
  await assert.rejects(run, /a flipped bit/);
});

test("a span says when its first and last commits were made", async () => {
  const { place, clock, add, stop } = world();
  await add(30, [10n, 20n, 30n]);
  await clock.advance(5_000);
  const [entry] = place.entries;
  assert.deepEqual([entry?.span.firstCommitUs, entry?.span.lastCommitUs, entry?.commits.length], [10n, 30n, 3]);
  await stop();
});

test("at the end everything is stored at once", async () => {
  const { place, tail, run, add } = world();
  await add(130);
  tail.finish();
  await run;
  assert.deepEqual(place.calls, ["journal 0-130", "close"]);
});

test("a keeper goes on where spans and journal end", async () => {
  const { place, clock, add, stop } = world({ durableTo: START + 20n });
  await add(50);
  await clock.advance(5_000);
  assert.deepEqual(place.calls, ["journal 20-50"]);
  await stop();
});
