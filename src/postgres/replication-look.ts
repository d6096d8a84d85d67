/**
 * Whether a server's log can be followed from here, tried for real; and if not, each thing that is in the way with the one
 * line that changes it. Nothing is changed on the server.
 */
import { formatBytes, plural } from "../base/bytes.ts";
import { type Failure, isFailure, messageOf } from "../base/errors.ts";
import { isSocket, type ServerAddress } from "./address.ts";
import { connect, type Connection } from "./connect.ts";
import { describeTooLarge, TOO_LARGE_HINT, tooLargeDatabase } from "./database-size.ts";
import { quoteIdentifier } from "./names.ts";
import { looksLikePooler } from "./pooler.ts";
import { openReplication, type SystemIdentity } from "./replication.ts";
import { wordsOf } from "./replication-failures.ts";
import { readReplicationFacts, type ReplicationFacts, type RoleFacts } from "./replication-facts.ts";

export type ObstacleKind =
  | "pooler"
  | "managed"
  | "wal-level"
  | "walsenders"
  | "slots"
  | "pg-hba"
  | "role"
  | "too-large"
  /** Whatever else the server said. */
  | "refused";

export type RemarkKind =
  | "slot-unbounded"
  | "slots-full"
  | "walsender-single"
  | "standby"
  | "synchronous"
  | "tablespaces"
  | "summaries-off";

export interface Told<Kind> {
  readonly kind: Kind;
  /** Lower case, no full stop. */
  readonly message: string;
  /** What changes it: a statement for a superuser, or a line of a file; undefined where nothing does. */
  readonly line: string | undefined;
  /** Where the line goes, and what makes it count: a sentence. */
  readonly hint: string;
}

export interface ReplicationLook {
  /** `stream`: a session of replication was opened, and what it needs is there. */
  readonly mode: "stream" | "none";
  /** What holds the log for us where it is streamed; see `replication-slots.ts`. */
  readonly slot: "permanent" | "temporary" | "none";
  /** What is in the way; empty where it can be streamed. */
  readonly obstacles: readonly Told<ObstacleKind>[];
  /** What is not in the way, and worth knowing. */
  readonly remarks: readonly Told<RemarkKind>[];
  readonly facts: ReplicationFacts;
  /** Whom a session of replication met; undefined where none could be opened. */
  readonly system: SystemIdentity | undefined;
}

/**
 * Looks at a server, and opens a session of replication to see.
 * @param own name of the installation's permanent slot, where it may be followed already.
 * @throws Failure of the `database/` codes where not even an ordinary session can be had; the signal's reason.
 */
export async function lookAtReplication(
  address: ServerAddress,
  { own, signal }: { own?: string; signal: AbortSignal },
): Promise<ReplicationLook> {
  await using connection = await connect(address, { signal });
  const facts = await readReplicationFacts(connection, own);
  const isPooled = looksLikePooler(address) || (await isThroughPooler(connection));
  const tried = await tryToReplicate(address, { signal });
  const refused = isFailure(tried) ? obstaclesOf(tried, { address, facts, isPooled }) : [];
  const obstacles = [...refused, ...missing(facts, refused), ...(await tooLarge(connection))];
  const mode = obstacles.length === 0 ? "stream" : "none";
  return {
    mode,
    slot: mode === "none" || facts.slots.used >= facts.slots.most ? "none" : slotFor(facts),
    obstacles,
    remarks: remarksOn(facts),
    facts,
    system: isFailure(tried) ? undefined : tried,
  };
}

/** A permanent slot is only made where the server bounds what it keeps. */
export function slotFor({ slotKeepBytes }: Pick<ReplicationFacts, "slotKeepBytes">): "permanent" | "temporary" {
  return slotKeepBytes === undefined ? "temporary" : "permanent";
}

/** What speaks the protocol by itself hands out a number of its own for a session, where the server names the process. */
async function isThroughPooler(connection: Connection): Promise<boolean> {
  const [row] = await connection.query<{ pid: number }>("select pg_catalog.pg_backend_pid() as pid");
  return connection.announcedProcess !== row?.pid;
}

async function tryToReplicate(
  address: ServerAddress,
  { signal }: { signal: AbortSignal },
): Promise<SystemIdentity | Failure> {
  try {
    await using session = await openReplication(address, { signal });
    return await session.identifySystem();
  } catch (error) {
    if (signal.aborted || !isFailure(error)) throw error;
    return error;
  }
}

interface Tried {
  readonly address: ServerAddress;
  readonly facts: ReplicationFacts;
  readonly isPooled: boolean;
}

