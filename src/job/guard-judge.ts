/** Whether an installation is well after an upgrade, from two looks at it. Pure. */
import { formatCount, listSome, plural } from "../base/bytes.ts";
import type { Finding } from "../base/findings.ts";
import { compareSchema, type Migration, type Release } from "../chatwoot/versions.ts";
import type { Health } from "../installation/processes.ts";
import type { FallLimit, FallLimits } from "../policy/shrinkage.ts";
import type { AttachedResult } from "../system/attached.ts";
import { gateReasons } from "./guard-gates.ts";
import { GUARDED_TABLES, type GuardedTable, type Looked } from "./guard-look.ts";

export interface Judged {
  /** What went wrong: alarms. Empty: it is well. */
  reasons: Finding[];
  /** What is worth knowing all the same. */
  findings: Finding[];
  /** For people: what is other than before, a line each. */
  changes: string[];
}

export interface Judging {
  before: Looked;
  /** Undefined where the installation or its database could not be looked at: then `unseen` says why. */
  after: Looked | undefined;
  unseen: { message: string; hint: string } | undefined;
  command: AttachedResult;
  /** What the web process said at the end of the wait; undefined where nothing says how to ask. */
  health: Health | undefined;
  limits: FallLimits;
  known: { releases: readonly Release[]; migrations: readonly Migration[] };
}

export function judge(judging: Judging): Judged {
  const { before, after, unseen, command, health } = judging;
  const reasons: Finding[] = [];
  if (command.status !== 0) reasons.push(commandFailed(command));
  if (health !== undefined && !health.isWell) reasons.push(notWell(health.detail));
  if (unseen !== undefined) reasons.push({ kind: "guard-unseen", level: "alarm", ...unseen });
  if (after === undefined) return { reasons, findings: [], changes: [] };
  reasons.push(...rowReasons(before, after, judging.limits), ...schemaReasons(before, after, judging.known));
  reasons.push(...gateReasons(before, after, judging.known));
  const fresh = after.worries.filter(
    (one) => !before.worries.some(({ kind, message }) => kind === one.kind && message === one.message),
  );
  reasons.push(...fresh.filter((one) => isHarm(one, before)));
  return {
    reasons,
    findings: [
      ...fresh.filter((one) => !isHarm(one, before)),
      ...(health === undefined ? [NOT_ASKED] : []),
      ...schemaNotes(before, after),
    ],
    changes: describeChanges(before, after),
  };
}

const NOT_ASKED: Finding = {
  kind: "guard-not-asked",
  level: "warning",
  message: "whether Chatwoot answers was not looked at: nothing says how to ask its web process",
  hint: "Open it in a browser. Set 'health' under 'installation' in the configuration, and the next guard looks by itself.",
};

function commandFailed({ status, signal }: AttachedResult): Finding {
  return {
    kind: "guard-command-failed",
    level: "alarm",
    message: signal === null ? `the command ended with status ${status}` : `the command was ended by ${signal}`,
    hint: "What it printed is above.",
  };
}

function notWell(detail: string): Finding {
  return {
    kind: "guard-not-well",
    level: "alarm",
    message: `Chatwoot is not well: ${detail}`,
    hint: "Look at what its web process logs. If it only needs longer, 'chatkeep guard --check' looks again.",
  };
}

/** What the same look said before is not the upgrade's doing: of files that are lost, a sample names others each time. */
function isHarm({ kind }: { kind: string }, before: Looked): boolean {
  return HARM.has(kind) && !before.worries.some((one) => one.kind === kind);
}

const HARM: ReadonlySet<string> = new Set([
  "container-stopped",
  "encryption-keys-missing",
  "encryption-keys-unknown",
  "encryption-keys-unset",
  "encryption-keys-wrong",
  "secret-key-base-wrong",
  "secret-key-base-missing",
  "storage-files-lost",
  "storage-not-read",
  "storage-folder-missing",
  "storage-service-unknown",
]);

/** Nobody deletes these by the way; of the others a live desk deletes some. */
const NO_FALL: FallLimit = { percent: 0, count: 0 };

function limitOf(table: GuardedTable, limits: FallLimits): FallLimit | undefined {
  if (table === "accounts" || table === "users" || table === "inboxes") return NO_FALL;
  if (table === "attachments" || table === "active_storage_blobs") return limits.files;
  return limits[table];
}

function rowReasons(before: Looked, after: Looked, limits: FallLimits): Finding[] {
  const lost = GUARDED_TABLES.flatMap((table) => {
    const [had, has] = [before.rows[table], after.rows[table]];
    if (had === null || had === 0) return [];
    // The table itself is gone: no limit allows that.
    const limit = has === null ? NO_FALL : limitOf(table, limits);
    const fall = had - (has ?? 0);
    if (limit === undefined || fall <= limit.count || fall * 100 <= limit.percent * had) return [];
    return [`${table}: ${formatCount(had)} before, ${has === null ? "no such table" : formatCount(has)} now`];
  });
  if (lost.length === 0) return [];
  return [
    {
      kind: "guard-rows-lost",
      level: "alarm",
      message: `rows were lost: ${lost.join("; ")}`,
      hint: "If somebody deleted them on purpose meanwhile, nothing is wrong; else put everything back.",
    },
  ];
}

