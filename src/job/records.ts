/**
 * What is kept beside a restore point and about it: proofs that it restored, and holds that it must stay. Each is a
 * snapshot of its own with one file in it, so it can't be edited unnoticed, needs no state outside, and goes with its
 * point. What a list must know is in the snapshot's tags, so that nothing else has to be read for it.
 */
import { Failure } from "../base/errors.ts";
import type { SnapshotId } from "../base/ids.ts";
import type { Snapshot } from "../format/snapshot-file.ts";
import {
  ACK,
  FORGOTTEN,
  HOLD,
  installationTag,
  NOT_COPIED,
  NOT_WHOLE,
  PROOF,
  RELEASE,
  type RecordPlace,
  tagText,
} from "../point/layout.ts";
import type { Ack } from "../point/ack.ts";
import type { Hold } from "../point/hold.ts";
import type { Proof } from "../point/proof.ts";
import type { Repository } from "../repo/repository.ts";
import { PointFolder } from "./point-tree.ts";
import { Sealing } from "./sealing.ts";

export interface PointRecord {
  kind: "proof" | "hold" | "release" | "not-whole" | "forgotten" | "not-copied" | "ack";
  /** The name of the point that it is about. */
  point: string;
  snapshotId: SnapshotId;
  snapshot: Snapshot;
}

export interface PointHold extends PointRecord {
  kind: "hold";
  name: string;
  atMs: number;
  /** As it was given: a day or an instant. */
  until: string | undefined;
  /** When it ends; undefined when it has no end. */
  endsAtMs: number | undefined;
}

/** That a hold was released while some repository was not reached. */
export interface PointRelease extends PointRecord {
  kind: "release";
  /** The hold's name. */
  name: string;
  atMs: number;
}

/** That somebody said that what a point reports is known and meant. */
export interface PointAck extends PointRecord {
  kind: "ack";
  /** The kind of the finding. */
  finding: string;
  /** When the point was taken: what earlier points report of that kind is acknowledged too. */
  takenAtMs: number;
}

/** The value of a `name=value` tag. */
export function tagValue(snapshot: Snapshot, name: string): string | undefined {
  return tagText(snapshot.tags, name);
}

export function proofTags({ point, repository, tree, proven, recovery }: Proof): string[] {
  const outcome = proven ? "proven" : "failed";
  const recover = recovery === undefined ? [] : [`recover=${Math.ceil(recovery.seconds)}`];
  return [PROOF.tag, `point=${point}`, `repository=${repository}`, `tree=${tree}`, `outcome=${outcome}`, ...recover];
}

export function holdTags({ point, name, until, endsAt }: Hold): string[] {
  const end = until === null || endsAt === null ? [] : [`until=${until}`, `ends=${endsAt}`];
  return [HOLD.tag, `point=${point}`, `hold=${name}`, ...end];
}

export function releaseTags({ point, name }: { point: string; name: string }): string[] {
  return [RELEASE.tag, `point=${point}`, `hold=${name}`];
}

export function ackTags({ point, finding, takenAt }: Pick<Ack, "point" | "finding" | "takenAt">): string[] {
  return [ACK.tag, `point=${point}`, `finding=${finding}`, `taken=${takenAt}`];
}

