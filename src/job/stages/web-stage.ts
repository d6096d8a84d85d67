/** Starts the web process on what was restored; undone, it is stopped before anything is taken from under it. */
import { runStep, startStep } from "../../installation/processes.ts";
import { keepStopped, letStart } from "./kept-stopped.ts";
import { seeNobody } from "./nobody.ts";
import { readRanBefore, stepsToStart } from "./ran-before.ts";
import { behind, type Stage } from "./stage.ts";
import { stepsNamed } from "./stop-stage.ts";

export const webStage: Stage = {
  name: "web",
  async plan({ place }) {
    const { start = [] } = place.installation.processes.web ?? {};
    const line =
      start.length === 0 ? "wait for you to start the web process" : `start the web process: ${stepsNamed(start)}`;
    return await Promise.resolve({ lines: [line], blockers: [], findings: [] });
  },
  async apply(context) {
    const { place, folder, progress, signal, options } = context;
    const { web } = place.installation.processes;
    const isNew = (options.isElsewhere ?? options.afterUpgrade) === true;
    const steps = stepsToStart(web, "web", isNew ? undefined : await readRanBefore(folder));
    await letStart(context, "web");
    for (const step of steps) await startStep(step, { folder, progress, signal });
    if (steps.length > 0) return { lines: [`the web process was started: ${stepsNamed(steps)}`], findings: [] };
    const isKnown = (web?.start.length ?? 0) > 0;
    return {
      lines: [isKnown ? "the web process did not run before and was not started" : "the web process was not started"],
      findings: [],
      next: ["Start Chatwoot's web process, and see that /health and /api answer."],
    };
  },
  // Whatever is put back is not to be taken from under somebody who works on it. That it can be stopped, 'stop' looks.
  undoIs: "needed",
  async undo(context) {
    await keepStopped(context, ["web"]);
    const { stop = [] } = context.place.installation.processes.web ?? {};
    for (const step of stop) await runStep(step, { signal: context.signal });
    const seen = await seeNobody(context);
    return behind(seen, {
      lines: stop.length === 0 ? [] : [`the web process was stopped: ${stepsNamed(stop)}`],
      findings: [],
    });
  },
};
