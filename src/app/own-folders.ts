/** Folders of this machine that Chatkeep itself needs room in. */
import { tmpdir } from "node:os";
import { nearestFolder } from "../system/folders.ts";
import type { LoadedConfig } from "./config.ts";
import { findStateFolder } from "./state-folder.ts";
import type { Surroundings } from "./surroundings.ts";

/** For people, with the place; of one that is not there yet the folder in which it would be made. */
export async function ownFolders(
  loaded: LoadedConfig | undefined,
  s: Surroundings,
): Promise<{ what: string; path: string }[]> {
  const temporary = { what: "temporary files", path: tmpdir() };
  if (loaded === undefined) return [temporary];
  const state = await nearestFolder((await findStateFolder(loaded, s)).path);
  return [temporary, { what: "Chatkeep's own state", path: state }];
}
