import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { openWorkPool, type WorkPool } from "../../src/repo/pool.ts";
import { openHandler, type Init, type Task } from "./pool-worker.ts";

const URL_OF_WORKER = new URL("pool-worker.ts", import.meta.url);
const isBug = (error: unknown) => isFailure(error, "internal/bug");

function open(
  url: URL | undefined,
  options: { signal?: AbortSignal; posted?: string[]; init?: Init | Promise<Init>; startsLate?: boolean } = {},
): WorkPool<Task, number> {
  return openWorkPool<Task, number, Init, string>({
    url,
    count: 2,
    init: options.init ?? { add: 1 },
    inline: openHandler,
    onMessage: (text) => options.posted?.push(text),
    signal: options.signal ?? new AbortController().signal,
    ...(options.startsLate === undefined ? {} : { startsLate: options.startsLate }),
  });
}

for (const [where, url] of [
  ["in threads", URL_OF_WORKER],
  ["in this thread", undefined],
] as const) {
  test(`${where}: many tasks all get their own answers`, async () => {
    await using pool = open(url);
    const tasks = Array.from({ length: 100 }, (_, number) => ({ do: "double", number }) as const);
    const answers = await Promise.all(tasks.map(async (task) => await pool.run(task)));
    assert.deepEqual(
      answers,
      tasks.map((task) => task.number * 2 + 1),
    );
  });

  test(`${where}: tasks that come before the workers know what to do wait for it`, async () => {
    const init = Promise.withResolvers<Init>();
    await using pool = open(url, { init: init.promise });
    const answer = pool.run({ do: "double", number: 4 });
    init.resolve({ add: 5 });
    assert.equal(await answer, 13);
  });

  test(`${where}: what keeps the workers from being told ends the pool`, async () => {
    const init = Promise.withResolvers<Init>();
    await using pool = open(url, { init: init.promise });
    const answer = pool.run({ do: "double", number: 4 });
    init.reject(new Error("no index"));
    await assert.rejects(answer, /no index/);
    await assert.rejects(pool.run({ do: "double", number: 4 }), /no index/);
  });

  test(`${where}: workers that start late are those that are needed, and no more than a task may be given to`, async () => {
    await using pool = open(url, { startsLate: true });
    assert.deepEqual(await pool.all({ do: "double", number: 1 }), []);
    const one = Array.from({ length: 8 }, async () => await pool.run({ do: "double", number: 4 }, [], 1));
    assert.deepEqual(new Set(await Promise.all(one)), new Set([9]));
    assert.equal((await pool.all({ do: "double", number: 1 })).length, 1);
    await Promise.all(Array.from({ length: 8 }, async () => await pool.run({ do: "double", number: 4 })));
    assert.equal((await pool.all({ do: "double", number: 1 })).length, 2);
  });

  test(`${where}: what a worker posts arrives before its answer, and every worker gets what all get`, async () => {
    const posted: string[] = [];
    await using pool = open(url, { posted });
    await pool.all({ do: "post", text: "a" });
    assert.deepEqual(posted, ["a", "a"]);
    await pool.close();
    assert.deepEqual(posted, ["a", "a", "closed", "closed"]);
  });

  test(`${where}: a worker is told of a task before its turn`, async () => {
    const posted: string[] = [];
    await using pool = open(url, { posted, init: Promise.resolve({ add: 1 }) });
    const tasks = [{ do: "foreseen" }, { do: "foreseen" }, { do: "double", number: 1 }, { do: "fail" }] as const;
    await Promise.allSettled(tasks.map(async (task) => await pool.run(task)));
    assert.deepEqual(posted.toSorted(), ["foreseen double", "foreseen fail"]);
  });

  test(`${where}: a failed task is a failure of that task with its code and hint`, async () => {
    await using pool = open(url);
    await assert.rejects(
      pool.run({ do: "fail" }),
      (error) => isFailure(error, "store/full") && error.message === "no space left" && error.hint === "Free some.",
    );
    assert.equal(await pool.run({ do: "double", number: 4 }), 9);
  });

  test(`${where}: an abort rejects what is under way and what comes after with its reason`, async () => {
    const controller = new AbortController();
    await using pool = open(url, { signal: controller.signal });
    const reason = new Error("stopped by hand");
    const waiting = Array.from({ length: 6 }, async () => await pool.run({ do: "wait" }));
    const outcomes = Promise.allSettled(waiting);
    controller.abort(reason);
    for (const outcome of await outcomes) assert.equal(outcome.status === "rejected" && outcome.reason, reason);
    await assert.rejects(pool.run({ do: "double", number: 1 }), (error) => error === reason);
  });

  test(`${where}: a worker that cannot open fails the tasks with its reason`, async () => {
    await using pool = open(url, { init: { add: Number.NaN } });
    await assert.rejects(pool.run({ do: "double", number: 1 }), (error) => isFailure(error, "store/denied"));
  });

  test(`${where}: a closed pool takes nothing more`, async () => {
    const pool = open(url);
    await pool.run({ do: "double", number: 1 });
    await pool.close();
    await pool.close();
    await assert.rejects(pool.run({ do: "double", number: 1 }), (error) => isFailure(error, "run/cancelled"));
  });
}

for (const death of ["crash", "exit"] as const) {
  test(`a worker that dies by ${death} ends the whole pool, and nobody waits for ever`, async () => {
    await using pool = open(URL_OF_WORKER);
    const dying = pool.run({ do: death });
    const others = Array.from({ length: 5 }, async () => await pool.run({ do: "wait" }));
    const outcomes = Promise.allSettled(others);
    await assert.rejects(dying, isBug);
    for (const outcome of await outcomes) assert.equal(outcome.status === "rejected" && isBug(outcome.reason), true);
    await assert.rejects(pool.run({ do: "double", number: 1 }), isBug);
  });
}
