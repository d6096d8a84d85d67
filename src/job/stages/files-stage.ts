/**
 * Brings the point's uploaded files back into the storage services of the place. Files are write-once under random keys,
 * so they are put beside what is there; where they go to another service, the restored database is told before the swap.
 */
import { formatBytes, plural } from "../../base/bytes.ts";
import { mapConcurrent } from "../../base/concurrent.ts";
import { isFailure } from "../../base/errors.ts";
import type { Finding } from "../../base/findings.ts";
import { isAbsent, type MissingBlob, type ServiceEntry } from "../../point/manifest.ts";
import { connect } from "../../postgres/connect.ts";
import type { BlobTarget } from "../../source/target.ts";
import type { Queries } from "../list-storage.ts";
import { ArrivedFiles } from "./arrived-files.ts";
import { problemFindings } from "./file-findings.ts";
import { FileLedger } from "./file-ledger.ts";
import { discardFiles, planFilesBack, planFilesDiscard, takeFilesBack } from "./files-way-back.ts";
import { applyMissing, planMissing } from "./missing-files.ts";
import { keysOf, openMove, planFiles, roomForFiles } from "./plan-files.ts";
import { lookAt } from "./judge-files.ts";
import { putFiles, type PutResult } from "./put-files.ts";
import type { Stage, StageContext, StageResult } from "./stage.ts";
import { findMoves, type FoundMove, type KeptFiles, type Move, sameMoves, targetSpecOf } from "./storage-moves.ts";
import { savedFiles } from "./wanted-files.ts";

export const filesStage: Stage<KeptFiles> = {
  name: "files",
  plan: async (context) => (context.options.missing === true ? await planMissing(context) : await planFiles(context)),
  async apply(context, record) {
    if (context.options.missing === true) return await applyMissing(context, record);
    const services = context.manifest.storage.filter(({ blobs }) => blobs > 0);
    const names = services.map(({ name }) => name);
    const moves =
      record.kept === undefined
        ? findMoves(names, context.place, context.options.storage)
        : sameMoves(record.kept.moves, context.place);
    if (record.kept === undefined) await record.keep({ moves: moves.map(({ from, to }) => ({ from, to })) });
    return await bringBack(context, services, moves);
  },
  async room(context) {
    if (context.options.missing === true) return (await planMissing(context)).room ?? [];
    const names = context.manifest.storage.map(({ name }) => name);
    return await roomForFiles(context, findMoves(names, context.place, context.options.storage));
  },
  // Files that no row names are never asked for, so Chatwoot runs with them as well.
  undoIs: "spared",
  undo: takeFilesBack,
  planUndo: planFilesBack,
  discard: discardFiles,
  planDiscard: planFilesDiscard,
};

async function bringBack(
  context: StageContext,
  services: readonly ServiceEntry[],
  moves: readonly FoundMove[],
): Promise<StageResult> {
  const { fresh, progress, signal } = context;
  const bytes = services.reduce((sum, service) => sum + service.bytes, 0);
  progress.stage("bringing uploaded files back", { total: bytes, unit: "bytes" });
  const ledger = new FileLedger(context.folder);
  const lines: string[] = [];
  const findings: Finding[] = [];
  await using database = fresh === undefined ? undefined : await connect(fresh, { signal });
  for (const move of moves) {
    const service = services.find(({ name }) => name === move.from);
    if (service === undefined) continue;
    const target = await openMove(move, context);
    try {
      await target.tidy({ signal });
      const isMoved = database !== undefined && move.from !== move.to;
      const arrived = isMoved ? await ArrivedFiles.begin(database) : undefined;
      const result = await putService({ target, service, ledger, database, arrived }, context);
      await target.tidy({ signal });
      const absent = await lookForAbsent({ move, target, service }, context);
      const stay = (await arrived?.tell(move, absent.moved)) ?? 0;
      lines.push(doneLine(move, target, { ...result, stay }));
      findings.push(...problemFindings(result), ...absentFindings(move, absent.lacking));
    } finally {
      await target.close();
    }
  }
  return { lines, findings };
}

interface Putting {
  target: BlobTarget;
  service: ServiceEntry;
  ledger: FileLedger;
  database: Queries | undefined;
  /** Undefined where files go back to where they were. */
  arrived: ArrivedFiles | undefined;
}

