/** The database's part of `npm run bench`: the same messages for Chatkeep, for pg_dump and for pg_dump into restic. */
import { join } from "node:path";
import { Client } from "pg";
import { CHATKEEP } from "../test/harness/cli.ts";
import type { Desk } from "../test/scenario/desk.ts";
import { newerPostgres } from "../test/harness/newer-postgres.ts";
import { openBenchDesk } from "./desk.ts";
import { compare, folderMiB, print, remove, type Side } from "./measure.ts";
import { addMessages, changeMessages, growMessages, type Spread } from "./messages.ts";
import { newestRestic, ours, pgEnv, quick, resticPlace } from "./sides.ts";

const ROWS = Number(process.env["BENCH_MESSAGES"] ?? "1500000");
const RESTORED_ROWS = Number(process.env["BENCH_RESTORED"] ?? "300000");
const DAYS = 10;

function dumpCustom(desk: Desk): Side {
  const place = join(desk.root, "plain.dump");
  return {
    name: "pg_dump -Fc",
    command: [join(desk.server.programs, "pg_dump"), "-Fc", "-f", place],
    env: pgEnv(desk),
    prepare: () => remove(place),
  };
}

/** zstd is what PostgreSQL 16 brought. */
async function dumpFolder(desk: Desk): Promise<Side> {
  const { major, programs } = await newerPostgres(17);
  const place = join(desk.root, "folder.dump");
  return {
    name: `pg_dump ${major} -Fd -j2 --compress=zstd:1`,
    command: [join(programs, "pg_dump"), "-Fd", "-j2", "--compress=zstd:1", "-f", place],
    env: pgEnv(desk),
    prepare: () => remove(place),
  };
}

/** `pg_dump | restic backup --stdin`: an encrypted, deduplicated dump, as careful people do it today. */
function dumpIntoRestic(desk: Desk, kind: "first" | "next"): Side {
  const { path, version } = newestRestic();
  const place = resticPlace(desk, kind);
  const script = `"$0" -Fp | "$1" backup --quiet --stdin --stdin-filename dump.sql`;
  return {
    name: `pg_dump -Fp into restic ${version}, ${kind}`,
    command: ["sh", "-c", script, join(desk.server.programs, "pg_dump"), path],
    ...place,
    env: { ...pgEnv(desk), ...place.env },
  };
}

/** What it takes to look at every row once, and at nothing of it. */
async function countRows(desk: Desk): Promise<Side> {
  const client = new Client(desk.installation.database);
  await client.connect();
  const { rows } = await client.query<{ sql: string }>(
    "select string_agg(format('select count(*) from %I;', tablename), ' ') as sql from pg_tables where schemaname = 'public'",
  );
  await client.end();
  return {
    name: "select count(*) of all tables",
    command: [join(desk.server.programs, "psql"), "-XAtq", "-c", rows[0]?.sql ?? ""],
    env: pgEnv(desk),
  };
}

/** Each round both sides have the same change before them. */
function changing(desk: Desk, spread: Spread): Side[] {
  const sides = [ours(desk, "next"), dumpIntoRestic(desk, "next")];
  let calls = 0;
  const prepare = async () => {
    if (calls % sides.length === 0) await changeMessages(desk, spread);
    calls += 1;
  };
  return sides.map((side) => ({ ...side, prepare }));
}

async function emptyDatabase(desk: Desk, name: string): Promise<string> {
  await desk.server.query(`drop database if exists ${name} with (force)`);
  const { host, port, user, password } = await desk.server.createDatabase(name, desk.installation.database.user);
  return `postgresql://${user}:${encodeURIComponent(password ?? "")}@${host}:${port}/${name}`;
}

async function restores(desk: Desk): Promise<Side[]> {
  const dump = join(desk.root, "restored.dump");
  const programs = desk.server.programs;
  await quick(join(programs, "pg_dump"), ["-Fd", "-j2", "-Z1", "-f", dump], pgEnv(desk));
  const url = await emptyDatabase(desk, "by_chatkeep");
  await emptyDatabase(desk, "by_pg_restore");
  const chatkeep = [process.execPath, CHATKEEP, "--config", desk.config, "--quiet"] as const;
  return [
    {
      name: "Chatkeep restore",
      command: [...chatkeep, "restore", "latest", "--only", "database", "--database-url", url, "--yes"],
      prepare: async () => void (await emptyDatabase(desk, "by_chatkeep")),
      allowStatus: [3],
    },
    {
      name: "pg_restore -j2, then ANALYZE",
      command: [
        "sh",
        "-c",
        `"$0/pg_restore" -j2 --no-owner --no-acl -d by_pg_restore "$1" && exec "$0/psql" -Xqc analyze by_pg_restore`,
        programs,
        dump,
      ],
      env: pgEnv(desk),
      prepare: async () => void (await emptyDatabase(desk, "by_pg_restore")),
    },
    { name: "Chatkeep drill", command: [...chatkeep, "drill", "latest"], allowStatus: [3] },
  ];
}

async function temporaryFiles(desk: Desk): Promise<string> {
  const sql = `select temp_files::text as files from pg_stat_database where datname = '${desk.installation.database.database}'`;
  const [row] = await desk.server.query(sql);
  return String(row?.["files"]);
}

export async function database(runs: number): Promise<void> {
  await using desk = await openBenchDesk();
  await addMessages(desk, ROWS, { indexed: false });
  const before = await temporaryFiles(desk);
  const title = `a database with ${ROWS / 1e6} M messages`;
  const first = [ours(desk, "first"), dumpCustom(desk), await dumpFolder(desk), dumpIntoRestic(desk, "first")];
  print(`First backup: ${title}`, await compare(first, runs));
  print("Next backup, nothing changed", await compare([ours(desk, "next"), await countRows(desk)], runs));
  const after = await temporaryFiles(desk);
  process.stdout.write(`Temporary files on the server meanwhile: ${Number(after) - Number(before)}\n\n`);
  for (const spread of ["newest", "random"] as const) {
    const where = spread === "newest" ? "the newest rows" : "rows anywhere";
    print(`Next backup, 1 % changed, ${where}`, await compare(changing(desk, spread), runs));
  }
}

/** Indexes are most of a restore, so these messages have them all. */
export async function restore(runs: number): Promise<void> {
  await using desk = await openBenchDesk();
  await addMessages(desk, RESTORED_ROWS, { indexed: true });
  await compare([ours(desk, "next")], 1);
  print(`Restore of ${RESTORED_ROWS / 1e6} M messages, and drill`, await compare(await restores(desk), runs));
}

/** Ten days of one point each, one row in a hundred added each day. */
export async function daily(): Promise<void> {
  await using desk = await openBenchDesk();
  await addMessages(desk, ROWS, { indexed: false });
  await compare([ours(desk, "first"), dumpIntoRestic(desk, "first")], 1);
  for (let day = 1; day < DAYS; day += 1) {
    await growMessages(desk);
    await compare([ours(desk, "next"), dumpIntoRestic(desk, "next")], 1);
  }
  const [mine, theirs] = [folderMiB(desk.repository), folderMiB(join(desk.root, "restic"))];
  process.stdout.write(
    `Repositories after ${DAYS} daily points: Chatkeep ${mine.toFixed(0)} MiB, restic ${theirs.toFixed(0)} MiB: ${(mine / theirs).toFixed(3)}\n\n`,
  );
}
