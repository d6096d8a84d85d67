/** The verbs that only look: which points there are, what is in one, and one file of it. */
import type { Clock } from "../base/clock.ts";
import { isFailure, Failure, messageOf } from "../base/errors.ts";
import { shortId } from "../base/ids.ts";
import { needsAttention } from "../base/findings.ts";
import type { TreeNode } from "../format/node.ts";
import { ROOT } from "../point/layout.ts";
import { lostFiles, missingFiles } from "../point/manifest.ts";
import { parseProof } from "../point/proof.ts";
import type { Repository } from "../repo/repository.ts";
import { toldMoment } from "./moment-position.ts";
import { isNotWhole } from "./not-whole.ts";
import { PointReader } from "./point-reader.ts";
import { isTorn, listPoints, type Point, recoverSeconds, userTags } from "./points.ts";
import type { RecoveryMeasure } from "./recovery-pace.ts";
import { describeHold, isInForce, readRecord, tagValue } from "./records.ts";
import { reportWindows } from "./window-report.ts";
import type { ListedEntry, ListSummary, PointLine, ShowSummary } from "./summaries.ts";

interface LookOptions {
  /** Says which holds have ended. */
  clock: Clock;
  signal: AbortSignal;
}

/** Points of one installation, or of all, newest first. A point whose manifest cannot be read is listed all the same. */
export async function listVerb(
  repository: Repository,
  repositoryName: string,
  installationId: string | undefined,
  options: LookOptions & { measures?: readonly RecoveryMeasure[] },
): Promise<ListSummary> {
  const list = await listPoints(repository, options);
  const { points, others, damaged } = list;
  const shown = points.filter((point) => installationId === undefined || point.installationId === installationId);
  const lines: PointLine[] = [];
  for (const point of shown) {
    try {
      lines.push(await pointLine(new PointReader(repository, point, options), options));
    } catch (error) {
      if (!isFailure(error)) throw error;
      damaged.push({ name: point.snapshotId, message: `restore point ${shortId(point.id)}: ${messageOf(error)}` });
      lines.push(await bareLine(repository, point, options));
    }
  }
  const windows = await reportWindows(repository, list, { ...options, installationId });
  return {
    type: "summary",
    verb: "list",
    repository: repositoryName,
    points: lines,
    windows,
    otherSnapshots: others,
    damaged,
  };
}

async function bareLine(repository: Repository, point: Point, { clock, signal }: LookOptions): Promise<PointLine> {
  return {
    point: point.id,
    takenAt: point.snapshot.time,
    installation: { id: point.installationId, name: point.snapshot.hostname ?? "" },
    chatwoot: tagValue(point.snapshot, "chatwoot") ?? null,
    bytes: null,
    rows: null,
    blobs: null,
    missing: null,
    lost: null,
    provenAt: point.proof?.proven === true ? point.proof.at : null,
    recoverSeconds: recoverSeconds(point),
    failedDrill: point.proof?.proven === false,
    notWhole: await isNotWhole(repository, point, { signal }),
    lacksRows: isTorn(point),
    shrunk: point.shrunk ?? null,
    findings: 0,
    tags: userTags(point),
    holds: point.holds.filter((hold) => isInForce(hold, clock.now())).map(describeHold),
  };
}

async function pointLine(reader: PointReader, options: LookOptions): Promise<PointLine> {
  const manifest = await reader.manifest();
  const blobs = manifest.storage.reduce((sum, service) => sum + service.blobs, 0);
  const fileBytes = manifest.storage.reduce((sum, service) => sum + service.bytes, 0);
  return {
    ...(await bareLine(reader.repository, reader.point, options)),
    installation: { id: manifest.installation.id, name: manifest.installation.name },
    chatwoot: manifest.chatwoot.version,
    bytes: manifest.tables.reduce((sum, table) => sum + table.bytes, fileBytes + (manifest.largeObjects?.bytes ?? 0)),
    rows: manifest.tables.reduce((sum, table) => sum + table.rows, 0),
    blobs,
    missing: missingFiles(manifest.storage),
    lost: lostFiles(manifest.storage),
    findings: manifest.findings.filter((finding) => needsAttention([finding])).length,
  };
}

export async function showVerb(reader: PointReader, options: LookOptions): Promise<ShowSummary> {
  const line = await pointLine(reader, options);
  const manifest = await reader.manifest();
  return {
    type: "summary",
    verb: "show",
    line,
    manifest,
    ...(await toldMoment(reader, manifest, options)),
    proof: await readProof(reader, options),
  };
}

async function readProof({ repository, point }: PointReader, options: LookOptions): Promise<ShowSummary["proof"]> {
  if (point.proof === undefined) return null;
  const proof = parseProof(await readRecord(repository, { kind: "proof", point: point.id, ...point.proof }, options));
  return {
    at: proof.at,
    proven: proof.proven,
    checks: proof.checks,
    server: proof.where.server,
    recovery: proof.recovery ?? null,
  };
}

/** What lies at a path inside a point: a folder's entries, or the one file. */
export async function lsVerb(reader: PointReader, path: string): Promise<ListedEntry[]> {
  const clean = cleanPath(path);
  const nodes = clean === "" ? await reader.folder("") : await nodesAt(reader, clean);
  if (nodes === undefined) {
    throw new Failure("point/not-found", `restore point ${shortId(reader.point.id)} has nothing at '${path}'`, {
      hint: `'chatkeep ls ${shortId(reader.point.id)}' shows what is in it.`,
    });
  }
  const prefix = clean === "" ? "" : `${clean}/`;
  return nodes.map((node) => ({
    path: node.type === "dir" || nodes.length > 1 || !clean.endsWith(node.name) ? prefix + node.name : clean,
    type: node.type === "file" || node.type === "dir" || node.type === "symlink" ? node.type : "other",
    bytes: Number(node.size ?? 0),
    modifiedAt: node.mtime,
  }));
}

async function nodesAt(reader: PointReader, path: string): Promise<TreeNode[] | undefined> {
  const node = await reader.find(path);
  if (node === undefined) return undefined;
  return node.type === "dir" ? await reader.folder(path) : [node];
}

/** Writes one file of a point, byte by byte as it was saved. */
export async function dumpVerb(
  reader: PointReader,
  path: string,
  write: (bytes: Uint8Array) => Promise<void>,
): Promise<void> {
  const clean = cleanPath(path);
  const node = await reader.find(clean);
  if (node?.type === "dir") {
    throw new Failure("usage/invalid", `'${path}' is a folder`, {
      hint: "Name a file in it; 'chatkeep ls' lists them.",
    });
  }
  if (node === undefined) {
    throw new Failure("point/not-found", `restore point ${shortId(reader.point.id)} has nothing at '${path}'`, {
      hint: `'chatkeep ls ${shortId(reader.point.id)}' shows what is in it.`,
    });
  }
  for await (const chunk of reader.readNode(node)) await write(chunk);
}

/** Paths may be given as restic shows them, with the point's own root in front. */
function cleanPath(path: string): string {
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  return (parts[0] === ROOT && path.startsWith("/") ? parts.slice(1) : parts).join("/");
}
