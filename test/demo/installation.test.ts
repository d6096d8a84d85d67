import assert from "node:assert/strict";
import { createDecipheriv, createHash, createHmac, pbkdf2Sync } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { inflateSync } from "node:zlib";
import { Client } from "pg";
import { readCatalogue } from "../../src/demo/catalogue.ts";
import { dayOfWork } from "../../src/demo/day-of-work.ts";
import { type DemoInstallation, buildInstallation, destroyInstallation } from "../../src/demo/installation.ts";
import { loadGenerator } from "../harness/load-generator.ts";
import { dumpLines } from "../harness/pg-dump-diff.ts";
import { type TestServer, startPostgres } from "../harness/postgres.ts";
import { mustRun } from "../harness/run.ts";
import { type TestFolder, temporaryFolder } from "../harness/temporary.ts";
import { readFolder } from "../harness/tree.ts";

const { signal } = new AbortController();

let server: TestServer;
let folder: TestFolder;
let demo: DemoInstallation;
let client: Client;

before(async () => {
  server = await startPostgres({ auth: "scram" });
  folder = await temporaryFolder();
  demo = await buildInstallation({ root: folder.at("demo"), address: server.address, signal });
  client = new Client(demo.database);
  await client.connect();
});

after(async () => {
  await client.end();
  await server.stop();
  await folder[Symbol.asyncDispose]();
});

async function query(sql: string): Promise<Record<string, unknown>[]> {
  return (await client.query<Record<string, unknown>>(sql)).rows;
}

async function one(sql: string): Promise<unknown> {
  return Object.values((await query(sql))[0] ?? {})[0];
}

async function small(name: string, seed: number): Promise<DemoInstallation> {
  return await buildInstallation({
    root: folder.at(name),
    address: server.address,
    size: { messages: 300, conversations: 30, files: 40 },
    seed,
    role: name,
    database: `${name}_production`,
    signal,
  });
}

/** Every blob's row has its file, whole, and every file has its row. */
async function assertFilesMatch(installation: DemoInstallation): Promise<number> {
  const blobs = await server.query("SELECT * FROM active_storage_blobs", installation.database.database);
  for (const { key, byte_size: size, checksum } of blobs) {
    const name = String(key);
    const content = await readFile(`${installation.storageRoot}/${name.slice(0, 2)}/${name.slice(2, 4)}/${name}`);
    assert.equal(String(content.length), size);
    assert.equal(createHash("md5").update(content).digest("base64"), checksum);
  }
  assert.equal(Object.keys(await readFolder(installation.storageRoot)).length, blobs.length);
  return blobs.length;
}

test("it has the tables and columns that the catalogue names, none of them empty", async () => {
  const catalogue = readCatalogue();
  assert.equal(catalogue.tables.size, 90);
  const columns = await query(
    `SELECT table_name, array_agg(column_name::text ORDER BY ordinal_position) AS names
     FROM information_schema.columns WHERE table_schema = 'public' GROUP BY 1`,
  );
  const found = new Map(columns.map(({ table_name: table, names }) => [String(table), names]));
  for (const [table, facts] of catalogue.tables) {
    assert.deepEqual(
      found.get(table),
      facts.map(({ name }) => name),
    );
    assert.equal(await one(`SELECT EXISTS (SELECT FROM "${table}")`), true, `${table} is empty`);
  }
  assert.equal(found.size, catalogue.tables.size + (await viewsOfExtensions()));
});

/** pg_stat_statements puts its views into the same schema. */
async function viewsOfExtensions(): Promise<number> {
  return Number(await one("SELECT count(*) FROM information_schema.views WHERE table_schema = 'public'"));
}

test("indexes, keys and foreign keys are those of the catalogue, but for what needs pgvector", async () => {
  const wanted = readCatalogue().indexes.filter(({ definition }) => !definition.includes("ivfflat"));
  const found = await query("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'");
  const definitions = new Map(found.map((row) => [row["indexname"], row["indexdef"]]));
  for (const { name, definition } of wanted) assert.equal(definitions.get(name), definition);
  assert.equal(definitions.size, wanted.length);
  assert.equal(await one("SELECT count(*)::int FROM pg_constraint WHERE contype = 'f'"), 4);
  assert.match(demo.notes.join("\n"), /no pgvector/);
});

test("it is as large as it is said to be", async () => {
  assert.equal(await one("SELECT count(*)::int FROM accounts"), 2);
  assert.equal(await one("SELECT count(*)::int FROM conversations"), 1500);
  const messages = Number(await one("SELECT count(*)::int FROM messages"));
  assert.ok(messages > 19_500 && messages <= 20_000, `${messages} messages`);
  assert.equal(await one("SELECT max(version) FROM schema_migrations"), "20260611184600");
  assert.equal(await one("SELECT value FROM ar_internal_metadata"), "production");
});

