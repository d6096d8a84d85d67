/**
 * Counts what each account has, in the backup's snapshot. Large tables are counted while they are looked through for what
 * changed, so that none is read once more for it; the others are small, or are read whole anyway.
 */
import type { AccountCounts, CountedKind, PeakKind } from "../base/account-counts.ts";
import { isFailure } from "../base/errors.ts";
import { ACCOUNT_COLUMN, ACCOUNT_NAMES_QUERY, COUNTED_TABLES, FILE_TABLES, FILES_QUERY } from "../chatwoot/accounts.ts";
import type { TableFacts } from "../postgres/catalogue.ts";
import { qualifiedName, quoteIdentifier } from "../postgres/names.ts";
import type { DatabaseSnapshot } from "../postgres/snapshot.ts";
import type { PlannedTable } from "./read-rows.ts";

/** There are few accounts, whatever the planner expects: so nothing is sorted on the server's disk. */
const ON_NO_DISK = "set local enable_sort = off; set local work_mem = '64MB'";

type Tally = ReadonlyMap<string, number>;

/** What a table is counted by while it is scanned. */
export function countedBy(facts: TableFacts): Pick<PlannedTable, "countBy"> {
  const isCounted = facts.schema === "public" && Object.values(COUNTED_TABLES).includes(facts.name);
  return isCounted && hasAccounts(facts) ? { countBy: ACCOUNT_COLUMN } : {};
}

function hasAccounts({ columns }: TableFacts): boolean {
  return columns.some(({ name }) => name === ACCOUNT_COLUMN);
}

/**
 * All accounts by their ids, and first of all the whole, without its uploaded files.
 * @param scanned what was counted on the way.
 * @throws Failure `database/changed` when a table is no longer what the snapshot sees, `database/denied`.
 */
export async function countAccounts(
  snapshot: DatabaseSnapshot,
  planned: readonly PlannedTable[],
  scanned: ReadonlyMap<PlannedTable, Tally>,
): Promise<AccountCounts[]> {
  const tables = new Map(planned.flatMap((one) => (one.facts.schema === "public" ? [[one.facts.name, one]] : [])));
  const tallies = new Map<CountedKind, Tally>();
  const uncounted: PeakKind[] = [];
  for (const [kind, name] of Object.entries(COUNTED_TABLES) as [keyof typeof COUNTED_TABLES, string][]) {
    const table = tables.get(name);
    if (table?.countBy === undefined) continue;
    const tally = scanned.get(table) ?? (await countRows(snapshot, table.facts));
    if (tally === undefined) uncounted.push(kind);
    else tallies.set(kind, tally);
  }
  const attachments = tables.get("attachments");
  if (FILE_TABLES.every((name) => tables.has(name)) && attachments !== undefined && hasAccounts(attachments.facts)) {
    const tally = await ask(snapshot, FILE_TABLES, FILES_QUERY);
    if (tally === undefined) uncounted.push("files");
    else tallies.set("files", tally);
  }
  const names = tables.has("accounts") ? await readNames(snapshot) : new Map<string, string>();
  if (names === undefined) uncounted.push("account");
  const [whole, ...accounts] = toAccounts(tallies, names ?? new Map());
  return [{ ...whole, ...(uncounted.length === 0 ? {} : { uncounted }) }, ...accounts];
}

async function countRows(snapshot: DatabaseSnapshot, facts: TableFacts): Promise<Tally | undefined> {
  const column = quoteIdentifier(ACCOUNT_COLUMN);
  const query = `select ${column}::text as account, count(*)::text as count from only ${qualifiedName(facts)} group by ${column}`;
  return await ask(snapshot, [facts.name], query);
}

async function ask(snapshot: DatabaseSnapshot, tables: readonly string[], query: string): Promise<Tally | undefined> {
  const rows = await readIfReadable<{ account: string | null; count: string }>(snapshot, tables, query);
  return rows && new Map(rows.flatMap(({ account, count }) => (account === null ? [] : [[account, Number(count)]])));
}

async function readNames(snapshot: DatabaseSnapshot): Promise<Map<string, string> | undefined> {
  const rows = await readIfReadable<{ account: string; name: string | null }>(
    snapshot,
    ["accounts"],
    ACCOUNT_NAMES_QUERY,
  );
  return rows && new Map(rows.map(({ account, name }) => [account, name ?? ""]));
}

/** Undefined where the server cannot read what is asked for: that is told of the table itself. */
async function readIfReadable<Row extends { [key: string]: unknown }>(
  snapshot: DatabaseSnapshot,
  tables: readonly string[],
  query: string,
): Promise<Row[] | undefined> {
  try {
    return await snapshot.lookAt(
      tables.map((name) => ({ schema: "public", name })),
      async (connection) => await connection.query<Row>(`${ON_NO_DISK}; ${query}`),
    );
  } catch (error) {
    if (!isFailure(error, "database/unreadable")) throw error;
    return undefined;
  }
}

function toAccounts(
  tallies: ReadonlyMap<CountedKind, Tally>,
  names: ReadonlyMap<string, string>,
): [whole: AccountCounts, ...accounts: AccountCounts[]] {
  const ids = new Set([...names.keys(), ...[...tallies.values()].flatMap((tally) => [...tally.keys()])]);
  const accounts = [...ids]
    .toSorted((a, b) => Number(a) - Number(b))
    .map((account): AccountCounts => {
      const found = [...tallies].flatMap(([kind, tally]) => {
        const count = tally.get(account) ?? 0;
        return count === 0 ? [] : [[kind, count]];
      });
      return { account, name: names.get(account) ?? null, counts: Object.fromEntries(found) };
    });
  const sums = [...tallies].map(([kind, tally]) => [kind, [...tally.values()].reduce((sum, count) => sum + count, 0)]);
  return [{ account: null, name: null, counts: Object.fromEntries(sums) }, ...accounts];
}
