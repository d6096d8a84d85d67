/**
 * Puts back into the live storage what the live database lists and is not there: somebody emptied it. The database stays as
 * it is, each file goes to the service that its row names, and what is there is not touched, right or wrong.
 */
import { formatBytes, formatCount, plural } from "../../base/bytes.ts";
import { mapConcurrent } from "../../base/concurrent.ts";
import { isFailure } from "../../base/errors.ts";
import type { Finding } from "../../base/findings.ts";
import { shortId } from "../../base/ids.ts";
import { LIMITS } from "../../base/limits.ts";
import { connect } from "../../postgres/connect.ts";
import type { BlobTarget } from "../../source/target.ts";
import { type ListedFile, type LiveFile, liveFiles, type LiveService, listServices } from "../live-files.ts";
import type { Queries } from "../list-storage.ts";
import { PointReader } from "../point-reader.ts";
import { listPoints } from "../points.ts";
import { knownNeed, type RoomNeed } from "../room.ts";
import { problemFindings } from "./file-findings.ts";
import { FileLedger } from "./file-ledger.ts";
import { openMove } from "./plan-files.ts";
import { lookAt } from "./judge-files.ts";
import { putFiles } from "./put-files.ts";
import type { StageContext, StagePlan, StageRecord, StageResult } from "./stage.ts";
import { findMoves, type FoundMove, type KeptFiles } from "./storage-moves.ts";
import { savedCopy, type WantedFile } from "./wanted-files.ts";

/** What one service lacks. */
interface Lacking {
  service: LiveService;
  /** In the order of their ids, each with the point's copy, where it has one. */
  files: { file: LiveFile; saved: WantedFile | undefined }[];
  /** There, with another length. */
  wrong: number;
}

export async function planMissing(context: StageContext): Promise<StagePlan> {
  const { place, signal } = context;
  await using database = await connect(place.address, { signal });
  const lines: string[] = [];
  const blockers: Finding[] = [];
  const findings: Finding[] = [];
  const unsaved: LiveFile[] = [];
  const room: RoomNeed[] = [];
  for (const { service, move } of await servicesOf(database, context)) {
    try {
      const target = await openMove(move, context);
      try {
        const lacking = await findLacking(database, { service, target }, context);
        if (move.spec?.kind === "local")
          room.push(knownNeed(`uploaded files of '${service.name}'`, move.spec.roots[0], bytesOf(lacking)));
        if (lacking.files.length > 0) await target.probe({ signal });
        lines.push(lineOf(lacking, target));
        unsaved.push(...lacking.files.flatMap(({ file, saved }) => (saved === undefined ? [file] : [])));
        findings.push(...problemFindings({ problems: [], wrong: lacking.wrong }));
      } finally {
        await target.close();
      }
    } catch (error) {
      signal.throwIfAborted();
      if (!isFailure(error) || error.code === "internal/bug" || error.code.startsWith("database/")) throw error;
      blockers.push({
        kind: "storage-not-writable",
        level: "alarm",
        message: `storage '${service.name}' cannot take files: ${error.message}`,
        hint: error.hint ?? "Look at the service, then try again.",
        subject: service.name,
      });
    }
  }
  findings.push(...(await unsavedFindings(unsaved, context)));
  return { lines, blockers, findings, room };
}

export async function applyMissing(context: StageContext, record: StageRecord<KeptFiles>): Promise<StageResult> {
  const { place, reader, folder, progress, signal } = context;
  await using database = await connect(place.address, { signal });
  const services = await servicesOf(database, context);
  await record.keep({ moves: services.map(({ service: { name } }) => ({ from: name, to: name })) });
  const ledger = new FileLedger(folder);
  const lines: string[] = [];
  const findings: Finding[] = [];
  const unsaved: LiveFile[] = [];
  for (const { service, move } of services) {
    const target = await openMove(move, context);
    try {
      await target.tidy({ signal });
      const lacking = await findLacking(database, { service, target }, context);
      const wanted = lacking.files.flatMap(({ saved }) => (saved === undefined ? [] : [saved]));
      const total = wanted.reduce((sum, { bytes }) => sum + bytes, 0);
      progress.stage(`putting files back into ${target.shown}`, { total, unit: "bytes" });
      const presence = async (key: string) => await target.stat(key, { signal });
      const options = { reader, target, presence, ledger, folder, replaces: false, progress, signal };
      const result = await putFiles(eachOf(wanted), options);
      await target.tidy({ signal });
      lines.push(
        `${plural(result.files, "uploaded file")} (${formatBytes(result.bytes)}) put back into ${target.shown}`,
      );
      findings.push(...problemFindings({ ...result, wrong: lacking.wrong }));
      unsaved.push(...lacking.files.flatMap(({ file, saved }) => (saved === undefined ? [file] : [])));
    } finally {
      await target.close();
    }
  }
  findings.push(...(await unsavedFindings(unsaved, context)));
  return { lines, findings };
}

