/** What of a saved schema is restored and what is left out: found in the entries of its archive. Pure. */
import type { Archive, ArchiveEntry } from "./archive.ts";

interface TableName {
  schema: string;
  name: string;
}

/** A name as the archive has it: its bytes, one character each. */
export function archiveText(name: string): string {
  return Buffer.from(name, "utf8").toString("latin1");
}

/** The other way. */
export function fromArchiveText(text: string | null): string {
  return Buffer.from(text ?? "", "latin1").toString("utf8");
}

/** What a target has before anything is restored into it. */
export interface Present {
  extensions: readonly string[];
  schemas: readonly { name: string; isOwn: boolean }[];
}

/**
 * Entries for what is there already. An extension is left alone: to comment on one is its owner's right, and an
 * administrator may have made it for a role that may not. So is a schema that came with one.
 */
export function presentEntries({ entries }: Archive, { extensions, schemas }: Present): Set<number> {
  const gone = new Set<number>();
  const take = (kind: string, name: string, isSaid: boolean) => {
    const tag = archiveText(name);
    for (const entry of entries) {
      if (entry.kind === kind && entry.tag === tag) gone.add(entry.id);
      if (!isSaid && isComment(entry, kind, tag)) gone.add(entry.id);
    }
  };
  for (const name of extensions) take("EXTENSION", name, false);
  for (const { name, isOwn } of schemas) take("SCHEMA", name, isOwn);
  return gone;
}

/** True where the schema makes that table. */
export function hasTable({ entries }: Archive, { schema, name }: TableName): boolean {
  const [space, tag] = [archiveText(schema), archiveText(name)];
  return entries.some((one) => one.kind === "TABLE" && one.schema === space && one.tag === tag);
}

/** The entries that make an extension. */
export function extensionEntries({ entries }: Archive, name: string): Set<number> {
  const tag = archiveText(name);
  return new Set(entries.filter((one) => isOfExtension(one, tag)).map(({ id }) => id));
}

function isOfExtension(entry: ArchiveEntry, tag: string): boolean {
  return (entry.kind === "EXTENSION" && entry.tag === tag) || isComment(entry, "EXTENSION", tag);
}

/** pg_dump quotes the name where it must. */
function isComment(entry: ArchiveEntry, kind: string, tag: string): boolean {
  if (entry.kind !== "COMMENT") return false;
  return entry.tag === `${kind} ${tag}` || entry.tag === `${kind} "${tag.replaceAll('"', '""')}"`;
}

/** True when a table, view, index or function of people's own is made with something of the extension. */
export function isNeeded({ entries }: Archive, name: string): boolean {
  const tag = archiveText(name);
  const made = entries.find(({ kind, tag: found }) => kind === "EXTENSION" && found === tag);
  return made !== undefined && entries.some((one) => !isOfExtension(one, tag) && one.dependencies.includes(made.id));
}

/** The tables that a name of a partitioned table stands for: its partitions, and theirs. */
export function partitionsOf({ entries }: Archive, { schema, name }: TableName): TableName[] {
  const byId = new Map(entries.map((entry) => [entry.id, entry]));
  const parts = (id: number): ArchiveEntry[] =>
    entries
      .filter(({ kind, dependencies }) => kind === "TABLE ATTACH" && dependencies[1] === id)
      .flatMap(({ dependencies: [part = 0] }) => byId.get(part) ?? [])
      .flatMap((part) => [part, ...parts(part.id)]);
  const root = entries.find(
    (one) => one.kind === "TABLE" && one.schema === archiveText(schema) && one.tag === archiveText(name),
  );
  if (root === undefined) return [];
  return parts(root.id).map((part) => ({ schema: fromArchiveText(part.schema), name: fromArchiveText(part.tag) }));
}

/**
 * Foreign keys from tables that get rows to tables that get none: they could not be made. A foreign key's entry depends on
 * both tables.
 */
export function foreignKeysWithoutRows({ entries }: Archive, filled: readonly TableName[]): ArchiveEntry[] {
  const keys = new Set(filled.map(({ schema, name }) => JSON.stringify([archiveText(schema), archiveText(name)])));
  const tables = new Map(entries.filter(({ kind }) => kind === "TABLE").map((entry) => [entry.id, entry]));
  const hasRows = ({ schema, tag }: ArchiveEntry) => keys.has(JSON.stringify([schema, tag]));
  return entries.filter((entry) => {
    if (entry.kind !== "FK CONSTRAINT") return false;
    const met = [...new Set(entry.dependencies)].flatMap((id) => tables.get(id) ?? []);
    const isOwner = ({ schema, tag }: ArchiveEntry) =>
      schema === entry.schema && entry.tag?.startsWith(`${tag ?? ""} `);
    return met.some((table) => isOwner(table) && hasRows(table)) && met.some((table) => !hasRows(table));
  });
}

/**
 * Kinds of things that most roles may not make and that nothing else in a database needs: they are made at the very end,
 * and one that is refused keeps nothing from being restored.
 */
const LAST_KINDS = [
  "EVENT TRIGGER",
  "PUBLICATION",
  "PUBLICATION TABLE",
  "PUBLICATION TABLES IN SCHEMA",
  "SUBSCRIPTION",
];

/** True for what gives rights: never restored with the schema, and not in archives of our own making. */
export function givesRights({ kind }: ArchiveEntry): boolean {
  return kind === "ACL" || kind === "DEFAULT ACL";
}

function isLast({ kind, tag }: ArchiveEntry): boolean {
  if (kind === "COMMENT") return LAST_KINDS.some((last) => tag?.startsWith(`${last} `) === true);
  return kind === "SECURITY LABEL" || LAST_KINDS.some((last) => kind === last);
}

/** The entries that are restored one by one at the end, and what makes them. */
export function lastEntries(
  { entries }: Archive,
  leaveOut: ReadonlySet<number> = new Set(),
): { ids: Set<number>; sql: string[] } {
  const last = entries.filter((entry) => isLast(entry) && !leaveOut.has(entry.id));
  return { ids: new Set(last.map(({ id }) => id)), sql: last.map(({ definition }) => fromArchiveText(definition)) };
}

/** Triggers that the schema makes. One of a partition has an entry too where it is switched otherwise than its table's. */
export function countTriggers({ entries }: Archive): number {
  return entries.filter(
    ({ kind, definition }) => kind === "TRIGGER" && /^CREATE (?:CONSTRAINT )?TRIGGER /.test(definition ?? ""),
  ).length;
}

/** The tablespaces that tables and indexes lie in, but for the database's own. */
export function tablespacesOf({ entries }: Archive): string[] {
  return [...new Set(entries.map(({ tablespace }) => fromArchiveText(tablespace)).filter((name) => name !== ""))];
}
