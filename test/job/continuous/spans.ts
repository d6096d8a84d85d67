/** A log of random bytes, with small segments, and how it is stored: for tests of what is made of it. */
import type { SnapshotId } from "../../../src/base/ids.ts";
import { writeJournal } from "../../../src/job/continuous/journal.ts";
import { listContinuous } from "../../../src/job/continuous/list.ts";
import type { WalToRead } from "../../../src/job/continuous/wal-leg.ts";
import { saveSpan } from "../../../src/job/continuous/save-span.ts";
import type { Writer } from "../../../src/job/continuous/writing.ts";
import type { WalSpan } from "../../../src/point/continuous.ts";
import type { Commit } from "../../../src/point/wal-facts.ts";
import type { Repository } from "../../../src/repo/repository.ts";
import { hasty, signal } from "../../repo/small-backup.ts";
import { clockAt } from "../kept-points.ts";

export const LINE = {
  installation: "0a61c0de-0000-4000-8000-000000000001",
  systemId: "7412345678901234567",
  timeline: 1,
};
export const SEGMENT = 1024 * 1024;
export const START = 0x16_b300_0000n;

/** @param atMs When it is; the system's time without it. */
export function writerOf(repository: Repository, atMs?: number): Writer {
  const identity = { id: LINE.installation, name: "desk" };
  const clock = atMs === undefined ? hasty : clockAt(atMs);
  return { repository, identity, program: "Chatkeep 0.0.0", clock, signal };
}

export interface Part {
  /** Bytes after {@link START}. */
  at: number;
  bytes: Buffer;
  timeline?: number;
  systemId?: string;
  commits?: readonly Commit[];
  histories?: ReadonlyMap<number, string>;
  /** When it is written; the system's time without it. */
  atMs?: number;
}

function spanOf({ at, bytes, commits = [], timeline = 1, systemId = LINE.systemId }: Part): WalSpan {
  const from = START + BigInt(at);
  const times = { firstCommitUs: commits[0]?.timeUs, lastCommitUs: commits.at(-1)?.timeUs };
  return { ...LINE, timeline, systemId, from, to: from + BigInt(bytes.length), ...times };
}

export async function putSpan(repository: Repository, part: Part): Promise<SnapshotId> {
  const { bytes, commits = [], histories = new Map<number, string>() } = part;
  const toSave = { span: spanOf(part), commits, bytes: [bytes], segmentBytes: SEGMENT, histories };
  return (await saveSpan(writerOf(repository, part.atMs), toSave)).snapshotId;
}

export async function putJournal(repository: Repository, part: Part): Promise<void> {
  const { bytes, commits = [], histories, timeline = 1 } = part;
  const entry = { span: spanOf(part), commits, bytes: [bytes], history: histories?.get(timeline) };
  await writeJournal(repository, entry, { signal });
}

/** Everything that the repository has of the log, from {@link START} to a position or as far as it goes. */
export async function wantAll(repository: Repository, to?: number): Promise<WalToRead> {
  const { spans, journal } = await listContinuous(repository, LINE.installation, { signal });
  const leg = { timeline: 1, from: START, to: to === undefined ? undefined : START + BigInt(to) };
  return { ...LINE, segmentBytes: SEGMENT, legs: [leg], spans, journal: journal.objects };
}
