/** What people have today, a dump and a folder: it becomes a restore point that is proven and restored like any other. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { assertSameDatabase } from "../harness/pg-dump-diff.ts";
import { mustRun } from "../harness/run.ts";
import { longTest } from "../harness/whole.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { type Desk, openDesk } from "./desk.ts";
import { ownMark } from "../../src/system/leftovers.ts";
import { assertNoSecret, assertRefused, secretsOf } from "./refusal.ts";

let desk: Desk;
let dumps: string;
/** A backup of the desk itself. */
let live: string;
/** Dumps of the whole database, and its uploads with some folders above, as 'docker cp' and 'tar czf' make them. */
let custom: string;
let good: string;
let uploads: string;

before(async () => {
  desk = await openDesk({ size: { messages: 150, conversations: 20, files: 12 } });
  await makeCheapToOpen(desk);
  const name = desk.installation.database.database;
  await desk.server.query("create role reader nologin");
  await desk.server.query("grant select on messages to reader", name);
  await desk.server.query("select lo_from_bytea(4000000000, '\\x00ff')", name);
  dumps = join(desk.root, "dumps");
  await mkdir(dumps);
  live = String((await desk.summary(["backup"]))["point"]);
  custom = await dump("chatwoot.dump", ["--format=custom"]);
  good = await dump("good.sql", []);
  uploads = join(dumps, "uploads.tgz");
  await mustRun("tar", ["-czf", uploads, "-C", desk.installation.root, "."]);
});
after(async () => await desk[Symbol.asyncDispose]());

/** Dumps the desk's database with the server's own pg_dump; returns the path. */
async function dump(name: string, args: readonly string[], program = "pg_dump"): Promise<string> {
  const { host, port, user, password, database } = desk.installation.database;
  const path = join(dumps, name);
  const where = program === "pg_dump" ? [database] : [];
  await mustRun(join(desk.server.programs, program), [...args, "-f", path, ...where], {
    env: { PGHOST: host, PGPORT: String(port), PGUSER: user, PGPASSWORD: password ?? "" },
  });
  return path;
}

/** What belongs to any dump of the desk. */
function parts(): string[] {
  return ["--storage", join(desk.installation.codeRoot, "storage"), "--env", join(desk.installation.codeRoot, ".env")];
}

/** Restores the point beside the desk's database: pg_dump says the same of both, line for line. */
async function assertRestored(name: string, point: string): Promise<void> {
  const { host, port, user, password } = desk.installation.database;
  const url = new URL(`postgresql://${host}:${port}/${name}`);
  url.username = user;
  url.password = password ?? "";
  await desk.summary(["restore", point, "--database-url", url.href, "--yes"]);
  await assertSameDatabase(desk.installation.database, { host, port, user, password, database: name });
}

interface Imported {
  point: string;
  takenAt: string;
  findings: { kind: string; message: string }[];
  storage: { missing: number };
  added: { bytes: number };
  imported: { format: string; packing: string | null; madeAtFrom: string; clientVersion: string };
}

async function importDump(args: readonly string[], status = 0): Promise<Imported> {
  return (await desk.summary(["import", "--database", ...args], status)) as unknown as Imported;
}

async function countPoints(): Promise<number> {
  return ((await desk.summary(["list", "--all"]))["points"] as unknown[]).length;
}

