/** Of several repositories the one that was opened is waited for: the one with most of the log takes longest to say what it has. */
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { Failure, isFailure } from "../../src/base/errors.ts";
import { LIMITS } from "../../src/base/limits.ts";
import { lookAtEach } from "../../src/job/which-repository.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { createMemoryStore } from "../../src/store/memory-store.ts";
import { HandClock } from "../harness/hand-clock.ts";
import { newRepository, reopen, signal } from "../repo/small-backup.ts";
import { addPoint, NOW, ONE } from "./kept-points.ts";

let repository: Repository;
before(async () => {
  repository = await newRepository(createMemoryStore());
  await addPoint(repository, NOW);
});

/** Listing it ends when it is told to, or fails. */
function slowly(before: Promise<void>): Repository {
  const slow = reopen(repository);
  const list = slow.listSnapshots.bind(slow);
  slow.listSnapshots = async (options) => {
    await before;
    return await list(options);
  };
  return slow;
}

function look(clock: HandClock, slow: Repository, slowTold: string[]) {
  return lookAtEach(["slow", "quick"], {
    open: async (name) => ({ name, repository: name === "slow" ? slow : repository }),
    words: [{ word: "latest", asked: undefined }],
    installationId: ONE,
    onSlow: (place) => slowTold.push(place),
    clock,
    signal,
  });
}

test("one that was opened is waited for however long it takes to say what it has, and that is said", async () => {
  const clock = new HandClock();
  const [listed, told] = [Promise.withResolvers<void>(), [] as string[]];
  const looking = look(clock, slowly(listed.promise), told);
  while (!clock.waits.includes(LIMITS.placeAnswerMs)) await clock.advance(0);
  while (told.length === 0) await clock.advance(LIMITS.placeAnswerMs);
  assert.deepEqual(told, ["slow"]);
  listed.resolve();
  const answers = await looking;
  for (const name of ["slow", "quick"]) {
    const answer = answers.get(name);
    assert.ok(answer !== undefined && !isFailure(answer));
    assert.deepEqual([answer.opened.name, answer.newestPointUs], [name, BigInt(NOW) * 1000n]);
  }
});

test("one that was opened and then fails says why", async () => {
  const failed = Promise.reject(new Failure("store/unreachable", "the line is cut"));
  failed.catch(() => {});
  const answers = await look(new HandClock(), slowly(failed), []);
  assert.ok(isFailure(answers.get("slow"), "store/unreachable"));
  assert.ok(!isFailure(answers.get("quick")));
});
