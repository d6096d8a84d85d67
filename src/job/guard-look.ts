/** What an installation is at a moment, as far as an upgrade could harm it: the same look before and after. Changes nothing. */
import { createHash } from "node:crypto";
import { formatInstant } from "../base/clock.ts";
import { isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import { MIGRATIONS_QUERY } from "../chatwoot/database.ts";
import { type ComposeProject, readComposeProject } from "../installation/images.ts";
import type { Installation } from "../installation/installation.ts";
import { checkHealth, type Health } from "../installation/processes.ts";
import { type Connection, connect } from "../postgres/connect.ts";
import { quoteIdentifier } from "../postgres/names.ts";
import { chatwootUsers, readDisks } from "./disks.ts";
import { type ExaminedInstallation, examineStorage, type StorageExamination } from "./doctor-storage.ts";
import { findKeySources, readKeySamples, tryKeys } from "./prove-keys.ts";

/** Rows of these are counted: what a desk is worth. */
export const GUARDED_TABLES = [
  "accounts",
  "users",
  "inboxes",
  "contacts",
  "conversations",
  "messages",
  "attachments",
  "active_storage_blobs",
] as const;
export type GuardedTable = (typeof GUARDED_TABLES)[number];

/** Kept on disk between before and after: plain JSON without a secret. */
export interface Looked {
  /** RFC 3339. */
  at: string;
  kind: Installation["kind"];
  version: string | null;
  commit: string | null;
  image: { name: string; id: string; digest: string | null } | null;
  /** What all containers of the Compose project run. */
  project: ComposeProject | null;
  /** Null where nothing says how to ask. */
  health: { isWell: boolean; detail: string; version: string | null } | null;
  /** The newest migration that the code has; null where it cannot be read. */
  codeSchema: string | null;
  migrations: string[];
  /** Null for a table that is not there. */
  rows: Record<GuardedTable, number | null>;
  /** Whether the database's server could make pgvector's extension; absent in what an earlier release kept. */
  offersVector?: boolean;
  databaseBytes: number;
  disks: { what: string; freeBytes: number }[];
  /** A salted hash for each variable of the environment. */
  environment: Record<string, string>;
  /** Alarms and warnings: of discovery, keys and files. */
  worries: { kind: string; message: string; hint: string; level: "alarm" | "warning" }[];
}

export interface LookOptions extends Omit<StorageExamination, "knownLost"> {
  found: ExaminedInstallation & { findings: readonly Finding[] };
  /** The same before and after. */
  salt: string;
}

/** @throws Failure when the database cannot be read. */
export async function lookAround(options: LookOptions): Promise<Looked> {
  const { found, progress, signal, salt, clock } = options;
  const { installation } = found;
  const { kind, version, commit, image, codeSchema, environment, processes } = installation;
  progress.stage("looking at the installation");
  const health = processes.health === undefined ? undefined : await checkHealth(processes.health, { signal });
  const project = await readComposeProject(installation, { signal });
  progress.stage("counting rows");
  await using connection = await connect(found.address(), { signal });
  const rows = await countRows(connection);
  const migrations = await readMigrations(connection);
  const [size] = await connection.query<{ bytes: string }>(
    "select pg_catalog.pg_database_size(pg_catalog.current_database())::text as bytes",
  );
  const vector = await connection.query("select from pg_catalog.pg_available_extensions where name = 'vector'");
  progress.stage("trying keys and files");
  const keys = await tryKeys(environment, await readKeySamples(connection, await findKeySources(connection)));
  const storage = await examineStorage(found, { ...options, knownLost: new Map() });
  const disks = await readDisks(await chatwootUsers(installation, () => found.address(), { signal }));
  return {
    at: formatInstant(clock.now()),
    kind,
    version: version ?? null,
    commit: commit ?? null,
    image: image === undefined ? null : { name: image.name, id: image.id, digest: image.digest ?? null },
    project: project ?? null,
    health: health === undefined ? null : plainHealth(health),
    codeSchema: codeSchema ?? null,
    migrations,
    rows,
    offersVector: vector.length > 0,
    databaseBytes: Number(size?.bytes ?? 0),
    disks: disks.map(({ freeBytes, users }) => ({ what: users.map(({ what }) => what).join(", "), freeBytes })),
    environment: Object.fromEntries([...environment].map(([name, value]) => [name, hashOf(salt, name, value)])),
    worries: [...found.findings, ...keys.findings, ...storage.findings].flatMap(asWorry),
  };
}

function plainHealth({ isWell, detail, version }: Health): NonNullable<Looked["health"]> {
  return { isWell, detail, version: version ?? null };
}

/** Passwords are short: with a salt of its own, a hash says nothing beside the file that holds it. */
function hashOf(salt: string, name: string, value: string): string {
  return createHash("sha256").update(`${salt}\0${name}\0${value}`).digest("hex").slice(0, 32);
}

function asWorry({ kind, level, message, discreet, hint }: Finding): Looked["worries"] {
  return level === "note" ? [] : [{ kind, level, message: discreet ?? message, hint }];
}

async function countRows(connection: Connection): Promise<Looked["rows"]> {
  const there = await connection.query<{ name: string }>(
    `select relname as name from pg_catalog.pg_class
     where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and relname = any($1)`,
    [GUARDED_TABLES],
  );
  const names = new Set(there.map(({ name }) => name));
  const counts: [GuardedTable, number | null][] = [];
  for (const table of GUARDED_TABLES) {
    if (!names.has(table)) {
      counts.push([table, null]);
      continue;
    }
    const [row] = await connection.query<{ rows: string }>(
      `select count(*)::text as rows from public.${quoteIdentifier(table)}`,
    );
    counts.push([table, Number(row?.rows ?? 0)]);
  }
  return Object.fromEntries(counts) as Looked["rows"];
}

async function readMigrations(connection: Connection): Promise<string[]> {
  const [there] = await connection.query(
    "select from pg_catalog.pg_class where oid = to_regclass('public.schema_migrations')",
  );
  if (there === undefined) return [];
  const rows = await connection.query<{ version: string }>(MIGRATIONS_QUERY);
  return rows.map(({ version }) => version).toSorted();
}

export interface Settling {
  /** Finds the installation anew: an upgrade makes other containers. */
  open: () => Promise<{ installation: Installation }>;
  /** How long it may take, milliseconds. */
  waitMs: number;
  /** The version of the code is found, and not named in the configuration. */
  isVersionFound: boolean;
}

/**
 * Waits until the web process is well twice in a row, and runs the code that is there. Says at the end why it was not.
 * @returns undefined where nothing says how to ask.
 */
export async function settle(
  { open, waitMs, isVersionFound }: Settling,
  { clock, progress, signal }: Pick<LookOptions, "clock" | "progress" | "signal">,
): Promise<Health | undefined> {
  progress.stage("waiting until the web process is well");
  const endMs = clock.monotonic() + waitMs;
  for (let well = 0; ;) {
    const health = await healthOf(open, isVersionFound, signal);
    if (health === undefined) return undefined;
    well = health.isWell ? well + 1 : 0;
    if (well >= LIMITS.guardWellLooks || (well === 0 && clock.monotonic() >= endMs)) return health;
    await clock.sleep(LIMITS.guardLookMs, signal);
  }
}

async function healthOf(
  open: Settling["open"],
  isVersionFound: boolean,
  signal: AbortSignal,
): Promise<Health | undefined> {
  let installation: Installation;
  try {
    ({ installation } = await open());
  } catch (error) {
    signal.throwIfAborted();
    if (!isFailure(error) || error.code === "internal/bug") throw error;
    return { isWell: false, detail: error.message };
  }
  const { processes, version } = installation;
  if (processes.health === undefined) return undefined;
  const health = await checkHealth(processes.health, { signal });
  // Passenger, Puma and systemd let the old process answer until the new one is there, or for ever.
  if (!health.isWell || !isVersionFound || version === undefined || health.version === undefined) return health;
  if (health.version === version) return health;
  return {
    ...health,
    isWell: false,
    detail: `the code is Chatwoot ${version}, and the web process still answers as ${health.version}: was it started again?`,
  };
}
