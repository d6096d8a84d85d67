/** Drills: which point of which repository, and where a scratch server may come from. */
import { Failure, isFailure } from "../base/errors.ts";
import { drill } from "../job/drill.ts";
import { resolvePoint } from "../job/points.ts";
import type { MomentProving } from "../job/moment-point.ts";
import type { DrillSummary } from "../job/summaries.ts";
import { parseDatabaseUrl, type ServerAddress } from "../postgres/address.ts";
import type { ScratchPlaces } from "../postgres/scratch.ts";
import { type Config, DRILL_SERVERS, loadConfig } from "./config.ts";
import { openNextToDrill } from "./copies.ts";
import { openInstallation } from "./installation.ts";
import { PROGRAM } from "./program.ts";
import { readSecretFile } from "./secrets.ts";
import { openFor } from "./repository-for.ts";
import { askedOf, type OpenedRepository } from "./session.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

/** For `--at`. */
export const RANDOM = "random";

export interface DrillFlags extends PlaceFlags {
  /** Every uploaded file is read, and not the new ones and a part of the others alone. */
  all: boolean;
  /** `random`, or what names a moment: that one is recovered and drilled, and what was recovered is checked too. */
  at?: string | undefined;
}

export interface PlaceFlags {
  /** Where no other server fits, a database may be made on the installation's own. */
  inPlaceServer: boolean;
}

/** Drills the named point, or the newest one of the repository whose turn it is. */
export async function runDrill(
  globals: Globals,
  point: string | undefined,
  flags: DrillFlags,
  s: Surroundings,
): Promise<DrillSummary> {
  // Before the key is derived: what is wrong in the configuration is told at once.
  if (flags.inPlaceServer) await loadConfig(globals, s);
  const named = point ?? (flags.at === RANDOM ? undefined : flags.at);
  const turn = { isMoment: flags.at === RANDOM };
  const opened = named === undefined ? await openNextToDrill(globals, s, turn) : await openFor(globals, [named], s);
  const { repository, name, config } = opened;
  const proving: MomentProving = { checks: [], recoverySeconds: 0 };
  const word = await wordOf(opened, point ?? flags.at, { proving, isMomentOnly: point === undefined }, s);
  return await drill({
    repository,
    repositoryName: name,
    choose: (list) => resolvePoint(list, word, config?.installation.id),
    isRecorded: s.atMs === undefined,
    isEveryFile: flags.all,
    ...(proving.checks.length === 0
      ? {}
      : { before: { checks: proving.checks, stages: { recovery: proving.recoverySeconds } } }),
    scratch: await scratchPlaces(config, flags, s),
    program: PROGRAM,
    clock: s.clock,
    progress: s.progress,
    signal: s.signal,
  });
}

/** The name of the point that is drilled; of a moment it is made now, and what is recovered for it is checked on the way. */
async function wordOf(
  opened: OpenedRepository,
  asked: string | undefined,
  { proving, isMomentOnly }: { proving: MomentProving; isMomentOnly: boolean },
  s: Surroundings,
): Promise<string> {
  if (asked === undefined) return "latest";
  const { chanceWord, settleMoment } = await import("./moments.ts");
  const word = asked === RANDOM ? await chanceWord(opened, s) : asked;
  if (asked === RANDOM) s.progress.say(`the moment that is proven: ${word}`);
  if (askedOf(opened, word, s) === undefined) return word;
  const settled = await settleMoment(opened, word, s, proving);
  if (!isMomentOnly || settled !== word) return settled;
  throw new Failure("moment/outside", `the moment ${word} cannot be had`, {
    hint: "'chatkeep list' shows the window. Given as POINT, a time also means the restore point before it.",
  });
}

/** Where the configuration lets a scratch server come from. Its database URL is hidden from then on. */
export async function scratchPlaces(
  config: Config | undefined,
  flags: PlaceFlags,
  s: Surroundings,
): Promise<ScratchPlaces> {
  const chosen = config?.drill ?? {};
  const file = chosen["database-url-file"];
  const url =
    file === undefined ? chosen["database-url"] : await readSecretFile(file, "the URL of the drills' server", s);
  const server = url === undefined ? undefined : parseDatabaseUrl(url);
  s.hide([url, server?.password].filter((secret) => secret !== undefined));
  const open = async () => (await openInstallation(config?.installation ?? {}, s, config?.database)).address();
  return {
    kinds: [...(chosen.servers ?? DRILL_SERVERS), "in-place"],
    image: chosen.image,
    embedded: chosen.embedded,
    server,
    installation: async () => await ifFound(open),
    inPlace: flags.inPlaceServer ? await open() : undefined,
  };
}

/** A drill needs no installation: it may be held on another machine than Chatwoot's. */
async function ifFound(open: () => Promise<ServerAddress>): Promise<ServerAddress | undefined> {
  try {
    return await open();
  } catch (error) {
    if (isFailure(error)) return undefined;
    throw error;
  }
}
