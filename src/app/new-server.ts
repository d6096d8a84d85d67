/** `watch --new-server`: somebody says that the server at the address takes the place of the one that was followed. */
import { formatInstant } from "../base/clock.ts";
import { Failure } from "../base/errors.ts";
import { describeAddress } from "../postgres/address.ts";
import { openReplication } from "../postgres/replication.ts";
import { replaceFile } from "../system/replace-file.ts";
import { serverFile } from "./accepted-server.ts";
import type { LoadedConfig } from "./config.ts";
import { openInstallation } from "./installation.ts";
import { openStateFolder } from "./state-folder.ts";
import type { Surroundings } from "./surroundings.ts";
import { findWay, wayToLog } from "./watch-mode.ts";

export interface NewServer {
  readonly address: string;
  /** The cluster's system identifier. */
  readonly systemId: string;
}

/**
 * Writes it down for the watch of this machine, which tries again by itself.
 * @param confirm False where nobody means it: then nothing is written.
 * @throws Failure of the `database/` codes; `usage/invalid` where nobody confirms it.
 */
export async function acceptServer(
  loaded: LoadedConfig,
  { confirm }: { confirm: (question: string) => Promise<boolean> },
  s: Surroundings,
): Promise<NewServer> {
  const { config } = loaded;
  const found = await openInstallation(config.installation, s, config.database);
  const { address, refused } = await findWay(await wayToLog(config, { found, address: found.address() }, s), s);
  if (refused !== undefined) throw refused;
  await using session = await openReplication(address, { signal: s.signal });
  const { systemId } = await session.identifySystem();
  const where = describeAddress(address);
  const isMeant = await confirm(
    `Follow the server at ${where} (system identifier ${systemId}) from now on, in place of any other? It begins with a base of its own.`,
  );
  if (!isMeant) {
    throw new Failure("usage/invalid", "nobody confirmed that the server is the new one: nothing was changed", {
      hint: "Answer yes, or give --yes.",
    });
  }
  const state = await openStateFolder(loaded, s);
  const said = { schema: 1, systemId, address: where, at: formatInstant(s.clock.now()) };
  await replaceFile(serverFile(state), `${JSON.stringify(said, null, 1)}\n`, 0o600);
  return { address: where, systemId };
}
