/** Where the records of servers lie that were left running. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { RecoveredServer } from "../job/server-summary.ts";
import type { LoadedConfig } from "./config.ts";
import { findStateFolder } from "./state-folder.ts";
import type { Surroundings } from "./surroundings.ts";

/** @param state the state folder of an installation. */
export function recordsIn(state: string): string {
  return join(state, "servers");
}

/** Those of the configured installation that run. Changes nothing. */
export async function serversOf(loaded: LoadedConfig, s: Surroundings): Promise<RecoveredServer[]> {
  const home = recordsIn((await findStateFolder(loaded, s)).path);
  if (!existsSync(home)) return [];
  const { lookAtServers } = await import("../job/standing-servers.ts");
  return (await lookAtServers(home, s)).running.map(({ server }) => server);
}
