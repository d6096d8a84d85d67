/**
 * A word for a moment becomes the name of a restore point: of one that was made of that moment already, or of one that is made
 * now. A plain time that no window covers stays what it was: the newest restore point at or before it.
 */
import { Failure, isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import type { Installation } from "../installation/installation.ts";
import type { BackupOptions } from "../job/backup.ts";
import { type MomentPlace, momentByChance, momentPoint, type MomentProving } from "../job/moment-point.ts";
import { listPoints, type PointList } from "../job/points.ts";
import { formatMicros } from "../point/continuous.ts";
import { isMomentAlone, parseMoment } from "../point/moment.ts";
import { fallLimitsOf } from "./alarms.ts";
import { scratchPlaces } from "./drills.ts";
import { openInstallation } from "./installation.ts";
import { PROGRAM } from "./program.ts";
import { backupRetained } from "./retention.ts";
import type { OpenedRepository } from "./session.ts";
import { storageSettings } from "./storage.ts";
import type { Surroundings } from "./surroundings.ts";

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
  const asked = parseMoment(word, s.clock.now());
  // Where a repository is read as it was nothing can be added to it: a time means the point before it there.
  if (asked === undefined || (s.atMs !== undefined && !isMomentAlone(word))) return word;
  const { repository } = opened;
  const list = await listPoints(repository, s);
  try {
    const identity = identityOf(opened, list);
    const place = async () => await placeOf(opened, identity, s);
    return await momentPoint({
      repository,
      asked,
      identity,
      place,
      proving,
      clock: s.clock,
      progress: s.progress,
      signal: s.signal,
    });
  } catch (error) {
    // A time means a restore point where it is no moment that can be had.
    if (isMomentAlone(word) || !isFailure(error, "moment/outside")) throw error;
    if ((error.hint ?? "") !== "" && list.points.length > 0) {
      s.progress.say(`${error.message}: the restore point before it is taken`);
    }
    return word;
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
    roles: [...(role === undefined ? [] : [role]), "postgres", "chatwoot"],
    scratch: await scratchPlaces(opened.config, { inPlaceServer: false }, s),
    backup: await backupOf(opened, { identity, installation, findings }, s),
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
