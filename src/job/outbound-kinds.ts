/**
 * What Chatwoot's worker does by itself, out of the database alone, within minutes or days of its start: every five minutes it
 * sends one-off campaigns of the last three days, opens snoozed conversations and closes idle ones; every night it deletes accounts
 * that are marked. As data: which rows these are, how they are told, and what makes each rest.
 *
 * Tables and columns differ by version and fork, so each kind says what it needs, and is passed over where that is not there.
 */
import type { Connection } from "../postgres/connect.ts";

/** Types of columns, by table and column. */
export type Tables = ReadonlyMap<string, ReadonlyMap<string, string>>;

export type OutboundName =
  | "campaign"
  | "snoozed"
  | "auto-resolve"
  | "account-deletion"
  | "scheduled-message"
  | "delayed-automation";

/** Something that would happen. */
export interface OutboundItem {
  readonly kind: OutboundName;
  readonly accountId: string;
  readonly account: string;
  readonly inbox: string | null;
  /** Of a campaign its title; of a setting what it says. */
  readonly title: string | null;
  /** Campaigns, conversations or messages. */
  readonly count: number;
  /** Of those, for how many a customer hears something. */
  readonly told: number;
  /** RFC 3339; null where it is at any time. */
  readonly at: string | null;
  readonly isDue: boolean;
}

export interface OutboundKind {
  readonly name: OutboundName;
  /** The table whose rows are changed, as `t`. */
  readonly table: string;
  readonly needs: Readonly<Record<string, readonly string[]>>;
  /** Which of them; `$1` is now, `$2` when the point was taken. */
  where(tables: Tables): string;
  /** What makes them rest: an expression for each column. */
  rest(tables: Tables): Readonly<Record<string, string>>;
  /** Items as columns `account_id, account, inbox, title, count, told, at, due`. */
  items(tables: Tables): string;
}

export function hasColumn(tables: Tables, table: string, column: string): boolean {
  return tables.get(table)?.has(column) === true;
}

/** Those that this database can have. */
export function kindsOf(tables: Tables): OutboundKind[] {
  return KINDS.filter(({ needs }) =>
    Object.entries(needs).every(([table, columns]) => columns.every((column) => hasColumn(tables, table, column))),
  );
}

const COLUMNS = `select c.relname as table, a.attname as column, pg_catalog.format_type(a.atttypid, null) as type
  from pg_catalog.pg_class c join pg_catalog.pg_attribute a on a.attrelid = c.oid
  where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped`;

export async function readTables(connection: Connection): Promise<Tables> {
  const tables = new Map<string, Map<string, string>>();
  for (const { table, column, type } of await connection.query<{ table: string; column: string; type: string }>(
    COLUMNS,
  )) {
    const columns = tables.get(table) ?? new Map<string, string>();
    tables.set(table, columns.set(column, type));
  }
  return tables;
}

const NOW = "$1::timestamptz";
const TAKEN = "$2::timestamptz";
/** So far back a campaign that is due is sent, and a snoozed conversation opened. */
const LOOK_BACK = "interval '3 days'";
const RFC3339 = `'YYYY-MM-DD"T"HH24:MI:SS"Z"'`;
/** Out of anybody's way, and told apart from every real time at a glance. */
const NEVER = "interval '100 years'";

const at = (column: string) => `pg_catalog.to_char(${column}, ${RFC3339})`;

const CAMPAIGN: OutboundKind = {
  name: "campaign",
  table: "campaigns",
  needs: {
    campaigns: ["id", "title", "campaign_type", "campaign_status", "scheduled_at", "account_id", "inbox_id"],
    inboxes: ["name"],
  },
  // One-off, active.
  where: () => `t.campaign_type = 1 and t.campaign_status = 0 and t.scheduled_at > ${NOW} - ${LOOK_BACK}`,
  rest: () => ({ campaign_status: "1" }),
  items() {
    return `select t.account_id::text, a.name as account, i.name as inbox, t.title, 1 as count, 1 as told,
      ${at("t.scheduled_at")} as at, t.scheduled_at <= ${NOW} as due
      from public.campaigns t left join public.accounts a on a.id = t.account_id left join public.inboxes i on i.id = t.inbox_id
      where ${this.where(new Map())} order by t.scheduled_at, t.id`;
  },
};

const SNOOZED: OutboundKind = {
  name: "snoozed",
  table: "conversations",
  needs: { conversations: ["id", "status", "snoozed_until", "account_id"] },
  where: () => `t.status = 3 and t.snoozed_until <= ${NOW}`,
  rest: () => ({ status: "0", snoozed_until: "null" }),
  items() {
    // What is longer ago than the worker looks is never opened at all: an item of its own.
    return `select t.account_id::text, a.name as account, null as inbox, null as title, count(*)::int as count, 0 as told,
      ${at("min(t.snoozed_until)")} as at, t.snoozed_until >= ${NOW} - ${LOOK_BACK} as due
      from public.conversations t left join public.accounts a on a.id = t.account_id
      where ${this.where(new Map())} group by t.account_id, a.name, 8 order by t.account_id, due desc`;
  },
};

