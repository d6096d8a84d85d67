/** Holds in all repositories at once: what is held, or no longer, in one is so in every one that is reached. */
import { type Failure, isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { hold, type HoldOptions, listHolds, releaseHold, removeRecords } from "../job/hold.ts";
import { releasesIn } from "../job/holds-between.ts";
import { listPoints } from "../job/points.ts";
import type { PointRelease } from "../job/records.ts";
import type { HoldSummary } from "../job/summaries.ts";
import type { Config } from "./config.ts";
import { PROGRAM } from "./program.ts";
import { openAnsweringRepository, openChosenRepository, openToRead, type OpenedRepository } from "./session.ts";
import type { Globals, Surroundings } from "./surroundings.ts";
import { timeZoneOf } from "./tidy.ts";

function holdOptions(
  { repository, name, config }: OpenedRepository,
  installationId: string | undefined,
  s: Surroundings,
): { options: HoldOptions; timeZone: string } {
  const options = { repository, repositoryName: name, installationId, clock: s.clock, signal: s.signal };
  return { options, timeZone: timeZoneOf(config) };
}

export interface HoldFlags {
  point: string;
  name: string;
  reason: string | undefined;
  until: string | undefined;
}

/** The names of the other configured repositories; none of one that is only a location. */
function othersOf({ config, name }: { config: Config | undefined; name: string }): string[] {
  return (config?.repositories ?? []).map((one) => one.name).filter((one) => one !== name);
}

/** The other configured repositories, each opened once; one that cannot be opened says so each time it is asked for. */
class Others {
  readonly names: readonly string[];
  readonly #opened = new Map<string, Promise<OpenedRepository>>();
  readonly #open: (name: string) => Promise<OpenedRepository>;

  constructor(opened: OpenedRepository, globals: Globals, s: Surroundings) {
    this.names = othersOf(opened);
    this.#open = async (name) => await openChosenRepository({ ...globals, repository: name }, s);
  }

  async open(name: string): Promise<OpenedRepository> {
    const known = this.#opened.get(name);
    if (known !== undefined) return await known;
    const opening = this.#open(name);
    this.#opened.set(name, opening);
    return await opening;
  }

  /** The releases that those of them know that can be read. */
  async released(s: Surroundings): Promise<PointRelease[]> {
    const found: PointRelease[] = [];
    for (const name of this.names) {
      try {
        found.push(...releasesIn(await listPoints((await this.open(name)).repository, s)));
      } catch (error) {
        // It is told where the hold is to be made there.
        if (!isFailure(error) || error.code === "internal/bug" || s.signal.aborted) throw error;
      }
    }
    return found;
  }
}

export async function runHold(globals: Globals, flags: HoldFlags, s: Surroundings): Promise<HoldSummary> {
  const opened = await openAnsweringRepository(globals, s);
  const others = new Others(opened, globals, s);
  const { options, timeZone } = holdOptions(opened, opened.config?.installation.id, s);
  const { point: word, name, reason, until } = flags;
  const released = await others.released(s);
  const wanted = { word, name, reason, until, timeZone, program: PROGRAM, released };
  const summary = await hold(options, wanted);
  const [held] = summary.holds;
  return await everywhere(summary, others, s, async (other) => {
    // Of the same time everywhere, so that one release is the end of it in each.
    const there = { ...wanted, word: held?.point ?? word, at: held?.at };
    return (await hold(holdOptions(other, undefined, s).options, there)).changed;
  });
}

export async function runReleaseHold(
  globals: Globals,
  { point: word, name }: { point: string; name: string },
  s: Surroundings,
): Promise<HoldSummary> {
  const opened = await openAnsweringRepository(globals, s);
  const repositories = new Others(opened, globals, s);
  const others = repositories.names;
  const { options } = holdOptions(opened, opened.config?.installation.id, s);
  const remembered = others.length === 0 ? undefined : PROGRAM;
  let summary: HoldSummary | undefined;
  let missing: unknown;
  try {
    summary = await releaseHold(options, { word, name, remembered });
  } catch (error) {
    // It may have been released here when the others could not be reached.
    if (others.length === 0 || !isUnknown(error) || !/^[0-9a-f]{4,64}$/.test(word)) throw error;
    missing = error;
  }
  const released: HoldSummary[] = [];
  const point = summary?.holds[0]?.point ?? word;
  const nothing: HoldSummary = {
    type: "summary",
    verb: "hold",
    action: "released",
    repository: opened.name,
    repositories: [],
    changed: false,
    holds: [],
    findings: [],
  };
  const done = await everywhere(summary ?? nothing, repositories, s, async (other) => {
    released.push(await releaseHold(holdOptions(other, undefined, s).options, { word: point, name }));
    return true;
  });
  const [first] = released;
  if (summary === undefined && first === undefined && done.findings.length === 0) throw missing;
  if (done.findings.length === 0 && others.length > 0) await forgetRelease(opened, { name, point }, s);
  return { ...done, changed: done.changed || first !== undefined, holds: summary?.holds ?? first?.holds ?? [] };
}

/** True when a repository has no such point, or no such hold: there is nothing to be done in it. */
function isUnknown(error: unknown): boolean {
  return isFailure(error, "point/not-found") || isFailure(error, "usage/invalid");
}

/** Does in every other repository what was done in one; what cannot be done is a finding, and the next backup's task. */
async function everywhere(
  summary: HoldSummary,
  others: Others,
  s: Surroundings,
  work: (other: OpenedRepository) => Promise<boolean>,
): Promise<HoldSummary> {
  const repositories = [...summary.repositories];
  const findings: Finding[] = [];
  let { changed } = summary;
  for (const name of others.names) {
    try {
      if (await work(await others.open(name))) changed = true;
      repositories.push(name);
    } catch (error) {
      if (!isFailure(error) || error.code === "internal/bug" || s.signal.aborted) throw error;
      // A point that is not there yet brings its hold with it.
      if (error.code === "point/not-found" || (summary.action === "released" && isUnknown(error))) continue;
      findings.push(notDone(summary.action, name, error));
    }
  }
  return { ...summary, changed, repositories, findings };
}

function notDone(action: HoldSummary["action"], name: string, { code, message, hint }: Failure): Finding {
  const kept = code === "usage/invalid";
  return {
    kind: "hold-elsewhere",
    level: "warning",
    message:
      action === "held"
        ? `in repository '${name}' it was not held: ${message}`
        : `in repository '${name}' it is still held: ${message}`,
    hint:
      kept || code === "store/denied"
        ? (hint ?? "Do it from a machine, or with credentials, that may.")
        : "The next backup that reaches it does it there too.",
  };
}

/** Everybody has heard of it. */
async function forgetRelease(
  { repository }: OpenedRepository,
  { name, point }: { name: string; point: string },
  s: Surroundings,
): Promise<void> {
  const known = releasesIn(await listPoints(repository, s)).filter((one) => {
    return one.name === name && one.point.startsWith(point);
  });
  if (known.length > 0) await removeRecords(repository, known, s);
}

export async function runListHolds(globals: Globals, flags: { all: boolean }, s: Surroundings): Promise<HoldSummary> {
  const opened = await openToRead(globals, s);
  const { options } = holdOptions(opened, flags.all ? undefined : opened.config?.installation.id, s);
  await options.repository.loadIndex({ signal: s.signal });
  return await listHolds(options);
}
