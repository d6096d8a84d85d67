/**
 * The containers of a Compose project run the images again that they ran before an upgrade. Names are given back to those
 * images, Compose files and their variables are put back, and the containers are made anew, not started.
 */
import { mkdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { listSome } from "../../base/bytes.ts";
import { Failure } from "../../base/errors.ts";
import type { Finding } from "../../base/findings.ts";
import {
  type ComposeProject,
  composeTrouble,
  goneImages,
  movedServices,
  projectFiles,
  readComposeProject,
  runImages,
  type ServiceImage,
} from "../../installation/images.ts";
import type { Installation } from "../../installation/installation.ts";
import { replaceFile } from "../../system/replace-file.ts";
import type { PointReader } from "../point-reader.ts";
import type { Stage, StageContext, StagePlan, StageRecord, StageResult, UndoContext } from "./stage.ts";

export interface KeptImages {
  /** What the containers ran until now. */
  readonly project: ComposeProject;
  /** Files that are other than the point has them, and their copies. */
  readonly files: readonly { readonly path: string; readonly copy: string }[];
}

interface ChangedFile {
  path: string;
  text: string;
  /** What the point has. */
  saved: string;
}

export const imageStage: Stage<KeptImages> = {
  name: "image",
  plan: async (context) => await planImages(context),
  apply: async (context, record) => await putImagesBack(context, record),
  undo: async (context, record) => await undoImages(context, record),
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

/** Those that the point has, and has otherwise. A file that is gone is other, too. */
async function changedFiles(
  reader: PointReader,
  { envFile, nameOf }: Pick<Installation, "envFile" | "nameOf">,
  project: ComposeProject,
): Promise<ChangedFile[]> {
  const changed: ChangedFile[] = [];
  for (const path of projectFiles(project)) {
    const below = `config/${path === envFile ? "env" : `files/${(nameOf?.(path) ?? path).replace(/^\/+/, "")}`}`;
    if ((await reader.find(below)) === undefined) continue;
    const saved = await reader.readText(below);
    const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return undefined;
      throw error;
    });
    if (text !== saved) changed.push({ path, text: text ?? "", saved });
  }
  return changed;
}

async function putImagesBack(context: StageContext, record: StageRecord<KeptImages>): Promise<StageResult> {
  const { options, place, folder, reader, signal } = context;
  const wanted = options.project;
  const now = await readComposeProject(place.installation, { signal });
  if (wanted === undefined || now === undefined) return { lines: [], findings: [] };
  const files = await changedFiles(reader, place.installation, wanted);
  if (record.kept === undefined) {
    const copies = join(folder, "compose");
    await mkdir(copies, { recursive: true, mode: 0o700 });
    const kept = files.map(({ path }, at) => ({ path, copy: join(copies, String(at)) }));
    for (const [at, { copy }] of kept.entries()) await replaceFile(copy, files[at]?.text ?? "", 0o600);
    await record.keep({ project: now, files: kept });
  }
  for (const { path, saved } of files) await replaceFile(path, saved, 0o600);
  const before = record.kept?.project ?? now;
  const moved = chatwootOf(movedServices(wanted, await readComposeProject(place.installation, { signal })));
  await refuseGone(wanted, moved, signal);
  await runImages(wanted, moved, { isStarted: false, signal });
  const told = chatwootOf(movedServices(wanted, before));
  return {
    lines: [
      ...told.map(({ service, name, id }) => `${service} runs ${name} as it was (${id.slice(0, 19)})`),
      ...(record.kept?.files ?? []).map(({ path, copy }) => `${path} is as it was; the other one is kept as ${copy}`),
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

async function undoImages({ place, signal }: UndoContext, { kept }: StageRecord<KeptImages>): Promise<StageResult> {
  if (kept === undefined) return { lines: [], findings: [] };
  const lines: string[] = [];
  for (const { path, copy } of kept.files) {
    const mode = (await stat(path).catch(() => undefined))?.mode ?? 0o600;
    await replaceFile(path, await readFile(copy, "utf8"), mode & 0o777);
    lines.push(`${path} is what it was before the restore`);
  }
  const moved = chatwootOf(movedServices(kept.project, await readComposeProject(place.installation, { signal })));
  await runImages(kept.project, moved, { isStarted: false, signal });
  return { lines: [...lines, ...moved.map(({ service, name }) => `${service} runs ${name} again`)], findings: [] };
}
