/**
 * The server's log, followed while it is written and in arrears, and a physical base, against PostgreSQL's own programs. What
 * is measured is this layer alone, with plain files at its end: no repository, and nothing encrypted.
 */
import { mkdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { formatLsn, type Lsn, parseLsn, segmentName, segmentStart } from "../src/wal/lsn.ts";
import { startPostgres, type TestServer } from "../test/harness/postgres.ts";
import { temporaryFolder } from "../test/harness/temporary.ts";
import { compare, print, remove, type Side } from "./measure.ts";

const MIB = 1024 ** 2;
const SEGMENT = 16 * MIB;
/** Of log, written before anybody reads it; as much again while it is read. */
const LOG_MIB = Number(process.env["BENCH_WAL_MIB"] ?? "2048");
const PROCESS = join(import.meta.dirname, "wal-process.ts");
/** Of one message that fills the log. */
const MESSAGE_KIB = 64;

async function logEnd(server: TestServer): Promise<Lsn> {
  const [row] = await server.query("select pg_current_wal_flush_lsn()::text as lsn");
  return parseLsn(String(row?.["lsn"]));
}

/** Cheap to write, so that whoever follows is what is timed. */
function fillLog(mib: number): string {
  const message = `pg_logical_emit_message(false, 'bench', repeat(md5(g::text), ${MESSAGE_KIB * 32}))`;
  return `select count(${message}) from generate_series(1, ${(mib * 1024) / MESSAGE_KIB}) g`;
}

interface Stretch {
  from: Lsn;
  to: Lsn;
}

/** @param stretch Known when a run has been prepared. @param before What the side's shell does first. */
function followers(
  server: TestServer,
  folder: string,
  { stretch, before, prepare }: { stretch: () => Stretch; before: string; prepare: () => Promise<void> },
): Side[] {
  const { port, user } = server.address;
  const [ours, theirs] = [join(folder, "ours"), join(folder, "theirs")];
  const script = (command: string) => `${before}${command}; status=$?; wait; exit $status`;
  return [
    {
      name: "Chatkeep's streaming",
      get command() {
        const { from, to } = stretch();
        const words = [process.execPath, PROCESS, "log", String(port), user, "1", formatLsn(from), formatLsn(to), ours];
        return ["sh", "-c", script(words.map((word) => `'${word}'`).join(" "))] as const;
      },
      async prepare() {
        remove(ours);
        await prepare();
      },
    },
    {
      name: "pg_receivewal",
      get command() {
        const program = join(server.programs, "pg_receivewal");
        const to = formatLsn(stretch().to);
        const words = [
          program,
          "-h",
          "127.0.0.1",
          "-p",
          String(port),
          "-U",
          user,
          "-D",
          theirs,
          "--no-loop",
          `--endpos=${to}`,
        ];
        return ["sh", "-c", script(words.map((word) => `'${word}'`).join(" "))] as const;
      },
      async prepare() {
        remove(theirs);
        await prepare();
        mkdirSync(theirs);
        // It goes on behind the newest whole segment that it finds.
        const last = join(theirs, segmentName(1, stretch().from - BigInt(SEGMENT), SEGMENT));
        writeFileSync(last, "");
        truncateSync(last, SEGMENT);
      },
    },
  ];
}

export async function wal(runs: number): Promise<void> {
  await using folder = await temporaryFolder();
  await using server = await startPostgres({
    settings: [
      "fsync=on",
      "full_page_writes=on",
      `wal_keep_size=${(2 * runs + 3) * LOG_MIB + 1024}MB`,
      "max_wal_size=4GB",
    ],
  });
  await server.query("select pg_switch_wal()");
  const from = segmentStart(await logEnd(server), SEGMENT);
  await server.query(fillLog(LOG_MIB));
  const arrears: Stretch = { from, to: await logEnd(server) };
  const behind = followers(server, folder.path, { stretch: () => arrears, before: "", prepare: async () => {} });
  print(`The log, ${LOG_MIB} MiB in arrears`, await compare(behind, runs));

  let now: Stretch = arrears;
  const { port, user } = server.address;
  const writer = `'${join(server.programs, "psql")}' -qXAto /dev/null -h 127.0.0.1 -p ${port} -U ${user} -d postgres -c "${fillLog(LOG_MIB + 64)}" & `;
  const beside = followers(server, folder.path, {
    stretch: () => now,
    before: writer,
    async prepare() {
      await server.query("select pg_switch_wal()");
      const begin = segmentStart(await logEnd(server), SEGMENT);
      now = { from: begin, to: begin + BigInt(LOG_MIB * MIB) };
    },
  });
  print(`The log, ${LOG_MIB} MiB while they are written`, await compare(beside, runs));
  await bases(server, folder.path, runs);
}

async function bases(server: TestServer, folder: string, runs: number): Promise<void> {
  await server.query(
    `create table bench as select g as id, md5(g::text) as a, repeat(md5((g / 8)::text), 6) as b from generate_series(1, ${LOG_MIB * 2_000}) g`,
  );
  const { port, user } = server.address;
  const to = (name: string) => join(folder, name);
  const theirs = (name: string, args: readonly string[]): Side => ({
    name: `pg_basebackup ${args.join(" ")}`,
    command: [
      join(server.programs, "pg_basebackup"),
      `--dbname=host=127.0.0.1 port=${port} user=${user}`,
      `--pgdata=${to(name)}`,
      "--wal-method=none",
      "--checkpoint=fast",
      ...args,
    ],
    prepare: () => remove(to(name)),
  });
  const sides: Side[] = [
    {
      name: "Chatkeep's base, into files",
      command: [process.execPath, PROCESS, "base", String(port), user, to("base")],
      prepare: () => remove(to("base")),
    },
    theirs("plain", ["--format=plain", "--no-sync", "--manifest-checksums=SHA256"]),
    ...(server.major >= 15
      ? [theirs("packed", ["--format=tar", "--compress=server-zstd:1", "--no-sync", "--manifest-checksums=SHA256"])]
      : []),
  ];
  const [size] = await server.query("select pg_size_pretty(sum(pg_database_size(oid))) as size from pg_database");
  print(`A base of ${String(size?.["size"])}`, await compare(sides, runs));
}
