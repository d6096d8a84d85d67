/** Takes a physical base from a server into a repository. */
import { Failure } from "../../base/errors.ts";
import { BASE_SETTINGS, type BaseDatabase, type BaseFacts } from "../../point/base-facts.ts";
import type { Line } from "../../point/continuous.ts";
import type { ServerAddress } from "../../postgres/address.ts";
import { connect, type Connection } from "../../postgres/connect.ts";
import { refuseTooLarge } from "../../postgres/database-size.ts";
import { type RelationCut, wholeLabel } from "../../postgres/incremental-file.ts";
import { isDataCorrupted } from "../../postgres/server-errors.ts";
import { openReplication, refuseOtherCluster, type SystemIdentity } from "../../postgres/replication.ts";
import type { Repository } from "../../repo/repository.ts";
import type { Lsn } from "../../wal/lsn.ts";
import { builtOn, usableEarlier, whyNotBuilt } from "./build-on.ts";
import { type EarlierBase, EarlierFiles } from "./earlier-base.ts";
import { refuseBehind } from "./line-start.ts";
import type { ListedBase } from "./list.ts";
import { Together } from "./put-together.ts";
import { type BaseEntry, saveBase } from "./save-base.ts";
import { type Writer, Writing, type Written } from "./writing.ts";

export interface TakeBaseOptions {
  readonly address: ServerAddress;
  /** Bytes a second at most. */
  readonly rate: number | undefined;
  /** `fast` when somebody waits for it. */
  readonly checkpoint: "fast" | "spread";
  /** Of which server it must be, and how far that has come at least. */
  readonly expected: ExpectedServer;
  /**
   * A base of this repository to build on. From it to now the repository must have the log without a gap, so that both are known to
   * be of one history.
   */
  readonly earlier?: ListedBase | undefined;
}

export interface ExpectedServer {
  readonly systemId: string;
  readonly timeline: number;
  readonly least: Lsn;
}

export interface TakenBase extends Written {
  readonly facts: BaseFacts;
  /** What came from the server: all of the base's bytes, or of an incremental one what changed. */
  readonly sentBytes: number;
  /** Why all of it came although there is an earlier base; undefined where it did not, or nothing else could be expected. */
  readonly whyWhole: string | undefined;
}

const LABEL = "chatkeep base";

/**
 * Where the server can say what changed since an earlier base, that is all it sends, and the base is put together here; else, and
 * where that fails, it sends everything. One with damaged pages, of which it tells at the very end, is read once more with these
 * pages as they are ({@link BaseFacts.hasDamagedPages}): it is worth more than none.
 * @throws Failure `wal/other-cluster` of a server that is not the expected one, or is behind it; of the `database/` codes
 * (`database/unsuitable` of a database that is too large, before anything is read),
 * `repo/locked`, of the store; the signal's reason. Nothing counts then.
 */
export async function takeBase(writer: Writer, options: TakeBaseOptions): Promise<TakenBase> {
  await using writing = new Writing(writer);
  // A checkpoint that is spread takes minutes, for which nobody need be kept away from the repository.
  if (options.checkpoint === "fast") writing.begin(writer.signal);
  return await take({ ...writer, writing }, options);
}

/** A writer, and what it writes by. */
interface Taker extends Writer {
  readonly writing: Writing;
}

async function take(writer: Taker, options: TakeBaseOptions): Promise<TakenBase> {
  const server = await lookAtServer(writer, options);
  const found = await usableEarlier(writer, options.earlier, server);
  if (!("base" in found)) return await takeWhole(writer, options, { server, whyWhole: found.whyWhole });
  try {
    return await takeOne(writer, options, { server, earlier: found.base, whyWhole: undefined });
  } catch (error) {
    writer.signal.throwIfAborted();
    const whyWhole = whyNotBuilt(error);
    if (whyWhole === undefined) throw error;
    return await takeWhole(writer, options, { server: await lookAtServer(writer, options), whyWhole });
  }
}

/** The SQLSTATE tells: while it sends a whole base, a server has it for nothing but checksums of pages. */
async function takeWhole(writer: Taker, options: TakeBaseOptions, read: Omit<Read, "earlier">): Promise<TakenBase> {
  try {
    return await takeOne(writer, options, read);
  } catch (error) {
    writer.signal.throwIfAborted();
    if (!isDataCorrupted(error)) throw error;
    return await takeOne(writer, options, {
      ...read,
      server: await lookAtServer(writer, options),
      hasDamagedPages: true,
    });
  }
}

interface Read {
  readonly server: Server;
  readonly earlier?: EarlierBase;
  readonly whyWhole: string | undefined;
  /** The server has said so, and is to send them. */
  readonly hasDamagedPages?: true;
}

