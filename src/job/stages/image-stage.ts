/**
 * The containers of a Compose project run the images again that they ran before an upgrade. Names are given back to those
 * images, Compose files and their variables are put back, and the containers are made anew, not started.
 */
import { join } from "node:path";
import { listSome } from "../../base/bytes.ts";
import { Failure } from "../../base/errors.ts";
import type { Finding } from "../../base/findings.ts";
import {
  type ComposeProject,
  composeTrouble,
  goneImages,
  movedServices,
  readComposeProject,
  runImages,
  type ServiceImage,
} from "../../installation/images.ts";
import {
  changedFiles,
  goneCopies,
  keepProjectFiles,
  type KeptProjectFile,
  undoProjectFiles,
  writeProjectFiles,
} from "./project-files.ts";
import {
  NOTHING_TO_UNDO,
  type Stage,
  type StageContext,
  type StagePlan,
  type StageRecord,
  type StageResult,
  type UndoContext,
} from "./stage.ts";

export interface KeptImages {
  /** What the containers ran until now. */
  readonly project: ComposeProject;
  /** Files that are other than the point has them, and their copies. */
  readonly files: readonly KeptProjectFile[];
}

/** Of what was there, below the restore's folder. */
const FILES = "compose";

export const imageStage: Stage<KeptImages> = {
  name: "image",
  plan: async (context) => await planImages(context),
  apply: async (context, record) => await putImagesBack(context, record),
  // Another image is another Chatwoot than the database of before is of.
  undoIs: "needed",
  undo: async (context, record) => await undoImages(context, record),
  planUndo: async ({ place, signal }, { kept }) => {
    if (kept === undefined) return NOTHING_TO_UNDO;
    const moved = chatwootOf(movedServices(kept.project, await readComposeProject(place.installation, { signal })));
    const gone = await goneCopies(kept.files);
    return {
      blockers: [...gone, ...(moved.length === 0 ? [] : await blockersOf(kept.project, moved, signal))],
      findings: [],
    };
  },
};

async function planImages(context: StageContext): Promise<StagePlan> {
  const { options, place, signal } = context;
  const wanted = options.project;
  const nothing = { lines: [], blockers: [], findings: [] };
  if (wanted === undefined) return nothing;
  const moved = chatwootOf(movedServices(wanted, await readComposeProject(place.installation, { signal })));
  const files = await changedFiles(context.reader, place.installation, wanted);
  if (moved.length === 0 && files.length === 0) return nothing;
  return {
    lines: [
      ...(moved.length === 0 ? [] : [`containers of ${names(moved)} are made again of the images that they ran`]),
      ...(files.length === 0
        ? []
        : [
            `put back: ${listSome(
              files.map(({ path }) => path),
              10,
            )}`,
          ]),
    ],
    blockers: moved.length === 0 ? [] : await blockersOf(wanted, moved, signal),
    findings: [],
  };
}

async function blockersOf(
  wanted: ComposeProject,
  moved: readonly ServiceImage[],
  signal: AbortSignal,
): Promise<Finding[]> {
  const trouble = await composeTrouble({ signal });
  const gone = await goneImages(wanted, moved, { signal });
  return [
    ...(trouble === undefined ? [] : [noCompose(trouble, moved)]),
    ...gone.map(({ service, name, id, digest }): Finding => {
      const how =
        digest === null
          ? "It was made here: make it again, and give it that name."
          : `'docker pull ${digest}' brings it back; then call this again.`;
      return {
        kind: "image-gone",
        level: "alarm",
        message: `the image that ${service} ran (${name}, ${id.slice(0, 19)}) is no longer on this machine`,
        hint: how,
      };
    }),
  ];
}

function noCompose(trouble: string, moved: readonly ServiceImage[]): Finding {
  return {
    kind: "compose-not-run",
    level: "alarm",
    message: `the containers cannot be made again of their earlier images: ${trouble}`,
    hint: `Install Docker's program and its Compose plugin for Chatkeep, or make them again by hand: ${moved.map(({ name, id }) => `docker tag ${id} ${name}`).join("; ")}; then docker compose up --no-start.`,
  };
}

function chatwootOf(images: readonly ServiceImage[]): ServiceImage[] {
  return images.filter(({ isChatwoot }) => isChatwoot);
}

function names(images: readonly ServiceImage[]): string {
  return listSome(
    images.map(({ service }) => service),
    10,
  );
}

async function putImagesBack(context: StageContext, record: StageRecord<KeptImages>): Promise<StageResult> {
  const { options, place, folder, reader, signal } = context;
  const wanted = options.project;
  const now = await readComposeProject(place.installation, { signal });
  if (wanted === undefined || now === undefined) return { lines: [], findings: [] };
  const files = await changedFiles(reader, place.installation, wanted);
  if (record.kept === undefined) {
    await record.keep({ project: now, files: await keepProjectFiles(join(folder, FILES), files) });
  }
  await writeProjectFiles(files, record.kept?.files ?? []);
  const before = record.kept?.project ?? now;
  const moved = chatwootOf(movedServices(wanted, await readComposeProject(place.installation, { signal })));
  await refuseGone(wanted, moved, signal);
  await runImages(wanted, moved, { isStarted: false, signal });
  const told = chatwootOf(movedServices(wanted, before));
  return {
    lines: [
      ...told.map(({ service, name, id }) => `${service} runs ${name} as it was (${id.slice(0, 19)})`),
      ...(record.kept?.files ?? []).map(
        ({ name, copy }) => `${name} is as it was${copy === null ? "" : `; the other one is kept as ${copy}`}`,
      ),
    ],
    findings: [],
    next: told.length === 0 ? [] : [NEXT],
  };
}

const NEXT =
  "The names of the images mean the earlier ones on this machine again: the next 'docker compose pull' brings the newer ones back.";

async function refuseGone(
  project: ComposeProject,
  images: readonly ServiceImage[],
  signal: AbortSignal,
): Promise<void> {
  const [gone] = await goneImages(project, images, { signal });
  if (gone === undefined) return;
  throw new Failure(
    "target/unsuitable",
    `the image that ${gone.service} ran, ${gone.name}, is no longer on this machine`,
    {
      hint: gone.digest === null ? "Make it again, and go on." : `'docker pull ${gone.digest}', and go on.`,
    },
  );
}

async function undoImages(
  { place, folder, signal }: UndoContext,
  { kept }: StageRecord<KeptImages>,
): Promise<StageResult> {
  if (kept === undefined) return { lines: [], findings: [] };
  const lines = await undoProjectFiles(join(folder, FILES), kept.files);
  const moved = chatwootOf(movedServices(kept.project, await readComposeProject(place.installation, { signal })));
  await runImages(kept.project, moved, { isStarted: false, signal });
  return { lines: [...lines, ...moved.map(({ service, name }) => `${service} runs ${name} again`)], findings: [] };
}
