/**
 * What continuous protection keeps of a support desk, made of what PostgreSQL's own programs received: a base, a span with the
 * whole segments of the log after it, and the rest in the journal.
 */
import { chmod, readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeJournal } from "../../src/job/continuous/journal.ts";
import { saveBase } from "../../src/job/continuous/save-base.ts";
import { saveSpan } from "../../src/job/continuous/save-span.ts";
import type { WalSpan } from "../../src/point/continuous.ts";
import { type Commit, summarizeCommits, timesOf } from "../../src/point/wal-facts.ts";
import { BASE_SETTINGS } from "../../src/point/base-facts.ts";
import { walFolder } from "../../src/postgres/recovery-wal.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { type Lsn, parseLsn, parseSegmentName } from "../../src/wal/lsn.ts";
import { createWalReader } from "../../src/wal/reader.ts";
import { setTime } from "../harness/commit-times.ts";
import type { TestServer } from "../harness/postgres.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { receiveWal, takeBase } from "../harness/wal.ts";
import { entriesOf } from "../job/continuous/bases.ts";
import { hasty, signal } from "../repo/small-backup.ts";

const SEGMENT = 16 * 1024 * 1024;

/** Of a server that can be followed. */
export const FOLLOWED = [
  "wal_level=replica",
  "synchronous_commit=on",
  "full_page_writes=on",
  "wal_keep_size=512MB",
] as const;

export interface Protection {
  /**
   * Puts into the repository what came until now, and ends.
   * @param retime gives each transaction another time than the server did.
   */
  finish(repository: Repository, options?: { retime?: (commit: Commit) => bigint }): Promise<void>;
}

