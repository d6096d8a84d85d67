/** Which of Chatwoot's processes ran when a restore began: those alone are started again. */
import { createHmac } from "node:crypto";
import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { Failure, messageOf } from "../../base/errors.ts";
import { OPENING_NAMES } from "../../chatwoot/environment-match.ts";
import type { Environment } from "../../chatwoot/environment.ts";
import { type ProcessControl, describeStep, type Step } from "../../installation/processes.ts";
import { stateOf } from "../../installation/process-state.ts";
import { replaceFile } from "../../system/replace-file.ts";
import type { UndoContext } from "./stage.ts";

export type ProcessName = "web" | "worker";

/** For people. */
export const CALLED: Record<ProcessName, string> = { web: "the web process", worker: "the worker" };

export interface RanProcess {
  /** By which it is known again, as {@link describeStep} has it. */
  readonly what: string;
  readonly ran: boolean;
  /** How many tasks or pods it was meant to have. */
  readonly count?: number;
}

/** Plain JSON. */
export interface RanBefore {
  readonly web: readonly RanProcess[];
  readonly worker: readonly RanProcess[];
  /** By name, a mark of each value of the environment: by it the same value is known again. */
  readonly keys?: Readonly<Record<string, string>>;
}

/** No value can be read from it, and it is another in every restore. */
function markOf(value: string, folder: string): string {
  return createHmac("sha256", basename(folder)).update(value).digest("hex");
}

/** Marks of what the place has. A key that it lacks has one, too: it is lacking. Pure. */
export function environmentMarks(environment: Environment, folder: string): Record<string, string> {
  const names = new Set([...OPENING_NAMES, ...environment.keys()]);
  return Object.fromEntries([...names].map((name) => [name, markOf(environment.get(name) ?? "", folder)]));
}

const NAME = "processes.json";

/** Looks at them. Of one that a person's own command starts it cannot be told: it is taken to run. */
export async function lookAtProcesses({ place, folder, signal }: UndoContext): Promise<RanBefore> {
  const { web, worker } = place.installation.processes;
  const look = async (control: ProcessControl | undefined): Promise<RanProcess[]> => {
    const found: RanProcess[] = [];
    for (const step of control?.start ?? []) {
      const state = await stateOf(step, { signal });
      const count = state?.count ?? 0;
      found.push({ what: describeStep(step), ran: state?.isWanted ?? true, ...(count > 0 ? { count } : {}) });
    }
    return found;
  };
  const keys = environmentMarks(place.installation.environment, folder);
  return { web: await look(web), worker: await look(worker), keys };
}

/** Keeps it for the stages that start them. Returns when it is durable. @throws Failure `restore/record`. */
export async function keepRanBefore(folder: string, ran: RanBefore): Promise<void> {
  const path = join(folder, NAME);
  try {
    await replaceFile(path, `${JSON.stringify(ran, null, 2)}\n`, 0o600);
  } catch (cause) {
    throw new Failure("restore/record", `cannot write ${path}: ${messageOf(cause)}`, {
      hint: "Nothing was stopped. Is there room on that disk, and may Chatkeep write there?",
      cause,
    });
  }
}

/** Undefined where nothing was stopped in this restore. @throws Failure `restore/record` for what cannot be read. */
export async function readRanBefore(folder: string): Promise<RanBefore | undefined> {
  const path = join(folder, NAME);
  try {
    return JSON.parse(await readFile(path, "utf8")) as RanBefore;
  } catch (cause) {
    if (cause instanceof Error && "code" in cause && cause.code === "ENOENT") return undefined;
    throw new Failure("restore/record", `cannot read ${path}: ${messageOf(cause)}`, {
      hint: "It says which processes ran before. Without it start them yourself, then remove it.",
      cause,
    });
  }
}

/** What somebody started meanwhile is meant to run, as if it had run before. Nothing is noted where nothing was stopped. */
export async function noteRanAgain(folder: string, steps: readonly Step[]): Promise<void> {
  const ran = await readRanBefore(folder);
  if (ran === undefined) return;
  const what = new Set(steps.map(describeStep));
  const again = (all: readonly RanProcess[]) => all.map((one) => (what.has(one.what) ? { ...one, ran: true } : one));
  const now = { ...ran, web: again(ran.web), worker: again(ran.worker) };
  if (JSON.stringify(now) !== JSON.stringify(ran)) await keepRanBefore(folder, now);
}

function isAnyRan({ web, worker }: RanBefore): boolean {
  return [...web, ...worker].some(({ ran }) => ran);
}

/**
 * The steps that start a process again as it ran before. Where nothing ran at all, as on a new machine, everything is meant
 * to be started. Pure.
 */
export function stepsToStart(
  control: ProcessControl | undefined,
  name: ProcessName,
  ran: RanBefore | undefined,
  { isNew = true }: { isNew?: boolean } = {},
): Step[] {
  const steps = control?.start ?? [];
  if (ran === undefined || (isNew && !isAnyRan(ran))) return [...steps];
  const known = new Map(ran[name].map((one) => [one.what, one]));
  return steps.flatMap((step) => {
    const before = known.get(describeStep(step));
    // One that was not there yet belongs to a place that was made anew meanwhile.
    if (before !== undefined && !before.ran) return [];
    const { count } = before ?? {};
    return [
      count !== undefined && (step.how === "service" || step.how === "scale") ? { ...step, replicas: count } : step,
    ];
  });
}
