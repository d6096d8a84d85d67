/**
 * Writes a whole database as pg_dump would: into one file (`custom`), a folder (`directory`), or as a stream that
 * pg_restore turns into SQL. Rows go through as they come, so memory does not grow with the database.
 *
 * How rows lie in an archive is told by PostgreSQL's `src/bin/pg_dump/pg_backup_custom.c` (`_StartData`, `_CustomWriteFunc`,
 * `_PrintTocData`), `pg_backup_directory.c` and `compress_gzip.c`.
 */
import { mkdir, open, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { constants, createDeflate, createGzip } from "node:zlib";
import { mapConcurrent } from "../base/concurrent.ts";
import type { Progress } from "../base/progress.ts";
import { dataFile, type EncodeOptions, encodeArchive, encodeInteger } from "./archive.ts";
import { addData, type ArchiveContent, type TableData } from "./archive-data.ts";

export interface ArchiveOptions {
  /** What the archive calls its time: RFC 3339, in UTC. */
  madeAt: string;
  progress: Progress;
  signal: AbortSignal;
}

/** `BLK_DATA`: before the number of the entry whose rows follow. */
const BLOCK_OF_ROWS = 1;
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
  const { archive, data } = addData(content);
  const { integerBytes } = archive.head;
  const form: EncodeOptions = { format: "custom", compression: "gzip", madeAt: options.madeAt };
  const file = await openNew(path);
  try {
    await file.write(encodeArchive(archive, form));
    const offsets = new Map<number, bigint>();
    for (const { entry, table } of data) {
      offsets.set(entry.id, BigInt(file.size));
      await file.write(startOfBlock(entry.id, integerBytes));
      await pipeline(
        rowsOf(table, options),
        createDeflate(ZLIB),
        async (packed: AsyncIterable<Buffer>) => {
          for await (const chunk of packed) {
            await file.write(Buffer.concat([encodeInteger(chunk.length, integerBytes), chunk]));
          }
        },
        { signal: options.signal },
      );
      await file.write(encodeInteger(0, integerBytes));
    }
    // Equally long, now with the places: by them pg_restore finds one table, and several at once.
    await file.writeAt(0, encodeArchive(archive, { ...form, offsets }));
  } finally {
    await file.close();
  }
}

/** Writes a new folder in pg_dump's directory format, for its owner only. @throws as {@link writeArchiveFile}. */
export async function writeArchiveFolder(
  path: string,
  content: ArchiveContent,
  options: ArchiveOptions,
): Promise<void> {
  const { archive, data } = addData(content);
  await mkdir(path, { mode: 0o700 });
  const largestFirst = data.toSorted((a, b) => countRows(b) - countRows(a));
  await mapConcurrent(
    largestFirst,
    FILES_AT_ONCE,
    async ({ entry, table }) => {
      const file = await openNew(join(path, `${dataFile(entry)}.gz`));
      try {
        await pipeline(
          rowsOf(table, options),
          createGzip(ZLIB),
          async (packed: AsyncIterable<Buffer>) => {
            for await (const chunk of packed) await file.write(chunk);
          },
          { signal: options.signal },
        );
      } finally {
        await file.close();
      }
    },
    options,
  );
  // Last: without it nothing takes the folder for an archive.
  const list = await openNew(join(path, "toc.dat"));
  try {
    await list.write(encodeArchive(archive, { format: "directory", compression: "gzip", madeAt: options.madeAt }));
  } finally {
    await list.close();
  }
}

function countRows({ table }: TableData): number {
  return table.ranges.reduce((sum, { rows }) => sum + rows, 0);
}

/** The archive in the custom format, not compressed, for a reader that cannot go back. */
export async function* streamArchive(content: ArchiveContent, options: ArchiveOptions): AsyncGenerator<Uint8Array> {
  const { archive, data } = addData(content);
  const { integerBytes } = archive.head;
  yield encodeArchive(archive, { format: "custom", compression: "none", madeAt: options.madeAt });
  for (const { entry, table } of data) {
    yield startOfBlock(entry.id, integerBytes);
    for await (const rows of rowsOf(table, options)) {
      if (rows.length === 0) continue;
      yield encodeInteger(rows.length, integerBytes);
      yield rows;
    }
    yield encodeInteger(0, integerBytes);
  }
}

function startOfBlock(id: number, integerBytes: number): Buffer {
  return Buffer.concat([Buffer.from([BLOCK_OF_ROWS]), encodeInteger(id, integerBytes)]);
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
