/**
 * The head and the list of entries of an archive of pg_dump, as bytes and as values. Pure.
 *
 * The format is described by nothing but PostgreSQL's own source: `src/bin/pg_dump/pg_backup_archiver.c` (`ReadHead`,
 * `ReadToc`, `WriteInt`, `WriteStr`, `WriteOffset`) and, for what each kind of archive adds to an entry,
 * `pg_backup_custom.c` and `pg_backup_directory.c`. Its versions differ little: 1.14 is written by PostgreSQL 12 to 15,
 * 1.15 by 16 (a compression's name instead of its level), 1.16 by 17 and 18 (a relation's kind in each entry).
 *
 * Text is kept as its bytes, one character each (latin1): which encoding it has, the archive's own entry says.
 */
import { Failure } from "../base/errors.ts";

/** `teSection` of pg_backup.h. */
export const SECTION = { none: 1, preData: 2, data: 3, postData: 4 } as const;

export interface ArchiveEntry {
  /** Names the entry within its archive: from 1. */
  id: number;
  /** Rows or large objects lie in the archive. */
  hasData: boolean;
  /** Decimal; `0` for what is in no catalogue. */
  tableOid: string;
  oid: string;
  tag: string | null;
  /** `TABLE`, `TABLE DATA`, `FK CONSTRAINT` … */
  kind: string | null;
  section: number;
  definition: string | null;
  drop: string | null;
  copy: string | null;
  schema: string | null;
  tablespace: string | null;
  accessMethod: string | null;
  /** The character's code, from version 1.16 on; 0 for what is no relation. */
  relationKind: number;
  owner: string | null;
  dependencies: number[];
}

export interface ArchiveHead {
  /** Minor version of the format; the major is 1. */
  minor: number;
  revision: number;
  /** Bytes of an integer, and of an offset. */
  integerBytes: number;
  offsetBytes: number;
  database: string | null;
  serverVersion: string | null;
  programVersion: string | null;
}

export interface Archive {
  head: ArchiveHead;
  entries: ArchiveEntry[];
}

const MAGIC = "PGDMP";
const VERSIONS = { oldest: 14, newest: 16 } as const;
/** `archCustom` and `archTar`, which the list of a folder is written as. */
const FORMATS = { custom: 1, directory: 3 } as const;
/** `pg_compress_algorithm`. */
const ALGORITHMS = { none: 0, gzip: 1 } as const;
/** What lies before an entry's offset. */
const OFFSET = { notSet: 1, set: 2, noData: 3 } as const;

function broken(what: string, cause?: unknown): Failure {
  return new Failure("point/invalid", `the restore point's saved schema cannot be read: ${what}`, {
    hint: "Was it made with the programs of a PostgreSQL newer than 18? Else check the point with 'chatkeep verify --read-data'.",
    cause,
  });
}

