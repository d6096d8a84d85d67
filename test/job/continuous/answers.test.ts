/** Who is waited for where several repositories are asked. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { LIMITS } from "../../../src/base/limits.ts";
import { type AskOptions, answersOf } from "../../../src/job/continuous/answers.ts";
import { HandClock, settle } from "../../harness/hand-clock.ts";

/** Places that answer when they are told to. */
async function asking(options: Pick<AskOptions<string>, "isFromFirst" | "typing">) {
  const clock = new HandClock();
  const { signal } = new AbortController();
  const places = ["one", "two"] as const;
  const told = new Map(places.map((place) => [place, Promise.withResolvers<string>()]));
  const ask = async (place: string) => (await told.get(place as "one")?.promise) ?? "";
  const answers = answersOf(places, ask, { ...options, isAnswer: (answer) => answer !== "away", clock, signal });
  const tell = async (place: (typeof places)[number], answer = "here") => {
    told.get(place)?.resolve(answer);
    await settle();
  };
  await settle();
  return { clock, tell, answered: async () => [...(await answers).keys()].toSorted() };
}

test("others are waited for from the first answer on, where that is asked for", async () => {
  const { clock, tell, answered } = await asking({ isFromFirst: true });
  await clock.advance(10 * LIMITS.placeAnswerMs);
  await tell("two");
  await clock.advance(LIMITS.placeAnswerMs - 1);
  await tell("one");
  assert.deepEqual(await answered(), ["one", "two"]);

  const late = await asking({ isFromFirst: true });
  await late.tell("two");
  await late.clock.advance(LIMITS.placeAnswerMs);
  assert.deepEqual(await late.answered(), ["two"]);
});

test("else they are waited for from the beginning on, and until there is an answer", async () => {
  const { clock, tell, answered } = await asking({});
  await clock.advance(LIMITS.placeAnswerMs);
  await tell("one", "away");
  await tell("two");
  assert.deepEqual(await answered(), ["one", "two"]);

  const late = await asking({});
  await late.clock.advance(LIMITS.placeAnswerMs);
  await late.tell("two");
  assert.deepEqual(await late.answered(), ["two"]);
});

test("while a person types a password nobody is late", async () => {
  let typed: PromiseWithResolvers<void> | undefined = Promise.withResolvers<void>();
  const { clock, tell, answered } = await asking({ isFromFirst: true, typing: () => typed?.promise });
  await tell("two");
  await clock.advance(10 * LIMITS.placeAnswerMs);
  assert.equal(clock.asleep, 0);
  typed.resolve();
  typed = undefined;
  await settle();
  // Another question came up meanwhile.
  typed = Promise.withResolvers<void>();
  await clock.advance(LIMITS.placeAnswerMs);
  await clock.advance(10 * LIMITS.placeAnswerMs);
  typed.resolve();
  typed = undefined;
  await settle();
  await clock.advance(LIMITS.placeAnswerMs - 1);
  await tell("one");
  assert.deepEqual(await answered(), ["one", "two"]);
});
