/** What of a Chatwoot database belongs to which account, and how it is counted. */
import type { CountedKind } from "../base/account-counts.ts";

/** The column that says whose a row is. */
export const ACCOUNT_COLUMN = "account_id";

/** Tables of the schema `public` whose rows are counted by account. */
export const COUNTED_TABLES: Readonly<Record<Exclude<CountedKind, "files">, string>> = {
  conversations: "conversations",
  messages: "messages",
  contacts: "contacts",
};

/** Tables that say whose an uploaded file is: what people attached to messages. Other files are no account's own. */
export const FILE_TABLES = ["active_storage_attachments", "attachments"] as const;

/**
 * Rows of `account` and `count`: uploaded files by account. Both tables are to be read along their indexes, in the order of ids:
 * to put a large one into a hash table, or to sort it, could take room on the server's disk.
 */
export const FILES_QUERY = `set local enable_hashjoin = off;
 select f.account_id::text as account, count(*)::text as count
 from public.active_storage_attachments a join public.attachments f on f.id = a.record_id
 where a.record_type = 'Attachment' group by f.account_id`;

/** Rows of `account` and `name`. */
export const ACCOUNT_NAMES_QUERY = "select id::text as account, name from public.accounts";

/** The sequences that number an account's conversations and campaigns: Chatwoot's triggers make them with the account. */
export function numberSequences(account: string): string[] {
  return [`conv_dpid_seq_${account}`, `camp_dpid_seq_${account}`];
}

/** True for a schema whose triggers number by those sequences; `sql` is its text. */
export function numbersBySequences(sql: string): boolean {
  return numberSequences("").every((name) => sql.includes(name));
}
