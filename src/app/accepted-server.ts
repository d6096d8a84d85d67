/** Which cluster somebody said to be the installation's server, in place of the one before (`watch --new-server`). */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { StateFolder } from "./state-folder.ts";

export function serverFile({ path }: Pick<StateFolder, "path">): string {
  return join(path, "watch-server.json");
}

/** Whether it was said of a cluster. What cannot be read says nothing. */
export async function isNewServer(state: Pick<StateFolder, "path">, systemId: string): Promise<boolean> {
  try {
    const said = JSON.parse(await readFile(serverFile(state), "utf8")) as { schema?: unknown; systemId?: unknown };
    return said.schema === 1 && said.systemId === systemId;
  } catch {
    return false;
  }
}
