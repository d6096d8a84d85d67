/**
 * What changed, as the people who use Chatwoot would say it: conversations, messages, contacts, inboxes and agents of each
 * account, each with a few that somebody may recognize. Only the columns named here are ever looked at: no text of a
 * message, no token, no password.
 */
import { messageOf } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { rangeFile, tableFolder } from "../point/layout.ts";
import { copyRows, type CopyRow } from "./copy-text.ts";
import { changedColumns, type RowChange } from "./diff-rows.ts";
import {
  type ChangeKind,
  type DiffAccount,
  type DiffExample,
  type DiffObjects,
  OBJECT_KINDS,
  type ObjectKind,
} from "./diff-summary.ts";
import { type Damaged, entryOf, isUnreadable, type Side } from "./diff-tables.ts";

/** Columns in which Chatwoot notes that somebody looked, came or went: a row in which only they differ is no change. */
const QUIET: Readonly<Record<string, readonly string[]>> = {
  conversations: ["updated_at", "contact_last_seen_at", "agent_last_seen_at", "assignee_last_seen_at"],
  messages: ["updated_at"],
  contacts: ["updated_at", "last_activity_at"],
  inboxes: ["updated_at"],
  account_users: ["updated_at", "active_at", "availability"],
  users: [
    "updated_at",
    "availability",
    "tokens",
    "remember_created_at",
    "consumed_timestep",
    "sign_in_count",
    "current_sign_in_at",
    "last_sign_in_at",
    "current_sign_in_ip",
    "last_sign_in_ip",
  ],
};

interface Reference {
  table: "conversations" | "users";
  id: string;
  /** In the older point: what was removed may be named by what was removed with it. */
  isBefore: boolean;
}

/** An example, and the row of another table that it is named by. */
interface Found {
  example: DiffExample;
  ref?: Reference;
}

type Tally = Record<ObjectKind, Record<ChangeKind, { count: number; found: Found[] }>>;

function none(): Tally[ObjectKind][ChangeKind] {
  return { count: 0, found: [] };
}

function noChange(): Tally[ObjectKind] {
  return { added: none(), changed: none(), removed: none() };
}

function emptyTally(): Tally {
  return {
    conversations: noChange(),
    messages: noChange(),
    contacts: noChange(),
    inboxes: noChange(),
    agents: noChange(),
  };
}

/** `2026-11-23 14:02:11.5`, as a column without a zone has it, which Chatwoot keeps in UTC. */
function instantOf(text: string | null): string | null {
  return text !== null && /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?$/.test(text) ? `${text.replace(" ", "T")}Z` : null;
}

function personOf(row: CopyRow): string {
  const [name, email] = [row.value("name"), row.value("email")].map((text) => text?.trim() || undefined);
  if (name !== undefined) return email === undefined || email === name ? name : `${name} <${email}>`;
  return email ?? (row.value("phone_number")?.trim() || "without a name");
}

/** By Chatwoot's own numbers. */
const MESSAGE_TYPES = ["incoming", "outgoing", "activity", "template"];

type Example = Omit<DiffExample, "id"> & { ref?: Omit<Reference, "isBefore"> };

/** What it is known by. */
const EXAMPLES: Readonly<Record<string, (row: CopyRow) => Example>> = {
  conversations: (row) => ({
    what: `#${row.value("display_id") ?? "?"}`,
    at: instantOf(row.value("last_activity_at")),
  }),
  messages: (row) => ({
    what: MESSAGE_TYPES[Number(row.value("message_type") ?? Number.NaN)] ?? "message",
    at: instantOf(row.value("created_at")),
    ref: { table: "conversations", id: row.value("conversation_id") ?? "" },
  }),
  contacts: (row) => ({ what: personOf(row), at: null }),
  inboxes: (row) => ({ what: row.value("name")?.trim() || "without a name", at: null }),
  account_users: (row) => ({
    what: `user ${row.value("user_id") ?? "?"}`,
    at: null,
    ref: { table: "users", id: row.value("user_id") ?? "" },
  }),
};

function isQuiet(table: string, change: RowChange): boolean {
  if (change.kind !== "changed") return false;
  return changedColumns(change.before, change.after).every((column) => QUIET[table]?.includes(column) === true);
}

function agentKey(row: CopyRow): string {
  return `${row.value("account_id") ?? "-"} ${row.value("user_id") ?? ""}`;
}

function oneOf({ count, found }: Tally[ObjectKind][ChangeKind]): DiffObjects {
  return { count, examples: found.map(({ example }) => example) };
}

function changesOf({ added, changed, removed }: Tally[ObjectKind]): Record<ChangeKind, DiffObjects> {
  return { added: oneOf(added), changed: oneOf(changed), removed: oneOf(removed) };
}

function objectsOf(tally: Tally): DiffAccount["objects"] {
  const { conversations, messages, contacts, inboxes, agents } = tally;
  return {
    conversations: changesOf(conversations),
    messages: changesOf(messages),
    contacts: changesOf(contacts),
    inboxes: changesOf(inboxes),
    agents: changesOf(agents),
  };
}

/** The file that a row with this id lies in. */
function bucketFile(id: string, k: number): string {
  return /^-?\d{1,19}$/.test(id) ? rangeFile((BigInt(id) >> BigInt(k)).toString()) : "";
}