async function takeOne(
  writer: Taker,
  { address, rate, checkpoint, expected }: TakeBaseOptions,
  { server, earlier, whyWhole, hasDamagedPages }: Read,
): Promise<TakenBase> {
  const { signal, identity, program, writing } = writer;
  await using session = await openReplication(address, { signal });
  const found = await session.identifySystem();
  refuseUnexpected(found, expected, address);
  const limits = rate === undefined ? {} : { rate };
  const since = earlier === undefined ? {} : { since: earlier.manifest };
  const verifyChecksums = hasDamagedPages !== true;
  const asked = { label: LABEL, checkpoint, verifyChecksums, lends: true, ...limits, ...since };
  await using backup = await session.baseBackup(asked);
  const line: Line = { installation: identity.id, systemId: found.systemId, timeline: backup.timeline };
  let [bytes, sentBytes] = [0, 0];
  let together: Together | undefined;
  async function* files(locked: Repository) {
    if (earlier !== undefined) together = new Together(new EarlierFiles(locked, earlier, { signal }), server.cut);
    const sent = counted(backup.files(), (size) => (sentBytes += size));
    const whole: AsyncIterable<BaseEntry> = together?.entries(sent) ?? sent;
    yield* counted(whole, (size) => (bytes += size));
  }
  let told: BaseFacts | undefined;
  const facts = async () => {
    const end = await backup.finish();
    const times = { beganUs: server.nowUs, ...(await endedAt(address, { signal })) };
    const { major, segmentBytes, version: serverVersion, settings, databases } = server;
    const base = { ...line, from: backup.start, to: end.end, major, segmentBytes, ...times, bytes };
    const whole: BaseFacts = {
      program,
      base,
      ...(earlier === undefined ? {} : { builtOn: builtOn(earlier) }),
      ...(hasDamagedPages === undefined ? {} : { hasDamagedPages }),
      backupLabel: together === undefined ? end.label : wholeLabel(end.label),
      tablespaceMap: end.tablespaceMap ?? null,
      serverVersion,
      settings,
      databases,
    };
    told = whole;
    return { facts: whole, manifest: together?.manifest(end.manifest) ?? end.manifest };
  };
  const written = await saveBase(writer, { files, expectedBytes: backup.expectedBytes, facts, writing });
  return { ...written, facts: told ?? (await facts()).facts, sentBytes, whyWhole };
}

async function* counted<Entry extends { readonly kind: string; readonly size?: number }>(
  entries: AsyncIterable<Entry>,
  count: (size: number) => void,
): AsyncGenerator<Entry, void, void> {
  for await (const entry of entries) {
    count(entry.size ?? 0);
    yield entry;
  }
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
  refuseBehind(found, { timeline, end: least }, address);
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
  readonly cut: RelationCut;
  readonly summarizesWal: boolean;
}

/** What a base says of its server, and what decides how it is read. */
export interface Server extends About {
  readonly major: number;
  readonly segmentBytes: number;
  readonly databases: readonly BaseDatabase[];
}

async function lookAtServer({ signal }: Writer, { address, expected }: TakeBaseOptions): Promise<Server> {
  await using connection = await connect(address, { signal });
  await using session = await openReplication(address, { signal });
  refuseUnexpected(await session.identifySystem(), expected, address);
  await refuseTooLarge(connection);
  const [major, segmentBytes] = [await session.major(), await session.segmentBytes()];
  return { ...(await about(connection)), major, segmentBytes, databases: await databasesOf(connection, major) };
}

async function about(connection: Connection): Promise<About> {
  const [row] = await connection.query<{
    version: string;
    now: string;
    block: string;
    segment: string | null;
    summarizes: boolean;
  }>(
    `select pg_catalog.current_setting('server_version') as version,
       (extract(epoch from pg_catalog.clock_timestamp()) * 1000000)::bigint::text as now,
       pg_catalog.current_setting('block_size') as block,
       (select setting from pg_catalog.pg_settings where pg_settings.name = 'segment_size') as segment,
       coalesce(pg_catalog.current_setting('summarize_wal', true), 'off') = 'on' as summarizes`,
  );
  const rows = await connection.query<{ name: string; setting: string }>(
    // There are only those in it that the role may see: asked for another, the server refuses all of them.
    "select name, pg_catalog.current_setting(name, true) as setting from pg_catalog.pg_settings where name = any($1::text[])",
    [BASE_SETTINGS],
  );
  const settings = rows
    .filter(({ setting }) => typeof setting === "string")
    .map(({ name, setting }) => [name, setting]);
  return {
    version: row?.version ?? "",
    nowUs: BigInt(row?.now ?? 0),
    settings: Object.fromEntries(settings) as Record<string, string>,
    cut: { blockBytes: Number(row?.block ?? 0), segmentBlocks: Number(row?.segment ?? 0) },
    summarizesWal: row?.summarizes === true,
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
