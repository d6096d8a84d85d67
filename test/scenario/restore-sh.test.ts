/**
 * No Chatkeep at all: a restore point comes back with stock restic, psql and pg_restore, by the commands that its own
 * RESTORE.md prints. All tests read one point, taken out of the repository once.
 */
import assert from "node:assert/strict";
import { cp, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { blobPath } from "../../src/chatwoot/blobs.ts";
import { TEXT_SETTINGS } from "../../src/postgres/session.ts";
import { assertSameDatabase } from "../harness/pg-dump-diff.ts";
import type { TestAddress } from "../harness/postgres.ts";
import { mustRun } from "../harness/run.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import { readFolder } from "../harness/tree.ts";
import { longTest } from "../harness/whole.ts";
import { commandFrom, serverEnvironment, shell, type ShellOptions, tryShell } from "./by-hand.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { type Desk, openDesk } from "./desk.ts";
import { makeHostile, onDatabase } from "./hostile-installation.ts";

const SIZE = { messages: 300, conversations: 30, files: 20 };
/** A path that unquoted words break on. */
const ODD_FOLDER = 'a folder\'s "name" $HOME * 漢';

let desk: Desk;
let folder: TestFolder;
/** The folder `chatkeep` that restic restored. */
let point: string;
let notes: string;
let summary: Record<string, unknown>;

function options(address: TestAddress = desk.installation.database, more: Partial<ShellOptions> = {}): ShellOptions {
  return { cwd: point, env: serverEnvironment(address, desk.server.programs), ...more };
}

/** What a checkout holds besides its code. */
function isNotCode(path: string): boolean {
  return path === ".git" || path === "storage" || path === ".env";
}

async function headOf(root: string): Promise<string> {
  return (await mustRun("git", ["-C", root, "rev-parse", "HEAD"])).stdout;
}

before(async () => {
  folder = await temporaryFolder();
  // The server wants passwords: so one that did not come by PGPASSWORD would show.
  desk = await openDesk({ isCheckout: true, size: SIZE, server: { auth: "scram" } });
  await makeHostile(desk.installation);
  await onDatabase(desk.installation, async (client) => {
    // A key that is none of Rails' own making: its file has another name in the restore point.
    const { rows } = await client.query<{ key: string }>("select key from active_storage_blobs order by id limit 1");
    const [key, odd] = [rows[0]?.key ?? "", "lo.go é%/1 +.png"];
    const [from, to] = [key, odd].map((name) => blobPath(desk.installation.storageRoot, name)) as [string, string];
    await mkdir(dirname(to), { recursive: true });
    await rename(from, to);
    await client.query("update active_storage_blobs set key = $1 where key = $2", [odd, key]);
  });
  await makeCheapToOpen(desk);
  summary = await desk.summary(["backup"]);
  // A later point has the same tags but for its time: the selection must not find it.
  await desk.summary(["backup"]);
  notes = (await desk.chatkeep(["dump", String(summary["point"]), "RESTORE.md"])).stdout;
  const target = folder.at(ODD_FOLDER);
  const command = commandFrom(notes, "restic restore").replace("/srv/restored", `"$TARGET"`);
  const password = (await readFile(desk.passwordFile, "utf8")).trim();
  const env = { RESTIC_REPOSITORY: desk.repository, RESTIC_PASSWORD: password, TARGET: target };
  await shell(command.replace("restic", "restic --no-cache"), { cwd: folder.path, env });
  point = join(target, "chatkeep");
});

after(async () => {
  await desk[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

test("the selection that RESTORE.md prints names this point and no later one", async () => {
  assert.equal(await readFile(join(point, "RESTORE.md"), "utf8"), notes);
  assert.deepEqual((await readdir(point)).toSorted(), [
    "RESTORE.md",
    "code",
    "config",
    "database",
    "manifest.json",
    "ranges",
    "restore.sh",
    "storage",
  ]);
  const manifest = JSON.parse(await readFile(join(point, "manifest.json"), "utf8")) as { startedAt: string };
  assert.ok(notes.includes(`as it was at **${manifest.startedAt}**`));
});

test("the database comes back line for line, by the commands that RESTORE.md prints, run by the application's role", async () => {
  const { database } = desk.installation;
  await shell(commandFrom(notes, "createdb"), options());
  const said = await shell(commandFrom(notes, "PGDATABASE="), options());
  assert.match(said, /^done; RESTORE\.md/m);
  await assertSameDatabase(database, { ...database, database: "chatwoot_restored" });
});

test("a database that is not empty is refused and stays as it is, whatever is in it", async () => {
  const contents = {
    table: "create table mine (id int)",
    type: "create type mine as enum ('a')",
    function: "create function mine() returns int language sql as 'select 1'",
    sequence: "create sequence mine",
  };
  for (const [what, sql] of Object.entries(contents)) {
    const address = await desk.server.createDatabase(`not empty, a ${what}`);
    await desk.server.query(sql, address.database);
    const before = await desk.server.query("select oid, relname from pg_class where oid > 16384", address.database);
    const { status, stderr } = await tryShell("sh restore.sh --database", {
      ...options(),
      env: { ...options().env, PGDATABASE: address.database },
    });
    assert.equal(status, 1, what);
    assert.match(stderr, /^restore\.sh: the database '.*' is not empty, .*; nothing was changed$/m);
    assert.deepEqual(
      await desk.server.query("select oid, relname from pg_class where oid > 16384", address.database),
      before,
    );
  }
});

longTest(
  "a database with an odd name and extensions that an administrator made is loaded by a role that may not make them",
  async () => {
    const name = 'it\'s = \\ an "odd" name';
    const quoted = `"${name.replaceAll('"', '""')}"`;
    await desk.server.query("create role plain login password 'of plain'");
    await desk.server.query(`create database ${quoted} owner plain template template0`);
    for (const command of notes.split("\n").filter((line) => line.includes("CREATE EXTENSION"))) {
      const sql = /'(CREATE EXTENSION .*)'$/.exec(command)?.[1];
      assert.ok(sql, command);
      await desk.server.query(sql, name);
    }
    const address = { ...desk.server.address, user: "plain", password: "of plain", database: name };
    const { env } = options(address);
    await shell("sh restore.sh --database --jobs 1", options(address, { env: { ...env, PGDATABASE: name } }));
    await assertSameDatabase(desk.installation.database, { ...desk.server.address, database: name });
  },
);

test("the uploaded files come back as the installation has them, from anywhere, into a folder with an odd name", async () => {
  const target = folder.at("uploads of 'ours'");
  const command = `sh "$POINT/restore.sh" --storage "uploads of 'ours'"`;
  const from = options(undefined, { cwd: folder.path, env: { ...options().env, POINT: point } });
  await shell(command, from);
  const expected = await readFolder(desk.installation.storageRoot);
  assert.deepEqual(await readFolder(target), expected);
  // Again: all is there. Then one is lost and one differs: the lost one comes, the other is kept and told.
  await shell(command, from);
  const [lost, altered] = Object.keys(expected);
  assert.ok(lost !== undefined && altered !== undefined);
  await rm(join(target, lost));
  await writeFile(join(target, altered), "mine");
  const { status, stderr } = await tryShell(command, from);
  assert.equal(status, 1);
  assert.ok(stderr.includes(`kept, although it differs: ${join(target, altered)}`), stderr);
  assert.match(stderr, /1 files? (?:was|were) there already and differ/);
  assert.equal(await readFile(join(target, altered), "utf8"), "mine");
  const found = await readFolder(target);
  assert.equal(found[lost], expected[lost]);
});

test("files are the same whether Chatkeep or restore.sh puts them back", async () => {
  const [ours, theirs] = [folder.at("by chatkeep"), folder.at("by hand")];
  await desk.summary(["restore", String(summary["point"]), "--to", ours, "--only", "storage", "--yes"]);
  await shell(`sh restore.sh --storage "$DIR"`, options(undefined, { env: { ...options().env, DIR: theirs } }));
  assert.deepEqual(await readFolder(theirs), await readFolder(join(ours, "storage")));
});

test("the code comes back by RESTORE.md: commits, changes and new files", async () => {
  const app = folder.at("code again");
  await mkdir(app);
  await mustRun("git", ["-C", app, "init", "--quiet"]);
  const step = /^## 6\. The code$[^]*?(?=^## )/m.exec(notes)?.[0] ?? "";
  const commands = step.split("\n").filter((line) => line.startsWith("    ") && !line.trim().startsWith("app="));
  assert.notEqual(commands.length, 0);
  await shell(`set -e\n${commands.join("\n")}`, options(undefined, { env: { ...options().env, app } }));
  assert.deepEqual(
    await readFolder(app, { except: isNotCode }),
    await readFolder(desk.installation.codeRoot, { except: isNotCode }),
  );
  assert.equal(await headOf(app), await headOf(desk.installation.codeRoot));
});

test("a restore point that did not come out whole is refused, and the part is said to be one", async () => {
  const copy = folder.at("not whole");
  await cp(point, copy, { recursive: true });
  // The first tables are loaded first, so it ends soon.
  const rows = join(copy, "database/data/public.access_tokens");
  const [bucket] = await readdir(rows);
  assert.ok(bucket !== undefined);
  const file = join(rows, bucket);
  const text = await readFile(file);
  const damages = {
    "lacks a range": async () => await rm(file),
    "has half a range": async () =>
      await writeFile(file, text.subarray(0, text.lastIndexOf(0x0a, text.length / 2) + 1)),
    "ends within a row": async () => await writeFile(file, text.subarray(0, text.length / 2)),
  };
  for (const [what, damage] of Object.entries(damages)) {
    await damage();
    const { database } = await desk.server.createDatabase(what);
    const env = { ...options().env, PGDATABASE: database };
    const { status, stdout, stderr } = await tryShell(
      "sh restore.sh --database",
      options(undefined, { cwd: copy, env }),
    );
    assert.equal(status, 1, what);
    assert.match(stderr, /restore\.sh: "public"\."access_tokens" (?:got \d+ rows of \d+|could not be loaded)/, what);
    assert.match(stderr, /the database ".*" holds only a part\. Drop it/, what);
    assert.doesNotMatch(stdout, /^done/m, what);
  }
  await rm(join(copy, "storage/local"), { recursive: true });
  const { status, stderr } = await tryShell(`sh restore.sh --storage "$PWD/out"`, options(undefined, { cwd: copy }));
  assert.equal(status, 1);
  assert.match(stderr, /storage\/local is missing: take the whole restore point out of the repository/);
});

test("wrong use is told in one line with the usage, and nothing is touched", async () => {
  for (const [command, message] of [
    ["sh restore.sh", /say --database, --storage DIR, or both/],
    ["sh restore.sh --storage", /--storage needs a value/],
    ["sh restore.sh --database --jobs many", /--jobs needs a number/],
    ["sh restore.sh --databse", /unknown option '--databse'/],
  ] as const) {
    const { status, stderr } = await tryShell(command, options());
    assert.equal(status, 2, command);
    assert.match(stderr, message);
  }
  const { status, stderr } = await tryShell("sh restore.sh --database", options());
  assert.equal(status, 1);
  assert.match(stderr, /^restore\.sh: set PGDATABASE to the name of an empty database/);
});

test("rows are read under the settings that they were written under", async () => {
  const script = await readFile(join(point, "restore.sh"), "utf8");
  // These two say how values are written, never how they are read.
  const ofReading = TEXT_SETTINGS.filter(([name]) => name !== "bytea_output" && name !== "extra_float_digits");
  for (const [name, value] of ofReading) {
    assert.match(script, new RegExp(`SET ${name} = (?:'\\\\'')?${value}(?:'\\\\'')?;`));
  }
});

test("it is plain POSIX shell, and neither it nor RESTORE.md holds a secret", async () => {
  for (const shellProgram of ["dash", "bash --posix"]) {
    await shell(`${shellProgram} -n restore.sh`, options());
  }
  const texts = notes + (await readFile(join(point, "restore.sh"), "utf8"));
  for (const secret of desk.installation.secrets) assert.equal(texts.includes(secret), false);
});