export class ObjectTally {
  readonly #before: Side;
  readonly #after: Side;
  readonly #damaged: Damaged;
  readonly #accounts = new Map<string, Tally>();
  /** Agents who are counted already: once each, for whatever of theirs changed. */
  readonly #agents = new Set<string>();
  /** Users who changed, by id: what they are known by. */
  readonly #users = new Map<string, string>();

  constructor(before: Side, after: Side, damaged: Damaged) {
    this.#before = before;
    this.#after = after;
    this.#damaged = damaged;
  }

  /** What takes a table's rows; undefined for tables that hold nothing that people speak of. */
  watcher({ schema, name }: { schema: string; name: string }): ((change: RowChange) => void) | undefined {
    if (schema !== "public") return undefined;
    if (name === "users") return (change) => this.#takeUser(change);
    if (name === "account_users") return (change) => this.#take("agents", name, change);
    const kind = OBJECT_KINDS.find((known) => known === name);
    return kind && ((change) => this.#take(kind, name, change));
  }

  #take(kind: ObjectKind, table: string, change: RowChange): void {
    if (isQuiet(table, change)) return;
    const isBefore = change.kind === "removed";
    const row = isBefore ? change.before : change.after;
    const account = row.value("account_id") ?? "-";
    if (kind === "agents") this.#agents.add(agentKey(row));
    this.#note(account, kind, change.kind, () => {
      const { ref, ...named } = EXAMPLES[table]?.(row) ?? { what: "", at: null };
      const example = { id: row.value("id") ?? "", ...named };
      return ref === undefined ? { example } : { example, ref: { ...ref, isBefore } };
    });
  }

  #note(account: string, kind: ObjectKind, change: ChangeKind, make: () => Found): void {
    const tally = this.#accounts.get(account) ?? emptyTally();
    this.#accounts.set(account, tally);
    const noted = tally[kind][change];
    noted.count += 1;
    if (noted.found.length < LIMITS.diffExamples) noted.found.push(make());
  }

  /** Which accounts somebody is an agent of is known when all tables were read. */
  #takeUser(change: RowChange): void {
    if (change.kind !== "changed" || isQuiet("users", change)) return;
    this.#users.set(change.after.value("id") ?? "", personOf(change.after));
  }

  /** All accounts in which something changed, by their ids. */
  async finish(): Promise<DiffAccount[]> {
    await this.#addUsers();
    await this.#nameAll();
    const names = await this.#accountNames();
    return [...this.#accounts]
      .toSorted(([a], [b]) => Number(a) - Number(b))
      .map(([account, tally]) => ({ account, name: names.get(account) ?? null, objects: objectsOf(tally) }));
  }

  async #addUsers(): Promise<void> {
    if (this.#users.size === 0) return;
    await this.#read(this.#after, "account_users", undefined, (row) => {
      const what = this.#users.get(row.value("user_id") ?? "");
      if (what === undefined || this.#agents.has(agentKey(row))) return;
      const example = { id: row.value("id") ?? "", what, at: null };
      this.#note(row.value("account_id") ?? "-", "agents", "changed", () => ({ example }));
    });
  }

  /** Gives examples the names that stand in other tables. */
  async #nameAll(): Promise<void> {
    const all = [...this.#accounts.values()].flatMap((tally) =>
      Object.values(tally).flatMap((changes) => Object.values(changes).flatMap(({ found }) => found)),
    );
    for (const isBefore of [true, false]) {
      for (const table of ["conversations", "users"] as const) {
        const mine = all.filter(({ ref }) => ref?.table === table && ref.isBefore === isBefore);
        const wanted = Map.groupBy(mine, ({ ref }) => ref?.id ?? "");
        await this.#read(isBefore ? this.#before : this.#after, table, new Set(wanted.keys()), (row) => {
          for (const { example } of wanted.get(row.value("id") ?? "") ?? []) {
            if (table === "users") example.what = personOf(row);
            else example.what = `${example.what} in #${row.value("display_id") ?? "?"}`;
          }
        });
      }
    }
  }

  async #accountNames(): Promise<Map<string, string>> {
    const names = new Map<string, string>();
    for (const side of [this.#before, this.#after]) {
      await this.#read(side, "accounts", new Set(this.#accounts.keys()), (row) => {
        const name = row.value("name");
        if (name !== null) names.set(row.value("id") ?? "", name);
      });
    }
    return names;
  }

  /** Rows of a table, of the ranges that hold these ids; without ids all of them. What cannot be read is told. */
  async #read(
    side: Side,
    name: string,
    ids: ReadonlySet<string> | undefined,
    take: (row: CopyRow) => void,
  ): Promise<void> {
    const table = entryOf(side, { schema: "public", name });
    if (table === undefined || table.rows === 0 || ids?.size === 0) return;
    const buckets = ids && table.k !== null ? new Set([...ids].map((id) => bucketFile(id, table.k ?? 0))) : undefined;
    try {
      for (const node of (await side.reader.folder(`database/data/${tableFolder("public", name)}`)) ?? []) {
        if (buckets?.has(node.name) === false) continue;
        for await (const row of copyRows(table.columns, side.reader.readNode(node))) {
          if (ids === undefined || ids.has(row.value("id") ?? "")) take(row);
        }
      }
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      const what = `names in table public.${name}`;
      const isKnown = this.#damaged.some((known) => known.what === what);
      if (!isKnown) this.#damaged.push({ what, message: messageOf(error) });
    }
  }
}
