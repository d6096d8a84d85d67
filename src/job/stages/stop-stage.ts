/** Stops the worker, then the web process, and sees that nobody is connected any more. Undone, what ran before runs again. */
import { listSome } from "../../base/bytes.ts";
import type { Finding } from "../../base/findings.ts";
import { type ProcessControl, runStep, showStep } from "../../installation/processes.ts";
import { seeNobody, whoIsConnected } from "./nobody.ts";
import { keepRanBefore, lookAtProcesses, type ProcessName, type RanBefore, stepsToStart } from "./ran-before.ts";
import type { Stage, StageContext, StagePlan } from "./stage.ts";

const CALLED: Record<ProcessName, string> = { web: "the web process", worker: "the worker" };
/** A web process that goes on making work is stopped last, so that nobody waits in vain for longer than needed. */
const ORDER = ["worker", "web"] as const;

/** For people: `container acme-web-1, container acme-web-2`. */
export function stepsNamed(steps: ProcessControl["stop"]): string {
  return listSome(steps.map(showStep));
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
  const findings = unknown.length === 0 ? [] : await findingsOf(unknown, await whoIsConnected(context));
  return {
    lines: [...lines, "see that nobody is connected to the database any more"],
    blockers: findings.filter(({ level }) => level === "alarm"),
    findings: findings.filter(({ level }) => level !== "alarm"),
  };
}

/** Who cannot be stopped from here stands in the way as long as somebody is connected, who may be just that one. */
async function findingsOf(unknown: readonly ProcessName[], connected: readonly string[]): Promise<Finding[]> {
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
    for (const name of ORDER) {
      const { stop = [] } = place.installation.processes[name] ?? {};
      if (stop.length > 0) progress.say(`stopping ${CALLED[name]}`);
      for (const step of stop) await runStep(step, { signal });
    }
    await seeNobody(context);
    return { lines: ["web and worker are stopped, and nobody is connected"], findings: [] };
  },
  async undo({ place, signal }, { kept }) {
    if (kept === undefined) return { lines: [], findings: [] };
    const { processes } = place.installation;
    const started: string[] = [];
    const next: string[] = [];
    for (const name of ORDER.toReversed()) {
      const control = processes[name];
      const steps = stepsToStart(control, name, kept, { isNew: false });
      for (const step of steps) await runStep(step, { signal });
      if (steps.length > 0) started.push(`${CALLED[name]} runs again: ${stepsNamed(steps)}`);
      else if (!canStart(control)) next.push(`Start ${CALLED[name]} again, if it ran before.`);
    }
    return { lines: started, findings: [], ...(next.length === 0 ? {} : { next }) };
  },
};

function canStart(control: ProcessControl | undefined): boolean {
  return control !== undefined && control.start.length > 0;
}
