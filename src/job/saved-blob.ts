/** Whether a restore point has the right copy of an uploaded file, and where. */
import { blobFolder, encodeName } from "../point/layout.ts";
import { isDamage } from "../repo/chunk.ts";
import type { LiveFile } from "./live-files.ts";
import type { Parent } from "./parent.ts";
import { blobFileName } from "./storage-state.ts";

/** As `chatkeep dump` takes it; undefined where the point has none, or cannot be read there. Looked for under every service. */
export async function savedPath({ storage, reader, rows }: Parent, file: LiveFile): Promise<string | undefined> {
  const { group, folder } = blobFolder(BigInt(file.id));
  const row = { id: BigInt(file.id), key: file.key, checksum: file.checksum, bytes: file.bytes };
  for (const { name, missing } of storage.values()) {
    const entry = missing.get(file.id);
    if (entry !== undefined && entry.kept !== true) continue;
    const path = ["storage", encodeName(name), group, folder, blobFileName(file.key)].join("/");
    try {
      const node = await reader.find(path);
      if (node?.content != null && Number(node.size ?? 0) === file.bytes && (await rows.has(row))) return path;
    } catch (error) {
      if (!isDamage(error)) throw error;
    }
  }
  return undefined;
}