test("a custom dump that is packed, with a tar of the uploads and .env, is a point of its own time, and is proven", async () => {
  const path = `${custom}.gz`;
  await writeFile(path, gzipSync(await readFile(custom)));
  const env = join(desk.installation.codeRoot, ".env");
  const { point, imported, findings, storage, takenAt } = await importDump([path, "--storage", uploads, "--env", env]);
  assert.deepEqual([imported.format, imported.packing, imported.madeAtFrom], ["custom", "gzip", "dump"]);
  assert.deepEqual([findings, storage.missing], [[], 0]);
  const { mtimeMs } = await stat(custom);
  assert.ok(Math.abs(Date.parse(takenAt) - mtimeMs) < 60_000, takenAt);
  await desk.summary(["drill", point]);
  await assertRestored("from_custom", point);
  const again = await importDump([path, "--storage", uploads, "--env", env]);
  const [told] = again.findings;
  assert.deepEqual([again.findings.length, told?.kind, again.takenAt], [1, "dump-imported-before", takenAt]);
  assert.ok(told?.message.includes(point.slice(0, 8)) === true, told?.message ?? "");
  // Its manifest, and the schema as an archive with the time of its making in it.
  assert.ok(again.added.bytes < 80_000, `${again.added.bytes} bytes were added`);
  const listed = (await desk.summary(["list"]))["points"] as { point: string; takenAt: string }[];
  const sameTime = listed.filter((one) => Date.parse(one.takenAt) === Date.parse(takenAt));
  assert.deepEqual(sameTime.map((one) => one.point).toSorted(), [point, again.point].toSorted());
  // What is imported is no ground for a live backup, though it is newer: its server was another one.
  assert.equal((await desk.summary(["backup"]))["parent"], live);
});

longTest("a folder of pg_dump's, without anything beside it: what is lacking is told", async () => {
  const path = await dump("folder", ["--format=directory"]);
  const { findings, storage } = await importDump([path, "--made-at", "2025-03-31T02:15:00Z"], 3);
  const kinds = findings.map(({ kind }) => kind).toSorted();
  assert.deepEqual(kinds, [
    "blobs-missing",
    "encryption-keys-missing",
    "imported-without-environment",
    "secret-key-base-wrong",
  ]);
  assert.equal(storage.missing, 12);
  const points = (await desk.summary(["list"]))["points"] as { takenAt: string }[];
  assert.equal(Date.parse(points.at(-1)?.takenAt ?? ""), Date.parse("2025-03-31T02:15:00Z"));
});

longTest("SQL with owners, grants, DROPs, \\restrict and a newer server's settings is the same", async () => {
  const path = await dump("chatwoot.sql", ["--clean", "--create", "--verbose"]);
  const sql = await readFile(path, "utf8");
  assert.match(sql, /OWNER TO chatwoot/);
  assert.match(sql, /GRANT SELECT ON TABLE public\.messages TO reader/);
  assert.match(sql, /^DROP DATABASE/m);
  // As a client of PostgreSQL 17 writes it.
  const newer = sql
    .replace("SET lock_timeout = 0;", "SET lock_timeout = 0;\nSET transaction_timeout = 0;")
    .replace("SET statement_timeout = 0;", "\\restrict A1b2C3\n\nSET statement_timeout = 0;")
    .replace(/(-- Completed on)/, "\\unrestrict A1b2C3\n\n$1");
  // A block of code is run by the server, for a role that may not leave it.
  const sign = join(dumps, "sign");
  const block = `DO $do$ BEGIN EXECUTE $x$COPY (SELECT 1) TO PROGRAM 'touch ${sign}'$x$; END $do$;`;
  await writeFile(path, newer.replaceAll("SET row_security = off;", `SET row_security = off;\n${block}\n`));
  const { point, imported, findings } = await importDump([path, ...parts()], 3);
  assert.deepEqual([imported.format, imported.madeAtFrom], ["plain", "dump"]);
  const kinds = findings.map(({ kind }) => kind);
  // It holds what other dumps of the desk hold.
  assert.deepEqual(
    kinds.filter((kind) => kind !== "dump-imported-before"),
    ["dump-left-out"],
  );
  assert.ok(!existsSync(sign));
  await assertRestored("from_sql", point);
});

