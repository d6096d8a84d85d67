/** `doctor` as the doors call it. */
import { dirname } from "node:path";
import { access } from "node:fs/promises";
import { Failure } from "../base/errors.ts";
import { doctor } from "../job/doctor.ts";
import type { DoctorSummary } from "../job/summaries.ts";
import { watchState } from "../job/watch-findings.ts";
import { findConfig, type LoadedConfig } from "./config.ts";
import { dailyFindings } from "./daily-findings.ts";
import { scratchPlaces } from "./drills.ts";
import { openInstallation, standbyAddress } from "./installation.ts";
import { kitFiles, KIT_STEM } from "./kit.ts";
import { objectivesOf } from "./objectives.ts";
import { ownFolders } from "./own-folders.ts";
import { readPassword } from "./secrets.ts";
import { openChosenRepository } from "./session.ts";
import { storageSettings } from "./storage.ts";
import type { Globals, Surroundings } from "./surroundings.ts";
import { readWatch, windowMsOf } from "./watched.ts";
import { fixServer, type FixOptions, followFindings } from "./watch-doctor.ts";

export interface DoctorFlags {
  /** Changes what it may, each with consent, before it looks. */
  readonly fix: FixOptions | undefined;
}

export async function runDoctor(
  globals: Globals,
  s: Surroundings,
  { fix }: DoctorFlags = { fix: undefined },
): Promise<DoctorSummary> {
  const loaded = await findConfig(globals, s);
  if (fix === undefined) return await look(loaded, globals, s);
  if (loaded === undefined) {
    throw new Failure("config/missing", "there is no configuration, so it is not known what is to be mended", {
      hint: "Run 'chatkeep init'.",
    });
  }
  const fixes = await fixServer(loaded, fix, s);
  return { ...(await look(loaded, globals, s)), fixes };
}

async function look(loaded: LoadedConfig | undefined, globals: Globals, s: Surroundings): Promise<DoctorSummary> {
  const { config } = loaded ?? {};
  return await doctor({
    config: loaded,
    openInstallation: () => openInstallation(config?.installation ?? {}, s, config?.database),
    storageSettings: () => storageSettings(config, s),
    standby: () => standbyAddress(config?.database, s),
    objectives: objectivesOf(config),
    continuous: loaded === undefined ? undefined : continuousOf(loaded, s),
    openRepository: (name) => openChosenRepository({ ...globals, repository: name }, s),
    ownFolders: () => ownFolders(loaded, s),
    otherFindings: async () => (loaded === undefined ? [] : await dailyFindings(loaded, s)),
    followFindings: async () => (loaded === undefined ? [] : await followFindings(loaded, s)),
    scratch: await scratchPlaces(config, { inPlaceServer: false }, s),
    readPassword: (name) =>
      readPassword(
        config?.repositories.find((known) => known.name === name),
        s,
      ),
    findKit: async (name) => (loaded === undefined ? undefined : await findKit(dirname(loaded.path), name)),
    clock: s.clock,
    progress: s.progress,
    signal: s.signal,
  });
}

function continuousOf(loaded: LoadedConfig, s: Surroundings) {
  const watch = async () => watchState(await readWatch(loaded, s), s.clock.now());
  return { watch, windowMs: windowMsOf(loaded.config) };
}

/** A page to print that lies where `init` and `kit` write them: of this repository alone, or of all. */
async function findKit(folder: string, name: string): Promise<string | undefined> {
  for (const stem of [`${KIT_STEM}-${name}`, KIT_STEM]) {
    const { page } = kitFiles(folder, stem);
    const isThere = await access(page).then(
      () => true,
      () => false,
    );
    if (isThere) return page;
  }
  return undefined;
}
