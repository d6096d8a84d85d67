/**
 * A moment brought back: a base and all that pgbench wrote after it at full speed, from a repository, against PostgreSQL's own
 * replay from plain files on the same disk. Both are timed from nothing to a server that takes connections.
 */
import { chmodSync } from "node:fs";
import { join } from "node:path";
import { serverArguments } from "../src/postgres/scratch-process.ts";
import { formatLsn, type Lsn, parseLsn, segmentStart } from "../src/wal/lsn.ts";
import { serverUser, startPostgres, type TestServer } from "../test/harness/postgres.ts";
import { mustRun } from "../test/harness/run.ts";
import { temporaryFolder } from "../test/harness/temporary.ts";
import { COMPILED } from "./sides.ts";
import { compare, folderMiB, print, remove, type Side } from "./measure.ts";

const MIB = 1024 ** 2;
const SEGMENT = 16 * MIB;
const SECONDS = Number(process.env["BENCH_PGBENCH_SECONDS"] ?? "120");
/** Of some 15 MB each. */
const SCALE = Number(process.env["BENCH_PGBENCH_SCALE"] ?? "50");
const PROTECTING = join(import.meta.dirname, "protect-process.ts");

async function logEnd(server: TestServer): Promise<Lsn> {
  const [row] = await server.query("select pg_current_wal_flush_lsn()::text as lsn");
  return parseLsn(String(row?.["lsn"]));
}

interface Kept {
  /** A data folder as pg_basebackup leaves it, and whole segments. */
  base: string;
  archive: string;
  repository: string;
}

function tellGrowth(what: string, mib: number, stored: number): void {
  process.stdout.write(`${what} of ${mib.toFixed(0)} MiB added ${stored.toFixed(0)} MiB to the repository\n`);
}

async function protect(...args: string[]) {
  return await mustRun(process.execPath, [PROTECTING, ...args]);
}

/** Says what each adds to the repository. @returns bytes of the log after the bases. */
async function writeAndKeep(server: TestServer, { base, archive, repository }: Kept): Promise<number> {
  const { programs, address } = server;
  const { port, user } = address;
  const way = ["-h", "127.0.0.1", "-p", String(port), "-U", user];
  await mustRun(join(programs, "pgbench"), ["-i", "-q", "-s", String(SCALE), ...way, "postgres"]);
  await server.query("checkpoint");
  const from = segmentStart(await logEnd(server), SEGMENT);
  const { stdout } = await protect("base", String(port), user, repository);
  const baseMiB = folderMiB(repository);
  tellGrowth("A base", Number(stdout.split(" ").at(-1)) / MIB, baseMiB);
  const baseArgs = ["-D", base, "--wal-method=none", "--checkpoint=fast", "--no-sync"];
  await mustRun(join(programs, "pg_basebackup"), [...way, ...baseArgs]);
  const begun = await logEnd(server);
  await mustRun(join(programs, "pgbench"), ["-c", "4", "-j", "2", "-n", "-T", String(SECONDS), ...way, "postgres"]);
  await server.query("select pg_switch_wal()");
  const to = segmentStart(await logEnd(server), SEGMENT);
  await protect("log", String(port), user, "1", formatLsn(from), formatLsn(to), repository);
  tellGrowth("The log", Number(to - from) / MIB, folderMiB(repository) - baseMiB);
  const [data] = await server.query("show data_directory");
  const copy = 'mkdir "$1"; cp "$0"/pg_wal/0000000100* "$1"; cat "$1"/* > /dev/null';
  await mustRun("sh", ["-euc", copy, String(data?.["data_directory"]), archive]);
  return Number(to - begun);
}

/**
 * What PostgreSQL's manual says to do: its files put in place, and a `restore_command` that copies. Both sides end their server, so
 * that what it took of processors is counted.
 */
function theirs(
  name: string,
  settings: readonly string[],
  { programs, kept, folder }: { programs: string; kept: Kept; folder: string },
): Side {
  const data = join(folder, "theirs");
  const user = serverUser();
  const as = user === undefined ? [] : [`--reuid=${user.uid}`, `--regid=${user.gid}`, "--clear-groups"];
  const script = `
cp -r "$1" "$2"
touch "$2/recovery.signal"
mkdir -p "$2/pg_wal"
chmod 700 "$2"
postgres=$3; data=$2; shift 3
"$postgres" -D "$data" "$@" >"$data/said" 2>&1 & server=$!
until grep -q "ready to accept connections" "$data/said"; do
  kill -0 $server
  sleep 0.02
done
kill -QUIT $server
wait $server || true`;
  const restore = ["-c", `restore_command=cp ${kept.archive}/%f %p`, "-c", "hot_standby=off"];
  const words = [kept.base, data, join(programs, "postgres"), ...settings, ...restore];
  return {
    name,
    command: ["setpriv", ...as, "sh", "-euc", script, "sh", ...words],
    prepare: () => remove(data),
  };
}

export async function recoverWal(runs: number): Promise<void> {
  await using folder = await temporaryFolder();
  chmodSync(folder.path, 0o777);
  const kept = { base: folder.at("base"), archive: folder.at("archive"), repository: folder.at("repository") };
  let bytes: number;
  let programs: string;
  {
    await using server = await startPostgres({
      settings: [
        "fsync=on",
        "full_page_writes=on",
        "autovacuum=on",
        "shared_buffers=512MB",
        "max_wal_size=4GB",
        "wal_keep_size=1TB",
      ],
    });
    ({ programs } = server);
    bytes = await writeAndKeep(server, kept);
  }
  const user = serverUser();
  const owned = [kept.base, kept.archive];
  if (user !== undefined) await mustRun("chown", ["-R", `${user.uid}:${user.gid}`, ...owned]);
  const where = { programs, kept, folder: folder.path };
  const [, , ...same] = serverArguments({ data: "", socket: folder.path });
  const apart = ["-c", "listen_addresses=", "-c", `unix_socket_directories=${folder.path}`];
  const sides: Side[] = [
    {
      name: "Chatkeep, from a repository",
      command: [process.execPath, PROTECTING, "recover", kept.repository],
      env: COMPILED,
    },
    theirs("PostgreSQL, cp, nothing synced, as ours", same, where),
    theirs("PostgreSQL, cp, its own settings", apart, where),
  ];
  const log = `${Math.round(bytes / MIB)} MiB of log, ${Math.round(bytes / SEGMENT)} segments`;
  print(`Back to now: ${log}, which pgbench wrote in ${SECONDS} s at scale ${SCALE}`, await compare(sides, runs));
}
