/** What bringing uploaded files back would do to a place, and what stands in the way. Nothing is changed but for a small file that is tried out. */
import { formatBytes, formatSeconds, plural } from "../../base/bytes.ts";
import { mapConcurrent } from "../../base/concurrent.ts";
import { Failure, isFailure } from "../../base/errors.ts";
import type { Finding } from "../../base/findings.ts";
import { bucketServiceOf } from "../../chatwoot/environment.ts";
import type { ServiceEntry } from "../../point/manifest.ts";
import { openTarget } from "../../source/open-target.ts";
import type { BlobTarget } from "../../source/target.ts";
import { LIMITS } from "../../base/limits.ts";
import { knownNeed, type RoomNeed } from "../room.ts";
import { expectedFiles } from "../shortfall.ts";
import { judge, lookAt } from "./judge-files.ts";
import type { StageContext, StagePlan, UndoContext } from "./stage.ts";
import { findMoves, type FoundMove } from "./storage-moves.ts";
import { savedFiles, type WantedFile } from "./wanted-files.ts";

/** The service that takes a move's files. @throws Failure `target/unsuitable` where the place has it no more. */
export async function openMove(
  { to, spec, outage }: FoundMove,
  context: UndoContext,
  { patienceMs }: { patienceMs?: number } = {},
): Promise<BlobTarget> {
  if (spec === undefined) {
    throw new Failure("target/unsuitable", `storage '${to}' cannot take files: ${outage?.why ?? "it is not there"}`, {
      hint: outage?.hint ?? "Was Chatwoot's environment changed meanwhile?",
    });
  }
  const { root } = context.place.installation;
  return await openTarget(spec, {
    clock: context.clock,
    patienceMs,
    onRetry: ({ message, waitMs }) =>
      context.progress.say(`${message}; trying again in ${formatSeconds(waitMs / 1000)}`),
    like: root === undefined ? [] : [root],
  });
}

/** Keys of a service's files, to know what a list must tell. */
export async function keysOf(files: AsyncIterable<WantedFile>): Promise<Set<string>> {
  const keys = new Set<string>();
  for await (const { key } of files) keys.add(key);
  return keys;
}

interface Looked {
  move: FoundMove;
  service: ServiceEntry;
  there: number;
  wrong: number;
  lacking: number;
  /** Of what is put. */
  bytes: number;
  /** Of what lies there, and is put aside. */
  asideBytes: number;
}

export async function planFiles(context: StageContext): Promise<StagePlan> {
  const { manifest, options, place } = context;
  const services = manifest.storage.filter(({ blobs }) => blobs > 0);
  if (expectedFiles(services) === 0) return { lines: [], blockers: [], findings: [] };
  const unknown = unknownService(options.storage, context);
  if (unknown !== undefined) return { lines: [], blockers: [unknown], findings: [] };
  const moves = findMoves(
    services.map(({ name }) => name),
    place,
    options.storage,
  );
  const blockers = moveBlockers(moves, context);
  const looked: Looked[] = [];
  const refused = new Set<string>();
  for (const [at, move] of moves.entries()) {
    const service = services[at];
    if (service === undefined || move.spec === undefined) continue;
    const found = await lookAtMove(move, service, context);
    if ("blocker" in found) {
      if (!refused.has(move.to)) blockers.push(found.blocker);
      refused.add(move.to);
    } else looked.push(found);
  }
  return { lines: looked.map(lineOf), blockers, findings: [], room: roomOf(looked, context) };
}

function unknownService(wanted: string | undefined, { place }: StageContext): Finding | undefined {
  if (wanted === undefined || wanted === "local") return undefined;
  if (bucketServiceOf(place.installation.environment, wanted) !== undefined) return undefined;
  return {
    kind: "storage-service-unknown",
    level: "alarm",
    message: `Chatwoot has no storage service '${wanted}'`,
    hint: "--storage takes local, amazon, s3_compatible, google or microsoft.",
  };
}

function moveBlockers(moves: readonly FoundMove[], { fresh }: StageContext): Finding[] {
  const blockers: Finding[] = [];
  const told = new Set<string>();
  for (const { from, to, outage } of moves) {
    if (outage !== undefined && !told.has(to)) {
      told.add(to);
      blockers.push({
        kind: "storage-not-writable",
        level: "alarm",
        message: `storage '${to}' of this place cannot take the files${from === to ? "" : ` of '${from}'`}: ${outage.why}`,
        hint: `Set what is lacking in Chatwoot's environment here, or name another service with --storage.`,
        subject: to,
      });
    }
    if (from === to || fresh !== undefined) continue;
    blockers.push({
      kind: "storage-moves-alone",
      level: "alarm",
      message: `files of '${from}' would go to '${to}', and the database that is not restored says that they are in '${from}'`,
      hint: `Restore the database with them, which is told where they are then; or give this place its service '${from}'.`,
      subject: from,
    });
  }
  return blockers;
}

