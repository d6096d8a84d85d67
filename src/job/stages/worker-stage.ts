/** Starts the worker, last of all: from then on messages go out. */
import { runStep, startStep } from "../../installation/processes.ts";
import { waitUntilSteady } from "./coming-up.ts";
import { howToLetStart, keepStopped, letStart } from "./kept-stopped.ts";
import { isWorkerConnected } from "./nobody.ts";
import { readRanBefore, stepsToStart } from "./ran-before.ts";
import type { Stage } from "./stage.ts";
import { stepsNamed } from "./stop-stage.ts";

export const workerStage: Stage = {
  name: "worker",
  plan({ place, options }) {
    const { start = [] } = place.installation.processes.worker ?? {};
    const started = start.length === 0 ? "leave the worker to you" : `start the worker: ${stepsNamed(start)}`;
    const line = options.clone === undefined ? started : "leave the worker off: a clone sends nothing";
    return Promise.resolve({ lines: [line], blockers: [], findings: [] });
  },
  async apply(context) {
    const { place, folder, progress, signal, options } = context;
    const { worker } = place.installation.processes;
    if (options.clone !== undefined) {
      const how = await howToLetStart(folder, "worker");
      const isOff = how.length > 0;
      return {
        lines: ["the worker was not started: a clone sends nothing"],
        findings: [],
        next: [
          isOff
            ? `leave the clone's worker off; nothing starts it by itself until this is called: ${how.join("; ")}`
            : "leave the clone's worker off, after the machine was started again as well",
        ],
      };
    }
    const isNew = (options.isElsewhere ?? options.afterUpgrade) === true;
    const steps = stepsToStart(worker, "worker", isNew ? undefined : await readRanBefore(folder));
    await letStart(context, "worker");
    if (steps.length === 0) {
      const isKnown = (worker?.start.length ?? 0) > 0;
      return {
        lines: [isKnown ? "the worker did not run before and was not started" : "the worker was not started"],
        findings: [],
        next: ["Start Chatwoot's worker (Sidekiq): without it no message is sent and none is fetched."],
      };
    }
    for (const step of steps) await startStep(step, { folder, progress, signal });
    await waitUntilSteady(steps, context, { isAtWork: async () => await isWorkerConnected(context) });
    return { lines: [`the worker runs: ${stepsNamed(steps)}`], findings: [] };
  },
  // It would go on sending what the restored database says.
  undoIs: "needed",
  async undo(context) {
    const { place, signal } = context;
    await keepStopped(context, ["worker"]);
    const { stop = [] } = place.installation.processes.worker ?? {};
    for (const step of stop) await runStep(step, { signal });
    return { lines: stop.length === 0 ? [] : [`the worker was stopped: ${stepsNamed(stop)}`], findings: [] };
  },
};
