/** Waiting for processes that were started, and explaining why one does not come up. */
import { Failure } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import { createRedactor } from "../../base/redact.ts";
import { secretValuesOf } from "../../chatwoot/secrets.ts";
import type { Installation } from "../../installation/installation.ts";
import { describeStep, type Step } from "../../installation/processes.ts";
import { describeEnd, howToRead, lastWords, type ProcessState, stateOf } from "../../installation/process-state.ts";
import type { UndoContext } from "./stage.ts";

/** How every such failure ends while a restore goes on. */
export const GO_ON = "Correct it and run chatkeep restore --resume; chatkeep rollback brings back what was there.";

/** The installation as it is now; as it was found where it cannot be looked at again. */
export async function lookAgain({ place }: Pick<UndoContext, "place">): Promise<Installation> {
  return (await place.look?.()) ?? place.installation;
}

/** Until the next look at something: most often it is there at once, and else takes long. @param waitedMs So far. */
export function pauseAfter(waitedMs: number): number {
  return waitedMs < LIMITS.soonMs ? LIMITS.lookSoonMs : LIMITS.lookAgainMs;
}

/** What is thrown of a process that does not come up: with its last lines, without any secret. */
export async function notWell(
  message: string,
  steps: readonly Step[],
  { place, signal }: Pick<UndoContext, "place" | "signal">,
): Promise<Failure> {
  const redact = createRedactor(secretValuesOf(place.installation.environment));
  const said: string[] = [];
  for (const step of steps) {
    const lines = await lastWords(step, { signal });
    const command = howToRead(step);
    if (lines.length > 0)
      said.push(`The last lines of ${describeStep(step)}:`, ...lines.map((line) => `  ${redact(line)}`));
    if (command !== undefined) said.push(`More: ${command}`);
  }
  return new Failure("restore/not-well", redact(message), { hint: [...said, GO_ON].join("\n") });
}

/** One that has begun so often will not come up: a first attempt may fail while something else still starts. */
const MOST_STARTS = 5;

/** How often processes were started anew while they are waited for. */
export class Starts {
  readonly #context: Pick<UndoContext, "place" | "signal">;
  readonly #seen = new Map<string, Set<string>>();

  constructor(context: Pick<UndoContext, "place" | "signal">) {
    this.#context = context;
  }

  /** @throws Failure `restore/not-well` for one that ends again and again. */
  async count(step: Step, { mark, count = 1 }: ProcessState): Promise<void> {
    const what = describeStep(step);
    const marks = this.#seen.get(what) ?? new Set();
    this.#seen.set(what, marks.add(mark));
    // Several tasks or pods come one after the other, each of them a change.
    if (marks.size > MOST_STARTS + count)
      throw await notWell(`${describeStep(step)} ends again and again`, [step], this.#context);
  }
}

/**
 * Waits until all of them run, and have stayed up for a while: one that cannot load its code ends within that. Who is seen at work has
 * loaded it, and needs to stay for less; of several it cannot be told which one was seen.
 * @param options.isAtWork Whether one of them is seen to do what it is there for.
 * @throws Failure `restore/not-well` with the last lines of one that does not.
 */
export async function waitUntilSteady(
  steps: readonly Step[],
  context: UndoContext,
  { isAtWork = async () => await Promise.resolve(false) }: { isAtWork?: () => Promise<boolean> } = {},
): Promise<void> {
  const { clock, signal } = context;
  const starts = new Starts(context);
  for (const step of steps) {
    const began = clock.monotonic();
    let mark: string | undefined;
    let [upSince, atWorkSince] = [began, Number.POSITIVE_INFINITY];
    for (;;) {
      const state = await stateOf(step, { signal });
      // A person's own command need not tell of what it started.
      if (state === undefined) break;
      if (state.status !== undefined) throw await notWell(describeEnd(step, state), [step], context);
      await starts.count(step, state);
      const isTold = state.isUp && steps.length === 1 && (state.count ?? 1) === 1 && (await isAtWork());
      const now = clock.monotonic();
      if (!state.isUp) mark = undefined;
      else if (state.mark !== mark) [mark, upSince, atWorkSince] = [state.mark, now, Number.POSITIVE_INFINITY];
      atWorkSince = isTold ? Math.min(atWorkSince, now) : Number.POSITIVE_INFINITY;
      const isSteady = now - upSince >= LIMITS.steadyMs || now - atWorkSince >= LIMITS.steadyAtWorkMs;
      if (mark !== undefined && isSteady) break;
      if (now - began >= LIMITS.startPatienceMs)
        throw await notWell(`${describeStep(step)} does not stay up`, [step], context);
      await clock.sleep(pauseAfter(now - began), signal);
    }
  }
}
