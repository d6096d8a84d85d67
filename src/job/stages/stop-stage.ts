/** Stops the worker, then the web process, and sees that nobody is connected any more. Undone, what ran before runs again. */
import { listSome } from "../../base/bytes.ts";
import { isFailure } from "../../base/errors.ts";
import type { Finding } from "../../base/findings.ts";
import { OPENING_NAMES } from "../../chatwoot/environment-match.ts";
import { type ProcessControl, describeStep, runStep, startStep } from "../../installation/processes.ts";
import { connectIfThere } from "../../postgres/connect-if-there.ts";
import { GO_ON, lookAgain, waitUntilSteady } from "./coming-up.ts";
import { waitUntilWell } from "./health-stage.ts";
import { keepStopped, letStart, mayStart } from "./kept-stopped.ts";
import { makeAgain } from "./made-again.ts";
import { isWorkerConnected, seeNobody, whoIsConnected } from "./nobody.ts";
import {
  CALLED,
  environmentMarks,
  keepRanBefore,
  lookAtProcesses,
  readRanBefore,
  type ProcessName,
  type RanBefore,
  stepsToStart,
} from "./ran-before.ts";
import {
  behind,
  NOTHING_TO_UNDO,
  type Stage,
  type StageContext,
  type StagePlan,
  type StageResult,
  type UndoContext,
} from "./stage.ts";

/** A web process that goes on making work is stopped last, so that nobody waits in vain for longer than needed. */
const ORDER = ["worker", "web"] as const;

/** For people: `container acme-web-1, container acme-web-2`. */
export function stepsNamed(steps: ProcessControl["stop"]): string {
  return listSome(steps.map(describeStep));
}

function canStop(control: ProcessControl | undefined): control is ProcessControl {
  return control !== undefined && control.stop.length > 0;
}

async function plan(context: StageContext): Promise<StagePlan> {
  const { processes } = context.place.installation;
  const lines = ORDER.flatMap((name) => {
    const control = processes[name];
    return canStop(control) ? [`stop ${CALLED[name]}: ${stepsNamed(control.stop)}`] : [];
  });
  const unknown = ORDER.filter((name) => !canStop(processes[name]));
  const findings = unknown.length === 0 ? [] : findingsOf(unknown, (await whoIsConnected(context)).who);
  return {
    lines: [...lines, "see that nobody is connected to the database any more"],
    blockers: findings.filter(({ level }) => level === "alarm"),
    findings: findings.filter(({ level }) => level !== "alarm"),
  };
}

/** Who cannot be stopped from here stands in the way as long as somebody is connected, who may be just that one. */
function findingsOf(unknown: readonly ProcessName[], connected: readonly string[]): Finding[] {
  const who = unknown.map((name) => CALLED[name]).join(" and ");
  const commands = unknown.map((name) => `stop.${name} and start.${name}`).join(", ");
  const canDo = unknown.length === ORDER.length;
  const hint = `Say in the configuration under 'installation' how it is done: ${commands}, and 'health' (docs/installations.md). Or stop ${who} yourself first.`;
  if (connected.length > 0) {
    const message = `Chatkeep does not know how to stop ${who}, and somebody is connected: ${listSome(connected)}`;
    // One that can be stopped may be the one that is connected: stopping it shows.
    return [{ kind: "processes-unknown", level: canDo ? "alarm" : "warning", message, hint }];
  }
  const message = `Chatkeep does not know how to stop and start ${who}; nobody is connected now`;
  return [{ kind: "processes-unknown", level: "note", message, hint }];
}

export const stopStage: Stage<RanBefore> = {
  name: "stop",
  plan,
  async apply(context, record) {
    const { place, folder, progress, signal } = context;
    if (record.kept === undefined) {
      const ran = await lookAtProcesses(context);
      await keepRanBefore(folder, ran);
      await record.keep(ran);
    }
    await keepStopped(context);
    for (const name of ORDER) {
      const { stop = [] } = place.installation.processes[name] ?? {};
      if (stop.length > 0) progress.say(`stopping ${CALLED[name]}`);
      for (const step of stop) await runStep(step, { signal });
    }
    const seen = await seeNobody(context, { tellsUnasked: true });
    return behind(seen, { lines: [`web and worker are stopped, and ${nobodyIn(seen)}`], findings: [] });
  },
  // It starts what ran.
  undoIs: "needed",
  async planUndo(context) {
    // Whoever runs the processes must answer, and it must be known what was switched off: both throw otherwise.
    await lookAtProcesses(context);
    await mayStart(context.folder);
    return NOTHING_TO_UNDO;
  },
  async undo(context, { kept: recorded }) {
    const { place, folder, progress, signal } = context;
    if (recorded === undefined) return { lines: [], findings: [] };
    const kept = (await readRanBefore(folder)) ?? recorded;
    const environment = await environmentAsBefore(context, kept);
    if (environment.holds !== undefined) return { ...environment, findings: [] };
    const { processes } = place.installation;
    const lines = [...environment.lines];
    const findings: Finding[] = [];
    const next = [...(environment.next ?? [])];
    for (const name of ORDER.toReversed()) {
      const control = processes[name];
      const steps = stepsToStart(control, name, kept, { isNew: false });
      await letStart(context, name);
      for (const step of steps) await startStep(step, { folder, progress, signal });
      const ill = await notWellAgain(context, name, steps);
      findings.push(...ill);
      if (steps.length > 0 && ill.length === 0) lines.push(`${CALLED[name]} runs again: ${stepsNamed(steps)}`);
      else if (!canStart(control)) next.push(`Start ${CALLED[name]} again, if it ran before.`);
    }
    return { lines, findings, ...(next.length === 0 ? {} : { next }) };
  },
};