async function putService(
  { target, service, ledger, database, arrived }: Putting,
  context: StageContext,
): Promise<PutResult> {
  const { reader, folder, progress, signal } = context;
  const damaged: { path: string; reason: string }[] = [];
  const onDamage = (path: string, reason: string) => {
    damaged.push({ path, reason });
  };
  const keys = async () => await keysOf(savedFiles(reader, service, { onDamage: () => {}, signal }));
  const presence = await lookAt(target, keys, { signal });
  const result = await putFiles(savedFiles(reader, service, { onDamage, database, signal }), {
    reader,
    target,
    presence,
    ledger,
    folder,
    replaces: true,
    onThere: async (keys) => await arrived?.add(keys),
    progress,
    signal,
  });
  result.problems.push(...damaged);
  return result;
}

interface Absent {
  /** Neither in the point nor here, as far as can be seen. */
  lacking: MissingBlob[];
  /** Ids of those that lie in the service that takes the others, or would be looked for there. */
  moved: string[];
}

/** What the point has not may be at the place all the same: at the service that its rows will name, or at its own. */
async function lookForAbsent(
  { move, target, service }: { move: FoundMove; target: BlobTarget; service: ServiceEntry },
  context: StageContext,
): Promise<Absent> {
  const { reader, signal } = context;
  const absent = (await reader.missing(service)).filter(isAbsent);
  const found: Absent = { lacking: [], moved: [] };
  if (absent.length === 0) return found;
  const own = move.from === move.to ? undefined : targetSpecOf(move.from, context.place);
  const before =
    own !== undefined && "spec" in own
      ? await openMove({ ...move, to: move.from, spec: own.spec }, context)
      : undefined;
  try {
    await mapConcurrent(
      absent,
      target.width,
      async (blob) => {
        const isPurged = blob.reason === "purged";
        if (!isPurged && (await has(target, blob, signal)) === true) {
          found.moved.push(blob.id);
          return;
        }
        const isBefore = isPurged || before === undefined ? false : await has(before, blob, signal);
        if (isBefore === true) return;
        if (!isPurged) found.lacking.push(blob);
        // One that was lost before lies nowhere: then the service that the place has is where it would be put. One that could not
        // be read when the point was made, or now, may be where its row says.
        if (isBefore === false && blob.reason !== "unreadable") found.moved.push(blob.id);
      },
      { signal },
    );
  } finally {
    await before?.close();
  }
  return found;
}

/** Undefined where the service does not tell. */
async function has(target: BlobTarget, { key, bytes }: MissingBlob, signal: AbortSignal): Promise<boolean | undefined> {
  try {
    return (await target.stat(key, { signal }))?.bytes === bytes;
  } catch (error) {
    signal.throwIfAborted();
    if (!isFailure(error) || error.code === "internal/bug") throw error;
    return undefined;
  }
}

function doneLine(
  { from, to }: Move,
  target: BlobTarget,
  { files, bytes, there, aside, stay }: PutResult & { stay: number },
): string {
  const parts = [`${plural(files, "uploaded file")} (${formatBytes(bytes)}) of '${from}' put into ${target.shown}`];
  if (there > 0) parts.push(`${plural(there, "was", "were")} there`);
  if (aside > 0)
    parts.push(`${plural(aside, "file")} that ${aside === 1 ? "was" : "were"} not what the database says put aside`);
  if (from !== to) parts.push(`the database says '${to}' of them`);
  if (stay > 0) parts.push(`of ${plural(stay, "file")} that did not come it goes on saying '${from}'`);
  return parts.join("; ");
}

function absentFindings({ from }: Move, lacking: readonly MissingBlob[]): Finding[] {
  if (lacking.length === 0) return [];
  const shown = lacking.slice(0, 3).map(({ filename }) => filename);
  return [
    {
      kind: "point-misses-files",
      level: "note",
      message: `${plural(lacking.length, "uploaded file")} of '${from}' ${lacking.length === 1 ? "is" : "are"} neither in the restore point nor here: ${shown.join(", ")}${lacking.length > 3 ? ", …" : ""}`,
      hint: "They were lost before the point was taken. 'chatkeep restore OLDER --only storage --missing' brings back what an older point has of them.",
      discreet: `${plural(lacking.length, "uploaded file")} of '${from}' ${lacking.length === 1 ? "is" : "are"} neither in the restore point nor here`,
    },
  ];
}
