/** From nothing to healthy: a whole restore into the place of an empty installation, against its parts done bare. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import type { Desk } from "../test/scenario/desk.ts";
import { CHATKEEP } from "../test/harness/cli.ts";
import { addFiles, openRunningDesk } from "./desk.ts";
import { compare, print, remove, type Side } from "./measure.ts";
import { addMessages } from "./messages.ts";
import { ours, pgEnv, quick } from "./sides.ts";

/** With all indexes, some 700 MB of database. */
const MESSAGES = Number(process.env["BENCH_RECOVERED"] ?? "400000");
const FILES = 5_000;
const FILE_BYTES = 250_000;

/** An installation as it is after it was installed anew: a database without rows, a folder without files. */
async function installAnew(desk: Desk): Promise<void> {
  const { database, user } = desk.installation.database;
  const kept = await desk.server.query(
    `select datname from pg_database where datname like '${database}\\_%' escape '\\'`,
  );
  for (const { datname } of kept) await desk.server.query(`drop database "${String(datname)}" with (force)`);
  const empty = [
    `drop schema public cascade`,
    `create schema public authorization ${user}`,
    `create table public.schema_migrations (version varchar primary key)`,
    `alter table public.schema_migrations owner to ${user}`,
  ];
  for (const sql of empty) await desk.server.query(sql, database);
  remove(desk.installation.storageRoot);
  await quick("mkdir", [desk.installation.storageRoot], {});
}

/** `pg_restore -j2` into an empty database, `ANALYZE`, and `cp` of the files with all of it on the disk. */
function bare(desk: Desk, { dump, files }: { dump: string; files: string }): Side {
  const target = join(desk.root, "files-by-hand");
  const script = `"$0/pg_restore" -j2 --no-owner --no-acl -d by_hand "$1" && "$0/psql" -Xqc analyze by_hand && cp -r "$2" "$3" && sync -f "$3"`;
  return {
    name: "pg_restore -j2, ANALYZE, cp -r and sync",
    command: ["sh", "-c", script, desk.server.programs, dump, files, target],
    env: pgEnv(desk),
    async prepare() {
      remove(target);
      await desk.server.query("drop database if exists by_hand with (force)");
      await desk.server.createDatabase("by_hand", desk.installation.database.user);
    },
  };
}

export async function recover(runs: number): Promise<void> {
  await using whole = await openRunningDesk();
  const { desk } = whole;
  await addMessages(desk, MESSAGES, { indexed: true });
  await addFiles(desk, FILES, FILE_BYTES);
  const [size] = await desk.server.query(
    "select pg_size_pretty(pg_database_size(current_database())) as size",
    desk.installation.database.database,
  );
  const dump = join(desk.root, "by-hand.dump");
  const files = join(desk.root, "files-saved");
  await quick(join(desk.server.programs, "pg_dump"), ["-Fd", "-j2", "-Z1", "-f", dump], pgEnv(desk));
  await quick("cp", ["-r", desk.installation.storageRoot, files], {});
  await compare([ours(desk, "next")], 1);
  await whole.start();
  const chatkeep = [process.execPath, CHATKEEP, "--config", desk.config, "--quiet"] as const;
  const side: Side = {
    name: "Chatkeep restore, until web and worker run and are well",
    command: [...chatkeep, "restore", "latest", "--yes", "--outbound", "allow"],
    allowStatus: [3],
    async prepare() {
      await whole.stop();
      rmSync(join(desk.config, "..", "state"), { recursive: true, force: true });
      await installAnew(desk);
      await whole.start();
    },
  };
  const title = `A lost installation of ${String(size?.["size"])} and ${FILES} files brought back`;
  print(title, await compare([side, bare(desk, { dump, files })], runs));
}
