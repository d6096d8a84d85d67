/** Which table a file of the cluster is, or was: the log names files, and a person tables. */
import { BASE } from "../../point/continuous.ts";
import { isFailure } from "../../base/errors.ts";
import type { TreeNode } from "../../format/node.ts";
import { type ClassRow, classFileIn, classRows } from "../../postgres/class-pages.ts";
import type { Connection } from "../../postgres/connect.ts";
import type { Repository } from "../../repo/repository.ts";
import type { RelationFile } from "../../wal/rows.ts";
import type { ListedBase } from "./list.ts";
import { readBaseFacts } from "./read-base.ts";
import { BASE_DATA } from "./save-base.ts";

/** Below it are PostgreSQL's own (FirstNormalObjectId). */
const FIRST_OWN_OID = 16_384;
const PUBLIC_SCHEMA = 2200;
/** Tables, and materialized views, which have rows as they do. */
const TABLE_KINDS = new Set(["r", "m"]);
const TEMPLATES = new Set(["template0", "template1"]);

interface KnownFile {
  readonly name: string;
  readonly isTable: boolean;
}

/** The tables of the databases that are searched. */
export class TableNames {
  /** By database and file; and by database and oid, which is what a table's first file is called. */
  readonly #files = new Map<string, KnownFile>();
  readonly #oids = new Map<string, KnownFile>();
  readonly #databases = new Set<number>();

  /** True for a file of a database that is searched. */
  covers({ database }: Pick<RelationFile, "database">): boolean {
    return this.#databases.has(database);
  }

  /** True while no database is searched. */
  get isEmpty(): boolean {
    return this.#databases.size === 0;
  }

  addDatabase(oid: number): void {
    this.#databases.add(oid);
  }

  /** What is added later counts more: it is newer. */
  add(database: number, { oid, file, name, kind, schema }: ClassRow): void {
    if (oid < FIRST_OWN_OID) return;
    const isTable = TABLE_KINDS.has(kind);
    const known = { name: schema === PUBLIC_SCHEMA ? name : `${name} (schema ${schema})`, isTable };
    if (file !== 0) this.#files.set(`${database}/${file}`, known);
    this.#oids.set(`${database}/${oid}`, known);
  }

  /**
   * The table whose rows lie in a file; undefined for an index, a TOAST table and a catalogue. A table's first file is called by
   * its oid, so that one is known whose table has been rewritten since.
   */
  nameOf({ database, relation }: RelationFile): string | undefined {
    if (relation < FIRST_OWN_OID) return undefined;
    const known = this.#files.get(`${database}/${relation}`) ?? this.#oids.get(`${database}/${relation}`);
    if (known === undefined) return `file ${database}/${relation}`;
    return known.isTable ? known.name : undefined;
  }

  /** As {@link nameOf}, and undefined for a file of which nothing is known. */
  knownNameOf(file: RelationFile): string | undefined {
    const name = this.nameOf(file);
    return name?.startsWith("file ") === true ? undefined : name;
  }

  /** By `pg_class.oid`. */
  nameOfOid(oid: number): string | undefined {
    for (const database of this.#databases) {
      const known = this.#oids.get(`${database}/${oid}`);
      if (known?.isTable === true) return known.name;
    }
    return undefined;
  }
}

/**
 * Adds what a base's own `pg_class` says of a database, or of all but the templates where none is named.
 * @throws Failure `point/invalid`, `repo/damaged`.
 */
export async function addNamesOfBase(
  names: TableNames,
  repository: Repository,
  listed: ListedBase,
  { database, signal }: { database: string | undefined; signal: AbortSignal },
): Promise<void> {
  const { databases, base } = await readBaseFacts(repository, listed, { signal });
  const searched = databases.filter(({ name }) => (database === undefined ? !TEMPLATES.has(name) : name === database));
  for (const { oid } of searched) {
    names.addDatabase(oid);
    const folder = [BASE.folder, BASE_DATA, "base", String(oid)];
    const read = async (name: string) => await readFileAt(repository, listed.snapshot.tree, [...folder, name], signal);
    const map = await read("pg_filenode.map");
    const number = map === undefined ? undefined : classFileIn(map);
    const file = number === undefined ? undefined : await read(String(number));
    if (file === undefined) continue;
    for (const row of classRows(file, base)) names.add(oid, row);
  }
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

interface LiveRow {
  oid: string;
  file: string;
  name: string;
  kind: string;
  schema: string;
  [column: string]: unknown;
}

/**
 * Adds what the live database says of itself, which knows tables that are younger than every base. False where it is of another
 * cluster than the log, or does not say of which.
 */
export async function addNamesOfLive(
  names: TableNames,
  connection: Connection,
  { systemIds }: { systemIds: ReadonlySet<string> },
): Promise<boolean> {
  try {
    const [row] = await connection.query<{ system: string; database: string }>(
      `select (select system_identifier::text from pg_catalog.pg_control_system()) as system,
              (select oid::text from pg_catalog.pg_database where datname = pg_catalog.current_database()) as database`,
    );
    if (row === undefined || !systemIds.has(row.system)) return false;
    const rows = await connection.query<LiveRow>(
      "select oid::text as oid, relfilenode::text as file, relname::text as name, relkind::text as kind, relnamespace::text as schema from pg_catalog.pg_class",
    );
    const database = Number(row.database);
    names.addDatabase(database);
    for (const { oid, file, name, kind, schema } of rows) {
      names.add(database, { oid: Number(oid), file: Number(file), name, kind, schema: Number(schema) });
    }
    return true;
  } catch (error) {
    if (!isFailure(error)) throw error;
    return false;
  }
}