function schemaReasons(before: Looked, after: Looked, known: Judging["known"]): Finding[] {
  const has = new Set(after.migrations);
  const vanished = before.migrations.filter((version) => !has.has(version));
  const gap = after.version === null ? undefined : compareSchema(after.migrations, after.version, known);
  const lacking = gap?.lacking ?? newestLacking(after);
  return [...(vanished.length === 0 ? [] : [lost(vanished)]), ...(lacking.length === 0 ? [] : [pending(lacking)])];
}

function lost(vanished: readonly string[]): Finding {
  return {
    kind: "guard-migrations-lost",
    level: "alarm",
    message: `${plural(vanished.length, "migration")} that had run ${vanished.length === 1 ? "is" : "are"} no longer in schema_migrations: ${listSome(vanished)}`,
    hint: "The database is another than before, or was set back: put everything back.",
  };
}

function pending(lacking: readonly string[]): Finding {
  return {
    kind: "guard-migrations-pending",
    level: "alarm",
    message: `the code has migrations that did not run: ${listSome(lacking)}`,
    hint: "Run them (rails db:chatwoot_prepare, with POSTGRES_STATEMENT_TIMEOUT=600s), then 'chatkeep guard --check'.",
  };
}

/** Of a release that is not known here, and of a fork: what its own schema file says. */
function newestLacking({ codeSchema, migrations }: Looked): string[] {
  return codeSchema === null || migrations.includes(codeSchema) ? [] : [codeSchema];
}

function schemaNotes(before: Looked, after: Looked): Finding[] {
  if (after.version === null || after.version === before.version) return [];
  if (after.migrations.length > before.migrations.length || after.codeSchema !== null) return [];
  return [
    {
      kind: "guard-no-migrations",
      level: "note",
      message: `Chatwoot went from ${before.version ?? "?"} to ${after.version}, and no migration ran`,
      hint: "Small releases have none. If pages stay empty or say 'UndefinedColumn', run rails db:chatwoot_prepare.",
    },
  ];
}

function describeChanges(before: Looked, after: Looked): string[] {
  const lines: string[] = [];
  const tell = (what: string, was: string | null, is: string | null) => {
    if (was !== is && (was !== null || is !== null))
      lines.push(`${what}: ${was ?? "not known"} → ${is ?? "not known"}`);
  };
  tell("Chatwoot", before.version, after.version);
  tell("commit", before.commit?.slice(0, 10) ?? null, after.commit?.slice(0, 10) ?? null);
  lines.push(...imageChanges(before, after));
  const ran = after.migrations.filter((version) => !before.migrations.includes(version));
  if (ran.length > 0) lines.push(`migrations: ${ran.length} more, up to ${ran.at(-1) ?? ""}`);
  for (const table of GUARDED_TABLES) {
    const [had, has] = [before.rows[table], after.rows[table]];
    if (had !== has) lines.push(`rows of ${table}: ${shownCount(had)} → ${shownCount(has)}`);
  }
  lines.push(...environmentChanges(before, after));
  return lines;
}

function shownCount(count: number | null): string {
  return count === null ? "no table" : formatCount(count);
}

function imageChanges(before: Looked, after: Looked): string[] {
  const images = before.project?.images ?? [];
  const moved = images.flatMap(({ service, name, id }) => {
    const now = after.project?.images.find((one) => one.service === service);
    if (now === undefined) return [`service ${service}: gone`];
    if (now.id === id) return [];
    const names = now.name === name ? name : `${name} → ${now.name}`;
    return [`image of ${service}: ${names} (${shortImage(id)} → ${shortImage(now.id)})`];
  });
  if (images.length > 0) return moved;
  const [was, is] = [before.image, after.image];
  if (was === null || is === null || was.id === is.id) return [];
  return [`image: ${was.name} → ${is.name} (${shortImage(was.id)} → ${shortImage(is.id)})`];
}

export function shortImage(id: string): string {
  return id.replace(/^sha256:/, "").slice(0, 12);
}

/** Names only: many of the values are secrets. */
function environmentChanges({ environment: was }: Looked, { environment: is }: Looked): string[] {
  const added = Object.keys(is).filter((name) => !(name in was));
  const gone = Object.keys(was).filter((name) => !(name in is));
  const changed = Object.keys(is).filter((name) => name in was && was[name] !== is[name]);
  return [["added", added] as const, ["changed", changed] as const, ["taken away", gone] as const].flatMap(
    ([what, names]) => (names.length === 0 ? [] : [`environment, ${what}: ${listSome(names, 10)}`]),
  );
}