/** What a snapshot records about a point, or undefined when it is no such record. */
export function recordOf(
  snapshotId: SnapshotId,
  snapshot: Snapshot,
): PointRecord | PointHold | PointRelease | PointAck | undefined {
  const point = tagValue(snapshot, "point");
  if (point === undefined) return undefined;
  if (snapshot.tags?.includes(PROOF.tag)) return { kind: "proof", point, snapshotId, snapshot };
  if (snapshot.tags?.includes(NOT_WHOLE.tag)) return { kind: "not-whole", point, snapshotId, snapshot };
  if (snapshot.tags?.includes(FORGOTTEN.tag)) return { kind: "forgotten", point, snapshotId, snapshot };
  if (snapshot.tags?.includes(NOT_COPIED.tag)) return { kind: "not-copied", point, snapshotId, snapshot };
  if (snapshot.tags?.includes(ACK.tag)) {
    const taken = Date.parse(tagValue(snapshot, "taken") ?? ""); // oxlint-disable-line no-restricted-globals -- parses, reads no clock
    // A time that makes no sense acknowledges nothing.
    const takenAtMs = Number.isNaN(taken) ? -Infinity : taken;
    return { kind: "ack", point, snapshotId, snapshot, finding: tagValue(snapshot, "finding") ?? "?", takenAtMs };
  }
  const name = tagValue(snapshot, "hold") ?? "?";
  const atMs = Date.parse(snapshot.time); // oxlint-disable-line no-restricted-globals -- parses, reads no clock
  if (snapshot.tags?.includes(RELEASE.tag)) return { kind: "release", point, snapshotId, snapshot, name, atMs };
  if (snapshot.tags?.includes(HOLD.tag) !== true) return undefined;
  const end = Date.parse(tagValue(snapshot, "ends") ?? ""); // oxlint-disable-line no-restricted-globals -- parses, reads no clock
  return {
    kind: "hold",
    point,
    snapshotId,
    snapshot,
    name,
    atMs,
    until: tagValue(snapshot, "until"),
    // An end that makes no sense is none: a hold that holds too long loses nothing.
    endsAtMs: Number.isNaN(end) ? undefined : end,
  };
}

export function isHold(record: PointRecord): record is PointHold {
  return record.kind === "hold";
}

export function isRelease(record: PointRecord): record is PointRelease {
  return record.kind === "release";
}

export function isAck(record: PointRecord): record is PointAck {
  return record.kind === "ack";
}

export function isInForce({ endsAtMs }: PointHold, nowMs: number): boolean {
  return endsAtMs === undefined || nowMs < endsAtMs;
}

/** `audit until 2027-01-01`. */
export function describeHold({ name, until }: PointHold): string {
  return until === undefined ? name : `${name} until ${until}`;
}

export interface SaveRecordOptions {
  place: RecordPlace;
  text: string;
  /** An instant as Go writes it. */
  time: string;
  tags: readonly string[];
  /** The point, as its snapshot has it: its manifest may be damaged, which is what a proof has to tell. */
  about: { installationId: string; snapshot: Pick<Snapshot, "hostname"> };
  program: string;
  signal: AbortSignal;
}

/** To be called under a lock. */
export async function saveRecord(repository: Repository, options: SaveRecordOptions): Promise<SnapshotId> {
  const { place, time, tags, about, program, signal } = options;
  await using sealing = await Sealing.open({ repository, address: undefined, expectedChunks: 16, workers: 1, signal });
  const bytes = Buffer.from(options.text, "utf8");
  const top = new PointFolder();
  top.folder(place.folder).addFile(place.file, bytes.length, await sealing.storeContent(bytes));
  const tree = await top.store((text) => sealing.storeTree(text));
  await sealing.finish();
  const snapshot: Snapshot = {
    time,
    tree,
    paths: [place.path],
    ...(about.snapshot.hostname === undefined ? {} : { hostname: about.snapshot.hostname }),
    tags: [...tags, installationTag(about.installationId)],
    programVersion: program,
  };
  return await repository.saveSnapshot(snapshot, { signal });
}

const PLACES: Readonly<Record<PointRecord["kind"], RecordPlace>> = {
  proof: PROOF,
  hold: HOLD,
  release: RELEASE,
  "not-whole": NOT_WHOLE,
  forgotten: FORGOTTEN,
  "not-copied": NOT_COPIED,
  ack: ACK,
};

/** The text of a record's one file. @throws Failure `point/invalid` when it has none. */
export async function readRecord(
  repository: Repository,
  { kind, snapshot }: PointRecord,
  options: { signal: AbortSignal },
): Promise<string> {
  const place = PLACES[kind];
  const top = await repository.readTree(snapshot.tree, options);
  const folder = top.find((node) => node.name === place.folder)?.subtree;
  const files = folder === undefined ? [] : await repository.readTree(folder, options);
  const file = files.find((node) => node.name === place.file);
  if (file === undefined) throw new Failure("point/invalid", `a ${kind} has no ${place.file}`);
  const chunks = await Promise.all((file.content ?? []).map((id) => repository.readChunk("data", id, options)));
  return Buffer.concat(chunks).toString("utf8");
}
