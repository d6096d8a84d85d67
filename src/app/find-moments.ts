/** `moments`: what the log of the window says was done, so that the moment before it is found. */
import { lacksZone } from "../base/clock.ts";
import { Failure, isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { MomentsSummary } from "../job/commits-summary.ts";
import { findCommits, type WantedChange } from "../job/find-commits.ts";
import { listPoints, zoneHint } from "../job/points.ts";
import { parseMoment } from "../point/moment.ts";
import type { ServerAddress } from "../postgres/address.ts";
import { openInstallation } from "./installation.ts";
import { identityOf } from "./moments.ts";
import { openFor } from "./repository-for.ts";
import type { OpenedRepository } from "./session.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

export interface MomentsFlags extends WantedChange {
  /** As POINT takes times: `-2h`, `2026-11-23T11:00+01:00`. */
  readonly since: string | undefined;
  readonly until: string | undefined;
  readonly limit: number;
}

/** @throws Failure `usage/invalid`; `moment/outside` where there is no window; of the store. */
export async function findMoments(globals: Globals, flags: MomentsFlags, s: Surroundings): Promise<MomentsSummary> {
  const started = s.clock.monotonic();
  const sinceUs = instantOf("--since", flags.since, s);
  const untilUs = instantOf("--until", flags.until, s);
  if (sinceUs !== undefined && untilUs !== undefined && sinceUs > untilUs) {
    throw new Failure("usage/invalid", `--since ${flags.since} is after --until ${flags.until}`, {
      hint: "Exchange the two: -2h is before -1h.",
    });
  }
  // Who searches wants what is long ago, too: that is not left out for the newest seconds.
  const choice = { subject: "the log", slackMs: LIMITS.watchLagMs };
  const opened = await openFor(globals, ["now"], s, choice);
  const { repository, config } = opened;
  const { id } = identityOf(opened, await listPoints(repository, s));
  const { limit, since: _since, until: _until, ...wanted } = flags;
  const found = await findCommits({
    repository,
    installationId: id,
    live: await liveAddress(config, s),
    wanted,
    sinceUs,
    untilUs,
    limit,
    progress: s.progress,
    signal: s.signal,
  });
  const seconds = (s.clock.monotonic() - started) / 1000;
  return { type: "summary", verb: "moments", repository: opened.name, ...found, seconds };
}

function instantOf(flag: string, word: string | undefined, s: Surroundings): bigint | undefined {
  if (word === undefined) return undefined;
  const moment = parseMoment(word, s.clock.now());
  if (moment?.kind === "time") return moment.us;
  if (lacksZone(word)) {
    throw new Failure("usage/invalid", `${flag} does not say its zone: '${word}'`, { hint: zoneHint(word) });
  }
  throw new Failure("usage/invalid", `${flag} cannot be '${word}'`, {
    hint: "Write a time with its zone, as 2026-11-23T11:00+01:00, or so long before now, as -2h.",
  });
}

/** Undefined where nothing is configured, or the installation is gone. */
async function liveAddress(config: OpenedRepository["config"], s: Surroundings): Promise<ServerAddress | undefined> {
  if (config === undefined) return undefined;
  try {
    return (await openInstallation(config.installation, s, config.database)).address();
  } catch (error) {
    if (!isFailure(error)) throw error;
    return undefined;
  }
}
