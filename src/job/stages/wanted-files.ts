/** The uploaded files that a restore puts into a place, as the point has them and as the database describes them. */
import { isDamage } from "../../repo/chunk.ts";
import { messageOf } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import type { TreeNode } from "../../format/node.ts";
import { blobFolder, decodeName, encodeName } from "../../point/layout.ts";
import { isAbsent, type MissingBlob, type ServiceEntry } from "../../point/manifest.ts";
import type { Queries } from "../list-storage.ts";
import type { LiveFile } from "../live-files.ts";
import type { PointReader } from "../point-reader.ts";
import { blobFileName } from "../storage-state.ts";

/** What a row says of its file. */
export interface FileRow {
  readonly bytes: number;
  /** base64; null where the database has none. */
  readonly md5: string | null;
  readonly type: string | null;
}

export interface WantedFile {
  readonly key: string;
  /** In the point. */
  readonly node: TreeNode;
  readonly bytes: number;
  /** Undefined where no row was asked for, or there is none. */
  readonly row: FileRow | undefined;
  /** False: it was saved as it was found, and is not what was uploaded. */
  readonly isRight: boolean;
}

export interface WalkOptions {
  /** Told of a folder that cannot be read; the others are. */
  readonly onDamage: (path: string, reason: string) => void;
  /** Where rows are looked up; without it none are. */
  readonly database?: Queries | undefined;
  readonly signal: AbortSignal;
}

/** Every file of a service, in the order of the point's folders. */
export async function* savedFiles(
  reader: PointReader,
  service: ServiceEntry,
  options: WalkOptions,
): AsyncGenerator<WantedFile> {
  const wrong = new Set((await reader.missing(service)).filter(isSavedAsFound).map(({ key }) => key));
  const top = `storage/${encodeName(service.name)}`;
  for (const group of await nodesOf(reader, top, options)) {
    for (const { name: folder } of await nodesOf(reader, `${top}/${group.name}`, options)) {
      options.signal.throwIfAborted();
      const rows = await rowsOf(folder, options.database);
      for (const node of await nodesOf(reader, `${top}/${group.name}/${folder}`, options)) {
        if (node.type !== "file") continue;
        const key = decodeName(node.name);
        const row = rows.get(key);
        const bytes = Number(node.size ?? 0);
        const isRight = !wrong.has(key) && (row === undefined || row.bytes === bytes);
        yield { key, node, bytes, row, isRight };
      }
    }
  }
}

function isSavedAsFound(blob: MissingBlob): boolean {
  return blob.kept !== true && !isAbsent(blob);
}

async function nodesOf(reader: PointReader, path: string, { onDamage }: WalkOptions): Promise<TreeNode[]> {
  try {
    return (await reader.folder(path)) ?? [];
  } catch (error) {
    if (!isDamage(error)) throw error;
    onDamage(path, messageOf(error));
    return [];
  }
}

type QueriedRow = { key: string; bytes: string; md5: string | null; type: string | null };

async function rowsOf(folder: string, database: Queries | undefined): Promise<Map<string, FileRow>> {
  if (database === undefined || !/^\d+$/.test(folder)) return new Map();
  const first = BigInt(folder) << BigInt(LIMITS.blobFolderBits);
  const end = first + (1n << BigInt(LIMITS.blobFolderBits));
  const rows = await database.query<QueriedRow>(
    `select key, byte_size::text as bytes, nullif(checksum, '') as md5, content_type as type
     from active_storage_blobs where id >= $1::bigint and id < $2::bigint`,
    [first.toString(), end.toString()],
  );
  return new Map(rows.map(({ key, bytes, md5, type }) => [key, { bytes: Number(bytes), md5, type }]));
}

/** The point's right copy of a file that the database lists, whatever service it was saved under; undefined where it has none. */
export async function savedCopy(
  reader: PointReader,
  file: LiveFile,
  options: WalkOptions,
): Promise<WantedFile | undefined> {
  const { group, folder } = blobFolder(BigInt(file.id));
  for (const { name } of (await reader.manifest()).storage) {
    const nodes = await nodesOf(reader, `storage/${encodeName(name)}/${group}/${folder}`, options);
    const node = nodes.find((one) => one.name === blobFileName(file.key));
    if (node?.type !== "file" || Number(node.size ?? 0) !== file.bytes) continue;
    const row = { bytes: file.bytes, md5: file.checksum, type: null };
    return { key: file.key, node, bytes: file.bytes, row, isRight: true };
  }
  return undefined;
}
