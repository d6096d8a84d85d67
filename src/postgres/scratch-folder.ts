/** The folder that a scratch server of this machine lies in: a temporary one, or one that somebody gave it and wants to keep. */
import { existsSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Failure } from "../base/errors.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../system/temporary.ts";
import { chooseParent, refuseWithoutSpace, type User } from "./scratch-place.ts";
import { type Started, STAYS, stopKept } from "./scratch-process.ts";
import type { ScratchNeeds } from "./scratch-source.ts";

export interface ServerFolder extends TemporaryFolder {
  /** It is left where it is from then on. */
  keep(): void;
}

/** @throws Failure `store/full` where its disk cannot hold what is needed. */
export async function openServerFolder(
  { folder: given, neededBytes = 0 }: Pick<ScratchNeeds, "folder" | "neededBytes">,
  user: User | undefined,
): Promise<ServerFolder> {
  const parent = given === undefined ? await chooseParent(user) : dirname(given);
  await refuseWithoutSpace(parent, neededBytes);
  const opened =
    given === undefined ? await openTemporaryFolder("chatkeep-server", parent, { owner: user?.uid }) : undefined;
  const path = opened?.path ?? given ?? "";
  let isKept = false;
  return {
    path,
    keep: () => {
      isKept = true;
    },
    async [Symbol.asyncDispose]() {
      if (!isKept) await rm(path, { recursive: true, force: true });
    },
  };
}

/**
 * Ends a server cleanly, so that it can be started on its files again.
 * @param server `within`: the folder that its keeper knows.
 * @throws Failure `program/failed` where it did not end so.
 */
export async function layToRest(
  folder: ServerFolder,
  { within, data, started }: { within: string; data: string; started: Started },
): Promise<void> {
  await writeFile(join(within, STAYS), "");
  await stopKept(started.child);
  // It is gone when all is written down.
  if (existsSync(join(data, "postmaster.pid"))) {
    throw new Failure("program/failed", "the recovered server could not be ended cleanly", {
      hint: started.log() === "" ? "It logged nothing that explains it." : `It said: ${started.log()}`,
    });
  }
  await rm(join(within, STAYS), { force: true });
  folder.keep();
}