/**
 * Containers keep what they were made with, whatever their files say: where it is other than before, they are made again. With another key
 * Chatwoot says nothing, and writes over what it cannot open: then it is not started.
 */
async function environmentAsBefore(
  context: UndoContext,
  { keys = {} }: RanBefore,
): Promise<Pick<StageResult, "lines" | "next" | "holds">> {
  const { folder } = context;
  const differing = async () => {
    const marks = environmentMarks((await lookAgain(context)).environment, folder);
    return [...new Set([...Object.keys(keys), ...Object.keys(marks)])].filter((name) => marks[name] !== keys[name]);
  };
  const before = await differing();
  if (before.length === 0) return { lines: [] };
  const { environmentFrom = [] } = await lookAgain(context);
  const remake = environmentFrom.find((source) => source.remake !== undefined);
  const made = remake === undefined ? undefined : await makeAgain(context);
  const names = made !== undefined && "services" in made ? await differing() : before;
  const closing = names.filter((name) => OPENING_NAMES.includes(name));
  const trouble = made !== undefined && "trouble" in made ? made.trouble : undefined;
  if (closing.length > 0) {
    const why = trouble === undefined ? "" : `, and Chatkeep cannot make its containers again: ${trouble}`;
    const how = remake?.remake ?? "set what was there before, and make Chatwoot's containers again, if it runs in some";
    const message = `Chatwoot is not started, for it has another ${closing.join(", ")} than before the restore, with which it would damage its data${why}`;
    return { lines: [], holds: `${message}. Call: ${how}` };
  }
  if (made !== undefined && "services" in made) {
    return { lines: [`the containers of ${made.services} have the environment of before again`] };
  }
  const again = remake?.remakeAndStart;
  if (again === undefined) return { lines: [] };
  const message = `make the containers again, which still have what was restored of ${listSome(names)}: ${again}`;
  return { lines: [], next: [message] };
}

/** What was started and does not stay up, or is not well, is told: all else is undone, and nothing is to be gone on with. */
async function notWellAgain(
  context: UndoContext,
  name: ProcessName,
  steps: ProcessControl["start"],
): Promise<Finding[]> {
  if (steps.length === 0) return [];
  const lack = await databaseLacking(context);
  if (lack !== undefined) return [notWaitedFor(lack, name)];
  try {
    if (name === "web") await waitUntilWell(context, steps);
    else await waitUntilSteady(steps, context, { isAtWork: async () => await isWorkerConnected(context) });
    return [];
  } catch (error) {
    context.signal.throwIfAborted();
    if (!isFailure(error, "restore/not-well")) throw error;
    const hint = (error.hint ?? "").replace(GO_ON, "Everything else is as it was before the restore.");
    return [{ kind: "not-well-again", level: "alarm", message: error.message, hint }];
  }
}

/**
 * Without a database, or its tables, Chatwoot does not become well, however long it is waited for.
 * @returns for people, what is lacking.
 */
async function databaseLacking(context: UndoContext): Promise<string | undefined> {
  const { database } = context.place.address;
  try {
    await using connection = await connectIfThere(context.place.address, context);
    if (connection === undefined) return `there is no database '${database}'`;
    const [row] = await connection.query<{ has: boolean }>(
      "select pg_catalog.to_regclass('accounts') is not null as has",
    );
    return row?.has === false ? `database '${database}' has none of Chatwoot's tables` : undefined;
  } catch (error) {
    context.signal.throwIfAborted();
    if (!isFailure(error)) throw error;
    return undefined;
  }
}

function notWaitedFor(lack: string, name: ProcessName): Finding {
  return {
    kind: "not-well-again",
    level: "warning",
    message: `${CALLED[name]} was started and not waited for: ${lack}`,
    hint: "Everything else is as it was before the restore.",
  };
}

function nobodyIn({ findings }: StageResult): string {
  const isAsked = findings.every(({ kind }) => kind !== "redis-not-asked" && kind !== "redis-does-not-tell");
  return isAsked ? "nobody is connected" : "nobody is connected to the database";
}

function canStart(control: ProcessControl | undefined): boolean {
  return control !== undefined && control.start.length > 0;
}
