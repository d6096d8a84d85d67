/** Files that `init` writes: only their owner reads them, and nothing that exists is ever written over. */
import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { Failure, messageOf } from "../base/errors.ts";

/** Writes a file that only its owner reads, and never over one that exists. */
export async function writeNew(path: string, text: string | undefined): Promise<void> {
  if (text === undefined) return;
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await writeFile(path, text, { mode: 0o600, flag: "wx" });
  } catch (cause) {
    const isThere = (cause as NodeJS.ErrnoException).code === "EEXIST";
    throw new Failure(
      "config/invalid",
      isThere ? `'${path}' exists already` : `cannot write '${path}': ${messageOf(cause)}`,
      {
        hint: isThere
          ? "Move it away, or name another place with --config."
          : "Run as a user that may write there, or name another place with --config.",
        cause,
      },
    );
  }
}
