/** The position that a moment was brought back to, as POINT takes it. */
import type { MomentEntry } from "../point/manifest.ts";
import { formatPosition } from "../point/moment.ts";
import { placeAlong } from "../policy/window.ts";
import { parseLsn } from "../wal/lsn.ts";
import { type Continuous, listContinuous, windowIn } from "./continuous/list.ts";
import type { PointReader } from "./point-reader.ts";

export interface ToldMoment extends MomentEntry {
  /** What brings back the very same again: `lsn:0/16B3748`, with the timeline where a newer one has that position too. */
  position: string;
}

/** Of a manifest that is of a moment; for that its repository's lists are read, and nothing else. */
export async function toldMoment(
  { repository }: Pick<PointReader, "repository">,
  { moment, installation }: { moment?: MomentEntry; installation: { id: string } },
  { signal }: { signal: AbortSignal },
): Promise<{ moment?: ToldMoment }> {
  if (moment === undefined) return {};
  const continuous = await listContinuous(repository, installation.id, { signal });
  return { moment: { ...moment, position: positionIn(continuous, moment) } };
}

/** @param continuous what the repository has of the installation: which moments it makes matters here, and not when they were. */
export function positionIn(
  continuous: Pick<Continuous, "bases" | "spans" | "journal" | "histories">,
  {
    systemIdentifier: systemId,
    timeline,
    replayedTo,
  }: Pick<MomentEntry, "systemIdentifier" | "timeline" | "replayedTo">,
): string {
  return formatPosition(placeAlong(windowIn(continuous), { systemId, timeline, lsn: parseLsn(replayedTo) }));
}
