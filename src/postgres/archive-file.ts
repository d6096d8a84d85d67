/**
 * Writes a whole database as pg_dump would: into one file (`custom`), a folder (`directory`), or as a stream that
 * pg_restore turns into SQL. Rows go through as they come, so memory does not grow with the database.
 *
 * How rows and large objects lie in an archive is told by PostgreSQL's `src/bin/pg_dump/pg_backup_custom.c` (`_StartData`,
 * `_StartLOs`, `_CustomWriteFunc`, `_PrintTocData`), `pg_backup_directory.c` and `compress_gzip.c`.
 */
import { mkdir, open, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { constants, createDeflate, createGzip } from "node:zlib";
import { mapConcurrent } from "../base/concurrent.ts";
import type { Progress } from "../base/progress.ts";
import {
  type ArchiveHead,
  dataFile,
  type EncodeOptions,
  encodeArchive,
  encodeInteger,
  objectsFile,
} from "./archive.ts";
import { addData, type ArchiveContent, type TableData } from "./archive-data.ts";
import { type ArchiveObjects, type LargeObject, type ObjectsData, signedOid } from "./archive-objects.ts";

export interface ArchiveOptions {
  /** What the archive calls its time: RFC 3339, in UTC. */
  madeAt: string;
  progress: Progress;
  signal: AbortSignal;
}

/** `BLK_DATA` and `BLK_BLOBS`: before the number of the entry whose rows, or large objects, follow. */
const BLOCK = { rows: 1, objects: 3 } as const;
/** What pg_dump ends a table's rows with; to a server it is the end of COPY. */
const END_OF_ROWS = Buffer.from("\\.\n\n\n");
const ZLIB = { level: constants.Z_DEFAULT_COMPRESSION, chunkSize: 256 * 1024 };
/** Tables of a folder that are written at once: each is compressed by a thread of its own. */
const FILES_AT_ONCE = 2;

/**
 * Writes a new file in pg_dump's custom format, readable by its owner only.
 * @throws Failure `point/invalid`; errors of the disk and of reading as they are. What was written stays.
 */
export async function writeArchiveFile(path: string, content: ArchiveContent, options: ArchiveOptions): Promise<void> {
  const { archive, data, objects } = addData(content);
  const { integerBytes } = archive.head;
  const form: EncodeOptions = { format: "custom", compression: "gzip", madeAt: options.madeAt };
  const file = await openNew(path);
  try {
    await file.write(encodeArchive(archive, form));
    const offsets = new Map<number, bigint>();
    for (const { entry, table } of data) {
      offsets.set(entry.id, BigInt(file.size));
      await file.write(startOfBlock(BLOCK.rows, entry.id, integerBytes));
      await writePacked(file, rowsOf(table, options), archive.head, options);
    }
    for await (const { entry, object, isFirst, isLast } of inBlocks(objects, content.largeObjects, options)) {
      if (isFirst) {
        offsets.set(entry.id, BigInt(file.size));
        await file.write(startOfBlock(BLOCK.objects, entry.id, integerBytes));
      }
      await file.write(encodeInteger(signedOid(object.oid), integerBytes));
      await writePacked(file, object.content, archive.head, options);
      if (isLast) await file.write(encodeInteger(0, integerBytes));
    }
    // Equally long, now with the places: by them pg_restore finds one table, and several at once.
    await file.writeAt(0, encodeArchive(archive, { ...form, offsets }));
  } finally {
    await file.close();
  }
}

/** In pieces, each after its length, and ended by one without. */
async function writePacked(
  file: NewFile,
  content: AsyncIterable<Uint8Array>,
  { integerBytes }: ArchiveHead,
  { signal }: ArchiveOptions,
): Promise<void> {
  await pipeline(
    content,
    createDeflate(ZLIB),
    async (packed: AsyncIterable<Buffer>) => {
      for await (const chunk of packed) {
        await file.write(Buffer.concat([encodeInteger(chunk.length, integerBytes), chunk]));
      }
    },
    { signal },
  );
  await file.write(encodeInteger(0, integerBytes));
}

interface BlockObject {
  entry: ObjectsData["entry"];
  object: LargeObject;
  /** Of its entry. */
  isFirst: boolean;
  isLast: boolean;
}

/** Every large object, with the entry that it lies under. Its content is to be read to its end before the next one. */
async function* inBlocks(
  objects: readonly ObjectsData[],
  source: ArchiveObjects | undefined,
  { progress, signal }: ArchiveOptions,
): AsyncGenerator<BlockObject, void, void> {
  if (source === undefined) return;
  const places = objects.flatMap(({ entry, oids }) =>
    oids.map((_, at) => ({ entry, isFirst: at === 0, isLast: at === oids.length - 1 })),
  );
  let at = 0;
  for await (const object of source.read(progress)) {
    signal.throwIfAborted();
    const place = places[at];
    if (place === undefined) throw new TypeError("there are more large objects than were counted");
    yield { ...place, object };
    at += 1;
  }
}

/** Writes a new folder in pg_dump's directory format, for its owner only. @throws as {@link writeArchiveFile}. */
export async function writeArchiveFolder(
  path: string,
  content: ArchiveContent,
  options: ArchiveOptions,
): Promise<void> {
  const { archive, data, objects } = addData(content);
  await mkdir(path, { mode: 0o700 });
  const largestFirst = data.toSorted((a, b) => countRows(b) - countRows(a));
  await mapConcurrent(
    largestFirst,
    FILES_AT_ONCE,
    async ({ entry, table }) => {
      await writeGzip(join(path, dataFile(entry)), rowsOf(table, options), options);
    },
    options,
  );
  const lists = new Map<string, string[]>(objects.map(({ entry }) => [objectsFile(entry, archive.head), []]));
  for await (const { entry, object } of inBlocks(objects, content.largeObjects, options)) {
    const name = `blob_${object.oid}.dat`;
    await writeGzip(join(path, name), object.content, options);
    lists.get(objectsFile(entry, archive.head))?.push(`${object.oid} ${name}\n`);
  }
  for (const [name, lines] of lists) await writeNew(join(path, name), Buffer.from(lines.join("")));
  // Last: without it nothing takes the folder for an archive.
  const form: EncodeOptions = { format: "directory", compression: "gzip", madeAt: options.madeAt };
  await writeNew(join(path, "toc.dat"), encodeArchive(archive, form));
}

/** Gives the name `.gz`, as pg_dump does. */
async function writeGzip(path: string, content: AsyncIterable<Uint8Array>, { signal }: ArchiveOptions): Promise<void> {
  const file = await openNew(`${path}.gz`);
  try {
    await pipeline(
      content,
      createGzip(ZLIB),
      async (packed: AsyncIterable<Buffer>) => {
        for await (const chunk of packed) await file.write(chunk);
      },
      { signal },
    );
  } finally {
    await file.close();
  }
}

async function writeNew(path: string, bytes: Uint8Array): Promise<void> {
  const file = await openNew(path);
  try {
    await file.write(bytes);
  } finally {
    await file.close();
  }
}

function countRows({ table }: TableData): number {
  return table.ranges.reduce((sum, { rows }) => sum + rows, 0);
}

/** The archive in the custom format, not compressed, for a reader that cannot go back. */
export async function* streamArchive(content: ArchiveContent, options: ArchiveOptions): AsyncGenerator<Uint8Array> {
  const { archive, data, objects } = addData(content);
  const { integerBytes } = archive.head;
  yield encodeArchive(archive, { format: "custom", compression: "none", madeAt: options.madeAt });
  for (const { entry, table } of data) {
    yield startOfBlock(BLOCK.rows, entry.id, integerBytes);
    yield* inPieces(rowsOf(table, options), integerBytes);
  }
  for await (const { entry, object, isFirst, isLast } of inBlocks(objects, content.largeObjects, options)) {
    if (isFirst) yield startOfBlock(BLOCK.objects, entry.id, integerBytes);
    yield encodeInteger(signedOid(object.oid), integerBytes);
    yield* inPieces(object.content, integerBytes);
    if (isLast) yield encodeInteger(0, integerBytes);
  }
}

async function* inPieces(
  content: AsyncIterable<Uint8Array>,
  integerBytes: number,
): AsyncGenerator<Uint8Array, void, void> {
  for await (const bytes of content) {
    if (bytes.length === 0) continue;
    yield encodeInteger(bytes.length, integerBytes);
    yield bytes;
  }
  yield encodeInteger(0, integerBytes);
}

function startOfBlock(kind: number, id: number, integerBytes: number): Buffer {
  return Buffer.concat([Buffer.from([kind]), encodeInteger(id, integerBytes)]);
}

async function* rowsOf(
  table: TableData["table"],
  { progress, signal }: ArchiveOptions,
): AsyncGenerator<Uint8Array, void, void> {
  for (const range of table.ranges) {
    for await (const rows of range.read()) {
      signal.throwIfAborted();
      yield rows;
      progress.advance(rows.length);
    }
  }
  yield END_OF_ROWS;
}

interface NewFile {
  readonly size: number;
  write(bytes: Uint8Array): Promise<void>;
  writeAt(position: number, bytes: Uint8Array): Promise<void>;
  /** Durable, when nothing went wrong before. */
  close(): Promise<void>;
}

async function openNew(path: string): Promise<NewFile> {
  const handle: FileHandle = await open(path, "wx", 0o600);
  let size = 0;
  const writeAt = async (position: number, bytes: Uint8Array) => {
    for (let at = 0; at < bytes.length;) {
      at += (await handle.write(bytes, at, bytes.length - at, position + at)).bytesWritten;
    }
  };
  return {
    get size() {
      return size;
    },
    writeAt,
    async write(bytes) {
      await writeAt(size, bytes);
      size += bytes.length;
    },
    async close() {
      try {
        await handle.sync();
      } finally {
        await handle.close();
      }
    },
  };
}
