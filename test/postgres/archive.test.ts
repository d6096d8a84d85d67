/** Archives of our own making, judged by PostgreSQL's pg_restore and psql. */
import assert from "node:assert/strict";
import { statSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { silent } from "../../src/base/progress.ts";
import { decodeArchive, encodeArchive } from "../../src/postgres/archive.ts";
import type { ArchiveContent } from "../../src/postgres/archive-data.ts";
import { archiveObjects } from "../../src/postgres/archive-objects.ts";
import { streamArchive, writeArchiveFile, writeArchiveFolder } from "../../src/postgres/archive-file.ts";
import { runProgram } from "../../src/system/process.ts";
import { assertSameDatabase } from "../harness/pg-dump-diff.ts";
import { startPostgres, type TestAddress, type TestServer } from "../harness/postgres.ts";
import { mustRun } from "../harness/run.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { HOSTILE_SQL, largeTable } from "./hostile.ts";
import { type Saved, saveDatabase, type SavedObjects, saveObjects, toObjects, toSource } from "./saved.ts";

const { signal } = new AbortController();
const MADE_AT = "2026-11-23T02:30:05Z";
const options = { madeAt: MADE_AT, progress: silent, signal };
let server: TestServer;
let source: TestAddress;
let saved: Saved;
let objects: SavedObjects;
let folder: Awaited<ReturnType<typeof temporaryFolder>>;

before(async () => {
  server = await startPostgres();
  folder = await temporaryFolder();
  source = await server.createDatabase("source");
  await server.query("create extension pg_trgm; create extension pgcrypto", "source");
  await server.query(HOSTILE_SQL, "source");
  await server.query(largeTable(30_000), "source");
  await server.query(LARGE_OBJECTS_SQL, "source");
  saved = await saveDatabase(source);
  objects = await saveObjects(source);
});
after(async () => {
  await server.stop();
  await folder[Symbol.asyncDispose]();
});

/** An empty one, one of several parts, and numbers that an archive has with a sign; in their order, as pg_dump gives them. */
const LARGE_OBJECTS_SQL = `create role somebody;
  select lo_from_bytea(70000, ''); alter large object 70000 owner to somebody;
  select lo_from_bytea(70001, string_agg(sha256(i::text::bytea), '' order by i)) from generate_series(1, 9000) i;
  select lo_from_bytea(2147483648, '\\x00ff0a5c');
  select lo_from_bytea(4294967295, 'last'); comment on large object 4294967295 is E'it''s; the\\nlast';
  comment on large object 70001 is 'größer'`;

async function contentOf(of: Saved, withObjects?: SavedObjects): Promise<ArchiveContent> {
  const { tables } = await toSource(of, folder.at("schema.dump"));
  const schema = decodeArchive(of.schema.custom);
  const largeObjects = withObjects && (await archiveObjects(toObjects(withObjects), { signal }));
  return { schema, tables, sequences: of.sequences, filledViews: of.filledViews, largeObjects };
}

async function pgRestore(args: readonly string[]): Promise<string> {
  return (await mustRun(join(server.programs, "pg_restore"), args)).stdout;
}

async function emptyTarget(
  name: string,
  settings = "encoding 'UTF8'",
): Promise<{ target: TestAddress; args: string[] }> {
  await server.query(`create database "${name}" template template0 ${settings}`);
  const { host, port, user } = server.address;
  const args = ["-h", host, "-p", String(port), "-U", user, "-d", name];
  return { target: { ...server.address, database: name }, args };
}

test("a custom archive is listed with its time, and pg_restore makes the same database of it with several jobs", async () => {
  const path = folder.at("whole.dump");
  await writeArchiveFile(path, await contentOf(saved, objects), options);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  const list = await pgRestore(["--list", path]);
  assert.match(list, /Archive created at 2026-11-23 02:30:05/);
  assert.match(list, /Format: CUSTOM/);
  assert.equal(list.match(/ TABLE DATA /g)?.length, saved.tables.size);
  const { target, args } = await emptyTarget("from_custom");
  await pgRestore([...args, "--exit-on-error", "--jobs=2", path]);
  await assertSameDatabase(source, target);
});

test("from a custom archive one table can be had, without reading what lies before it", async () => {
  const path = folder.at("one.dump");
  await writeArchiveFile(path, await contentOf(saved), options);
  const { args } = await emptyTarget("one_table");
  await pgRestore([...args, "--exit-on-error", "--table=text_key", path]);
  const count = "select count(*)::int as n, sum(v)::text as sum from text_key";
  assert.deepEqual(await server.query(count, "one_table"), await server.query(count, "source"));
});

test("a folder is one that only its owner enters, and pg_restore makes the same database of it", async () => {
  const path = folder.at("as-folder");
  await writeArchiveFolder(path, await contentOf(saved, objects), options);
  assert.equal(statSync(path).mode & 0o777, 0o700);
  for (const name of await readdir(path)) assert.equal(statSync(join(path, name)).mode & 0o777, 0o600, name);
  assert.match(await pgRestore(["--list", path]), /Format: DIRECTORY/);
  const { target, args } = await emptyTarget("from_folder");
  await pgRestore([...args, "--exit-on-error", "--jobs=2", path]);
  await assertSameDatabase(source, target);
});

test("pg_restore turns the stream into SQL that psql makes the same database of", async () => {
  const { stdout } = await runProgram(join(server.programs, "pg_restore"), ["--file=-"], {
    signal,
    input: streamArchive(await contentOf(saved, objects), options),
  });
  const { target, args } = await emptyTarget("from_sql");
  await runProgram(join(server.programs, "psql"), ["-X", "-q", "-v", "ON_ERROR_STOP=1", ...args], {
    signal,
    input: stdout,
  });
  await assertSameDatabase(source, target);
});

test("rows of a database in another encoding come back as they were", async () => {
  const { target: latin } = await emptyTarget("latin", "encoding 'LATIN1' lc_collate 'C' lc_ctype 'C'");
  await server.query("create table t (id int primary key, v text); insert into t values (1, 'Grüße, Ørsted')", "latin");
  await server.query("select lo_from_bytea(5, 'x'); comment on large object 5 is 'Größe\\ ''Ø'", "latin");
  const path = folder.at("latin.dump");
  await writeArchiveFile(path, await contentOf(await saveDatabase(latin), await saveObjects(latin)), options);
  const { target, args } = await emptyTarget("latin_back", "encoding 'LATIN1' lc_collate 'C' lc_ctype 'C'");
  await pgRestore([...args, "--exit-on-error", path]);
  await assertSameDatabase(latin, target);
});

test("what pg_dump wrote is read and written again with nothing changed but the time", async () => {
  const { custom } = saved.schema;
  const archive = decodeArchive(custom);
  const again = encodeArchive(archive, { format: "custom", compression: "gzip", madeAt: MADE_AT });
  assert.deepEqual(decodeArchive(again), archive);
  // Head and list are all that a schema's archive has.
  assert.equal(again.length, custom.length);
});

test("what is no archive, cut off or of another version is refused", () => {
  const { custom } = saved.schema;
  const changed = (at: number, value: number) => {
    const bytes = Buffer.from(custom);
    bytes[at] = value;
    return bytes;
  };
  const wrong: [Uint8Array, RegExp][] = [
    [Buffer.from("-- a plain dump\n"), /no archive of pg_dump/],
    [custom.subarray(0, custom.length - 1), /cut off/],
    [custom.subarray(0, 8), /cut off/],
    [changed(6, 17), /version 1\.17/],
    [changed(10, 5), /makes no sense/],
  ];
  for (const [bytes, message] of wrong) {
    assert.throws(
      () => decodeArchive(bytes),
      (error) => isFailure(error, "point/invalid") && message.test(error.message),
      String(message),
    );
  }
});

test("a table that the schema does not know, and a source that fails, end it with the reason", async () => {
  const content = await contentOf(saved);
  const [first] = content.tables;
  assert.ok(first !== undefined);
  const unknown = { ...content, tables: [{ ...first, name: "elsewhere" }] };
  await assert.rejects(
    writeArchiveFile(folder.at("unknown.dump"), unknown, options),
    (error) => isFailure(error, "point/invalid") && /elsewhere is not in the saved schema/.test(error.message),
  );
  const reason = new Error("the source fails");
  const read = async function* () {
    yield Buffer.from("1\n");
    throw reason;
  };
  const broken = { ...content, tables: [{ ...first, ranges: [{ bucket: "0", rows: 1, read }] }] };
  await assert.rejects(writeArchiveFile(folder.at("broken.dump"), broken, options), reason);
  await assert.rejects(writeArchiveFolder(folder.at("broken"), broken, options), reason);
  await assert.rejects(
    runProgram(join(server.programs, "pg_restore"), ["--file=-"], { signal, input: streamArchive(broken, options) }),
    reason,
  );
});

function invalid(message: RegExp): (error: unknown) => boolean {
  return (error) => isFailure(error, "point/invalid") && message.test(error.message);
}

test("large objects that are cut off, or lack a part, end it with the reason", async () => {
  const sources = toObjects(objects);
  const [range] = sources.ranges;
  assert.ok(range !== undefined);
  const changed = (rows: number, change: (lines: string[]) => string[]) => {
    const read = async function* () {
      let text = "";
      for await (const chunk of range.read()) text += Buffer.from(chunk).toString();
      yield Buffer.from(`${change(text.trimEnd().split("\n")).join("\n")}\n`);
    };
    return { ...sources, ranges: [{ ...range, rows, read }] };
  };
  const cut = changed(range.rows, (lines) => lines.slice(1));
  await assert.rejects(archiveObjects(cut, { signal }), invalid(/parts of/));
  const lacking = changed(range.rows - 1, (lines) => lines.filter((line) => !line.startsWith("70001\t65536\t")));
  const content = { ...(await contentOf(saved)), largeObjects: await archiveObjects(lacking, { signal }) };
  await assert.rejects(
    writeArchiveFile(folder.at("lacking.dump"), content, options),
    invalid(/part of large object 70001/),
  );
});
