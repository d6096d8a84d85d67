/**
 * The server's log, followed while it is written and in arrears, and a physical base, against PostgreSQL's own programs and
 * pgBackRest: into a repository, as `watch` does it, and, to tell what the repository costs, into plain files, where nothing is encrypted.
 */
import { existsSync, globSync, mkdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { formatLsn, type Lsn, parseLsn, segmentName, segmentStart } from "../src/wal/lsn.ts";
import { startPostgres, type TestServer } from "../test/harness/postgres.ts";
import { mustRun } from "../test/harness/run.ts";
import { temporaryFolder } from "../test/harness/temporary.ts";
import { compare, print, remove, type Side } from "./measure.ts";
import { COMPILED } from "./sides.ts";

const MIB = 1024 ** 2;
const SEGMENT = 16 * MIB;
/** Of log, written before anybody reads it; as much again while it is read. */
const LOG_MIB = Number(process.env["BENCH_WAL_MIB"] ?? "2048");
const PROCESS = join(import.meta.dirname, "wal-process.ts");
const PROTECTING = join(import.meta.dirname, "protect-process.ts");
/** A page in so many is changed before the second base. */
const ONE_IN = 100;
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
  const theirs = join(folder, "theirs");
  const script = (command: string) => `${before}${command}; status=$?; wait; exit $status`;
  const ours = (name: string, program: string, place: string): Side => ({
    name,
    get command() {
      const { from, to } = stretch();
      const words = [process.execPath, program, "log", String(port), user, "1", formatLsn(from), formatLsn(to), place];
      return ["sh", "-c", script(words.map((word) => `'${word}'`).join(" "))] as const;
    },
    env: COMPILED,
    async prepare() {
      remove(place);
      await prepare();
    },
  });
  return [
    ours("Chatkeep, into a repository", PROTECTING, join(folder, "repository")),
    ours("Chatkeep's streaming alone, into files", PROCESS, join(folder, "ours")),
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
  print(`The log, ${LOG_MIB} MiB in arrears`, await compare(behind, runs, { serverPid: server.pid }));

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
  print(`The log, ${LOG_MIB} MiB while they are written`, await compare(beside, runs, { serverPid: server.pid }));
}

export async function base(runs: number): Promise<void> {
  await using temporary = await temporaryFolder();
  const folder = temporary.path;
  await using server = await startPostgres({ settings: ["fsync=on", "full_page_writes=on", "max_wal_size=4GB"] });
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
  const repository = to("base-repository");
  const sides: Side[] = [
    {
      name: "Chatkeep, into a repository",
      command: [process.execPath, PROTECTING, "base", String(port), user, repository],
      env: COMPILED,
      async prepare() {
        remove(repository);
        await mustRun(process.execPath, [PROTECTING, "make", repository]);
      },
    },
    {
      name: "Chatkeep's base alone, into files",
      command: [process.execPath, PROCESS, "base", String(port), user, to("base")],
      env: COMPILED,
      prepare: () => remove(to("base")),
    },
    theirs("plain", ["--format=plain", "--no-sync", "--manifest-checksums=SHA256"]),
    ...(server.major >= 15
      ? [theirs("packed", ["--format=tar", "--compress=server-zstd:1", "--no-sync", "--manifest-checksums=SHA256"])]
      : []),
    ...(await pgBackRest(server, folder)),
  ];
  const [size] = await server.query("select pg_size_pretty(sum(pg_database_size(oid))) as size from pg_database");
  print(`A base of ${String(size?.["size"])}`, await compare(sides, runs, { serverPid: server.pid }));
  await nextBases(server, repository);
}

/**
 * How the newest pgBackRest is started, as set-up fetched it: by the loader that came with it, because it wants a newer C library than the
 * machine may have. It starts itself again by the name that it was started with, so that is a script's.
 */
function pgBackRestCommand(folder: string): string {
  const unpacked = join(import.meta.dirname, "../.cache/pgbackrest-newest");
  const [libraries] = existsSync(unpacked) ? globSync("usr/lib/*-linux-gnu", { cwd: unpacked }) : [];
  if (libraries === undefined) return "pgbackrest";
  const [loader = ""] = globSync("ld-linux*", { cwd: join(unpacked, libraries) });
  const paths = [join(unpacked, libraries), join("/", libraries), join("/", libraries.replace(/^usr/, ""))];
  const script = join(folder, "pgbackrest");
  const words = [join(unpacked, libraries, loader), "--argv0", script, "--library-path", paths.join(":")];
  writeFileSync(script, `#!/bin/sh\nexec ${words.join(" ")} ${join(unpacked, "usr/bin/pgbackrest")} "$@"\n`, {
    mode: 0o755,
  });
  return script;
}

/** Into a local repository of its own, packed with zstd as ours is, as it is and encrypted. It reads the server's files itself. */
async function pgBackRest(server: TestServer, folder: string): Promise<Side[]> {
  const [data] = await server.query("show data_directory");
  const program = pgBackRestCommand(folder);
  const { stdout } = await mustRun(program, ["version"]);
  const side = (kind: string, cipher: Record<string, string>): Side => {
    // Newer ones refuse to run as root unless they are told so; older ones do not know the option, and only warn of a variable.
    const env = { PGBACKREST_ALLOW_ROOT: "y", ...cipher };
    const place = join(folder, `pgbackrest-${kind.replaceAll(" ", "-")}`);
    const options = {
      stanza: "bench",
      "pg1-path": String(data?.["data_directory"]),
      "pg1-socket-path": server.socketFolder,
      "pg1-port": String(server.address.port),
      "pg1-user": server.address.user,
      "repo1-path": join(place, "repository"),
      "lock-path": join(place, "lock"),
      "log-path": place,
      "log-level-file": "off",
    };
    const args = Object.entries(options).map(([name, value]) => `--${name}=${value}`);
    const only = { "compress-type": "zst", "compress-level": "1", "process-max": "2", "repo1-retention-full": "2" };
    const backup = Object.entries(only).map(([name, value]) => `--${name}=${value}`);
    return {
      name: `${stdout.trim()}, ${kind}`,
      command: [program, ...args, ...backup, "--type=full", "--start-fast", "--no-archive-check", "backup"],
      env,
      async prepare() {
        remove(place);
        mkdirSync(place, { recursive: true });
        await mustRun(program, [...args, "stanza-create"], { env });
      },
    };
  };
  return [
    side("packed", {}),
    side("packed and encrypted", {
      PGBACKREST_REPO1_CIPHER_TYPE: "aes-256-cbc",
      PGBACKREST_REPO1_CIPHER_PASS: "bench",
    }),
  ];
}

/** What a second base uploads, after pages that lie together were changed, and after as many here and there. */
async function nextBases(server: TestServer, repository: string): Promise<void> {
  const { port, user } = server.address;
  const take = async (): Promise<{ added: number; bytes: number }> => {
    const { stdout } = await mustRun(process.execPath, [PROTECTING, "base", String(port), user, repository]);
    const [added = 0, bytes = 1] = stdout.trim().split(" ").map(Number);
    return { added, bytes };
  };
  const pages = "pg_relation_size('bench') / current_setting('block_size')::int";
  const change = async (page: string) => {
    await server.query(`update bench set a = upper(a) where ctid in
      (select format('(%s,1)', ${page})::tid from generate_series(0, ${pages} / ${ONE_IN} - 1) g)`);
    await server.query("checkpoint");
  };
  remove(repository);
  const first = await take();
  await take();
  for (const [name, page] of [
    ["that lie together", "g"],
    ["here and there", `g * ${ONE_IN} + abs(hashint8(g)) % ${ONE_IN}`],
  ] as const) {
    await change(page);
    const { added } = await take();
    const share = ((added / first.added) * 100).toFixed(1);
    process.stdout.write(`A next base after 1 % of the pages, ${name}: ${share} % of what the first one stored\n\n`);
  }
}
