/**
 * A word for a moment becomes the name of a restore point: of one that was made of that moment already, or of one that is made
 * now. A plain time that no window covers stays what it was, the newest restore point at or before it, where no moment that can be had
 * lies nearer.
 */
import { formatInstant } from "../base/clock.ts";
import { Failure, isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { shortId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import type { Installation } from "../installation/installation.ts";
import type { BackupOptions } from "../job/backup.ts";
import { lookBefore } from "../job/last-commit.ts";
import { type MomentPlace, momentByChance, momentPoint, type MomentProving } from "../job/moment-point.ts";
import { listPoints, type Point, type PointList } from "../job/points.ts";
import { formatMicros } from "../point/continuous.ts";
import { type AskedMoment, isMomentAlone } from "../point/moment.ts";
import { fallLimitsOf } from "./alarms.ts";
import { scratchPlaces } from "./drills.ts";
import { openInstallation } from "./installation.ts";
import { PROGRAM } from "./program.ts";
import { keepMeasure } from "./recoveries.ts";
import { backupRetained } from "./retention.ts";
import { askedOf, type OpenedRepository } from "./session.ts";
import { storageSettings } from "./storage.ts";
import type { Surroundings } from "./surroundings.ts";
import { readWatch } from "./watched.ts";

/**
 * @returns the snapshot of the point that was made of the moment; the word itself where it means no moment, or a time that no
 * window covers.
 * @throws Failure `moment/outside`, and as a recovery and a backup.
 */
export async function settleMoment(
  opened: OpenedRepository,
  word: string,
  s: Surroundings,
  proving?: MomentProving,
): Promise<string> {
  const { repository } = opened;
  const settled = await ofMoment(opened, word, s, async (asked, identity) => {
    const place = async () => await placeOf(opened, identity, s);
    const { clock, progress, signal } = s;
    return await momentPoint({ repository, asked, identity, place, proving, clock, progress, signal });
  });
  return settled ?? word;
}

/**
 * What is made of the moment that a word means; undefined where it means none, or a time that no window covers and for which the restore
 * point before it is taken.
 * @throws Failure `moment/outside`, and what making it throws.
 */
export async function ofMoment<T>(
  opened: OpenedRepository,
  word: string,
  s: Surroundings,
  make: (asked: AskedMoment, identity: { id: string; name: string }) => Promise<T>,
): Promise<T | undefined> {
  const asked = askedOf(opened, word, s);
  // Where a repository is read as it was nothing can be added to it: a time means the point before it there.
  if (asked === undefined || (s.atMs !== undefined && !isMomentAlone(word))) return undefined;
  const list = await listPoints(opened.repository, s);
  let identity: { id: string; name: string } | undefined;
  const makeIt = async (moment: AskedMoment) => await make(moment, (identity = identityOf(opened, list)));
  try {
    return await makeIt(asked);
  } catch (error) {
    if (!isFailure(error, "moment/outside")) throw error;
    if (asked.kind === "time" && identity !== undefined) {
      const commit = await commitBefore(opened, { us: asked.us, word, identity, list }, s);
      if (commit !== undefined) return await makeIt(commit);
    }
    // A time means a restore point where it is no moment that can be had.
    if (isMomentAlone(word)) throw error;
    const isBefore = ({ takenAtMs }: Point) => asked.kind === "time" && BigInt(takenAtMs) * 1000n <= asked.us;
    if ((error.hint ?? "") !== "" && list.points.some(isBefore)) {
      s.progress.say(`${error.message}: the restore point before it is taken`);
    }
    return undefined;
  }
}

/** A moment of the window by chance, as POINT has it. @throws Failure `moment/outside` where there is no window. */
export async function chanceWord(opened: OpenedRepository, s: Surroundings): Promise<string> {
  const { repository } = opened;
  await repository.loadIndex(s);
  const us = await momentByChance(repository, identityOf(opened, await listPoints(repository, s)).id, s);
  if (us !== undefined) return us === "now" ? us : formatMicros(us);
  throw new Failure("moment/outside", "the repository has no moment that could be recovered", {
    hint: "Moments can be had while 'chatkeep watch' protects the installation by the log.",
  });
}

interface AskedTime {
  readonly us: bigint;
  readonly word: string;
  readonly identity: { readonly id: string };
  readonly list: PointList;
}

/**
 * For a time outside of the window: the commit before it, where it is known that the database was the same still.
 * @throws Failure `moment/outside` where that is not known, and the restore point before the time is older than a moment that can be had:
 * whoever asked would get less than there is.
 */
async function commitBefore(
  opened: OpenedRepository,
  { us, word, identity, list }: AskedTime,
  s: Surroundings,
): Promise<AskedMoment | undefined> {
  const { config, configPath: path } = opened;
  const watch = config === undefined || path === undefined ? undefined : await readWatch({ config, path }, s);
  const time = { us, installation: identity.id, report: watch?.report };
  const { commitUs, beforeUs } = await lookBefore(opened.repository, time, s);
  if (commitUs !== undefined) {
    const was = formatMicros(commitUs);
    s.progress.say(`nothing was committed from ${was} to ${formatMicros(us)}: the moment of that commit is taken`);
    return { kind: "time", us: commitUs };
  }
  if (beforeUs === undefined || isMomentAlone(word)) return undefined;
  const point = list.points.find(({ installationId, takenAtMs }) => {
    return installationId === identity.id && BigInt(Math.trunc(takenAtMs)) * 1000n <= us;
  });
  if (point !== undefined && BigInt(Math.trunc(point.takenAtMs)) * 1000n >= beforeUs) return undefined;
  const newest = formatMicros(beforeUs);
  const aheadMs = Number(us / 1000n) - s.clock.now();
  if (aheadMs > LIMITS.momentAheadMs) throw inTheFuture(us, newest, s);
  const other =
    point === undefined ? "" : `, or ${shortId(point.id)}, the restore point of ${formatInstant(point.takenAtMs)}`;
  throw new Failure(
    "moment/outside",
    `the moment ${formatMicros(us)} cannot be had: the nearest before it that the log has is ${newest}, and whether something was committed in between is not known`,
    { hint: `Say which you want: ${newest}${other}.` },
  );
}

/** At night a time of the wall is easily written with the wrong zone. */
function inTheFuture(us: bigint, newest: string, { clock }: Pick<Surroundings, "clock">): Failure {
  return new Failure(
    "moment/outside",
    `the moment ${formatMicros(us)} lies in the future: it is ${formatInstant(clock.now())} now`,
    {
      hint: `Was it read from a clock of another zone? Give that zone, as in 2026-11-23T16:58:50+01:00; or say so long before now, as -5m. The newest moment is ${newest}: 'now'.`,
    },
  );
}

/** Whose moments are meant: the configuration's, or the only one that there is. @throws Failure `moment/outside` where it is not clear. */
export function identityOf({ config }: OpenedRepository, { points }: PointList): { id: string; name: string } {
  if (config !== undefined) return { id: config.installation.id, name: config.installation.name };
  const known = new Map(points.map(({ installationId, snapshot }) => [installationId, snapshot.hostname ?? ""]));
  const [only] = known;
  if (known.size === 1 && only !== undefined) return { id: only[0], name: only[1] };
  throw new Failure("moment/outside", "it is not clear of which installation a moment is meant", {
    hint: "Name the configuration of the installation with --config; 'chatkeep list --all' shows the points of all.",
  });
}

/** Where a moment is recovered, and whose database it is. */
export async function recoveryPlace(
  opened: OpenedRepository,
  s: Surroundings,
): Promise<Pick<MomentPlace, "database" | "roles" | "scratch">> {
  const { database, role } = await installationOf(opened, s);
  return {
    database,
    roles: likelyRoles(role),
    scratch: await scratchPlaces(opened.config, { inPlaceServer: false }, s),
  };
}

function likelyRoles(role: string | undefined): string[] {
  return [...(role === undefined ? [] : [role]), "postgres", "chatwoot"];
}

/** What a point of a moment is made with. */
async function placeOf(
  opened: OpenedRepository,
  identity: { id: string; name: string },
  s: Surroundings,
): Promise<MomentPlace> {
  refuseInThePast(s);
  const { installation, findings, database, role } = await installationOf(opened, s);
  return {
    installation,
    database,
    roles: likelyRoles(role),
    scratch: await scratchPlaces(opened.config, { inPlaceServer: false }, s),
    backup: await backupOf(opened, { identity, installation, findings }, s),
    onMade: async (measure) => await keepMeasure(opened, measure, s),
  };
}

function refuseInThePast({ atMs }: Surroundings): void {
  if (atMs === undefined) return;
  throw new Failure(
    "usage/invalid",
    "a moment cannot be made into a restore point where a repository is read as it was",
    {
      hint: "Leave out --at-time, or name a restore point by its id.",
    },
  );
}

interface FoundPlace {
  installation: Installation;
  findings: readonly Finding[];
  /** Undefined where nothing is configured: then a restore point says it. */
  database: string | undefined;
  role: string | undefined;
}

/** As it is configured; on an empty machine there is none, and files are those that the repository has. */
async function installationOf({ config }: OpenedRepository, s: Surroundings): Promise<FoundPlace> {
  if (config !== undefined) {
    try {
      const found = await openInstallation(config.installation, s, config.database);
      const { installation, findings } = found;
      const { database, user } = addressIfKnown(() => found.address()) ?? {};
      return { installation, findings, database, role: user };
    } catch (error) {
      if (!isFailure(error)) throw error;
      s.progress.say(
        `the installation cannot be looked at (${error.message}): the moment is made of the repository alone`,
      );
    }
  }
  // Nothing asks it: the database is the one that is recovered.
  const { installation } = await openInstallation(
    { kind: "manual", "database-url": "postgresql://localhost/recovered" },
    s,
  );
  return { installation, findings: [], database: undefined, role: undefined };
}

/** It need not be there any more: then that is why a moment is wanted. */
function addressIfKnown(address: () => { database: string; user: string }) {
  try {
    return address();
  } catch (error) {
    if (!isFailure(error)) throw error;
    return undefined;
  }
}

async function backupOf(
  { repository, name, config, configPath }: OpenedRepository,
  { identity, installation, findings }: Pick<BackupOptions, "identity" | "installation" | "findings">,
  s: Surroundings,
): Promise<MomentPlace["backup"]> {
  const settings = await storageSettings(config, s);
  return async (made) =>
    await backupRetained(
      {
        ...made,
        findings: [...findings, ...made.findings],
        repository,
        repositoryName: name,
        installation,
        identity,
        tags: [],
        full: false,
        fullEveryMs: 0,
        fallLimits: fallLimitsOf(config?.alarms),
        ownConfig: configPath,
        storageSettings: settings,
        workers: config?.database?.jobs,
        program: PROGRAM,
        clock: s.clock,
        progress: s.progress,
        signal: s.signal,
      },
      s,
    );
}
