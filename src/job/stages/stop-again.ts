/**
 * What a restore stopped may run again by the time that it is gone on with or undone: the machine was restarted, or somebody
 * started it. It must not work on a place that is half restored.
 */
import { runStep } from "../../installation/processes.ts";
import type { Journal } from "./journal.ts";
import { seeNobody } from "./nobody.ts";
import type { ProcessName } from "./ran-before.ts";
import type { StageName, UndoContext } from "./stage.ts";

async function stop(names: readonly ProcessName[], { place, signal }: UndoContext): Promise<void> {
  for (const name of names) {
    for (const step of place.installation.processes[name]?.stop ?? []) await runStep(step, { signal });
  }
}

/** What was stopped and has not been started by this restore is stopped once more. @throws Failure `restore/in-use`. */
export async function stopBeforeGoingOn(context: UndoContext, journal: Journal): Promise<void> {
  const state = (name: StageName) => journal.stage(name)?.state;
  if (state("stop") !== "done") return;
  if (state("web") === "waiting") {
    await stop(["worker", "web"], context);
    await seeNobody(context);
  } else if (state("worker") === "waiting") {
    // What would go out is reviewed, or was, before it runs.
    await stop(["worker"], context);
  }
}

/**
 * Before databases are swapped back. Where the restore had started the web process, its own undo sees to it.
 * @throws Failure `restore/in-use`.
 */
export async function stopBeforeUndo(context: UndoContext, journal: Journal): Promise<void> {
  const isBegun = (name: StageName) => ["begun", "done"].includes(journal.stage(name)?.state ?? "");
  if (!isBegun("stop") || !isBegun("swap") || isBegun("web")) return;
  await stop(["worker", "web"], context);
  await seeNobody(context);
}
