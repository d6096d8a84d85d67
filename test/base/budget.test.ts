import assert from "node:assert/strict";
import { test } from "node:test";
import { Budget } from "../../src/base/budget.ts";

const { signal } = new AbortController();

/** Work that goes on until it is told to end. */
function begin(budget: Budget, bytes: number, own = signal) {
  const { promise, resolve } = Promise.withResolvers<void>();
  const work = { isRunning: false, end: resolve, done: Promise.resolve() };
  work.done = budget.use(bytes, own, async () => {
    work.isRunning = true;
    await promise;
    work.isRunning = false;
  });
  work.done.catch(() => {});
  return work;
}

const turn = async () => await new Promise<void>((resolve) => void setImmediate(resolve));

test("no more bytes are held at once than there are, and who came first is served first", async () => {
  const budget = new Budget(10);
  const [first, second, third, fourth] = [6, 4, 8, 1].map((bytes) => begin(budget, bytes));
  assert.ok(first && second && third && fourth);
  const running = async () => {
    await turn();
    return [first, second, third, fourth].map(({ isRunning }) => isRunning);
  };
  assert.deepEqual(await running(), [true, true, false, false]);
  first.end();
  assert.deepEqual(await running(), [false, true, false, false], "the fourth does not overtake the third");
  second.end();
  assert.deepEqual(await running(), [false, false, true, true]);
  third.end();
  fourth.end();
  await Promise.all([third.done, fourth.done]);
});

test("one that wants more than there is gets all of it, alone", async () => {
  const budget = new Budget(10);
  const [large, small] = [begin(budget, 100), begin(budget, 1)];
  await turn();
  assert.deepEqual([large.isRunning, small.isRunning], [true, false]);
  large.end();
  await turn();
  assert.ok(small.isRunning);
  small.end();
  await small.done;
});

test("who is stopped while waiting takes nothing, and work that fails gives its bytes back", async () => {
  const budget = new Budget(10);
  const stop = new AbortController();
  const first = begin(budget, 10);
  const waiting = begin(budget, 10, stop.signal);
  await turn();
  stop.abort(new Error("stopped"));
  await assert.rejects(waiting.done, /stopped/);
  first.end();
  await first.done;
  await assert.rejects(
    budget.use(10, signal, async () => await Promise.reject(new Error("failed"))),
    /failed/,
  );
  await budget.use(10, signal, async () => {});
});
