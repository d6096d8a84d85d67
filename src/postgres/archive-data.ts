/**
 * Makes an archive of a schema one of a whole database: what pg_dump adds to the list of entries for rows, sequences,
 * filled views and large objects. So any restore point becomes a file that pg_restore reads, without a server.
 *
 * The entries are those of `src/bin/pg_dump/pg_dump.c` (`dumpTableData`, `dumpSequenceData`, `refreshMatViewData`; archive-objects.ts has large objects). A table's
 * rows depend on the table, first of all: by that `pg_restore --jobs` knows what must wait for them
 * (`buildTocEntryArrays` and `repoint_table_dependencies` of pg_backup_archiver.c).
 */
import { Failure } from "../base/errors.ts";
import { type Archive, type ArchiveEntry, SECTION } from "./archive.ts";
import { archiveText, givesRights } from "./archive-list.ts";
import { type ArchiveObjects, objectEntries, type ObjectsData } from "./archive-objects.ts";
import type { SavedTableSource } from "./load.ts";
import { qualifiedName, quoteIdentifier, shownName } from "./names.ts";
import { formatSetvals, type SequenceState } from "./sequences.ts";
import type { ViewName } from "./views.ts";

export interface ArchiveContent {
  /** `pg_dump --format=custom --schema-only`, decoded. */
  schema: Archive;
  tables: readonly SavedTableSource[];
  sequences: readonly SequenceState[];
  /** Materialised views to fill, in this order. */
  filledViews: readonly ViewName[];
  largeObjects?: ArchiveObjects | undefined;
}

/** The rows of one table, and the entry under which they lie in the archive. */
export interface TableData {
  entry: ArchiveEntry;
  table: SavedTableSource;
}

/** Rights are left out. @throws Failure `point/invalid` when a table, sequence or view is not in the schema. */
export function addData({ schema, tables, sequences, filledViews, largeObjects }: ArchiveContent): {
  archive: Archive;
  data: TableData[];
  objects: ObjectsData[];
} {
  const bare = schema.entries.filter((entry) => !givesRights(entry));
  const known = new Map(bare.map((entry) => [keyOf(entry.kind, entry.schema, entry.tag), entry]));
  const text = textOf(schema);
  let last = schema.entries.reduce((max, { id }) => Math.max(max, id), 0);
  const entryOf = (kind: string, { schema: space, name }: ViewName): ArchiveEntry => {
    const found = known.get(keyOf(kind, text.encode(space), text.encode(name)));
    if (found !== undefined) return found;
    throw new Failure("point/invalid", `${shownName({ schema: space, name })} is not in the saved schema`, {
      hint: "Use another restore point, and check this one with 'chatkeep drill'.",
    });
  };
  const add = (of: ArchiveEntry, given: Partial<ArchiveEntry>): ArchiveEntry => ({
    ...of,
    tableOid: "0",
    definition: null,
    drop: null,
    copy: null,
    tablespace: null,
    accessMethod: null,
    relationKind: 0,
    dependencies: [of.id],
    ...given,
    id: (last += 1),
  });
  const data = tables.map((table) => ({
    table,
    entry: add(entryOf("TABLE", table), {
      kind: "TABLE DATA",
      section: SECTION.data,
      hasData: true,
      copy: text.encode(copyStatement(table, text.copyOptions)),
    }),
  }));
  const sets = sequences.map((sequence) =>
    add(entryOf("SEQUENCE", sequence), {
      kind: "SEQUENCE SET",
      section: SECTION.data,
      definition: text.encode(formatSetvals([sequence])),
    }),
  );
  const views: ArchiveEntry[] = [];
  for (const view of filledViews) {
    const of = entryOf("MATERIALIZED VIEW", view);
    const definition = text.encode(`REFRESH MATERIALIZED VIEW ${qualifiedName(view)};\n`);
    const dependencies = [of.id, ...views.slice(-1).map(({ id }) => id)];
    views.push(add(of, { kind: "MATERIALIZED VIEW DATA", section: SECTION.postData, definition, dependencies }));
  }
  const form = { minor: schema.head.minor, nextId: () => (last += 1), isUnicode: text.isUnicode };
  const objects = largeObjects === undefined ? { before: [], among: [], data: [] } : objectEntries(largeObjects, form);
  const cut = bare.findIndex(({ section }) => section === SECTION.postData);
  const at = cut < 0 ? bare.length : cut;
  const inData = [
    ...data.map(({ entry }) => entry),
    ...sets,
    ...objects.among,
    ...objects.data.map(({ entry }) => entry),
  ];
  const entries = [...bare.slice(0, at), ...objects.before, ...inData, ...bare.slice(at), ...views];
  return { archive: { head: schema.head, entries }, data, objects: objects.data };
}

function keyOf(kind: string | null, schema: string | null, tag: string | null): string {
  return JSON.stringify([kind, schema, tag]);
}

function copyStatement(table: SavedTableSource, options: string): string {
  const columns = table.columns.length === 0 ? "" : `(${table.columns.map(quoteIdentifier).join(", ")})`;
  return `COPY ${qualifiedName(table)} ${columns} FROM stdin${options};\n`;
}

interface ArchiveText {
  /** A text of ours as the bytes that the archive has it in, one character each. */
  encode(text: string): string;
  /** Or the database has no encoding: then it is UTF-8 as far as anybody can tell. */
  isUnicode: boolean;
  copyOptions: string;
}

/**
 * Rows are saved as UTF-8, and as they are where the database has no encoding; the schema is in the database's own. Where
 * that is another, COPY is told, and names of other than ASCII letters are not found.
 */
function textOf({ entries }: Archive): ArchiveText {
  const set = entries.find(({ kind }) => kind === "ENCODING")?.definition ?? "";
  const encoding = /'([^']*)'/.exec(set)?.[1] ?? "UTF8";
  const isUnicode = encoding === "UTF8" || encoding === "SQL_ASCII";
  return {
    encode: archiveText,
    isUnicode,
    copyOptions: isUnicode ? "" : " WITH (ENCODING 'UTF8')",
  };
}