async function servicesOf(
  database: Queries,
  { place }: StageContext,
): Promise<{ service: LiveService; move: FoundMove }[]> {
  const services = await listServices(database);
  return services.flatMap((service) => {
    // Each to its own: a row of the live database is not changed.
    return findMoves([service.name], place, service.name).map((move) => ({ service, move }));
  });
}

async function findLacking(
  database: Queries,
  { service, target }: { service: LiveService; target: BlobTarget },
  { reader, progress, signal }: StageContext,
): Promise<Lacking> {
  progress.stage(`looking for files in ${target.shown}`, { total: service.files, unit: "files" });
  const lacking: Lacking = { service, files: [], wrong: 0 };
  const own = async function* () {
    for await (const file of liveFiles(database, { withYoung: true })) if (file.service === service.name) yield file;
  };
  const keys = async () => new Set(await Array.fromAsync(own(), ({ key }) => key));
  const presence = await lookAt(target, keys, { signal });
  const absent: ListedFile[] = [];
  await mapConcurrent(
    own(),
    target.width,
    async (file) => {
      const found = await presence(file.key);
      progress.advance(1);
      if (found === undefined) absent.push(file);
      else if (found.bytes !== file.bytes && !file.isYoung) lacking.wrong += 1;
    },
    { signal },
  );
  const inOrder = absent.toSorted((a, b) => (BigInt(a.id) < BigInt(b.id) ? -1 : 1));
  for (const file of inOrder) {
    const saved = await savedCopy(reader, file, { onDamage: () => {}, signal });
    // What the point has was there. What it has not may still be on its way.
    if (saved !== undefined || !file.isYoung) lacking.files.push({ file, saved });
  }
  return lacking;
}

async function* eachOf(files: readonly WantedFile[]): AsyncGenerator<WantedFile> {
  yield* files;
}

/** Of those that the point has. */
function bytesOf({ files }: Lacking): number {
  return files.reduce((sum, { saved }) => sum + (saved?.bytes ?? 0), 0);
}

function lineOf(lacking: Lacking, { shown }: BlobTarget): string {
  const { service, files } = lacking;
  const saved = files.filter((one) => one.saved !== undefined);
  const bytes = bytesOf(lacking);
  if (files.length === 0) return `storage '${service.name}': every file is in ${shown}`;
  return `storage '${service.name}': ${formatCount(files.length)} of ${plural(service.files, "file")} ${files.length === 1 ? "is" : "are"} not in ${shown}; the restore point has ${formatCount(saved.length)} (${formatBytes(bytes)}), which ${saved.length === 1 ? "is" : "are"} put back`;
}

/** What the point has not either, and which older one has it. */
async function unsavedFindings(files: readonly LiveFile[], context: StageContext): Promise<Finding[]> {
  if (files.length === 0) return [];
  const other = await pointThatHas(files.slice(0, LIMITS.otherPointsFiles), context);
  const shown = files.slice(0, 3).map(({ filename }) => filename);
  const message = `${plural(files.length, "uploaded file")} ${files.length === 1 ? "is" : "are"} neither there nor in the restore point`;
  return [
    {
      kind: "files-not-saved",
      level: "warning",
      message: `${message}: ${shown.join(", ")}${files.length > 3 ? ", …" : ""}`,
      hint:
        other === undefined
          ? `None of the ${LIMITS.otherPointsAsked} restore points nearest to it has them either; 'chatkeep list' shows all.`
          : `Restore point ${other.id} of ${other.time} has ${formatCount(other.files)} of them: 'chatkeep restore ${other.id} --only storage --missing'.`,
      discreet: message,
    },
  ];
}

/** The one with the most of them, of the newest; a point that cannot be read has none. */
async function pointThatHas(
  files: readonly LiveFile[],
  { reader, signal }: StageContext,
): Promise<{ id: string; time: string; files: number } | undefined> {
  const { points } = await listPoints(reader.repository, { signal });
  const { installationId } = reader.point;
  const others = points
    .filter((point) => point.snapshotId !== reader.point.snapshotId && point.installationId === installationId)
    .toSorted((a, b) => (a.snapshot.time < b.snapshot.time ? 1 : -1))
    .slice(0, LIMITS.otherPointsAsked);
  let best: { id: string; time: string; files: number } | undefined;
  for (const point of others) {
    const other = new PointReader(reader.repository, point, { signal });
    let found = 0;
    try {
      for (const file of files) {
        if ((await savedCopy(other, file, { onDamage: () => {}, signal })) !== undefined) found += 1;
      }
    } catch (error) {
      signal.throwIfAborted();
      if (!isFailure(error) || error.code === "internal/bug") throw error;
    }
    if (found > (best?.files ?? 0)) best = { id: shortId(point.id), time: point.snapshot.time, files: found };
    if (found === files.length) break;
  }
  return best;
}
