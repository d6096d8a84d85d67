/**
 * Temporary folders that are gone when their owner is: at its end, or, when it was killed, when the next one of the same
 * user begins. Whose a folder is stands in its name.
 */
import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isMarkOver, ownMark } from "./leftovers.ts";

export interface TemporaryFolder extends AsyncDisposable {
  readonly path: string;
}

/** Every prefix begins like this. */
const NAME = /^chatkeep-[a-z]+-([0-9a-f.]+)-[A-Za-z0-9]{6}$/;

/**
 * Makes a folder (mode 0700) below `parent`, by default the system's own; use it with `await using`.
 * @param prefix `chatkeep-` and a word.
 * @param options `owner`: the number of another user, whom folders of this kind are given to; what killed runs left is
 * removed though it is that user's.
 */
export async function openTemporaryFolder(
  prefix: string,
  parent = tmpdir(),
  { owner }: { owner?: number | undefined } = {},
): Promise<TemporaryFolder> {
  await removeDeadOnes(parent, owner);
  const path = await mkdtemp(join(parent, `${prefix}-${ownMark()}-`));
  return {
    path,
    async [Symbol.asyncDispose]() {
      await rm(path, { recursive: true, force: true });
    },
  };
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