async function lookAtMove(
  move: FoundMove,
  service: ServiceEntry,
  context: StageContext,
): Promise<Looked | { blocker: Finding }> {
  const { signal } = context;
  const target = await openMove(move, context);
  try {
    await target.probe({ signal });
    return await lookAtFiles({ move, service, target }, context);
  } catch (error) {
    signal.throwIfAborted();
    if (!isFailure(error) || !/^(store|target|usage)\//.test(error.code)) throw error;
    return { blocker: refusalOf(move, error) };
  } finally {
    await target.close();
  }
}

async function lookAtFiles(
  { move, service, target }: { move: FoundMove; service: ServiceEntry; target: BlobTarget },
  { reader, progress, signal }: StageContext,
): Promise<Looked> {
  progress.stage(`looking at storage '${move.to}'`);
  // Damage is told when files are put: then it is known what could not be read.
  const walk = () => savedFiles(reader, service, { onDamage: () => {}, signal });
  const presence = await lookAt(target, async () => await keysOf(walk()), { signal });
  const looked = { move, service, there: 0, wrong: 0, lacking: 0, bytes: 0, asideBytes: 0 };
  await mapConcurrent(
    walk(),
    target.width,
    async (file) => {
      const verdict = await judge(target, presence, file, { signal }).catch((error: unknown) => {
        // One that is no file there: told when it is to be put.
        if (isFailure(error, "source/unreadable")) return undefined;
        throw error;
      });
      if (verdict === "there") looked.there += 1;
      else if (verdict !== undefined) looked.bytes += file.bytes;
      if (verdict === "absent") looked.lacking += 1;
      if (verdict !== "wrong") return;
      looked.wrong += 1;
      looked.asideBytes += (await presence(file.key))?.bytes ?? 0;
    },
    { signal },
  );
  return looked;
}

function refusalOf({ to }: FoundMove, failure: Failure): Finding {
  return {
    kind: "storage-not-writable",
    level: "alarm",
    message: `storage '${to}' of this place cannot take files: ${failure.message}`,
    hint: failure.hint ?? "Name another service with --storage.",
    subject: to,
  };
}

function lineOf({ move, there, wrong, lacking, bytes }: Looked): string {
  const { from, to, spec, why } = move;
  const place = spec?.kind === "local" ? `the folder ${spec.roots[0]}` : `the bucket '${spec?.bucket ?? ""}'`;
  const counts = [
    `${plural(lacking + wrong, "uploaded file")} (${formatBytes(bytes)}) of storage '${from}' into ${place}`,
    `${plural(there, "is", "are")} there already and left as ${there === 1 ? "it is" : "they are"}`,
  ];
  const aside = wrong === 0 ? "" : `; ${plural(wrong, "file")} of another length put aside first`;
  const moved = from === to ? "" : `; every row of '${from}' says '${to}' then`;
  const because = why === undefined ? "" : ` (this place has no '${from}': ${why})`;
  return `${counts.join("; ")}${aside}${moved}${because}`;
}

/** Files that are put aside lie in the restore's folder, and those that go to a bucket on their way. */
function roomOf(looked: readonly Looked[], { folder }: UndoContext): RoomNeed[] {
  return looked.flatMap(({ move: { spec }, bytes, asideBytes }) => {
    const aside = knownNeed("files that are put aside", folder, asideBytes);
    if (spec?.kind === "local") return [knownNeed("uploaded files", spec.roots[0], bytes), aside];
    const onTheirWay = Math.min(bytes, LIMITS.objectBatchBytes * BATCHES);
    return [knownNeed("uploaded files on their way to a bucket", folder, onTheirWay), aside];
  });
}

/** One is sent while the next is brought. */
const BATCHES = 2;

/** What is not there yet, and what is put aside for it. @throws Failure of the target. */
export async function roomForFiles(context: StageContext, moves: readonly FoundMove[]): Promise<RoomNeed[]> {
  const looked: Looked[] = [];
  for (const move of moves) {
    const service = context.manifest.storage.find(({ name, blobs }) => name === move.from && blobs > 0);
    if (service === undefined || move.spec === undefined) continue;
    const target = await openMove(move, context);
    try {
      looked.push(await lookAtFiles({ move, service, target }, context));
    } finally {
      await target.close();
    }
  }
  return roomOf(looked, context);
}
