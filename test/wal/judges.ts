/** What PostgreSQL itself finds in its log: by pg_waldump, and by its extension pg_walinspect (15 and later). */
import { join } from "node:path";
import { formatLsn, type Lsn, parseLsn } from "../../src/wal/lsn.ts";
import type { TestServer } from "../harness/postgres.ts";
import { mustRun } from "../harness/run.ts";
import type { RealLog } from "./real-log.ts";

export interface Judged {
  readonly records: { readonly at: Lsn; readonly length: number }[];
  /** As `ends` of real-log.ts has them. */
  readonly ends: string[];
  /** As `rowsByFile` has them. */
  readonly rows: Record<string, string>;
}

interface Described {
  at: Lsn;
  length: number;
  rmgr: string;
  xid: string;
  /** The record's name, `HOT_UPDATE`, and what PostgreSQL says of it, block references included. */
  what: string;
  rest: string;
}

/** pg_waldump writes six digits and `UTC`, the server as few digits as are needed and `+00`. */
const TIME = /^(?:(\d+): )?(\d+-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.(\d+))?(?: UTC|\+00)/;

function endOf({ at, xid, what, rest }: Described): string {
  const [, prepared = xid, time = "", micros = ""] = TIME.exec(rest) ?? [];
  const us = BigInt(Date.parse(`${time.replace(" ", "T")}Z`)) * 1000n + BigInt(micros.padEnd(6, "0"));
  return `${formatLsn(at)} ${prepared} ${what.startsWith("COMMIT") ? "commit" : "abort"} ${us}`;
}

/** Insertions, updates and deletions that a record stands for; undefined for what is none of them. */
function countsOf({ what, rest }: Described): [number, number, number] | undefined {
  if (what.startsWith("INSERT")) return [1, 0, 0];
  if (what.startsWith("MULTI_INSERT")) {
    const [, before, after] = /^(?:(\d+) tuples|.*?ntuples: (\d+))/.exec(rest) ?? [];
    return [Number(before ?? after), 0, 0];
  }
  if (/^(?:HOT_)?UPDATE/.test(what)) return [0, 1, 0];
  return what.startsWith("DELETE") ? [0, 0, 1] : undefined;
}

function judge(described: readonly Described[]): Judged {
  const ends: string[] = [];
  const rows = new Map<string, number[]>();
  for (const record of described) {
    if (record.rmgr === "Transaction" && /^(?:COMMIT|ABORT)/.test(record.what)) ends.push(endOf(record));
    const counts = record.rmgr.startsWith("Heap") ? countsOf(record) : undefined;
    if (counts === undefined) continue;
    const [, name = ""] = /blkref #0: rel (\S+)/.exec(record.rest) ?? [];
    const before = rows.get(name) ?? [0, 0, 0];
    rows.set(
      name,
      counts.map((count, n) => count + (before[n] ?? 0)),
    );
  }
  const named = Object.fromEntries([...rows].map(([name, counts]) => [name, counts.join("/")]));
  return { records: described.map(({ at, length }) => ({ at, length })), ends, rows: named };
}

const LINE = /^rmgr: (\S+) +len \(rec\/tot\): +\d+\/ *(\d+), tx: +(\d+), lsn: (\S+), prev \S+ desc: (\S+) (.*)$/;

/** By pg_waldump, which Debian's servers have. */
export async function dump(server: TestServer, { options, end, folder }: RealLog): Promise<Judged> {
  const args = ["--path", folder, "--start", formatLsn(options.from + 40n), "--end", formatLsn(end)];
  const { stdout } = await mustRun(join(server.programs, "pg_waldump"), args, { env: { ...process.env, TZ: "UTC" } });
  const described = stdout
    .trimEnd()
    .split("\n")
    .map((line): Described => {
      const [, rmgr, length, xid = "", lsn = "", what = "", rest = ""] = LINE.exec(line) ?? [];
      if (rmgr === undefined) throw new Error(`not understood: ${line}`);
      return { at: parseLsn(lsn), length: Number(length), rmgr, xid, what, rest };
    });
  return judge(described);
}

/** By pg_walinspect, in the server itself. */
export async function inspect(server: TestServer, { options, end }: RealLog): Promise<Judged> {
  const [from, to] = [formatLsn(options.from + 40n), formatLsn(end)];
  const found = await server.query(
    `select start_lsn::text as at, record_length as length, resource_manager as rmgr, xid::text as xid,
       record_type as what, description || ' ' || coalesce(block_ref, '') as rest
     from pg_get_wal_records_info('${from}', '${to}')`,
  );
  return judge(
    found.map(({ at, length, rmgr, xid, what, rest }) => ({
      at: parseLsn(String(at)),
      length: Number(length),
      rmgr: String(rmgr),
      xid: String(xid),
      what: String(what),
      rest: String(rest),
    })),
  );
}