test("every file is there as its row says, one is empty, and some have the same content", async () => {
  assert.equal(await assertFilesMatch(demo), 300);
  assert.equal(await one("SELECT count(*)::int FROM active_storage_blobs WHERE byte_size = 0"), 1);
  const same = await one("SELECT count(*) - count(DISTINCT checksum) AS n FROM active_storage_blobs");
  assert.ok(Number(same) > 5, `${String(same)} files have the content of another`);
});

test("each account numbers its conversations by triggers, from sequences of its own", async () => {
  const perAccount = await query(
    "SELECT account_id, max(display_id) AS max, count(*)::int AS count FROM conversations GROUP BY 1",
  );
  assert.equal(perAccount.length, 2);
  for (const { account_id: account, max, count } of perAccount) {
    assert.equal(max, count);
    assert.equal(await one(`SELECT last_value::int FROM conv_dpid_seq_${String(account)}`), max);
    assert.equal(await one(`SELECT last_value::int FROM camp_dpid_seq_${String(account)}`), 1);
  }
  const owned = await one(
    `SELECT count(*)::int FROM pg_depend d JOIN pg_class c ON c.oid = d.objid
     WHERE c.relname LIKE '%\\_dpid\\_seq\\_%' AND d.deptype IN ('a', 'i')`,
  );
  assert.equal(owned, 0, "the sequences belong to no column");
});

test("sequences go on where the rows end", async () => {
  for (const { name, ownedBy } of readCatalogue().sequences) {
    const [table = "", column = ""] = ownedBy.split(".");
    const behind = await one(`SELECT coalesce(max(${column}), 0) > (SELECT last_value FROM ${name}) FROM ${table}`);
    assert.equal(behind, false, name);
  }
});

test("the keys in the environment open every encrypted credential", async () => {
  const environment = demo.environment;
  const derive = (name: string) =>
    pbkdf2Sync(
      environment.get(`ACTIVE_RECORD_ENCRYPTION_${name}`) ?? "",
      environment.get("ACTIVE_RECORD_ENCRYPTION_KEY_DERIVATION_SALT") ?? "",
      65_536,
      32,
      "sha1",
    );
  const keys = [derive("PRIMARY_KEY"), derive("DETERMINISTIC_KEY")];
  const ids = keys.map((key) => createHash("sha1").update(key).digest("hex").slice(0, 4));
  const columns = await query(
    `SELECT table_name, column_name FROM information_schema.columns
     WHERE table_schema = 'public' AND data_type IN ('text', 'character varying') AND table_name NOT LIKE 'pg_stat%'`,
  );
  const opened: string[] = [];
  for (const { table_name: table, column_name: column } of columns) {
    const values = await query(
      `SELECT "${String(column)}" AS v FROM "${String(table)}" WHERE "${String(column)}" LIKE '{"p":%'`,
    );
    for (const { v } of values) {
      const { p, h } = JSON.parse(String(v)) as { p: string; h: { iv: string; at: string; i: string; c?: boolean } };
      const key = keys[ids.indexOf(Buffer.from(h.i, "base64").toString())];
      assert.ok(key !== undefined, `${String(table)}.${String(column)} names a key that is not there`);
      const decipher = createDecipheriv("aes-256-gcm", key, Buffer.from(h.iv, "base64"));
      decipher.setAuthTag(Buffer.from(h.at, "base64"));
      const plain = Buffer.concat([decipher.update(Buffer.from(p, "base64")), decipher.final()]);
      opened.push((h.c === true ? inflateSync(plain) : plain).toString());
    }
  }
  assert.ok(opened.length > 25, `${opened.length} credentials`);
  for (const text of opened) assert.ok(demo.secrets.includes(text));
});

