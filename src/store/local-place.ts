/** A folder, made to look like a remote place so that it can be tried out as those are. */
import { mkdir, open, readdir, readFile, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { leftoverName } from "../system/leftovers.ts";
import { codeOf, storeFailure } from "./local-errors.ts";
import { BESIDE } from "./beside.ts";
import type { ProbePlace } from "./probe.ts";

async function doing<T>(what: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  signal.throwIfAborted();
  try {
    return await work();
  } catch (error) {
    throw storeFailure(error, what);
  }
}

/** Durable when it resolves. @returns When it was written, by the folder's own clock; milliseconds since 1970. */
async function write(path: string, bytes: Uint8Array): Promise<number> {
  const file = await open(path, "wx", 0o600);
  try {
    await file.writeFile(bytes);
    await file.sync();
    return (await file.stat()).mtimeMs;
  } finally {
    await file.close();
  }
}

export function localPlace(root: string): ProbePlace {
  const pathOf = (key: string) => join(root, key);
  const makeFolder = async (path: string) => {
    // Its root gone means an unmounted disk.
    await stat(root);
    for (const folder of [dirname(path), path]) {
      await mkdir(folder, { mode: 0o700 }).catch((error: unknown) => {
        if (codeOf(error) !== "EEXIST") throw error;
      });
    }
  };
  return {
    isRemembered: true,
    async put(key, bytes, { signal }) {
      await doing(`writing to '${root}'`, signal, async () => {
        await makeFolder(dirname(pathOf(key)));
        await write(pathOf(key), bytes).catch((error: unknown) => {
          if (codeOf(error) !== "EEXIST") throw error;
        });
      });
    },
    async get(key, { offset, length, signal }) {
      const bytes = await doing(`reading '${key}'`, signal, async () => await readFile(pathOf(key)));
      return bytes.subarray(offset, length === undefined ? undefined : offset + length);
    },
    async stat(key, { signal }) {
      return await doing(`looking at '${key}'`, signal, async () => {
        const found = await stat(pathOf(key)).catch((error: unknown) => {
          if (codeOf(error) !== "ENOENT") throw error;
          return undefined;
        });
        return found && { sizeBytes: found.size };
      });
    },
    async *list(folder, { signal }) {
      const names = await doing(`listing '${folder}'`, signal, async () => {
        return await readdir(pathOf(folder)).catch((error: unknown) => {
          if (codeOf(error) === "ENOENT") return [];
          throw error;
        });
      });
      for (const name of names) yield { key: `${folder}/${name}`, sizeBytes: 0 };
    },
    async remove(key, { signal }) {
      await doing(`removing '${key}'`, signal, async () => await rm(pathOf(key), { force: true }));
    },
    async time({ signal }) {
      return await doing(`asking '${root}' for the time`, signal, async () => {
        const folder = pathOf(`${BESIDE}/tmp`);
        await makeFolder(folder);
        const path = join(folder, leftoverName());
        return await write(path, Buffer.alloc(0)).finally(async () => await rm(path, { force: true }));
      });
    },
  };
}
