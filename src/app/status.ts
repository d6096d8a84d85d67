/** `status` as the doors call it: with a configuration all of its repositories, else the one that is named. */
import { status } from "../job/status.ts";
import type { StatusSummary } from "../job/status-summary.ts";
import { findConfig, loadConfig } from "./config.ts";
import { objectivesOf } from "./objectives.ts";
import { readMeasures } from "./recoveries.ts";
import { openChosenRepository } from "./session.ts";
import { findStateFolder, readStatus } from "./state-folder.ts";
import { serversOf } from "./server-records.ts";
import type { Globals, Surroundings } from "./surroundings.ts";
import { readWatch, windowMsOf } from "./watched.ts";

export async function runStatus(globals: Globals, s: Surroundings): Promise<StatusSummary> {
  const { repository: wanted } = globals;
  const found = wanted === undefined ? await loadConfig(globals, s) : await findConfig(globals, s);
  const names = wanted === undefined ? (found?.config.repositories.map(({ name }) => name) ?? []) : [wanted];
  // What lies elsewhere is nothing that this configuration speaks of.
  const opened = wanted === undefined ? undefined : await openChosenRepository(globals, s);
  const loaded = opened === undefined || opened.config !== undefined ? found : undefined;
  return await status({
    installation: loaded?.config.installation,
    names: opened === undefined ? names : [opened.name],
    open: async (name) =>
      opened?.repository ?? (await openChosenRepository({ ...globals, repository: name }, s)).repository,
    objectives: objectivesOf(loaded?.config),
    windowMs: windowMsOf(loaded?.config),
    watch: loaded === undefined ? undefined : async () => await readWatch(loaded, s),
    servers: loaded === undefined ? [] : await serversOf(loaded, s),
    measures: await readMeasures(loaded, s),
    run: loaded === undefined ? undefined : await readStatus(await findStateFolder(loaded, s)),
    clock: s.clock,
    progress: s.progress,
    signal: s.signal,
  });
}
