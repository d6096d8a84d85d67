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
import { problemFindings } from "./file-findings.ts";
import { FileLedger } from "./file-ledger.ts";
import { discardFiles, planFilesBack, planFilesDiscard, takeFilesBack } from "./files-way-back.ts";
import { applyMissing, planMissing } from "./missing-files.ts";
import { keysOf, openMove, planFiles } from "./plan-files.ts";
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
      const result = await putService({ target, service, ledger, database }, context);
      await target.tidy({ signal });
      const absent = await lookForAbsent({ move, target, service }, context);
      if (database !== undefined && move.from !== move.to) await tellRows(database, move, absent.elsewhere);
      lines.push(doneLine(move, target, result));
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
}

async function putService({ target, service, ledger, database }: Putting, context: StageContext): Promise<PutResult> {
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
    progress,
    signal,
  });
  result.problems.push(...damaged);
  return result;
}

/** What the point has not may be at the place all the same: at the service that its rows will name, or at its own. */
async function lookForAbsent(
  { move, target, service }: { move: FoundMove; target: BlobTarget; service: ServiceEntry },
  context: StageContext,
): Promise<{ lacking: MissingBlob[]; elsewhere: string[] }> {
  const { reader, signal } = context;
  const absent = (await reader.missing(service)).filter((blob) => isAbsent(blob) && blob.reason !== "purged");
  if (absent.length === 0) return { lacking: [], elsewhere: [] };
  const own = move.from === move.to ? undefined : targetSpecOf(move.from, context.place);
  const before =
    own !== undefined && "spec" in own
      ? await openMove({ ...move, to: move.from, spec: own.spec }, context)
      : undefined;
  const found = { lacking: [] as MissingBlob[], elsewhere: [] as string[] };
  try {
    await mapConcurrent(
      absent,
      target.width,
      async (blob) => {
        if (await has(target, blob, signal)) return;
        if (before !== undefined && (await has(before, blob, signal))) found.elsewhere.push(blob.id);
        else found.lacking.push(blob);
      },
      { signal },
    );
  } finally {
    await before?.close();
  }
  return found;
}

async function has(target: BlobTarget, { key, bytes }: MissingBlob, signal: AbortSignal): Promise<boolean> {
  try {
    return (await target.stat(key, { signal }))?.bytes === bytes;
  } catch (error) {
    signal.throwIfAborted();
    if (!isFailure(error) || error.code === "internal/bug") throw error;
    return false;
  }
}

/** @param elsewhere Ids of those that stay where they are. */
async function tellRows(database: Queries, { from, to }: Move, elsewhere: readonly string[]): Promise<void> {
  await database.query(
    "update active_storage_blobs set service_name = $1 where service_name = $2 and not (id = any($3::bigint[]))",
    [to, from, elsewhere],
  );
}

function doneLine({ from, to }: Move, target: BlobTarget, { files, bytes, there, aside }: PutResult): string {
  const parts = [`${plural(files, "uploaded file")} (${formatBytes(bytes)}) of '${from}' put into ${target.shown}`];
  if (there > 0) parts.push(`${plural(there, "was", "were")} there`);
  if (aside > 0)
    parts.push(`${plural(aside, "file")} that ${aside === 1 ? "was" : "were"} not what the database says put aside`);
  if (from !== to) parts.push(`the database says '${to}' of them`);
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
