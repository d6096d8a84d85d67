/** What Chatwoot's triggers need: that they are there, and the sequences from which they number what is new. */
import type { AccountCounts } from "../base/account-counts.ts";
import { listSome, plural } from "../base/bytes.ts";
import { assert } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { numbersBySequences, numberSequences } from "../chatwoot/accounts.ts";
import { SCHEMA_DUMP, SCHEMA_SQL } from "../point/layout.ts";
import type { SequenceEntry } from "../point/manifest.ts";
import type { ProofCheck } from "../point/proof.ts";
import { type Archive, decodeArchive } from "../postgres/archive.ts";
import { countTriggers } from "../postgres/archive-list.ts";
import { ownedByExtension, USER_SCHEMAS } from "../postgres/user-objects.ts";
import type { Queries } from "./list-storage.ts";
import type { PointReader } from "./point-reader.ts";

/** Those of partitions come with the partitioned table's own. */
const TRIGGERS = `
select count(*)::int as count
from pg_catalog.pg_trigger t join pg_catalog.pg_class c on c.oid = t.tgrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where not t.tgisinternal and t.tgparentid = 0 and ${USER_SCHEMAS} and not ${ownedByExtension("pg_class", "c.oid")}`;

/** What of a restore point says which triggers there are. */
export interface SavedTriggers {
  archive: Archive;
  sequences: readonly SequenceEntry[];
  /** The schema as text. */
  sql: string;
}

/** Every trigger is in place; an account without its sequences is told, which the source lacked too. */
export async function checkTriggers(reader: PointReader, connection: Queries): Promise<ProofCheck> {
  const archive = decodeArchive(await reader.readBytes(`database/${SCHEMA_DUMP}`));
  const sql = await reader.readText(`database/${SCHEMA_SQL}`);
  const { sequences } = await reader.manifest();
  return await compareTriggers({ archive, sequences, sql }, connection);
}

/** That what was saved of the sequences is there is another check's affair: {@link checkSequences}. */
export async function compareTriggers(
  { archive, sequences, sql }: SavedTriggers,
  connection: Queries,
): Promise<ProofCheck> {
  const expected = countTriggers(archive);
  const [row] = await connection.query<{ count: number }>(TRIGGERS);
  assert(row !== undefined, "a count has one row");
  if (row.count !== expected) {
    return { name: "triggers", ok: false, detail: `${plural(row.count, "trigger")} instead of ${expected}` };
  }
  const detail = `${plural(expected, "trigger")} in place`;
  if (!numbersBySequences(sql)) return { name: "triggers", ok: true, detail };
  const accounts = await connection.query<{ id: string }>("select id::text as id from public.accounts order by id");
  const lacking = withoutSequences(
    accounts.map(({ id }) => id),
    sequences,
  );
  return {
    name: "triggers",
    ok: true,
    detail:
      lacking.length === 0
        ? `${detail}, and the sequences of every account`
        : `${detail}; accounts that lacked their sequences when they were saved: ${listSome(lacking)}`,
  };
}

/** What is broken in the live installation, and is saved as it is. @param sql the schema as text. */
export function sequenceFindings(
  accounts: readonly AccountCounts[],
  sequences: readonly SequenceEntry[],
  sql: string,
): Finding[] {
  if (!numbersBySequences(sql)) return [];
  // One without a name is in no row of accounts any more: its sequences went with it.
  const ids = accounts.flatMap(({ account, name }) => (account === null || name === null ? [] : [account]));
  const lacking = withoutSequences(ids, sequences);
  const [first] = lacking;
  if (first === undefined) return [];
  const who = lacking.length === 1 ? `account ${first}` : `accounts ${listSome(lacking)}`;
  return [
    {
      kind: "account-sequences-lacking",
      level: "warning",
      message: `new conversations or campaigns of ${who} fail in the live installation: what numbers them is gone`,
      hint: `Make ${numberSequences(first).join(" and ")} anew where they are lacking, each beginning above the account's highest display_id: CREATE SEQUENCE … START WITH …; Chatwoot's role must own them.`,
    },
  ];
}

function withoutSequences(accounts: readonly string[], sequences: readonly SequenceEntry[]): string[] {
  const names = new Set(sequences.map(({ name }) => name));
  return accounts.filter((account) => !numberSequences(account).every((name) => names.has(name)));
}
