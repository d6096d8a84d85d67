/**
 * What tables are called along a line of history: by its own bases, and by the live database where it answers and is on that line. Another
 * cluster, or what an old server wrote beside, has the same numbers for other tables.
 */
import { isFailure } from "../../base/errors.ts";
import type { Progress } from "../../base/progress.ts";
import { isOn, legsOf, type Range } from "../../policy/window.ts";
import type { ServerAddress } from "../../postgres/address.ts";
import type { ClassRow } from "../../postgres/class-pages.ts";
import { connectIfThere } from "../../postgres/connect-if-there.ts";
import { isKeptNameOf } from "../../postgres/kept-databases.ts";
import type { Repository } from "../../repo/repository.ts";
import type { Continuous, ListedBase, ListedWindowBase } from "./list.ts";
import { readBaseFacts } from "./read-base.ts";
import { classRowsOfBase, TableNames } from "./table-names.ts";

const TEMPLATES = new Set(["template0", "template1"]);

type Line = Pick<Range<ListedWindowBase>, "systemId" | "timeline" | "to">;

interface NamesOptions {
  readonly repository: Repository;
  /** The live database, which may be gone; undefined where none is known: then every database of the cluster is searched. */
  readonly live: ServerAddress | undefined;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/** @returns the names for each of the ranges. @throws Failure of the store. */
export async function namesOfRanges<R extends Line>(
  ranges: readonly R[],
  continuous: Pick<Continuous, "bases" | "histories">,
  options: NamesOptions,
): Promise<Map<R, TableNames>> {
  const { bases, histories } = continuous;
  const legs = ({ systemId, timeline }: Line) =>
    legsOf(
      timeline,
      histories.find((one) => one.systemId === systemId && one.timeline === timeline),
    );
  const known = await readBases(bases, options);
  const live = await askLive(options);
  const names = new Map<R, TableNames>();
  for (const range of ranges) {
    const own = known.filter(({ listed: { base } }) => {
      return base.systemId === range.systemId && (isOn(legs(range), base) || isOn(legs(base), range));
    });
    const found = await namesOfBases(own, options);
    const living = ranges.findLast(({ systemId }) => systemId === live?.systemId);
    const isLiving = living?.systemId === range.systemId && isOn(legs(living), range);
    if (live !== undefined && isLiving) addLive(found, live, options.live);
    names.set(range, found);
  }
  return names;
}

interface KnownBase {
  readonly listed: ListedBase;
  readonly databases: readonly { readonly name: string; readonly oid: number }[];
  /** Read when it is first asked for. */
  readonly rowsOf: (database: number) => Promise<readonly ClassRow[]>;
}

async function readBases(bases: readonly ListedBase[], options: NamesOptions): Promise<KnownBase[]> {
  const { repository, signal } = options;
  const known: KnownBase[] = [];
  for (const listed of bases) {
    const facts = await unlessDamaged(listed, options, async () => await readBaseFacts(repository, listed, { signal }));
    if (facts === undefined) continue;
    const read = new Map<number, readonly ClassRow[]>();
    const rowsOf = async (database: number) => {
      const rows =
        read.get(database) ??
        (await unlessDamaged(listed, options, async () => {
          return await classRowsOfBase(repository, listed, { database, signal });
        })) ??
        [];
      read.set(database, rows);
      return rows;
    };
    known.push({ listed, databases: facts.databases, rowsOf });
  }
  return known;
}

/** Of one that cannot be read the others may say it. */
async function unlessDamaged<T>(
  { id }: ListedBase,
  { progress }: NamesOptions,
  read: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (!isFailure(error, "repo/damaged") && !isFailure(error, "point/invalid")) throw error;
    progress.say(`the names of tables are not taken from base ${id.slice(0, 8)}: ${error.message}`);
    return undefined;
  }
}

/** A database is Chatwoot's whatever it is called later, or was before. */
async function namesOfBases(bases: readonly KnownBase[], { live }: NamesOptions): Promise<TableNames> {
  const names = new TableNames();
  const all = bases.flatMap(({ databases }) => databases);
  const named = all.filter(({ name }) => isOfLive(name, live));
  // It may have had another name then.
  const searched = new Set((named.length > 0 ? named : all.filter(isNoTemplate)).map(({ oid }) => oid));
  for (const { oid } of all) names.addDatabase(oid, searched.has(oid));
  for (const { databases, rowsOf } of bases) {
    for (const { oid } of databases) {
      if (!searched.has(oid)) continue;
      for (const row of await rowsOf(oid)) names.add(oid, row);
    }
  }
  return names;
}

function isNoTemplate({ name }: { name: string }): boolean {
  return !TEMPLATES.has(name);
}

function isOfLive(name: string, live: ServerAddress | undefined): boolean {
  return live !== undefined && (name === live.database || isKeptNameOf(live.database, name));
}

interface LiveNames {
  readonly systemId: string;
  readonly database: number;
  readonly databases: readonly { readonly name: string; readonly oid: number }[];
  readonly rows: readonly ClassRow[];
}

/** It knows tables that are younger than every base. Undefined where it does not answer, or does not say of which cluster it is. */
async function askLive({ live, progress, signal }: NamesOptions): Promise<LiveNames | undefined> {
  if (live === undefined) return undefined;
  try {
    await using connection = await connectIfThere(live, { signal });
    const [row] =
      (await connection?.query<{ system: string; database: string }>(
        `select (select system_identifier::text from pg_catalog.pg_control_system()) as system,
                (select oid::text from pg_catalog.pg_database where datname = pg_catalog.current_database()) as database`,
      )) ?? [];
    if (connection === undefined || row === undefined) return undefined;
    const databases = await connection.query<{ oid: string; name: string }>(
      "select oid::text as oid, datname::text as name from pg_catalog.pg_database",
    );
    const rows = await connection.query<Record<"oid" | "file" | "name" | "kind" | "schema", string>>(
      "select oid::text as oid, relfilenode::text as file, relname::text as name, relkind::text as kind, relnamespace::text as schema from pg_catalog.pg_class",
    );
    return {
      systemId: row.system,
      database: Number(row.database),
      databases: databases.map(({ oid, name }) => ({ oid: Number(oid), name })),
      rows: rows.map(({ oid, file, schema, ...rest }) => {
        return { ...rest, oid: Number(oid), file: Number(file), schema: Number(schema) };
      }),
    };
  } catch (error) {
    if (!isFailure(error) || signal.aborted) throw error;
    progress.say(`the live database does not say which tables are new since the last base: ${error.message}`);
    return undefined;
  }
}

function addLive(names: TableNames, { database, databases, rows }: LiveNames, live: ServerAddress | undefined): void {
  // Of one that was put aside after a restore nobody says here what its tables are called.
  for (const { oid, name } of databases) if (!isOfLive(name, live)) names.addDatabase(oid, false);
  names.addDatabase(database, true);
  for (const row of rows) names.add(database, row);
}
