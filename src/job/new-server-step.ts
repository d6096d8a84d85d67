/** What is left for a person where a database came back on another cluster than the one whose log was followed. */
import { failureOf } from "../base/errors.ts";
import type { ServerAddress } from "../postgres/address.ts";
import { connectIfThere } from "../postgres/connect-if-there.ts";
import { readSystemIdentifier } from "../postgres/server-facts.ts";
import type { Repository } from "../repo/repository.ts";
import { listContinuous } from "./continuous/list.ts";
import { newestLine } from "./continuous/newest-line.ts";

export interface RestoredTo {
  readonly address: ServerAddress;
  /** Of the point's installation. */
  readonly installation: string;
  /** The database is Chatwoot's own now; else it is somebody's choice whether it becomes that. */
  readonly isOwn: boolean;
  /** A configuration is there, which `watch` needs. */
  readonly isConfigured: boolean;
  readonly signal: AbortSignal;
}

/** Empty where no log was ever followed, where it is the same cluster, and where that cannot be known: what was restored stays restored. */
export async function newServerSteps(repository: Repository, to: RestoredTo): Promise<string[]> {
  const { address, installation, isOwn, isConfigured, signal } = to;
  try {
    const followed = newestLine(await listContinuous(repository, installation, { signal }));
    if (followed === undefined) return [];
    await using connection = await connectIfThere(address, { signal });
    const found = connection === undefined ? "" : await readSystemIdentifier(connection);
    if (found === "" || found === followed.systemId) return [];
    const before = isConfigured ? "" : "bring the configuration back first ('chatkeep init --from'), then ";
    const when = isOwn ? "" : "when Chatwoot uses it, ";
    return [
      `${when}${before}say 'chatkeep watch --new-server': this is another server than the one that was followed, and until then nothing that is written here is protected continuously ('chatkeep doctor' says what the server must allow)`,
    ];
  } catch (error) {
    signal.throwIfAborted();
    if (failureOf(error).code === "internal/bug") throw error;
    return [];
  }
}
