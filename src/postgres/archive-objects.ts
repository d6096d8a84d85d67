/**
 * Large objects in an archive of pg_dump: the entries that make them, and their contents one by one.
 *
 * Up to version 1.15 each object has an entry of its own (`BLOB`), and the contents of all lie under one (`BLOBS`); from 1.16 on
 * they go in groups (`BLOB METADATA`), each with its own contents: `getLOs`, `dumpLO` and `dumpLOs` of `src/bin/pg_dump/pg_dump.c`.
 */
import { Failure } from "../base/errors.ts";
import { type ArchiveEntry, SECTION } from "./archive.ts";
import { archiveText } from "./archive-list.ts";
import { splitStatements } from "./grants.ts";
import { type ObjectPart, readParts, type SavedLargeObjects } from "./load-large-objects.ts";

export interface ArchiveObjects {
  /** Their numbers, in the order in which they come. */
  oids: readonly number[];
  /** SQL with their comments, each a statement. */
  commentsSql: string;
  /** Each object's content is to be read to its end before the next object. */
  read(progress: { advance(bytes: number): void }): AsyncGenerator<LargeObject, void, void>;
}

export interface LargeObject {
  oid: number;
  content: AsyncIterable<Uint8Array>;
}

/** Which there are is said by their contents alone: those are read twice. @throws Failure `point/invalid`. */
export async function archiveObjects(
  { ranges, commentsSql }: SavedLargeObjects,
  { signal }: { signal: AbortSignal },
): Promise<ArchiveObjects> {
  const oids: number[] = [];
  for (const range of ranges) {
    for await (const { oid, offset } of readParts(range, { advance: () => signal.throwIfAborted() })) {
      if (offset === 0) oids.push(oid);
    }
  }
  return { oids, commentsSql, read: (progress) => readObjects(ranges, progress) };
}

async function* readObjects(
  ranges: SavedLargeObjects["ranges"],
  progress: { advance(bytes: number): void },
): AsyncGenerator<LargeObject, void, void> {
  for (const range of ranges) {
    const parts = readParts(range, progress);
    let next = await parts.next();
    while (next.done !== true) {
      const { oid } = next.value;
      const content = async function* (): AsyncGenerator<Uint8Array, void, void> {
        for (let at = 0; next.done !== true && next.value.oid === oid; next = await parts.next()) {
          yield contentOf(next.value, at);
          at += next.value.hex.length / 2;
        }
      };
      yield { oid, content: content() };
    }
  }
}

function contentOf({ oid, offset, hex }: ObjectPart, expected: number): Buffer {
  if (offset === expected) return Buffer.from(hex, "hex");
  throw new Failure("point/invalid", `a part of large object ${oid} is lacking in the restore point`, {
    hint: "Use another restore point, and check this one with 'chatkeep verify --read-data'.",
  });
}

/** What pg_dump puts into one group at most (`MAX_BLOBS_PER_ARCHIVE_ENTRY`). */
const GROUPED = 1000;
/** The first version of the format that has groups. */
const GROUPS_SINCE = 16;
/** `LargeObjectRelationId`. */
const CATALOGUE = "2613";

/** Objects whose contents lie under one entry. */
export interface ObjectsData {
  entry: ArchiveEntry;
  oids: readonly number[];
}

export interface ObjectEntries {
  /** What makes the objects, and their comments: before all data, or among it. */
  before: ArchiveEntry[];
  among: ArchiveEntry[];
  data: ObjectsData[];
}

/**
 * @param form.nextId gives an entry its number.
 * @param form.isUnicode False: the archive's text is in another encoding, so comments are written in ASCII.
 */
export function objectEntries(
  { oids, commentsSql }: ArchiveObjects,
  form: { minor: number; nextId: () => number; isUnicode: boolean },
): ObjectEntries {
  const add = (given: Partial<ArchiveEntry>): ArchiveEntry => ({ ...BARE, ...given, id: form.nextId() });
  const makers = new Map<number, ArchiveEntry>();
  const data: ObjectsData[] = [];
  const addContents = (tag: string, group: readonly number[], dependencies: number[]) =>
    data.push({ entry: add({ tag, kind: "BLOBS", section: SECTION.data, hasData: true, dependencies }), oids: group });
  const isGrouped = form.minor >= GROUPS_SINCE;
  if (isGrouped) {
    for (let at = 0; at < oids.length; at += GROUPED) {
      const group = oids.slice(at, at + GROUPED);
      const tag = group.length === 1 ? `${group[0]}` : `${group[0]}..${group.at(-1)}`;
      const maker = add({ ...metadata(group), tag });
      for (const oid of group) makers.set(oid, maker);
      addContents(tag, group, [maker.id]);
    }
  } else {
    for (const oid of oids) makers.set(oid, add(blob(oid)));
    addContents("BLOBS", oids, []);
  }
  const comments = splitStatements(commentsSql).flatMap((statement) => {
    const oid = /^COMMENT ON LARGE OBJECT (\d+) /.exec(statement)?.[1];
    const maker = makers.get(Number(oid));
    if (maker === undefined) return [];
    const definition = archiveText(`${form.isUnicode ? statement : inAscii(statement)}\n`);
    return [add({ tag: `LARGE OBJECT ${oid}`, kind: "COMMENT", definition, dependencies: [maker.id] })];
  });
  const made = [...new Set(makers.values()), ...comments];
  return { before: isGrouped ? [] : made, among: isGrouped ? made : [], data };
}

const BARE: Omit<ArchiveEntry, "id"> = {
  hasData: false,
  tableOid: "0",
  oid: "0",
  tag: null,
  kind: null,
  section: SECTION.none,
  definition: null,
  drop: null,
  copy: null,
  schema: null,
  tablespace: null,
  accessMethod: null,
  relationKind: 0,
  // Nobody's: whoever restores them owns them.
  owner: "",
  dependencies: [],
};

function blob(oid: number): Partial<ArchiveEntry> {
  return {
    tableOid: CATALOGUE,
    oid: String(oid),
    tag: String(oid),
    kind: "BLOB",
    section: SECTION.preData,
    definition: `SELECT pg_catalog.lo_create('${oid}');\n`,
    drop: `SELECT pg_catalog.lo_unlink('${oid}');\n`,
  };
}

function metadata(group: readonly number[]): Partial<ArchiveEntry> {
  return {
    tableOid: CATALOGUE,
    oid: String(group[0]),
    kind: "BLOB METADATA",
    section: SECTION.data,
    definition: group.map((oid) => `${oid}\n`).join(""),
    drop: "-- dummy",
  };
}

/** The same comment with every other character as an escape, which every encoding reads. */
function inAscii(statement: string): string {
  if (/^\p{ASCII}*$/u.test(statement)) return statement;
  return statement
    .replaceAll("\\", "\\\\")
    .replace(" IS '", " IS E'")
    .replaceAll(/\P{ASCII}/gu, (letter) => `\\U${letter.codePointAt(0)?.toString(16).padStart(8, "0")}`);
}

/** A number as an archive has it: of 32 bits with a sign. */
export function signedOid(oid: number): number {
  return oid | 0;
}
