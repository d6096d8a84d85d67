/**
 * Files of the configuration that are no environment: web server, units, Compose files. None of them is ever overwritten:
 * they belong to the machine as much as to Chatwoot. What differs is put beside, for a person to compare.
 */
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { TreeNode } from "../../format/node.ts";
import { captureConfig } from "../../installation/config.ts";
import type { Installation } from "../../installation/installation.ts";
import { naming } from "../../system/replace-file.ts";
import type { PointReader } from "../point-reader.ts";

/** Below `config/` in a point. */
const FILES = "files";

export interface ConfigDifference {
  /** On the machine. */
  readonly place: string;
  /** In the point, below `config/`. */
  readonly path: string;
  /** There is no such file. */
  readonly isMissing: boolean;
  readonly node: TreeNode;
}

async function* filesBelow(reader: PointReader, path: string): AsyncGenerator<{ path: string; node: TreeNode }> {
  for (const node of (await reader.folder(path)) ?? []) {
    const inner = `${path}/${node.name}`;
    if (node.type === "dir") yield* filesBelow(reader, inner);
    else if (node.type === "file") yield { path: inner, node };
  }
}

/**
 * @param environmentFiles As the machine names them: they are merged, and no difference.
 */
export async function findDifferences(
  reader: PointReader,
  installation: Installation,
  { environmentFiles, signal }: { environmentFiles: readonly string[]; signal: AbortSignal },
): Promise<ConfigDifference[]> {
  const { files: present } = await captureConfig(installation, { signal });
  const here = new Map(present.map(({ path, absolute }) => [path, absolute]));
  const merged = new Set(environmentFiles.map((path) => `${FILES}/${path.replace(/^\/+/, "")}`));
  const differences: ConfigDifference[] = [];
  for await (const { path: whole, node } of filesBelow(reader, `config/${FILES}`)) {
    signal.throwIfAborted();
    const path = whole.slice("config/".length);
    if (merged.has(path)) continue;
    const place = `/${path.slice(FILES.length + 1)}`;
    const now = await readFile(here.get(path) ?? place).catch(() => undefined);
    if (now?.equals(await bytesOf(reader, node)) === true) continue;
    differences.push({ place, path, isMissing: now === undefined, node });
  }
  return differences;
}

async function bytesOf(reader: PointReader, node: TreeNode): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(reader.readNode(node)));
}

/** Puts the saved ones into a folder, below the machine's own names; what an earlier call put there is replaced. */
export async function putBeside(
  reader: PointReader,
  differences: readonly ConfigDifference[],
  folder: string,
): Promise<void> {
  await rm(folder, { recursive: true, force: true });
  for (const { place, node } of differences) {
    const path = join(folder, place);
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const bytes = await bytesOf(reader, node);
    await naming(path, async () => await writeFile(path, bytes, { mode: 0o600, flag: "wx" }));
  }
}
