/** Takes a physical base from a server into a repository. */
import { Failure } from "../../base/errors.ts";
import type { Line } from "../../point/continuous.ts";
import { BASE_SETTINGS, type BaseDatabase, type BaseFacts } from "../../point/base-facts.ts";
import type { ServerAddress } from "../../postgres/address.ts";
import { connect, type Connection } from "../../postgres/connect.ts";
import { openReplication, refuseOtherCluster, type SystemIdentity } from "../../postgres/replication.ts";
import type { Lsn } from "../../wal/lsn.ts";
import { behind } from "./line-start.ts";
import { saveBase } from "./save-base.ts";
import type { Writer, Written } from "./writing.ts";

export interface TakeBaseOptions {
  readonly address: ServerAddress;
  /** Bytes a second at most. */
  readonly rate: number | undefined;
  /** `fast` when somebody waits for it. */
  readonly checkpoint: "fast" | "spread";
  /** Of which server it must be, and how far that has come at least. */
  readonly expected: ExpectedServer;
}

export interface ExpectedServer {
  readonly systemId: string;
  readonly timeline: number;
  readonly least: Lsn;
}

export interface TakenBase extends Written {
  readonly facts: BaseFacts;
}

const LABEL = "chatkeep base";

/**
 * @throws Failure `wal/other-cluster` of a server that is not the expected one, or is behind it; of the `database/` codes,
 * `repo/locked`, of the store; the signal's reason. Nothing counts then.
 */
export async function takeBase(writer: Writer, options: TakeBaseOptions): Promise<TakenBase> {
  const { address, rate, checkpoint, expected } = options;
  const { signal, identity, program } = writer;
  await using connection = await connect(address, { signal });
  await using session = await openReplication(address, { signal });
  const found = await session.identifySystem();
  refuseUnexpected(found, expected, address);
  const { systemId } = found;
  const [major, segmentBytes, server] = [await session.major(), await session.segmentBytes(), await about(connection)];
  const databases = await databasesOf(connection, major);
  await using backup = await session.baseBackup({
    label: LABEL,
    checkpoint,
    lends: true,
    ...(rate === undefined ? {} : { rate }),
  });
  const line: Line = { installation: identity.id, systemId, timeline: backup.timeline };
  let bytes = 0;
  async function* counted() {
    for await (const entry of backup.files()) {
      if (entry.kind === "file") bytes += entry.size;
      yield entry;
    }
  }
  let told: BaseFacts | undefined;
  const facts = async () => {
    const end = await backup.finish();
    const times = { beganUs: server.nowUs, ...(await endedAt(address, { signal })) };
    const base = { ...line, from: backup.start, to: end.end, major, segmentBytes, ...times, bytes };
    const { version: serverVersion, settings } = server;
    const whole: BaseFacts = {
      program,
      base,
      backupLabel: end.label,
      tablespaceMap: end.tablespaceMap ?? null,
      serverVersion,
      settings,
      databases,
    };
    told = whole;
    return { facts: whole, manifest: end.manifest };
  };
  const written = await saveBase(writer, { files: counted(), expectedBytes: backup.expectedBytes, facts });
  return { ...written, facts: told ?? (await facts()).facts };
}

/**
 * From which time on a base can be brought: whatever was committed before its end says no later time. Asked on a connection of its
 * own, for the first one stood still as long as the base took. A standby does not say it: commits have its primary's time.
 * @throws Failure `database/` where the server does not answer; the signal's reason.
 */
async function endedAt(
  address: ServerAddress,
  { signal }: { signal: AbortSignal },
): Promise<{ endedUs: bigint } | undefined> {
  await using connection = await connect(address, { signal });
  const [row] = await connection.query<{ now: string; standby: boolean }>(
    `select (extract(epoch from pg_catalog.clock_timestamp()) * 1000000)::bigint::text as now,
       pg_catalog.pg_is_in_recovery() as standby`,
  );
  return row === undefined || row.standby ? undefined : { endedUs: BigInt(row.now) };
}

function refuseUnexpected(found: SystemIdentity, expected: ExpectedServer, address: ServerAddress): void {
  const { systemId, timeline, least } = expected;
  refuseOtherCluster(found, systemId, address);
  if (found.timeline < timeline || (found.timeline === timeline && found.flushed < least)) {
    throw behind(found, { line: { timeline }, tail: { end: least } }, address);
  }
  if (found.timeline === timeline) return;
  throw new Failure(
    "database/failed",
    `no base is taken yet: the server is on timeline ${found.timeline}, and its log is still followed on ${timeline}`,
    {
      hint: "It is taken when the log of the new timeline is followed. If it stays so, look at what 'chatkeep status' says of the log.",
    },
  );
}

interface About {
  readonly version: string;
  /** By the server's clock, microseconds since 1970. */
  readonly nowUs: bigint;
  readonly settings: Readonly<Record<string, string>>;
}

async function about(connection: Connection): Promise<About> {
  const [row] = await connection.query<{ version: string; now: string }>(
    `select pg_catalog.current_setting('server_version') as version,
       (extract(epoch from pg_catalog.clock_timestamp()) * 1000000)::bigint::text as now`,
  );
  const rows = await connection.query<{ name: string; setting: string }>(
    "select name, pg_catalog.current_setting(name, true) as setting from unnest($1::text[]) as name",
    [BASE_SETTINGS],
  );
  const settings = rows
    .filter(({ setting }) => typeof setting === "string")
    .map(({ name, setting }) => [name, setting]);
  return {
    version: row?.version ?? "",
    nowUs: BigInt(row?.now ?? 0),
    settings: Object.fromEntries(settings) as Record<string, string>,
  };
}

interface DatabaseRow {
  name: string;
  /** A number without a sign: beyond what an `int4` holds. */
  oid: string;
  encoding: string;
  provider: string;
  collate: string | null;
  ctype: string | null;
  locale: string | null;
  version: string | null;
  isOwn: boolean;
  [key: string]: unknown;
}

/** Which columns say the provider, and its locale, by major: 15 has providers, 17 named the column anew. */
function databasesQuery(major: number): string {
  const provider = major >= 15 ? "datlocprovider::text" : "'c'";
  const locale = major >= 17 ? "datlocale" : major >= 15 ? "daticulocale" : "null";
  const version = major >= 15 ? "datcollversion" : "null";
  return `select datname::text as name, oid::text as oid, pg_catalog.pg_encoding_to_char(encoding)::text as encoding,
    ${provider} as provider, datcollate::text as collate, datctype::text as ctype, ${locale}::text as locale,
    ${version}::text as version, datname = pg_catalog.current_database() as "isOwn"
  from pg_catalog.pg_database order by pg_database.oid`;
}

async function databasesOf(connection: Connection, major: number): Promise<BaseDatabase[]> {
  const rows = await connection.query<DatabaseRow>(databasesQuery(major));
  const extensions = await connection.query<{ name: string; version: string }>(
    "select extname::text as name, extversion as version from pg_catalog.pg_extension order by extname",
  );
  return rows.map(({ name, oid, encoding, provider, collate, ctype, locale, version, isOwn }) => ({
    name,
    oid: Number(oid),
    encoding,
    provider,
    collate,
    ctype,
    locale,
    collationVersion: version,
    // Of others nobody can look inside from here.
    ...(isOwn ? { extensions } : {}),
  }));
}
