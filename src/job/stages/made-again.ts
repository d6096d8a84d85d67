/** Containers have the environment that they were made with: where it is another now, Compose makes them again, and none is started. */
import { listSome } from "../../base/bytes.ts";
import {
  type ComposeProject,
  readComposeProject,
  remakeTrouble,
  runImages,
  type ServiceImage,
} from "../../installation/images.ts";
import type { Installation } from "../../installation/installation.ts";
import { lookAgain } from "./coming-up.ts";
import { keepStopped } from "./kept-stopped.ts";
import type { UndoContext } from "./stage.ts";

interface Remakeable {
  readonly project: ComposeProject;
  readonly images: readonly ServiceImage[];
}

/** Why they cannot be made again from here. */
export interface NotRemade {
  readonly trouble: string;
}

async function lookAtProject(installation: Installation, signal: AbortSignal): Promise<Remakeable | NotRemade> {
  const project = await readComposeProject(installation, { signal });
  const images = (project?.images ?? []).filter(({ isChatwoot }) => isChatwoot);
  if (project === undefined || images.length === 0) return { trouble: "no files of Compose are known of them" };
  const trouble = await remakeTrouble(project, images, { signal });
  return trouble === undefined ? { project, images } : { trouble };
}

function named({ images }: Remakeable): string {
  return listSome(
    images.map(({ service }) => service),
    10,
  );
}

/** The command that does it, as a person types it. */
export function remakeCommandOf({ environmentFrom = [] }: Installation): string | undefined {
  return environmentFrom.find(({ remake }) => remake !== undefined)?.remake;
}

/** Whether Chatkeep can do it itself. Changes nothing. @returns the services' names, or what it cannot be done for. */
export async function planRemake(
  installation: Installation,
  { signal }: { signal: AbortSignal },
): Promise<{ readonly services: string } | NotRemade> {
  const found = await lookAtProject(installation, signal);
  return "trouble" in found ? found : { services: named(found) };
}

/**
 * Makes Chatwoot's containers anew where their files give them another environment than they were made with, of the images that they
 * run. Called again after a kill, those that are made already stay. The place is known by the new ones from then on.
 * @returns the services' names, or why it was not done: then nothing was changed.
 * @throws Failure `program/failed` with what Compose said when it failed half-way.
 */
export async function makeAgain(context: UndoContext): Promise<{ readonly services: string } | NotRemade> {
  const { place, signal, progress } = context;
  const found = await lookAtProject(await lookAgain(context), signal);
  if ("trouble" in found) return found;
  progress.say(`making the containers of ${named(found)} again`);
  await runImages(found.project, found.images, { isStarted: false, signal });
  place.installation.processes = (await lookAgain(context)).processes;
  // New ones have the policy of their file.
  await keepStopped(context);
  return { services: named(found) };
}