/** Takes a base of a server, and receives its log from then on. */
export async function protect(
  server: TestServer,
  installation: { id: string; name: string },
  {
    programs = server.programs,
    database,
    args = [],
  }: {
    programs?: string;
    database: string;
    /** More arguments for `pg_basebackup`. */
    args?: readonly string[];
  },
): Promise<Protection> {
  const folder = await temporaryFolder();
  await chmod(folder.path, 0o755);
  const receiver = await receiveWal(server, folder.at("wal"), { programs });
  const now = async () => {
    const [row] = await server.query(
      "select system_identifier::text as id, (extract(epoch from clock_timestamp()) * 1000000)::bigint::text as us from pg_control_system()",
    );
    return { systemId: String(row?.["id"]), us: BigInt(String(row?.["us"])) };
  };
  const began = await now();
  await takeBase(server, folder.at("base"), { programs, args });
  const ended = await now();
  const databases = await databasesOf(server, database);
  const line = { installation: installation.id, systemId: began.systemId, timeline: 1 };
  const manifest = await readFile(folder.at("base", "backup_manifest"));
  return {
    async finish(repository, { retime } = {}) {
      await receiver.caughtUp();
      await receiver.stop();
      const { "WAL-Ranges": ranges } = JSON.parse(manifest.toString("utf8")) as {
        "WAL-Ranges": { "Start-LSN": string; "End-LSN": string }[];
      };
      const [range] = ranges;
      const at = { from: parseLsn(range?.["Start-LSN"] ?? ""), to: parseLsn(range?.["End-LSN"] ?? "") };
      const label = await readFile(folder.at("base", "backup_label"), "utf8");
      const writer = { repository, identity: installation, program: "chatkeep test", clock: hasty, signal };
      await saveBase(writer, {
        files: clusterFiles(folder.at("base")),
        expectedBytes: 50_000_000,
        facts: async () => ({
          manifest,
          facts: {
            program: "chatkeep test",
            base: {
              ...line,
              ...at,
              major: server.major,
              segmentBytes: SEGMENT,
              beganUs: began.us,
              endedUs: ended.us,
              bytes: 50_000_000,
            },
            backupLabel: label,
            tablespaceMap: null,
            serverVersion: String(server.major),
            settings: await settingsOf(server),
            databases,
          },
        }),
      });
      await saveLog(writer, folder.at("wal"), { line, from: at.from, major: server.major, retime });
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** The manifest lies beside the cluster's files, and is none of them. */
async function* clusterFiles(root: string): ReturnType<typeof entriesOf> {
  for await (const entry of entriesOf(root)) if (entry.path !== "backup_manifest") yield entry;
}

async function settingsOf(server: TestServer): Promise<Record<string, string>> {
  const rows = await server.query(
    `select name, setting from pg_settings where name in ('${BASE_SETTINGS.join("', '")}')`,
  );
  return Object.fromEntries(rows.map(({ name, setting }) => [String(name), String(setting)]));
}

async function databasesOf(server: TestServer, database: string) {
  const extensions = await server.query("select extname as name, extversion as version from pg_extension", database);
  const rows = await server.query(
    "select datname as name, oid::int as oid, pg_encoding_to_char(encoding) as encoding, datcollate as collate, datctype as ctype from pg_database where datallowconn",
  );
  return rows.map(({ name, oid, encoding, collate, ctype }) => ({
    name: String(name),
    oid: Number(oid),
    encoding: String(encoding),
    provider: "c",
    collate: String(collate),
    ctype: String(ctype),
    locale: null,
    collationVersion: null,
    extensions:
      name === database
        ? extensions.map((one) => ({ name: String(one["name"]), version: String(one["version"]) }))
        : undefined,
  }));
}

type Writer = Parameters<typeof saveSpan>[0];

/** Whole segments as a span, and what is behind them as the journal has it. */
async function saveLog(
  writer: Writer,
  folder: string,
  {
    line,
    from,
    major,
    retime = ({ timeUs }) => timeUs,
  }: {
    line: Pick<WalSpan, "installation" | "systemId" | "timeline">;
    from: Lsn;
    major: number;
    retime: ((commit: Commit) => bigint) | undefined;
  },
): Promise<void> {
  const log = await walFolder(folder, SEGMENT);
  await using work = await temporaryFolder();
  const segments: { start: Lsn; bytes: Buffer }[] = [];
  for (const name of log.names) {
    const start = parseSegmentName(name, SEGMENT)?.start;
    if (start === undefined || start + BigInt(SEGMENT) <= from) continue;
    const path = join(work.path, name);
    await log.fetch(name, path);
    segments.push({ start, bytes: await readFile(path) });
  }
  const first = segments[0]?.start ?? from;
  const reader = createWalReader({ from: first, major, systemId: line.systemId, timeline: 1, segmentBytes: SEGMENT });
  const commits: Commit[] = [];
  for (const { bytes } of segments) {
    for (const event of reader.push(bytes).events) {
      if (event.kind !== "commit" && event.kind !== "abort") continue;
      const timeUs = retime({ lsn: event.lsn, timeUs: event.timeUs });
      if (timeUs !== event.timeUs) setTime(segments, event.startLsn, timeUs);
      commits.push({ lsn: event.lsn, timeUs });
    }
  }
  const last = segments.at(-1)?.start ?? first;
  const stretch = (begin: Lsn, end: Lsn) => {
    const own = commits.filter(({ lsn }) => lsn > begin && lsn <= end);
    const span = { ...line, from: begin, to: end, ...timesOf(summarizeCommits(own)) };
    return { span, commits: own };
  };
  if (last > first) {
    const bytes = segments.slice(0, -1).map((segment) => segment.bytes);
    await saveSpan(writer, { ...stretch(first, last), bytes, segmentBytes: SEGMENT, histories: new Map() });
  }
  const tail = segments.at(-1)?.bytes.subarray(0, Number(reader.validTo - last));
  if (tail !== undefined)
    await writeJournal(writer.repository, { ...stretch(last, reader.validTo), bytes: [tail] }, { signal });
}

/** By the server's clock, as POINT takes it. */
export async function serverTime(server: Pick<TestServer, "query">): Promise<string> {
  const [row] = await server.query(
    `select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as now`,
  );
  return String(row?.["now"]);
}
