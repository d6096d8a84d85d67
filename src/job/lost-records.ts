/**
 * Records about points whose one file nothing has any more. Their tags say all that lists and rules go by, so holds,
 * releases, and that a point was forgotten or could not be copied, are written anew from them. A proof is worth nothing without what it compared,
 * and goes, as does a mark that a point is not whole: the next drill or repair makes another. So does an acknowledgement: what it
 * acknowledged is in its file. Left as they are, they would
 * keep `prune` from ever doing anything, and no point that could be forgotten has them.
 */
import { shortId } from "../base/ids.ts";
import { FORGOTTEN, HOLD, installationTag, NOT_COPIED, type RecordPlace, RELEASE } from "../point/layout.ts";
import type { LostChunk } from "../repo/repair-packs.ts";
import type { Repository } from "../repo/repository.ts";
import { listPoints } from "./points.ts";
import { type PointRecord, saveRecord, tagValue } from "./records.ts";

interface SettleOptions {
  lost: readonly LostChunk[];
  /** Name and version of this program. */
  program: string;
  signal: AbortSignal;
}

export interface SettledRecords {
  /** What is lost still: without the records. */
  lost: LostChunk[];
  /** One line for each record. */
  told: { name: string; message: string }[];
}

/** To be called under a lock that nobody shares. A second time it finds nothing to do. */
export async function settleLostRecords(repository: Repository, options: SettleOptions): Promise<SettledRecords> {
  const { lost, program, signal } = options;
  const touched = new Set(lost.flatMap(({ snapshots }) => snapshots));
  const { records } = await listPoints(repository, { signal });
  const settled = records.filter(({ snapshotId }) => touched.has(snapshotId));
  const told: SettledRecords["told"] = [];
  for (const record of settled) {
    const place = REMADE[record.kind];
    if (place !== undefined) await writeAnew(repository, record, { place, program, signal });
    await repository.store.remove({ kind: "snapshots", name: record.snapshotId }, { signal });
    const what = `the ${NAMES[record.kind]} ${shortId(record.point)}`;
    const message = `${what} lacked its file, and was ${place === undefined ? "taken away" : "written anew"}`;
    told.push({ name: record.snapshotId, message });
  }
  const gone = new Set(settled.map(({ snapshotId }) => snapshotId));
  const left = lost.map((one) => ({ ...one, snapshots: one.snapshots.filter((id) => !gone.has(id)) }));
  return { lost: left.filter(({ snapshots }, at) => snapshots.length > 0 || lost[at]?.snapshots.length === 0), told };
}

const REMADE: Partial<Record<PointRecord["kind"], RecordPlace>> = {
  hold: HOLD,
  release: RELEASE,
  forgotten: FORGOTTEN,
  "not-copied": NOT_COPIED,
};

const NAMES: Readonly<Record<PointRecord["kind"], string>> = {
  hold: "hold of",
  release: "release of",
  forgotten: "note that somebody forgot",
  "not-copied": "note that nobody could copy",
  proof: "proof of",
  "not-whole": "mark 'not whole' of",
  ack: "acknowledgement of what was found in",
};

/** Who wrote it and why was in the file alone. */
async function writeAnew(
  repository: Repository,
  { point, snapshot }: PointRecord,
  { place, program, signal }: { place: RecordPlace; program: string; signal: AbortSignal },
): Promise<void> {
  const installationId = tagValue(snapshot, "installation") ?? "";
  const own = installationTag(installationId);
  const value = (name: string) => tagValue(snapshot, name) ?? null;
  const text = `${JSON.stringify(
    {
      schema: 1,
      program,
      point,
      name: value("hold") ?? "?",
      reason: null,
      until: value("until"),
      endsAt: value("ends"),
      at: snapshot.time,
      by: null,
    },
    null,
    1,
  )}\n`;
  const tags = (snapshot.tags ?? []).filter((tag) => tag !== own);
  await saveRecord(repository, {
    place,
    text,
    time: snapshot.time,
    tags,
    about: { installationId, snapshot },
    program,
    signal,
  });
}
