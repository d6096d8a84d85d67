/** Several repositories: which is copied into which, after a backup and by `copy`, and which is drilled next. */
import { Failure, isFailure, messageOf } from "../base/errors.ts";
import { type Finding, sortFindings } from "../base/findings.ts";
import { plural } from "../base/bytes.ts";
import { copy, pointsLacking, snapshotsOf } from "../job/copy.ts";
import { listPoints, resolvePoint } from "../job/points.ts";
import { assertRetention, extendRetention } from "../job/retention.ts";
import type { BackupSummary, CopyOutcome, CopySummary } from "../job/summaries.ts";
import { loadConfig } from "./config.ts";
import { keepLocked } from "./retention.ts";
import { isAway, openChosenRepository, type OpenedRepository } from "./session.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

export interface CopyFlags {
  /** A configured repository, or a location. */
  to: string;
  points: readonly string[];
  /** Every snapshot, those of restic and of other programs too. */
  all: boolean;
}

export async function runCopy(globals: Globals, flags: CopyFlags, s: Surroundings): Promise<CopySummary> {
  if (flags.all && flags.points.length > 0) {
    throw new Failure("usage/invalid", "--all copies every snapshot, so it takes no POINT", {
      hint: "Leave out --all, or the points.",
    });
  }
  const [from, to] = await Promise.all([
    openChosenRepository(globals, s),
    openChosenRepository({ ...globals, repository: flags.to }, s),
  ]);
  const id = from.config?.installation.id;
  await assertRetention(to.repository, s);
  const summary = await copy({
    from,
    to,
    choose(snapshots, points) {
      if (flags.all) return snapshots;
      const list = { points, records: [], others: 0, damaged: [] };
      if (flags.points.length > 0)
        return snapshotsOf(
          snapshots,
          flags.points.map((word) => resolvePoint(list, word, id)),
        );
      return snapshotsOf(
        snapshots,
        points.filter((point) => id === undefined || point.installationId === id),
      );
    },
    clock: s.clock,
    progress: s.progress,
    signal: s.signal,
  });
  await extendRetention(to.repository, s);
  return summary;
}

/**
 * After a backup: every other repository gets this installation's points that it lacks. A copy that fails is an alarm
 * in the backup's summary, and the next run catches up; the backup itself was made.
 * @param away names of repositories that were found not to answer a moment ago.
 */
export async function copyToOthers(
  summary: BackupSummary,
  { written, away }: { written: OpenedRepository; away: ReadonlySet<string> },
  globals: Globals,
  s: Surroundings,
): Promise<BackupSummary> {
  const copies: CopyOutcome[] = [];
  const findings: Finding[] = [];
  for (const { name } of written.config?.repositories ?? []) {
    if (name === written.name || away.has(name)) continue;
    const { outcome, findings: unlocked } = await copyTo({ name, made: summary.point }, written, globals, s);
    copies.push(outcome);
    findings.push(...unlocked);
    if (outcome.message === undefined) continue;
    findings.push({
      kind: "copy-failed",
      level: "alarm",
      message: `repository '${name}' did not get its copy: ${outcome.message}`,
      hint: `The restore point is in '${written.name}'; the next backup catches up, or 'chatkeep copy --to ${name}' does now.`,
    });
  }
  return { ...summary, copies, findings: sortFindings([...summary.findings, ...findings]) };
}

/** @param made The point that is copied in any case, whatever its clock said. */
async function copyTo(
  { name, made }: { name: string; made: string | null },
  from: OpenedRepository,
  globals: Globals,
  s: Surroundings,
): Promise<{ outcome: CopyOutcome; findings: Finding[] }> {
  const installationId = from.config?.installation.id ?? "";
  try {
    const to = await openChosenRepository({ ...globals, repository: name }, s);
    await assertRetention(to.repository, s);
    const { copied, added, failed } = await copy({
      from,
      to,
      choose(snapshots, points, known) {
        const lacking = pointsLacking(points, known, { installationId, nowMs: s.clock.now() });
        return snapshotsOf(snapshots, [...lacking, ...points.filter(({ id }) => id === made)]);
      },
      clock: s.clock,
      progress: s.progress,
      signal: s.signal,
    });
    const [first] = failed;
    const more = failed.length > 1 ? `; and ${plural(failed.length - 1, "more restore point")}` : "";
    const outcome = {
      repository: name,
      points: copied.length,
      bytes: added.bytes,
      ok: first === undefined,
      ...(first === undefined ? {} : { message: `${first.message}${more}` }),
    };
    return { outcome, findings: (await keepLocked(to.repository, name, s)).findings };
  } catch (error) {
    if (!isFailure(error) || error.code === "internal/bug" || s.signal.aborted) throw error;
    return { outcome: { repository: name, points: 0, bytes: 0, ok: false, message: messageOf(error) }, findings: [] };
  }
}

/**
 * The repository whose turn it is to be drilled: of those that answer and hold a point of this installation, the one
 * whose newest proof is oldest, or that has none.
 * @throws what the first one answered, when none can be drilled.
 */
export async function openNextToDrill(globals: Globals, s: Surroundings): Promise<OpenedRepository> {
  if (globals.repository !== undefined) return await openChosenRepository(globals, s);
  const { config } = await loadConfig(globals, s);
  let next: { opened: OpenedRepository; provenAt: string } | undefined;
  for (const { name } of config.repositories.length > 1 ? config.repositories : []) {
    try {
      const opened = await openChosenRepository({ ...globals, repository: name }, s);
      const { points } = await listPoints(opened.repository, { signal: s.signal });
      const mine = points.filter((point) => point.installationId === config.installation.id);
      const provenAt = mine
        .map((point) => point.proof?.at ?? "")
        .toSorted()
        .at(-1);
      if (provenAt !== undefined && (next === undefined || provenAt < next.provenAt)) next = { opened, provenAt };
    } catch (error) {
      if (!isAway(error)) throw error;
      s.progress.say(`repository '${name}' does not answer (${error.message}), so it is not drilled`);
    }
  }
  return next?.opened ?? (await openChosenRepository(globals, s));
}
