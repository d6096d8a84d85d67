/**
 * Scratch databases on a server that is there already: one that is named for drills, or the installation's own. A database
 * is made, and dropped at the end; no other one is touched. What killed drills left is known by its comment, or by its
 * name, and dropped by the next.
 */
import { randomBytes } from "node:crypto";
import { listSome } from "../base/bytes.ts";
import { formatInstant, systemClock } from "../base/clock.ts";
import { Failure, isFailure, messageOf } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { isMarkOver, ownMark } from "../system/leftovers.ts";
import type { ServerAddress } from "./address.ts";
import { connect, type Connection } from "./connect.ts";
import { quoteIdentifier, quoteLiteral } from "./names.ts";
import { refuseSharedSessions } from "./pooler.ts";
import {
  extensionPackages,
  type Lack,
  lackingExtensions,
  lackOf,
  type Offer,
  type ScratchKind,
  type ScratchNeeds,
  type ScratchServer,
} from "./scratch-source.ts";
import { dropDatabase } from "./swap.ts";
import { connectBeside, createDatabase } from "./target.ts";
import { tryToCreate } from "./target-extensions.ts";

/** Looks at a server that is there, for a database of our own. Changes nothing. */
export async function lookAtServer(
  kind: Extract<ScratchKind, "database-url" | "in-place">,
  address: ServerAddress,
  needs: ScratchNeeds,
): Promise<Offer | Lack> {
  const own = kind === "in-place" ? "Chatwoot's own server" : `the server of drill.database-url`;
  let facts: ServerRow;
  const forbidden: string[] = [];
  try {
    await using connection = await connectBeside(address, needs);
    await refuseSharedSessions(connection, needs);
    facts = await readServer(connection);
    for (const { name, allowed } of facts.extensions) {
      if (allowed || !needs.extensions.includes(name)) continue;
      // Providers let their customers create more than the catalogue tells.
      if ((await tryToCreate(connection, name)) !== undefined) forbidden.push(name);
    }
  } catch (error) {
    if (!isFailure(error) || needs.signal.aborted) throw error;
    return lackOf(kind, `${own} cannot be used: ${error.message}`, error.hint ?? "See why.");
  }
  const major = Math.floor(facts.number / 10_000);
  const version = facts.version.split(" ")[0] ?? facts.version;
  if (major < needs.major) {
    return lackOf(kind, `${own} has PostgreSQL ${version}`, `Name one of PostgreSQL ${needs.major} or newer.`);
  }
  if (!facts.create) {
    return lackOf(
      kind,
      `'${address.user}' may not create databases on ${own}`,
      `Let an administrator run: ALTER ROLE ${quoteIdentifier(address.user)} CREATEDB.`,
    );
  }
  const lacking = lackingExtensions(needs.extensions, new Set(facts.extensions.map(({ name }) => name)));
  if (lacking.length > 0) {
    return lackOf(kind, `${own} lacks the extension ${lacking.join(", ")}`, extensionPackages(major, lacking));
  }
  if (forbidden.length > 0) {
    const names = forbidden.join(", ");
    return lackOf(kind, `'${address.user}' may not create the extension ${names} on ${own}`, "Name a role that may.");
  }
  const roles = needs.roles?.filter((name) => !facts.roles.includes(name)) ?? [];
  if (roles.length > 0) {
    const sql = roles.map((name) => `CREATE ROLE ${quoteIdentifier(name)};`).join(" ");
    return lackOf(
      kind,
      `${own} lacks the role ${listSome(roles)}, which policies or user mappings of the restore point name`,
      `Let an administrator run: ${sql}`,
    );
  }
  const where = `a database of its own on PostgreSQL ${version} at ${address.host}:${address.port}${kind === "in-place" ? ", Chatwoot's own server, which bore the load" : ""}`;
  return {
    kind,
    where,
    open: async () => await openDatabase(address, { kind, major, version, where }, needs),
  };
}

interface ServerRow {
  [key: string]: unknown;
  version: string;
  number: number;
  create: boolean;
  extensions: { name: string; allowed: boolean }[];
  roles: string[];
}

/** What is there in every database, such as plpgsql, need not be created. */
const SERVER = `
select pg_catalog.current_setting('server_version') as version,
  pg_catalog.current_setting('server_version_num')::int as number,
  (r.rolsuper or r.rolcreatedb) as create,
  (select coalesce(pg_catalog.json_agg(pg_catalog.json_build_object('name', e.name, 'allowed',
      r.rolsuper or not v.superuser or v.trusted or e.name = 'plpgsql')), '[]')
    from pg_catalog.pg_available_extensions e
    join pg_catalog.pg_available_extension_versions v on v.name = e.name and v.version = e.default_version) as extensions,
  (select pg_catalog.json_agg(o.rolname) from pg_catalog.pg_roles o) as roles
from pg_catalog.pg_roles r where r.rolname = current_user`;

