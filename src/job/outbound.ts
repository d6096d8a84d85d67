/** Looks at what a worker would do by itself, and makes it rest: each row that is changed is written down first. */
import type { Connection } from "../postgres/connect.ts";
import { quoteIdentifier } from "../postgres/names.ts";
import { hasColumn, kindsOf, type OutboundItem, type OutboundName, readTables, type Tables } from "./outbound-kinds.ts";

export interface OutboundTimes {
  /** RFC 3339. */
  readonly now: string;
  /** RFC 3339: when what the database holds was so. */
  readonly takenAt: string;
}

export interface OutboundReview {
  readonly items: readonly OutboundItem[];
  /** What goes on by itself and is no harm, a line each. */
  readonly notes: readonly string[];
}

interface ItemRow {
  account_id: string;
  account: string | null;
  inbox: string | null;
  title: string | null;
  count: number;
  told: number;
  at: string | null;
  due: boolean;
  [key: string]: unknown;
}

/** Looks, and changes nothing. */
export async function reviewOutbound(connection: Connection, times: OutboundTimes): Promise<OutboundReview> {
  const tables = await readTables(connection);
  const items: OutboundItem[] = [];
  for (const kind of kindsOf(tables)) {
    const rows = await connection.query<ItemRow>(withTimes(kind.items(tables)), [times.now, times.takenAt]);
    for (const { account_id: accountId, account, due: isDue, inbox, title, count, told, at } of rows) {
      items.push({ kind: kind.name, accountId, account: account ?? "", inbox, title, count, told, at, isDue });
    }
  }
  return { items, notes: await readNotes(connection, tables) };
}

/** Every statement takes both times, whether it asks for them or not. */
function withTimes(query: string): string {
  return `with times as (select $1::timestamptz, $2::timestamptz) ${query}`;
}

async function readNotes(connection: Connection, tables: Tables): Promise<string[]> {
  const notes: string[] = [];
  const count = async (query: string) => Number((await connection.query<{ n: string }>(query))[0]?.n ?? 0);
  if (hasColumn(tables, "channel_email", "imap_enabled")) {
    const inboxes = await count("select count(*) as n from public.channel_email where imap_enabled");
    if (inboxes > 0) {
      notes.push(
        `${inboxes} e-mail inbox${inboxes === 1 ? "" : "es"} will fetch the last day's mail again; what is there already is known by its Message-ID`,
      );
    }
  }
  if (hasColumn(tables, "campaigns", "campaign_type") && hasColumn(tables, "campaigns", "enabled")) {
    const ongoing = await count(
      "select count(*) as n from public.campaigns where campaign_type = 0 and campaign_status = 0 and enabled",
    );
    if (ongoing > 0)
      notes.push(`${ongoing} ongoing campaign${ongoing === 1 ? "" : "s"} of websites will greet visitors as before`);
  }
  return notes;
}

/** A row that is made to rest: what its columns held, and hold then. */
export interface OutboundChange {
  readonly kind: OutboundName;
  readonly table: string;
  readonly id: string;
  /** JSON as the server writes it: numbers may have more digits than we have. */
  readonly before: string;
  readonly after: string;
}

/** What would have to be changed, so that nothing happens by itself. Changes nothing. */
export async function planDefuse(connection: Connection, times: OutboundTimes): Promise<OutboundChange[]> {
  const tables = await readTables(connection);
  const changes: OutboundChange[] = [];
  for (const kind of kindsOf(tables)) {
    const rest = Object.entries(kind.rest(tables));
    const object = (of: (column: string, value: string) => string) =>
      `pg_catalog.jsonb_build_object(${rest.map(([column, value]) => `'${column}', ${of(column, value)}`).join(", ")})::text`;
    const query = `select t.id::text as id, ${object((column) => `t.${quoteIdentifier(column)}`)} as before,
      ${object((_, value) => value)} as after from public.${quoteIdentifier(kind.table)} t where ${kind.where(tables)} order by t.id`;
    type Row = Pick<OutboundChange, "id" | "before" | "after">;
    const rows = await connection.query<Row>(withTimes(query), [times.now, times.takenAt]);
    changes.push(...rows.map((row) => ({ kind: kind.name, table: kind.table, ...row })));
  }
  return changes;
}

/** Rows that are changed by one statement. */
const AT_ONCE = 1_000;

/**
 * Makes the changes, or takes them back. A row that holds something else by now is left as it is, so that it may be called again.
 * @returns How many rows were changed.
 */
export async function makeChanges(
  connection: Connection,
  changes: readonly OutboundChange[],
  direction: "defuse" | "revert",
): Promise<number> {
  const tables = await readTables(connection);
  let count = 0;
  for (const group of groupsOf(changes)) {
    const [first] = group;
    if (first === undefined) continue;
    const { table } = first;
    const columns = Object.keys(JSON.parse(first.before) as object).filter((column) =>
      hasColumn(tables, table, column),
    );
    const values = group.map(({ id, before, after }) =>
      direction === "defuse" ? { id, from: before, to: after } : { id, from: after, to: before },
    );
    const target = `public.${quoteIdentifier(table)}`;
    const rows = await connection.query(
      `update ${target} t set ${columns.map((column) => `${quoteIdentifier(column)} = n.${quoteIdentifier(column)}`).join(", ")}
       from pg_catalog.jsonb_to_recordset($1::jsonb) v(id text, "from" text, "to" text)
       cross join lateral pg_catalog.jsonb_populate_record(null::${target}, v."to"::jsonb) n
       where t.id = v.id::${tables.get(table)?.get("id") ?? "bigint"}
         and pg_catalog.jsonb_build_object(${columns.map((column) => `'${column}', t.${quoteIdentifier(column)}`).join(", ")}) = v."from"::jsonb
       returning t.id`,
      [JSON.stringify(values)],
    );
    count += rows.length;
  }
  return count;
}

/** Of one kind each, for their columns are the same. */
function* groupsOf(changes: readonly OutboundChange[]): Generator<readonly OutboundChange[]> {
  for (const kind of new Set(changes.map((change) => change.kind))) {
    const all = changes.filter((change) => change.kind === kind);
    for (let from = 0; from < all.length; from += AT_ONCE) yield all.slice(from, from + AT_ONCE);
  }
}