class Reader {
  readonly #bytes: Buffer;
  #at = 0;
  integerBytes = 4;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  take(count: number): Buffer {
    if (this.#at + count > this.#bytes.length) throw broken("it is cut off");
    const taken = this.#bytes.subarray(this.#at, this.#at + count);
    this.#at += count;
    return taken;
  }

  byte(): number {
    return this.take(1)[0] ?? 0;
  }

  /** A sign, then the bytes from the lowest on. */
  integer(): number {
    const isNegative = this.byte() !== 0;
    const value = this.take(this.integerBytes).reduce((sum, byte, index) => sum + byte * 2 ** (8 * index), 0);
    return isNegative ? -value : value;
  }

  text(): string | null {
    const length = this.integer();
    return length < 0 ? null : this.take(length).toString("latin1");
  }
}

/**
 * Reads an archive in the custom format; data in it is not looked at.
 * @throws Failure `point/invalid`: no such archive, cut off, or of a version that is not known.
 */
export function decodeArchive(bytes: Uint8Array): Archive {
  const reader = new Reader(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  if (reader.take(MAGIC.length).toString("latin1") !== MAGIC) throw broken("it is no archive of pg_dump");
  const [major = 0, minor = 0, revision = 0, integerBytes = 0, offsetBytes = 0, format = 0] = reader.take(6);
  if (major !== 1 || minor < VERSIONS.oldest || minor > VERSIONS.newest)
    throw broken(`it has version ${major}.${minor}`);
  if (integerBytes < 4 || integerBytes > 6 || offsetBytes > 16 || format !== FORMATS.custom) {
    throw broken("its head makes no sense");
  }
  reader.integerBytes = integerBytes;
  if (minor >= 15) reader.byte();
  else reader.integer();
  for (let part = 0; part < 7; part += 1) reader.integer(); // when it was made
  const head = {
    minor,
    revision,
    integerBytes,
    offsetBytes,
    database: reader.text(),
    serverVersion: reader.text(),
    programVersion: reader.text(),
  };
  const entries: ArchiveEntry[] = [];
  for (let left = reader.integer(); left > 0; left -= 1) entries.push(decodeEntry(reader, head));
  return { head, entries };
}

function decodeEntry(reader: Reader, { minor, offsetBytes }: ArchiveHead): ArchiveEntry {
  const entry = {
    id: reader.integer(),
    hasData: reader.integer() !== 0,
    tableOid: reader.text() ?? "0",
    oid: reader.text() ?? "0",
    tag: reader.text(),
    kind: reader.text(),
    section: reader.integer(),
    definition: reader.text(),
    drop: reader.text(),
    copy: reader.text(),
    schema: reader.text(),
    tablespace: reader.text(),
    accessMethod: reader.text(),
    relationKind: minor >= 16 ? reader.integer() : 0,
    owner: reader.text(),
  };
  reader.text(); // whether the table has OIDs: none has since PostgreSQL 12
  const dependencies: number[] = [];
  for (let text = reader.text(); text !== null; text = reader.text()) dependencies.push(Number(text));
  reader.take(1 + offsetBytes);
  return { ...entry, dependencies };
}

class Writer {
  readonly #parts: Buffer[] = [];
  readonly #integerBytes: number;

  constructor(integerBytes: number) {
    this.#integerBytes = integerBytes;
  }

  byte(...values: number[]): void {
    this.#parts.push(Buffer.from(values));
  }

  integer(value: number): void {
    this.#parts.push(encodeInteger(value, this.#integerBytes));
  }

  text(value: string | null): void {
    const bytes = Buffer.from(value ?? "", "latin1");
    this.integer(value === null ? -1 : bytes.length);
    this.#parts.push(bytes);
  }

  offset(state: number, value: bigint, offsetBytes: number): void {
    this.byte(
      state,
      ...Array.from({ length: offsetBytes }, (_, index) => Number((value >> BigInt(8 * index)) & 0xffn)),
    );
  }

  bytes(): Buffer {
    return Buffer.concat(this.#parts);
  }
}

/** A sign, then the bytes from the lowest on. */
export function encodeInteger(value: number, integerBytes: number): Buffer {
  const bytes = Buffer.alloc(1 + integerBytes);
  bytes[0] = value < 0 ? 1 : 0;
  const size = Math.abs(value);
  for (let index = 0; index < integerBytes; index += 1) bytes[1 + index] = Math.floor(size / 2 ** (8 * index)) & 0xff;
  return bytes;
}

export interface EncodeOptions {
  format: keyof typeof FORMATS;
  compression: keyof typeof ALGORITHMS;
  /** What the archive calls its time: RFC 3339, in UTC. */
  madeAt: string;
  /** Custom format: where each entry's data begins; one that is not there is looked for by the reader. */
  offsets?: ReadonlyMap<number, bigint>;
}

/** The name of the file with an entry's data in the directory format, before what its compression adds. */
export function dataFile({ id }: Pick<ArchiveEntry, "id">): string {
  return `${id}.dat`;
}

/** In the directory format: the list of the large objects under an entry, which is never compressed. */
export function objectsFile({ id }: Pick<ArchiveEntry, "id">, { minor }: Pick<ArchiveHead, "minor">): string {
  return minor >= 16 ? `blobs_${id}.toc` : "blobs.toc";
}

function fileOf(entry: ArchiveEntry, head: ArchiveHead): string {
  if (!entry.hasData) return "";
  return entry.kind === "BLOBS" ? objectsFile(entry, head) : dataFile(entry);
}

/** Head and entries; equally long whatever the offsets are. */
export function encodeArchive({ head, entries }: Archive, options: EncodeOptions): Buffer {
  const writer = new Writer(head.integerBytes);
  encodeHead(writer, head, options);
  writer.integer(entries.length);
  for (const entry of entries) {
    encodeEntry(writer, entry, head);
    if (options.format === "directory") writer.text(fileOf(entry, head));
    else if (!entry.hasData) writer.offset(OFFSET.noData, 0n, head.offsetBytes);
    else {
      const offset = options.offsets?.get(entry.id);
      writer.offset(offset === undefined ? OFFSET.notSet : OFFSET.set, offset ?? 0n, head.offsetBytes);
    }
  }
  return writer.bytes();
}

function encodeHead(writer: Writer, head: ArchiveHead, { format, compression, madeAt }: EncodeOptions): void {
  writer.byte(...Buffer.from(MAGIC, "latin1"), 1, head.minor, head.revision);
  writer.byte(head.integerBytes, head.offsetBytes, FORMATS[format]);
  if (head.minor >= 15) writer.byte(ALGORITHMS[compression]);
  // Of the level a reader takes only whether it is 0; -1 is zlib's own.
  else writer.integer(compression === "none" ? 0 : -1);
  const [year = 1970, month = 1, day = 1, hour = 0, minute = 0, second = 0] = madeAt.split(/[^\d]/, 6).map(Number);
  // As `struct tm` counts them.
  for (const part of [second, minute, hour, day, month - 1, year - 1900]) writer.integer(part);
  writer.integer(0); // no summer time
  for (const text of [head.database, head.serverVersion, head.programVersion]) writer.text(text);
}

function encodeEntry(writer: Writer, entry: ArchiveEntry, { minor }: ArchiveHead): void {
  writer.integer(entry.id);
  writer.integer(entry.hasData ? 1 : 0);
  for (const text of [entry.tableOid, entry.oid, entry.tag, entry.kind]) writer.text(text);
  writer.integer(entry.section);
  for (const text of [entry.definition, entry.drop, entry.copy, entry.schema, entry.tablespace, entry.accessMethod]) {
    writer.text(text);
  }
  if (minor >= 16) writer.integer(entry.relationKind);
  writer.text(entry.owner);
  writer.text("false");
  for (const id of entry.dependencies) writer.text(String(id));
  writer.text(null);
}