async function readServer(connection: Connection): Promise<ServerRow> {
  const [row] = await connection.query<ServerRow>(SERVER);
  if (row === undefined) throw new Failure("database/failed", "the server did not say what it is");
  return row;
}

async function openDatabase(
  address: ServerAddress,
  facts: Pick<ScratchServer, "kind" | "major" | "version" | "where">,
  { encoding = "UTF8", say = () => {}, signal }: ScratchNeeds,
): Promise<ScratchServer> {
  await dropLeftDatabases(address, { say, signal });
  const database = `${NAME}${ownMark()}_${randomBytes(4).toString("hex")}`;
  const own = { ...address, database };
  await createDatabase(own, { encoding, collate: "C", ctype: "C", signal });
  let held: Connection | undefined;
  const dispose = async () => {
    held?.destroy();
    await dropAtEnd(own, { say, signal });
  };
  try {
    // To the end: another machine's drill that takes this one for over leaves a database alone that somebody uses.
    held = await connect(own, { signal });
    await using connection = await connectBeside(own, { signal });
    const note: DrillNote = { chatkeep: "drill", mark: ownMark(), at: formatInstant(systemClock.now()) };
    await connection.query(`comment on database ${quoteIdentifier(database)} is ${quoteLiteral(JSON.stringify(note))}`);
    return { ...facts, address: own, isThrowaway: false, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

interface DropOptions {
  say: (line: string) => void;
  signal: AbortSignal;
}

/**
 * Also at the end of a run that was cancelled. What the drill found out is worth more than its database, so this never throws.
 * DROP DATABASE waits for a checkpoint, which takes minutes on a busy server.
 */
async function dropAtEnd(own: ServerAddress, { say, signal }: DropOptions): Promise<void> {
  const limit = signal.aborted
    ? AbortSignal.timeout(LIMITS.lastWordsMs)
    : AbortSignal.any([signal, AbortSignal.timeout(LIMITS.dropDatabaseMs)]);
  try {
    await dropDatabase(own, own.database, { isOwn: true, signal: limit });
  } catch (error) {
    const why = limit.aborted ? "dropping it took too long" : messageOf(error);
    say(`the drill's database '${own.database}' is left: ${why}; the next drill drops it`);
  }
}

const NAME = "chatkeep_drill_";

interface DrillNote {
  chatkeep: "drill";
  mark: string;
  at: string;
}

/**
 * Databases of drills that are over, when nobody uses them: of this machine's dead processes, and all after a week. One that
 * cannot be dropped stays, and is told.
 */
export async function dropLeftDatabases(address: ServerAddress, { say, signal }: DropOptions): Promise<void> {
  await using connection = await connectBeside(address, { signal });
  const rows = await connection.query<{ name: string; note: string | null; sessions: number }>(
    `select d.datname as name, pg_catalog.shobj_description(d.oid, 'pg_database') as note,
       (select count(*)::int from pg_catalog.pg_stat_activity a where a.datid = d.oid) as sessions
     from pg_catalog.pg_database d
     where pg_catalog.pg_has_role(d.datdba, 'USAGE') and d.datname like ${quoteLiteral(`${NAME.replaceAll("_", "\\_")}%`)}`,
  );
  for (const { name, note, sessions } of rows) {
    if (sessions > 0 || !isLeft(name, note)) continue;
    try {
      await dropDatabase(address, name, { isOwn: true, signal });
    } catch (error) {
      if (!isFailure(error)) throw error;
      say(`'${name}', which an earlier drill left, stays: ${error.message}`);
    }
  }
}

/** A drill that was killed before it said what its database is has at least given it its name. */
function isLeft(name: string, text: string | null): boolean {
  const mark = /^chatkeep_drill_([0-9a-f.]+)_[0-9a-f]{8}$/.exec(name)?.[1];
  if (mark === undefined) return false;
  if (isMarkOver(mark)) return true;
  const at = Date.parse(readNote(text)?.at ?? ""); // oxlint-disable-line no-restricted-globals -- parses, reads no clock
  return systemClock.now() - at > LEFT_AFTER_MS;
}

const LEFT_AFTER_MS = 7 * 24 * 3_600_000;

function readNote(text: string | null): DrillNote | undefined {
  try {
    const note = JSON.parse(text ?? "") as Partial<DrillNote>;
    const { chatkeep, mark, at } = note;
    return chatkeep === "drill" && typeof mark === "string" && typeof at === "string"
      ? { chatkeep, mark, at }
      : undefined;
  } catch {
    return undefined;
  }
}
