/** Dumps of PostgreSQL 17 with pgvector, in the formats and shapes that the daily tests have no time for. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { runCli } from "../harness/cli.ts";
import { newerPostgres } from "../harness/newer-postgres.ts";
import { assertSameDatabase } from "../harness/pg-dump-diff.ts";
import { installedServers } from "../harness/postgres.ts";
import { mustRun } from "../harness/run.ts";
import { makeCheapToOpen } from "../scenario/cheap-key.ts";
import { type Desk, openDesk } from "../scenario/desk.ts";
import { assertRefused } from "../scenario/refusal.ts";

let desk: Desk;
let path: string;
let pathBefore: string;
/** The pg_dump of a newer release than the server's. */
let newer: string;

before(async () => {
  const { programs } = await newerPostgres(17);
  const of18 = (await newerPostgres(18)).programs;
  newer = join(of18, "pg_dump");
  pathBefore = process.env["PATH"] ?? "";
  path = `${programs}:${of18}:${pathBefore}`;
  process.env["PATH"] = path;
  desk = await openDesk({
    hasProcesses: true,
    size: { messages: 400, conversations: 40, files: 12 },
    server: { programs },
  });
  await makeCheapToOpen(desk);
});
after(async () => {
  process.env["PATH"] = pathBefore;
  await desk[Symbol.asyncDispose]();
});

async function dump(name: string, args: readonly string[], program = "pg_dump"): Promise<string> {
  const { host, port, user, password, database } = desk.installation.database;
  const file = join(desk.root, name);
  const where = basename(program) === "pg_dump" ? [database] : [];
  await mustRun(resolve(desk.server.programs, program), [...args, "-f", file, ...where], {
    env: { PGHOST: host, PGPORT: String(port), PGUSER: user, PGPASSWORD: password ?? "" },
  });
  return file;
}

/** Imports, drills and restores; pg_dump says the same of what comes back. */
async function assertWhole(file: string, name: string, format: string): Promise<Record<string, unknown>> {
  const { storageRoot, envFile, database } = desk.installation;
  const summary = await desk.summary(["import", "--database", file, "--storage", storageRoot, "--env", envFile]);
  assert.equal((summary["imported"] as { format: string }).format, format);
  const point = String(summary["point"]);
  assert.equal((await desk.summary(["drill", point]))["proven"], true);
  const url = new URL(`postgresql://${database.host}:${database.port}/${name}`);
  url.username = database.user;
  url.password = database.password ?? "";
  const restored = await desk.chatkeep(["restore", point, "--database-url", url.href, "--yes"]);
  // Where the dump does not say how text was ordered, the server may lack what is taken for it.
  assert.ok(restored.status === 0 || /locale 'en_US.utf8'/.test(restored.stderr), restored.stderr);
  await assertSameDatabase(database, { ...database, database: name }, { programs: desk.server.programs });
  return summary;
}

test("a custom dump that pg_dump packed with zstd comes back, vectors and all", async () => {
  const [row] = await desk.server.query(
    "select count(*)::int as n from pg_extension where extname = 'vector'",
    desk.installation.database.database,
  );
  assert.deepEqual(row, { n: 1 });
  await assertWhole(await dump("custom.dump", ["--format=custom", "--compress=zstd"]), "from_custom", "custom");
});

const OF_18: readonly (readonly [file: string, format: string, args: readonly string[]])[] = [
  ["newer.dump", "custom", ["--format=custom"]],
  ["newer.sql", "plain", ["--create", "--clean", "--if-exists"]],
];

for (const [file, format, args] of OF_18) {
  test(`what a pg_dump of PostgreSQL 18 made of this server (${file}) comes back`, async () => {
    const { imported } = await assertWhole(await dump(file, args, newer), `from_18_${format}`, format);
    const { serverVersion, clientVersion } = imported as { serverVersion: string; clientVersion: string };
    assert.match(`${serverVersion} / ${clientVersion}`, /^17\.\d+.* \/ 18\.\d+/);
  });
}

test("a tar that is gzipped comes back", async () => {
  const file = await dump("dump.tar", ["--format=tar"]);
  await writeFile(`${file}.gz`, gzipSync(await readFile(file)));
  await assertWhole(`${file}.gz`, "from_tar", "tar");
});

test("a folder comes back", async () => {
  await assertWhole(await dump("folder", ["--format=directory", "--jobs=2"]), "from_folder", "directory");
});

test("rows as INSERTs, packed with zstd, of an owner that nobody has here, come back", async () => {
  const file = await dump("inserts.sql", ["--rows-per-insert=50"]);
  const sql = (await readFile(file, "utf8")).replaceAll("OWNER TO chatwoot;", 'OWNER TO "somebody else";');
  assert.match(sql, /OWNER TO "somebody else"/);
  await writeFile(`${file}.zst`, zstdCompressSync(sql));
  await assertWhole(`${file}.zst`, "from_inserts", "plain");
});

test("of a pg_dumpall the database with the accounts comes back, and the others are named", async () => {
  await desk.server.createDatabase("chatwoot");
  await desk.server.createDatabase("shop");
  await desk.server.query("create table orders as select 1 as id", "shop");
  const { imported, others } = await assertWhole(await dump("all.sql", [], "pg_dumpall"), "from_all", "plain");
  assert.equal((imported as { database: string }).database, desk.installation.database.database);
  assert.ok((others as string[]).includes("shop"));
});

test("without a configuration it takes a name, and the same name means the same installation", async () => {
  const file = await dump("named.dump", ["--format=custom"]);
  const args = ["--repository", desk.repository, "import", "--database", file];
  const options = { cwd: desk.root, env: { CHATKEEP_PASSWORD_FILE: desk.passwordFile } };
  assertRefused(await runCli(args, options), { status: 2, error: /whose restore point/, hint: /--name/ });
  for (const round of [1, 2]) {
    const named = await runCli([...args, "--name", "acme"], options);
    assert.equal(named.status, 3, `${round}: ${named.stderr}`);
  }
  const { points } = await desk.summary(["list", "--all"]);
  const all = (points as { installation: { id: string; name: string } }[]).map((one) => one.installation);
  const mine = all.filter(({ name }) => name === "acme");
  assert.equal(mine.length, 2, JSON.stringify(points));
  assert.equal(new Set(mine.map(({ id }) => id)).size, 1);
});

test("where no server of the dump's version or newer is, that is said, and what would do", async () => {
  const [own] = installedServers();
  if (own !== undefined && own.major >= 17) return;
  const file = await dump("plain.sql", ["--format=plain"]);
  process.env["PATH"] = pathBefore;
  try {
    const refused = await desk.chatkeep(["import", "--database", file]);
    assertRefused(refused, {
      status: 1,
      error: /PostgreSQL 17 or newer with .*vector.* is needed/,
      hint: /postgresql-17/,
    });
  } finally {
    process.env["PATH"] = path;
  }
});