/** Since 4.2 minutes in the settings, of which a column of days is a remainder; before, that column. */
function idleLimit(tables: Tables): string {
  if (!hasColumn(tables, "accounts", "settings")) return "t.auto_resolve_duration * interval '1 day'";
  return `case when t.settings->>'auto_resolve_after' ~ '^[0-9]{1,9}$'
    then (t.settings->>'auto_resolve_after')::int * interval '1 minute' end`;
}

function idle(tables: Tables): string {
  const hasWaiting = hasColumn(tables, "accounts", "settings") && hasColumn(tables, "conversations", "waiting_since");
  const waits = hasWaiting
    ? "and (t.settings->>'auto_resolve_ignore_waiting' is distinct from 'true' or c.waiting_since is null)"
    : "";
  // Those that are opened now are as idle as the others.
  return `c.account_id = t.id and (c.status = 0 or (c.status = 3 and c.snoozed_until <= ${NOW}))
    and ${idleLimit(tables)} > interval '0' and c.last_activity_at < ${NOW} - ${idleLimit(tables)} ${waits}`;
}

const AUTO_RESOLVE: OutboundKind = {
  name: "auto-resolve",
  table: "accounts",
  needs: {
    accounts: ["id", "name", "auto_resolve_duration"],
    conversations: ["status", "account_id", "last_activity_at", "snoozed_until", "inbox_id"],
    inboxes: ["name"],
  },
  where: (tables) => `exists (select from public.conversations c where ${idle(tables)})`,
  rest: (tables) =>
    hasColumn(tables, "accounts", "settings")
      ? { settings: "t.settings - 'auto_resolve_after'" }
      : { auto_resolve_duration: "null" },
  items(tables) {
    const isSaid = hasColumn(tables, "accounts", "settings")
      ? "coalesce(t.settings->>'auto_resolve_message', '') <> ''"
      : "false";
    const isAsked = hasColumn(tables, "inboxes", "csat_survey_enabled")
      ? "coalesce(i.csat_survey_enabled, false)"
      : "false";
    return `select t.id::text as account_id, t.name as account, null as inbox,
      extract(epoch from ${idleLimit(tables)})::int::text as title, n.count, n.told, null as at, true as due
      from public.accounts t cross join lateral (
        select count(*)::int as count, (count(*) filter (where ${isSaid} or ${isAsked}))::int as told
        from public.conversations c left join public.inboxes i on i.id = c.inbox_id where ${idle(tables)}) n
      where ${idleLimit(tables)} > interval '0' and n.count > 0 order by t.id`;
  },
};

const ACCOUNT_DELETION: OutboundKind = {
  name: "account-deletion",
  table: "accounts",
  needs: { accounts: ["id", "name", "custom_attributes"] },
  where: () => "coalesce(t.custom_attributes->>'marked_for_deletion_at', '') <> ''",
  rest: () => ({ custom_attributes: "t.custom_attributes - 'marked_for_deletion_at' - 'marked_for_deletion_reason'" }),
  items() {
    // As text: whoever wrote it may have written anything. UTC's texts are in the order of their times.
    return `select t.id::text as account_id, t.name as account, null as inbox, null as title, 1 as count, 0 as told,
      t.custom_attributes->>'marked_for_deletion_at' as at,
      pg_catalog.left(t.custom_attributes->>'marked_for_deletion_at', 10) <= pg_catalog.to_char(${NOW}, 'YYYY-MM-DD') as due
      from public.accounts t where ${this.where(new Map())} order by t.id`;
  },
};

/** Of forks. What their numbers of a state mean differs; what was planned for later than the point cannot have been sent in it. */
const SCHEDULED_MESSAGE: OutboundKind = {
  name: "scheduled-message",
  table: "scheduled_messages",
  needs: { scheduled_messages: ["id", "scheduled_at", "account_id"] },
  where: () => `t.scheduled_at > ${TAKEN} - interval '5 minutes' and t.scheduled_at < ${NOW} + interval '50 years'`,
  rest: () => ({ scheduled_at: `t.scheduled_at + ${NEVER}` }),
  items: (tables) => byAccount(SCHEDULED_MESSAGE, tables, "scheduled_at"),
};

const DELAYED_AUTOMATION: OutboundKind = {
  name: "delayed-automation",
  table: "automation_rule_pending_executions",
  needs: { automation_rule_pending_executions: ["id", "due_at", "status", "account_id"] },
  where: () => `t.status = 0 and t.due_at < ${NOW} + interval '50 years'`,
  rest: () => ({ due_at: `t.due_at + ${NEVER}` }),
  items: (tables) => byAccount(DELAYED_AUTOMATION, tables, "due_at"),
};

function byAccount(kind: OutboundKind, tables: Tables, column: string): string {
  return `select t.account_id::text, a.name as account, null as inbox, null as title, count(*)::int as count,
    count(*)::int as told, ${at(`min(t.${column})`)} as at, min(t.${column}) <= ${NOW} as due
    from public.${kind.table} t left join public.accounts a on a.id::text = t.account_id::text
    where ${kind.where(tables)} group by t.account_id, a.name order by t.account_id`;
}

const KINDS: readonly OutboundKind[] = [
  CAMPAIGN,
  SCHEDULED_MESSAGE,
  DELAYED_AUTOMATION,
  AUTO_RESOLVE,
  SNOOZED,
  ACCOUNT_DELETION,
];
