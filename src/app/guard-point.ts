/** The restore point that `guard` goes back to: a new one or a named one, proven in either case. */
import { formatSpan } from "../base/bytes.ts";
import { formatInstant } from "../base/clock.ts";
import { Failure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { shortId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import type { GuardedPoint } from "../job/guard-record.ts";
import { runBackup } from "./back-up.ts";
import { runDrill } from "./drills.ts";
import { openPoint } from "./opened-point.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

export interface PointFlags {
  /** Taken in place of a new one. */
  point: string | undefined;
  /** Of a drill. */
  inPlaceServer: boolean;
}

/** @throws Failure `drill/not-proven` and whatever keeps a backup or a drill from being made. */
export async function provePoint(
  globals: Globals,
  { point, inPlaceServer }: PointFlags,
  s: Surroundings,
): Promise<{ point: GuardedPoint; findings: Finding[] }> {
  const made = point === undefined ? await backUp(globals, s) : await namedPoint(globals, point, s);
  if (!made.isProven) {
    const flags = { all: false, inPlaceServer };
    const drill = await runDrill({ ...globals, repository: made.point.repository }, made.point.id, flags, s);
    if (!drill.proven) {
      const failed = drill.checks.filter(({ ok }) => !ok).map(({ name }) => name);
      throw new Failure(
        "drill/not-proven",
        `restore point ${shortId(made.point.id)} was not proven, so the command was not begun: ${failed.join(", ")}`,
        {
          hint: `'chatkeep drill ${shortId(made.point.id)}' shows each check. Make it restore first: it is the way back.`,
        },
      );
    }
  }
  return made;
}

interface MadePoint {
  point: GuardedPoint;
  isProven: boolean;
  findings: Finding[];
}

async function backUp(globals: Globals, s: Surroundings): Promise<MadePoint> {
  const { repository, point, findings } = await runBackup(globals, { full: false, tags: ["guard"], dryRun: false }, s);
  if (point === null) throw new Failure("internal/bug", "a backup made no restore point");
  const opened = await openPoint({ ...globals, repository }, point, s);
  const { snapshotId, takenAtMs } = opened.reader.point;
  const guarded = { id: point, snapshot: snapshotId, repository, takenAt: formatInstant(takenAtMs) };
  return { point: guarded, isProven: false, findings: [...findings] };
}

/** Somebody's own choice: what was written since is told, and not refused. */
async function namedPoint(globals: Globals, word: string, s: Surroundings): Promise<MadePoint> {
  const { name, reader, findings: known = [] } = await openPoint(globals, word, s);
  const { id, snapshotId, takenAtMs, proof, notWhole } = reader.point;
  const ageMs = s.clock.now() - takenAtMs;
  const old: Finding[] = [
    {
      kind: "guard-point-old",
      level: "warning",
      message: `restore point ${shortId(id)} is ${formatSpan(ageMs / 1000)} old: going back to it would leave out what was written since`,
      hint: "Without --point a new one is made, which takes little when little has changed.",
    },
  ];
  return {
    point: { id, snapshot: snapshotId, repository: name, takenAt: formatInstant(takenAtMs) },
    isProven: proof?.proven === true && notWhole === undefined,
    findings: [...known, ...(ageMs > LIMITS.guardPointAgeMs ? old : [])],
  };
}
