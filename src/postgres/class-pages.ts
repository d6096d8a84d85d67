/**
 * Names of tables, read from a cluster's files without a server: from `pg_class` as it lies in a base. Row versions that are no
 * longer valid are read too, for they say which file a table had before it was rewritten. (PostgreSQL's bufpage.h, itemid.h,
 * htup_details.h, pg_class.h, relmapper.c.)
 */

/** One version of a table's row in `pg_class`. */
export interface ClassRow {
  readonly oid: number;
  readonly name: string;
  /** The schema's oid. */
  readonly schema: number;
  /** `pg_class.relfilenode`; 0 for what has no file, and for catalogues that are mapped. */
  readonly file: number;
  /** `pg_class.relkind`. */
  readonly kind: string;
}

const PG_CLASS = 1259;
const MAP_MAGIC = 0x0059_2717;
const MAP_HEAD_BYTES = 8;

/** The number of the file that holds `pg_class`, by a database's `pg_filenode.map`; undefined for what is no such file. */
export function classFileIn(map: Buffer): number | undefined {
  if (map.length < MAP_HEAD_BYTES || map.readUInt32LE(0) !== MAP_MAGIC) return undefined;
  const count = map.readUInt32LE(4);
  for (let n = 0; n < count; n += 1) {
    const at = MAP_HEAD_BYTES + 8 * n;
    if (at + 8 > map.length) return undefined;
    if (map.readUInt32LE(at) === PG_CLASS) return map.readUInt32LE(at + 4);
  }
  return undefined;
}

const PAGE_HEAD_BYTES = 24;
const PAGE_LOWER_AT = 12;
const ITEM_BYTES = 4;
/** LP_NORMAL: the item has a row. */
const ITEM_NORMAL = 1;
const ROW_HEAD_BYTES_AT = 22;
const NAME_BYTES = 64;

/** Where columns lie behind a row's head: all before `relkind` have a fixed width and are never null. */
const OID_AT = 0;
const NAME_AT = 4;
const SCHEMA_AT = NAME_AT + NAME_BYTES;
const FILE_AT = SCHEMA_AT + 20;
/** PostgreSQL 18 has `relallfrozen` before it. */
const kindAt = (major: number) => FILE_AT + (major >= 18 ? 31 : 27);

/** Every row version in the file; pages that make no sense, as a base may have torn ones, are passed over. */
export function* classRows(file: Buffer, { major, pageBytes = 8192 }: { major: number; pageBytes?: number }) {
  for (let at = 0; at + pageBytes <= file.length; at += pageBytes) {
    yield* rowsOfPage(file.subarray(at, at + pageBytes), major);
  }
}

function* rowsOfPage(page: Buffer, major: number): Generator<ClassRow> {
  const lower = Math.min(page.readUInt16LE(PAGE_LOWER_AT), page.length);
  for (let item = PAGE_HEAD_BYTES; item + ITEM_BYTES <= lower; item += ITEM_BYTES) {
    // ItemIdData: 15 bits of the row's place, 2 of its state, 15 of its length.
    const word = page.readUInt32LE(item);
    const [from, state, length] = [word & 0x7fff, (word >>> 15) & 3, word >>> 17];
    if (state !== ITEM_NORMAL || from < lower || from + length > page.length) continue;
    const row = rowAt(page.subarray(from, from + length), major);
    if (row !== undefined) yield row;
  }
}

function rowAt(bytes: Buffer, major: number): ClassRow | undefined {
  const begin = bytes[ROW_HEAD_BYTES_AT] ?? 0;
  const columns = bytes.subarray(begin);
  if (begin <= ROW_HEAD_BYTES_AT || columns.length <= kindAt(major)) return undefined;
  const [name = ""] = columns
    .subarray(NAME_AT, NAME_AT + NAME_BYTES)
    .toString("utf8")
    .split("\0");
  return {
    oid: columns.readUInt32LE(OID_AT),
    name,
    schema: columns.readUInt32LE(SCHEMA_AT),
    file: columns.readUInt32LE(FILE_AT),
    kind: String.fromCodePoint(columns[kindAt(major)] ?? 0),
  };
}
