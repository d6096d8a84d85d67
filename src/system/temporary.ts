/**
 * Temporary folders that are gone when their owner is: at its end, or, when it was killed, when the next one of the same
 * user begins. Whose a folder is stands in its name.
 */
import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Failure, messageOf } from "../base/errors.ts";
import { isMarkOver, ownMark } from "./leftovers.ts";

export interface TemporaryFolder extends AsyncDisposable {
  readonly path: string;
}

const REFUSED_FOR_ROOM: readonly string[] = ["ENOSPC", "EDQUOT"];

/** Every prefix begins like this. */
const NAME = /^chatkeep-[a-z]+-([0-9a-f.]+)-[A-Za-z0-9]{6}$/;

/**
 * Makes a folder (mode 0700) below `parent`, by default the system's own; use it with `await using`.
 * @param prefix `chatkeep-` and a word.
 * @param options `owner`: the number of another user, whom folders of this kind are given to; what killed runs left is
 * removed though it is that user's.
 * @throws Failure `store/denied` or `store/full` where none can be made.
 */
export async function openTemporaryFolder(
  prefix: string,
  parent = tmpdir(),
  { owner }: { owner?: number | undefined } = {},
): Promise<TemporaryFolder> {
  await removeDeadOnes(parent, owner);
  const path = await makeBelow(parent, prefix);
  return {
    path,
    async [Symbol.asyncDispose]() {
      await rm(path, { recursive: true, force: true });
    },
  };
}

async function makeBelow(parent: string, prefix: string): Promise<string> {
  try {
    return await mkdtemp(join(parent, `${prefix}-${ownMark()}-`));
  } catch (cause) {
    const isFull = REFUSED_FOR_ROOM.includes((cause as NodeJS.ErrnoException).code ?? "");
    throw new Failure(
      isFull ? "store/full" : "store/denied",
      `cannot make a temporary folder in '${parent}': ${messageOf(cause)}`,
      { hint: "Set TMPDIR to a folder that is there, has room, and may be written to.", cause },
    );
  }
}

const swept = new Set<string>();

/** What killed runs left here, once in a process. What cannot be removed is left: it is in nobody's way. */
async function removeDeadOnes(parent: string, owner: number | undefined): Promise<void> {
  const sweep = `${owner ?? ""} ${parent}`;
  if (swept.has(sweep)) return;
  swept.add(sweep);
  const names = await readdir(parent).catch(() => []);
  for (const name of names) {
    const [, mark] = NAME.exec(name) ?? [];
    if (mark === undefined || !isMarkOver(mark)) continue;
    const path = join(parent, name);
    try {
      const { uid } = await stat(path);
      if (uid === process.getuid?.() || uid === owner) await rm(path, { recursive: true, force: true });
    } catch {
      // Another run is removing it, or it is not ours to remove.
    }
  }
}