test("what is no whole dump of a Chatwoot is one line, one hint and its status, and makes no point", async () => {
  const before = await countPoints();
  const refuse = async (path: string, status: number, error: RegExp, hint: RegExp, args: readonly string[] = []) => {
    assertRefused(await desk.chatkeep(["import", "--database", path, ...args]), { status, error, hint });
  };
  const make = async (name: string, content: string | Buffer) => {
    await writeFile(join(dumps, name), content);
    return join(dumps, name);
  };
  const sql = await readFile(good, "utf8");
  const archive = await readFile(custom);
  await refuse(await make("cut.sql", sql.slice(0, sql.length / 2)), 13, /cut short/, /size/);
  await refuse(
    await make("end.sql", sql.replace(/-- PostgreSQL database dump complete[^]*/, "")),
    13,
    /cut short/,
    /size/,
  );
  await refuse(
    await make("cut.dump", archive.subarray(0, archive.length - 9_000)),
    13,
    /cut short or damaged/,
    /SHA-256/,
  );
  const version = new RegExp(`(?<!\\d)${desk.server.major}(?=\\.\\d)`, "g");
  const newer = archive.toString("latin1", 0, 300).replace(version, "77");
  await refuse(
    await make("newer.dump", Buffer.concat([Buffer.from(newer, "latin1"), archive.subarray(300)])),
    1,
    /: the newest pg_restore here is of PostgreSQL \d+, too old for the dump, which pg_dump 77 made$/,
    /postgresql-client-77/,
  );
  await refuse(await make("cut.gz", gzipSync(sql).subarray(0, 20_000)), 13, /cut short/, /size/);
  await refuse(await make("cut.zst", zstdCompressSync(sql).subarray(0, 20_000)), 13, /cut short/, /size/);
  await refuse(await make("other.txt", "hello"), 1, /is no dump/, /pg_dump/);
  await refuse(await make("utf16.sql", Buffer.from(`\uFEFF${sql}`, "utf16le")), 1, /UTF-16/, /--file/);
  await refuse(join(dumps, "absent"), 1, /is not there/, /path/);
  await refuse(await dump("schema.sql", ["--schema-only"]), 1, /without any rows/, /everything/);
  await refuse(await dump("data.dump", ["--data-only", "--format=custom"]), 1, /rows without tables/, /silently/);
  await refuse(await dump("part.sql", ["--table=messages"]), 1, /lacks \d+ tables|lacks \d+ table/, /./);
  await refuse(await dump("users.sql", ["--exclude-table-data=users"]), 1, /no rows of users/, /everything/);
  const [wrong, empty] = [await desk.server.createDatabase("shop"), await desk.server.createDatabase("nothing")];
  await desk.server.query("create table orders as select 1 as id", "shop");
  for (const [address, error, hint] of [
    [wrong, /not a Chatwoot's: it lacks/, /POSTGRES_DATABASE/],
    [empty, /holds no tables/, /chatwoot_production/],
  ] as const) {
    const path = join(dumps, `${address.database}.dump`);
    const at = ["-h", address.host, "-p", String(address.port), "-U", address.user];
    await mustRun(join(desk.server.programs, "pg_dump"), ["-Fc", "-f", path, ...at, address.database]);
    await refuse(path, 1, error, hint);
  }
  await refuse(good, 1, /no variable/, /SECRET_KEY_BASE/, ["--env", await make("empty.env", "# nothing\n")]);
  await refuse(good, 1, /no uploaded files/, /ab\/cd/, ["--storage", dumps]);
  const tar = await readFile(uploads);
  await refuse(good, 13, /cut short/, /size/, ["--storage", await make("cut.tgz", tar.subarray(0, tar.length / 2))]);
  await refuse(good, 2, /--made-at is in the future/, /Name the time/, ["--made-at", "2999-01-01T00:00:00Z"]);
  await refuse(good, 2, /--made-at cannot be/, /zone/, ["--made-at", "yesterday"]);
  assertRefused(await desk.chatkeep(["import"]), { status: 2, error: /nothing is named/, hint: /pg_dump/ });
  assertRefused(await desk.chatkeep(["import", "x.tar", "--env", "y"]), {
    status: 2,
    error: /needs --database/,
    hint: /DUMP/,
  });
  assert.equal(await countPoints(), before);
});

test("what somebody put into a dump is never run: not by psql, not by the server", async () => {
  const before = await countPoints();
  const sql = await readFile(good, "utf8");
  const sign = join(dumps, "sign");
  const hostile = [
    `\\! touch ${sign}`,
    `\\copy accounts to '${sign}'`,
    `select 1 \\g '${sign}'`,
    `\\i ${sign}.sql`,
    `COPY public.accounts TO PROGRAM 'touch ${sign}';`,
    `COPY public.tags (name) FROM PROGRAM 'touch ${sign}; echo x';`,
    `ALTER SYSTEM SET archive_command = 'touch ${sign}';`,
  ];
  for (const line of hostile) {
    const path = join(dumps, "hostile.sql");
    await writeFile(path, sql.replace("SET row_security = off;", `SET row_security = off;\n${line}\n`));
    const expected = { status: 1, error: /no dump of pg_dump has that/, hint: /altered/ };
    assertRefused(await desk.chatkeep(["import", "--database", path]), expected);
  }
  assert.ok(!existsSync(sign));
  assert.equal(await countPoints(), before);
});

test("as plain files a point is what Chatwoot's own steps bring back, with PostgreSQL's programs and cp", async () => {
  const folder = join(desk.root, "plain");
  const left = join(`${folder}.part`, "chatwoot.dump");
  // What an export left that was killed: its process is over.
  await mkdir(`${folder}.part`);
  await writeFile(left, "half");
  const refused = await desk.chatkeep(["export", live, folder, "--plain"]);
  assertRefused(refused, { status: 1, error: /plain\.part' exists already/, hint: /No export made it/ });
  const [start = ""] = ownMark().split(/\.\d+$/);
  await writeFile(join(`${folder}.part`, ".unfinished-export"), `${start}.${2 ** 22 + 1}`);
  const report = await desk.chatkeep(["export", live, folder, "--plain"]);
  assert.equal(report.status, 0, report.stderr);
  assert.match(report.stdout, /Nothing in it is encrypted/);
  assertNoSecret(report, await secretsOf(desk));
  assert.equal((await stat(folder)).mode & 0o777, 0o700);
  assert.ok(!existsSync(`${folder}.part`) && !existsSync(join(folder, ".unfinished-export")));
  const target = await desk.server.createDatabase("by_hand");
  const at = ["-h", target.host, "-p", String(target.port), "-U", target.user, "-d", target.database];
  await mustRun(join(desk.server.programs, "pg_restore"), [
    "--no-owner",
    "--no-acl",
    "-e",
    ...at,
    join(folder, "chatwoot.dump"),
  ]);
  await assertSameDatabase(desk.installation.database, target);
  await mustRun("diff", ["-r", join(folder, "storage"), desk.installation.storageRoot]);
  await mustRun("cmp", [join(folder, ".env"), desk.installation.envFile]);
  const readme = await readFile(join(folder, "README.txt"), "utf8");
  for (const said of ["version 4.15.1", "pg_restore --no-owner", "cp -a storage/. ", "NOTHING HERE IS ENCRYPTED"]) {
    assert.ok(readme.includes(said), said);
  }
  // The desk's code is the release's own, of which nothing is saved.
  assert.deepEqual((await readdir(folder)).toSorted(), [".env", "README.txt", "chatwoot.dump", "config", "storage"]);
  const again = await desk.chatkeep(["export", live, folder, "--plain"]);
  assertRefused(again, { status: 1, error: /is not empty/, hint: /ever written over/ });
  const both = await desk.chatkeep(["export", live, join(desk.root, "x"), "--plain", "--format", "custom"]);
  assertRefused(both, { status: 2, error: /encrypts nothing/, hint: /leave out --plain/ });
});