const NO_ENTRY =
  /(?:no pg_hba\.conf entry for replication connection from|pg_hba\.conf rejects replication connection for) host "([^"]*)", user "[^"]*"(.*)$/s;

/** True where a server went by no line that would let a session of replication in, whatever that would ask for. */
export function isWithoutEntry(failure: Failure): boolean {
  return entryLacking(failure) !== null;
}

function entryLacking(failure: Failure): RegExpExecArray | null {
  return NO_ENTRY.exec(saidBy(failure)) ?? NO_ENTRY.exec(wordsOf(failure.cause));
}

/** The server's own words, where they are known. */
export function saidBy(failure: Failure): string {
  return messageOf(failure.cause ?? failure);
}

function obstaclesOf(failure: Failure, { address, facts, isPooled }: Tried): Told<ObstacleKind>[] {
  if (isPooled) return [poolerInBetween()];
  if (facts.service !== undefined) return [managedBy(facts.service)];
  const [, host, rest = ""] = entryLacking(failure) ?? [];
  if (host !== undefined) return [noEntry(host, /SSL (encryption|on)/.test(rest), address, facts)];
  if (/may not replicate/.test(failure.message)) return [noRight(facts)];
  if (/no walsender left/.test(failure.message)) {
    // The last one is the one that it is followed by.
    if (facts.isFollowed && facts.senders.used < facts.senders.most) return [];
    return [facts.walLevel === "minimal" ? tooLittle() : noSender(facts)];
  }
  if (failure.code === "database/unsuitable") return [poolerInBetween()];
  return [{ kind: "refused", message: failure.message, line: undefined, hint: failure.hint ?? "" }];
}

/** What the server's settings lack whatever it said: one thing may hide another. */
function missing(facts: ReplicationFacts, refused: readonly Told<ObstacleKind>[]): Told<ObstacleKind>[] {
  const isTold = (kind: ObstacleKind) => refused.some((one) => one.kind === kind);
  if (isTold("pooler") || isTold("managed")) return [];
  const found: Told<ObstacleKind>[] = [];
  if (!facts.role.mayReplicate && !isTold("role")) found.push(noRight(facts));
  const isMinimal = facts.walLevel === "minimal";
  if (isMinimal && !isTold("wal-level")) found.push(tooLittle());
  const { most, used } = facts.senders;
  if (used >= most && !isMinimal && !isTold("walsenders")) found.push(noSender(facts));
  if (facts.slots.most === 0) found.push(noSlots());
  return found;
}

/** Such a server has no walsender, and with one it does not start: the two lines belong together. */
function tooLittle(): Told<ObstacleKind> {
  return {
    kind: "wal-level",
    message: "the server writes too little into its log, and sends it to nobody (wal_level is minimal)",
    line: `ALTER SYSTEM SET wal_level = 'replica'; ALTER SYSTEM SET max_wal_senders = ${SENDERS};`,
    hint: "A superuser runs both, then the server is restarted. With the second alone it would not start.",
  };
}

function noSlots(): Told<ObstacleKind> {
  return {
    kind: "slots",
    message: "the server has no replication slots (max_replication_slots is 0)",
    line: `ALTER SYSTEM SET max_replication_slots = ${SLOTS};`,
    hint: "A superuser runs it, then the server is restarted: a slot makes the server keep what is not yet here.",
  };
}

/** PostgreSQL's own numbers. */
const SENDERS = 10;
const SLOTS = 10;

/** It can be followed, and is of no use without a base. */
async function tooLarge(connection: Connection): Promise<Told<ObstacleKind>[]> {
  const found = await tooLargeDatabase(connection);
  if (found === undefined) return [];
  return [{ kind: "too-large", message: describeTooLarge(found), line: undefined, hint: TOO_LARGE_HINT }];
}

function poolerInBetween(): Told<ObstacleKind> {
  return {
    kind: "pooler",
    message: "a pooler stands between here and the server, and passes no replication on",
    line: undefined,
    hint: "Give the server's own address for following its log: for PgBouncer, the host and port in its [databases].",
  };
}

function managedBy(service: string): Told<ObstacleKind> {
  return {
    kind: "managed",
    message: `the server is managed by ${service}, which lets no customer read its log`,
    line: undefined,
    hint: "Use the service's own recovery to a moment for the last minutes, and frequent restore points here.",
  };
}

function noRight({ role }: ReplicationFacts): Told<ObstacleKind> {
  return {
    kind: "role",
    message: `the role '${role.name}' may not replicate`,
    line: `ALTER ROLE ${quoteIdentifier(role.name)} REPLICATION;`,
    hint: "A superuser runs it; it counts at once. A role may then read everything that the server has, so it may be a role made for this.",
  };
}

function noSender({ senders }: ReplicationFacts): Told<ObstacleKind> {
  const { most, used } = senders;
  return {
    kind: "walsenders",
    message:
      most === 0
        ? "the server sends its log to nobody (max_wal_senders is 0)"
        : `${used} of ${most} walsenders are in use`,
    line: `ALTER SYSTEM SET max_wal_senders = ${Math.max(SENDERS, most + 4)};`,
    hint: "A superuser runs it, then the server is restarted: following the log takes one, a base another. A standby needs at least its primary's number.",
  };
}

/** The line for just this role from just here, checked as its password is kept, or new ones are where that is not known. */
function noEntry(
  host: string,
  isEncrypted: boolean,
  address: ServerAddress,
  { passwordEncryption, hbaFile, role }: ReplicationFacts,
): Told<ObstacleKind> {
  const user =
    /^[a-z_][a-z0-9_]*$/.test(role.name) && !["all", "replication"].includes(role.name)
      ? role.name
      : quoteIdentifier(role.name);
  const from = host.includes(":") ? `${host}/128` : `${host}/32`;
  const isLocal = isSocket(address) || host === "[local]";
  const where = isLocal
    ? `local replication ${user}`
    : `${isEncrypted ? "hostssl" : "host"} replication ${user} ${from}`;
  return {
    kind: "pg-hba",
    message: `the server does not let '${role.name}' replicate from ${isLocal ? "its own machine by the socket" : host}`,
    line: `${where} ${methodFor(role, passwordEncryption)}`,
    hint: [
      `It goes into ${hbaFile === undefined ? "pg_hba.conf (SHOW hba_file says a superuser where)" : `'${hbaFile}' on the server's machine`}, above any line that rejects; 'all' does not mean replication.`,
      "It counts after: select pg_reload_conf();",
      ...(isLocal ? [] : [`Where addresses change, as of containers, 'samenet' may stand in place of ${from}.`]),
      ...(role.password === "none" ? [withoutPassword(role.name)] : []),
    ].join(" "),
  };
}

/** By `scram-sha-256` nobody comes in whose password is kept as MD5; `md5` takes both. */
function methodFor({ password }: RoleFacts, passwordEncryption: string): string {
  return password === "md5" || password === "scram-sha-256" ? password : passwordEncryption;
}

function withoutPassword(role: string): string {
  return `'${role}' has no password, and without one it cannot come in by that line: give it one first (ALTER ROLE ${quoteIdentifier(role)} PASSWORD '…';), the same as in Chatwoot's environment or in the database's URL.`;
}

/** The major from which on a server can say what changed since a base. */
const SUMMARIES_FROM = 17;

function remarksOn(facts: ReplicationFacts): Told<RemarkKind>[] {
  const { slots, senders, slotKeepBytes, keepBytes, isStandby, synchronousStandbys, tablespaces } = facts;
  const found: Told<RemarkKind>[] = [];
  if (slotKeepBytes === undefined) {
    found.push({
      kind: "slot-unbounded",
      message: `the server bounds nothing that it keeps for slots, so ours is temporary: while nobody reads, only ${formatBytes(keepBytes)} of its log are kept for sure`,
      line: "ALTER SYSTEM SET max_slot_wal_keep_size = '10GB';",
      hint: "A superuser runs it, then: select pg_reload_conf(); With a bound the slot stays, and nothing is lost while Chatkeep is stopped.",
    });
  }
  if (slots.used >= slots.most && slots.most > 0) {
    found.push({
      kind: "slots-full",
      message: `${slots.used} of ${slots.most} replication slots are in use, so that none is left for us`,
      line: `ALTER SYSTEM SET max_replication_slots = ${Math.max(SLOTS, slots.most + 4)};`,
      hint: "A superuser runs it, then the server is restarted; or drop one that nobody needs: select * from pg_replication_slots. The log is followed as soon as one is free.",
    });
  }
  if (senders.most - senders.used === 1) {
    found.push({
      kind: "walsender-single",
      message: "one walsender is left: a base cannot be taken while the log is followed",
      line: `ALTER SYSTEM SET max_wal_senders = ${senders.most + 4};`,
      hint: "A superuser runs it, then the server is restarted.",
    });
  }
  if (isStandby) {
    found.push({
      kind: "standby",
      message: "the server is a standby: what its primary has not yet sent to it is not saved",
      line: undefined,
      hint: "That is right where the primary must not be touched. When it is promoted its timeline ends, and the next is followed.",
    });
  }
  if (/(^|[^a-z0-9_])(\*|chatkeep)([^a-z0-9_]|$)/i.test(synchronousStandbys)) {
    found.push({
      kind: "synchronous",
      message: `commits may wait for us: synchronous_standby_names is '${synchronousStandbys}'`,
      line: undefined,
      hint: "Name the standbys there that commits are to wait for; '*' means whoever connects.",
    });
  }
  if (facts.major >= SUMMARIES_FROM && !facts.summarizesWal && facts.walLevel !== "minimal") {
    found.push({
      kind: "summaries-off",
      message: "the server does not note which pages change, so it has to send all of each base",
      line: "ALTER SYSTEM SET summarize_wal = on;",
      hint: "A superuser runs it, then: select pg_reload_conf(); From then on it sends what changed since the base before, and needs a little disk for its notes (pg_wal/summaries), which it keeps for ten days (wal_summary_keep_time).",
    });
  }
  if (tablespaces.length > 0) {
    found.push({
      kind: "tablespaces",
      message: `${plural(tablespaces.length, "tablespace lies", "tablespaces lie")} outside of the data folder, and ${tablespaces.length === 1 ? "is" : "are"} saved with it`,
      line: undefined,
      hint: "A recovery puts them into its own folder.",
    });
  }
  return found;
}
