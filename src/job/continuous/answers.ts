/** Asks several repositories at once, of which one may take minutes until it says that it cannot be reached. */
import type { Clock } from "../../base/clock.ts";
import { Failure } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";

export interface AskOptions<T> {
  /** Whether it is what was asked for, and not a reason why there is none. */
  readonly isAnswer: (answer: T) => boolean;
  /** The time of the others counts from the first answer on, and not from the beginning. */
  readonly isFromFirst?: boolean;
  /** Pending while a person types what an answer needs: that is nobody's lateness. Undefined when none does. Never rejects. */
  readonly typing?: (() => Promise<void> | undefined) | undefined;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

const LATE = new Failure("run/cancelled", "a repository that does not answer is not waited for");

/**
 * One that has not answered within {@link LIMITS.placeAnswerMs} holds up nobody who has; where none has, the first is waited for.
 * @param ask Its signal is aborted when nobody waits any more.
 * @returns what those said that were in time.
 * @throws what `ask` throws; the signal's reason.
 */
export async function answersOf<P, T>(
  places: readonly P[],
  ask: (place: P, signal: AbortSignal) => Promise<T>,
  { isAnswer, isFromFirst = false, typing, clock, signal }: AskOptions<T>,
): Promise<ReadonlyMap<P, T>> {
  const over = new AbortController();
  const inner = AbortSignal.any([signal, over.signal]);
  const answers = new Map<P, T>();
  const first = Promise.withResolvers<void>();
  const all = Promise.all(
    places.map(async (place) => {
      const answer = await ask(place, inner);
      if (!over.signal.aborted) answers.set(place, answer);
      if (isAnswer(answer)) first.resolve();
    }),
  );
  const passing = async (): Promise<void> => {
    for (;;) {
      await typing?.();
      await clock.sleep(LIMITS.placeAnswerMs, inner);
      if (typing?.() === undefined) return;
    }
  };
  const enough = isFromFirst ? first.promise.then(passing) : Promise.all([first.promise, passing()]);
  // Of those that are not waited for nobody asks what became of them.
  for (const each of [all, enough]) each.catch(() => {});
  try {
    await Promise.race([all, enough]);
  } finally {
    over.abort(LATE);
  }
  return answers;
}
