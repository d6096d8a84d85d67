/** Which table a file of the cluster is, or was: the log names files, and a person tables. */
import { BASE } from "../../point/continuous.ts";
import type { TreeNode } from "../../format/node.ts";
import { type ClassRow, classFileIn, classRows } from "../../postgres/class-pages.ts";
import type { Repository } from "../../repo/repository.ts";
import type { RelationFile } from "../../wal/rows.ts";
import type { ListedBase } from "./list.ts";
import { BASE_DATA } from "./save-base.ts";

/** Below it are PostgreSQL's own (FirstNormalObjectId). */
const FIRST_OWN_OID = 16_384;
const PUBLIC_SCHEMA = 2200;
/** Tables, and materialized views, which have rows as they do. */
const TABLE_KINDS = new Set(["r", "m"]);

interface KnownFile {
  readonly name: string;
  readonly isTable: boolean;
}

/** The tables of the databases of one cluster that are searched, along one line of its history: another one gives the same numbers to others. */
export class TableNames {
  /** By database and file; and by database and oid, which is what a table's first file is called. */
  readonly #files = new Map<string, KnownFile>();
  readonly #oids = new Map<string, KnownFile>();
  readonly #searched = new Set<number>();
  readonly #known = new Set<number>();

  /** True for a file of a database that is searched. */
  covers({ database }: Pick<RelationFile, "database">): boolean {
    return this.#searched.has(database);
  }

  /** True for a file of a database of which nobody said what it is: it may be Chatwoot's. */
  isUnknown({ database, relation }: Pick<RelationFile, "database" | "relation">): boolean {
    return database >= FIRST_OWN_OID && relation >= FIRST_OWN_OID && !this.#known.has(database);
  }

  /** @param isSearched false for a database that is another one's. */
  addDatabase(oid: number, isSearched: boolean): void {
    this.#known.add(oid);
    if (isSearched) this.#searched.add(oid);
  }

  /** What is added later counts more: it is newer. */
  add(database: number, { oid, file, name, kind, schema }: ClassRow): void {
    if (oid < FIRST_OWN_OID) return;
    const isTable = TABLE_KINDS.has(kind);
    const known = { name: schema === PUBLIC_SCHEMA ? name : `${name} (schema ${schema})`, isTable };
    if (file !== 0) this.#files.set(`${database}/${file}`, known);
    this.#oids.set(`${database}/${oid}`, known);
  }

  /** The names of all tables. */
  get tables(): string[] {
    const all = [...this.#oids.values(), ...this.#files.values()];
    return [...new Set(all.flatMap(({ name, isTable }) => (isTable ? [name] : [])))];
  }

  /**
   * The table whose rows lie in a file; undefined for an index, a TOAST table and a catalogue. A table's first file is called by
   * its oid, so that one is known whose table has been rewritten since.
   */
  nameOf(file: RelationFile): string | undefined {
    const { database, relation } = file;
    if (relation < FIRST_OWN_OID) return undefined;
    const known = this.#files.get(`${database}/${relation}`) ?? this.#oids.get(`${database}/${relation}`);
    if (known === undefined) return nameOfFile(file);
    return known.isTable ? known.name : undefined;
  }

  /** As {@link nameOf}, and undefined for a file of which nothing is known. */
  knownNameOf(file: RelationFile): string | undefined {
    const name = this.nameOf(file);
    return name !== undefined && isNameOfFile(name) ? undefined : name;
  }

  /** By `pg_class.oid`. */
  nameOfOid(oid: number): string | undefined {
    for (const database of this.#searched) {
      const known = this.#oids.get(`${database}/${oid}`);
      if (known?.isTable === true) return known.name;
    }
    return undefined;
  }
}

/** What a file is called whose table nobody knows. */
export function nameOfFile({ database, relation }: Pick<RelationFile, "database" | "relation">): string {
  return `file ${database}/${relation}`;
}

export function isNameOfFile(name: string): boolean {
  return name.startsWith("file ");
}

/** The rows of a database's `pg_class` as a base has them. @throws Failure `repo/damaged`. */
export async function classRowsOfBase(
  repository: Repository,
  { snapshot, base }: ListedBase,
  { database, signal }: { database: number; signal: AbortSignal },
): Promise<ClassRow[]> {
  const folder = [BASE.folder, BASE_DATA, "base", String(database)];
  const read = async (name: string) => await readFileAt(repository, snapshot.tree, [...folder, name], signal);
  const map = await read("pg_filenode.map");
  const number = map === undefined ? undefined : classFileIn(map);
  const file = number === undefined ? undefined : await read(String(number));
  return file === undefined ? [] : [...classRows(file, base)];
}

/** Undefined where it is not there: a database may lie in a tablespace. */
async function readFileAt(
  repository: Repository,
  root: NonNullable<TreeNode["subtree"]>,
  path: readonly string[],
  signal: AbortSignal,
): Promise<Buffer | undefined> {
  let tree: TreeNode["subtree"] = root;
  let node: TreeNode | undefined;
  for (const name of path) {
    if (tree === undefined) return undefined;
    const nodes: TreeNode[] = await repository.readTree(tree, { signal });
    node = nodes.find((one) => one.name === name);
    tree = node?.subtree;
  }
  if (node?.content == null) return undefined;
  const chunks = [];
  for (const id of node.content) chunks.push(await repository.readChunk("data", id, { signal }));
  return Buffer.concat(chunks);
}
