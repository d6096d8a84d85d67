/**
 * Files of our own beside a repository's: below `chatkeep/`, where restic does not look. They come and go by their names,
 * which say what is in them; retention never applies to them, so they can be removed where the repository's own files
 * cannot.
 */
import { assert } from "../base/errors.ts";
import type { Backend } from "./backend.ts";
import type { Beside } from "./store.ts";

/** The folder of everything that is Chatkeep's own, below the repository's root. */
export const BESIDE = "chatkeep";

const PATH = /^[\w%-][\w%.-]*(\/[\w%-][\w%.-]*)*$/;

/** The key of a path below `chatkeep/`. Parts that begin with a dot are refused, and so is what could leave the folder. */
export function besideKey(path: string): string {
  assert(PATH.test(path), `'${path}' is no path for a file beside a repository`);
  return `${BESIDE}/${path}`;
}

/** Undefined where only restic's own names can be written. */
export function besideOf(backend: Backend): Beside | undefined {
  if (backend.isNarrow === true) return undefined;
  return {
    put: async (path, bytes, { signal }) => {
      signal.throwIfAborted();
      const whole = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      await backend.put(besideKey(path), whole, { signal, mustBeNew: false });
    },
    get: async (path, { signal }) => {
      signal.throwIfAborted();
      return await backend.get(besideKey(path), { offset: 0, length: undefined, signal });
    },
    async *list(folder, { signal }) {
      signal.throwIfAborted();
      const key = besideKey(folder);
      for await (const file of backend.list(key, { signal })) {
        const name = file.key.slice(key.length + 1);
        // A folder within is another's.
        if (!name.includes("/")) yield { name, sizeBytes: file.sizeBytes };
      }
    },
    remove: async (path, { signal }) => {
      signal.throwIfAborted();
      await backend.remove(besideKey(path), { signal });
    },
  };
}