test("SECRET_KEY_BASE verifies the links to files in articles and e-mails, and those files exist", async () => {
  const secret = pbkdf2Sync(demo.environment.get("SECRET_KEY_BASE") ?? "", "ActiveStorage", 1_000, 64, "sha256");
  const texts = await query(
    `SELECT content AS t FROM articles UNION ALL
     SELECT content_attributes #>> '{email,html_content,full}' FROM messages`,
  );
  const links = texts.flatMap(({ t }) => [...String(t).matchAll(/redirect\/([\w+/=%]+)--([0-9a-f]+)\//g)]);
  assert.ok(links.length > 20, `${links.length} links`);
  for (const [, data = "", signature] of links) {
    assert.equal(createHmac("sha1", secret).update(data).digest("hex"), signature);
    const { _rails: rails } = JSON.parse(Buffer.from(data, "base64").toString()) as { _rails: { message: string } };
    const marshalled = Buffer.from(rails.message, "base64");
    const length = marshalled[3] ?? 0;
    const id = length > 4 ? length - 5 : marshalled.readUIntLE(4, length);
    assert.equal(await one(`SELECT count(*)::int FROM active_storage_blobs WHERE id = ${id}`), 1);
  }
});

test("the environment file says what the environment is, and is for its owner alone", async () => {
  const text = readFileSync(demo.envFile, "utf8");
  for (const [name, value] of demo.environment) {
    assert.ok(
      text.includes(`\n${name}=${value}\n`) ||
        text.includes(`${name}="${value}"\n`) ||
        text.includes(`${name}=${value}\n`),
      name,
    );
  }
  const { stdout } = await mustRun("stat", ["--format", "%a", demo.envFile]);
  assert.equal(stdout.trim(), "600");
});

test("the code has one commit that upstream lacks, an edit and a new file", async () => {
  const git = async (...args: string[]) => (await mustRun("git", ["-C", demo.codeRoot, ...args])).stdout.trim();
  assert.equal(await git("rev-list", "--count", "origin/master..HEAD"), "1");
  assert.equal(await git("diff", "--name-only"), "app/models/inbox.rb");
  assert.equal(await git("ls-files", "--others", "--exclude-standard"), "lib/acme/opening_hours.rb");
  assert.match(readFileSync(`${demo.codeRoot}/config/app.yml`, "utf8"), /version: '4\.15\.1'/);
  const origin = await git("ls-remote", "origin", "refs/heads/master");
  assert.equal(origin.split("\t")[0], await git("rev-parse", "origin/master"));
});

async function shape(installation: DemoInstallation) {
  const lines = await dumpLines(installation.database, { args: ["--data-only"] });
  return { rows: lines.filter((line) => !line.startsWith("--")), files: await readFolder(installation.storageRoot) };
}

test("the same seed makes the same installation, another seed another", async () => {
  const [first, second, other] = [await small("one", 7), await small("two", 7), await small("three", 8)];
  const made = await shape(first);
  assert.deepEqual(await shape(second), made);
  assert.notDeepEqual((await shape(other)).files, made.files);
  assert.deepEqual(second.secrets, first.secrets);
});

test("after a day of work there is more, some of it changed, and rows and files still agree", async () => {
  const installation = await small("day", 9);
  const database = installation.database.database;
  const count = async (table: string) =>
    Number((await server.query(`SELECT count(*) AS n FROM ${table}`, database))[0]?.["n"]);
  const before = [await count("messages"), await count("conversations"), await count("active_storage_blobs")];
  const day = await dayOfWork(installation, { seed: 1, signal });
  assert.deepEqual(
    [await count("messages"), await count("conversations"), await count("active_storage_blobs")],
    [(before[0] ?? 0) + day.messages, (before[1] ?? 0) + day.conversations, (before[2] ?? 0) + day.files - day.purged],
  );
  for (const happened of Object.values(day)) assert.ok(happened > 0);
  await assertFilesMatch(installation);
  const { stdout } = await mustRun("git", ["-C", installation.codeRoot, "status", "--short", "--untracked-files=all"]);
  assert.match(stdout, /lib\/acme\/day_1\.rb/);
});

test("the load generator goes on until it is stopped, and leaves rows and files in agreement", async () => {
  const installation = await small("load", 10);
  const controller = new AbortController();
  const running = loadGenerator(installation, { signal: controller.signal });
  const database = installation.database.database;
  const [earliest] = await server.query("SELECT max(id) AS id FROM messages", database);
  for (;;) {
    const [now] = await server.query("SELECT max(id) AS id FROM messages", database);
    if (Number(now?.["id"]) > Number(earliest?.["id"]) + 100) break;
  }
  controller.abort();
  const counts = await running;
  assert.ok(counts.messages > 100);
  assert.notEqual(counts.attached.length, 0);
  assert.notEqual(counts.purged.length, 0);
  await assertFilesMatch(installation);
});

test("a destroyed installation is gone from the server and the disk, its upstream is not", async () => {
  const installation = await small("gone", 11);
  await destroyInstallation(installation);
  const left = await server.query("SELECT datname FROM pg_database WHERE datname = 'gone_production'");
  assert.deepEqual(left, []);
  assert.equal(existsSync(installation.codeRoot), false);
  assert.equal(existsSync(`${installation.root}/chatwoot.git`), true);
});
