/** A look at the live files, compared with the newest restore point where one can be had. */
import { isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { findParent, type Parent } from "../job/parent.ts";
import { scrub } from "../job/scrub.ts";
import type { ScrubSummary } from "../job/scrub-summary.ts";
import { findConfig, type LoadedConfig } from "./config.ts";
import { openInstallation } from "./installation.ts";
import { openAnsweringRepository } from "./session.ts";
import { storageSettings } from "./storage.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

/** Needs no configuration, and no repository. */
export async function runScrub(globals: Globals, { all }: { all: boolean }, s: Surroundings): Promise<ScrubSummary> {
  const loaded = await findConfig(globals, s);
  const found = await openInstallation(loaded?.config.installation ?? {}, s, loaded?.config.database);
  return await scrub({
    address: found.address(),
    installation: found.installation,
    storageSettings: await storageSettings(loaded?.config, s),
    all,
    newest: async () => await newestPoint(loaded, globals, s),
    clock: s.clock,
    progress: s.progress,
    signal: s.signal,
  });
}

/** What stands in the way of a comparison is worth a note, and keeps nobody from looking at the files. */
async function newestPoint(
  loaded: LoadedConfig | undefined,
  globals: Globals,
  s: Surroundings,
): Promise<{ point?: Parent; findings: Finding[] }> {
  if (loaded === undefined) return { findings: [notCompared("there is no configuration that names a repository")] };
  s.progress.stage("looking at the newest restore point");
  try {
    const { repository, name } = await openAnsweringRepository(globals, s);
    const { id } = loaded.config.installation;
    const { parent, findings } = await findParent({ repository, repositoryName: name, identity: { id }, ...s });
    if (parent === undefined) return { findings: [...findings, notCompared(`'${name}' has none that can be read`)] };
    return { point: parent, findings };
  } catch (error) {
    if (!isFailure(error) || error.code === "internal/bug" || s.signal.aborted) throw error;
    return { findings: [notCompared(error.message)] };
  }
}

function notCompared(why: string): Finding {
  return {
    kind: "not-compared",
    level: "note",
    message: `what was found was compared with no restore point: ${why}`,
    hint: "So everything counts as new, and whether a backup has a file is not known.",
  };
}
