/**
 * What people have today brings Chatwoot back: in each format in which a dump may be kept it is imported, drilled, and restored as a
 * whole into Chatwoot's own place, killed on the way and gone on with, and every row, every file and the environment are those of the
 * moment of the dump.
 */
import assert from "node:assert/strict";
import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { onDatabase } from "../../src/demo/database.ts";
import { mustRun } from "../harness/run.ts";
import { done, killedAndResumed } from "../scenario/moving-files.ts";
import { assertSameState, type DeskState, openWholeDesk, rolledBack, type WholeDesk } from "../scenario/whole-desk.ts";

let whole: WholeDesk;
let kept: string;
let saved: DeskState;

before(async () => {
  whole = await openWholeDesk({ messages: 300, conversations: 30, files: 12 });
  const { installation, root } = whole.desk;
  kept = join(root, "kept");
  await mkdir(kept);
  await cp(installation.storageRoot, join(kept, "storage"), { recursive: true });
  await mustRun("tar", ["-czf", join(kept, "storage.tgz"), "-C", installation.codeRoot, "storage"]);
  await cp(installation.envFile, join(kept, "kept.env"));
  saved = await whole.state();
  await whole.start();
});
after(async () => await whole[Symbol.asyncDispose]());

/** Dumps with the server's own pg_dump, before anything is lost; returns the path. */
async function dump(name: string, args: readonly string[]): Promise<string> {
  const { host, port, user, password, database } = whole.desk.installation.database;
  const path = join(kept, name);
  await mustRun(join(whole.desk.server.programs, "pg_dump"), [...args, "-f", path, database], {
    env: { PGHOST: host, PGPORT: String(port), PGUSER: user, PGPASSWORD: password ?? "" },
  });
  return path;
}

async function packed(path: string, ending: "gz" | "zst"): Promise<string> {
  const bytes = await readFile(path);
  await writeFile(`${path}.${ending}`, ending === "gz" ? gzipSync(bytes) : zstdCompressSync(bytes));
  return `${path}.${ending}`;
}

/** Rows, files and a key are lost, and something came since. */
async function destroy(): Promise<void> {
  const { database, storageRoot, envFile } = whole.desk.installation;
  await onDatabase(database, async (client) => {
    await client.query("delete from messages where id % 3 = 0");
    await client.query("update contacts set name = 'somebody else'");
    await client.query("insert into tags (name) values ('after the dump')");
  });
  const [folder = ""] = await readdir(storageRoot);
  await rm(join(storageRoot, folder), { recursive: true });
  const environment = await readFile(envFile, "utf8");
  await writeFile(envFile, environment.replace(/^SECRET_KEY_BASE=.*$/m, `SECRET_KEY_BASE=${"0".repeat(64)}`));
}

interface Form {
  readonly name: string;
  readonly format: string;
  readonly make: () => Promise<string>;
}

const FORMS: readonly Form[] = [
  { name: "custom", format: "custom", make: async () => await dump("custom.dump", ["--format=custom"]) },
  {
    name: "tar, gzipped",
    format: "tar",
    make: async () => await packed(await dump("dump.tar", ["--format=tar"]), "gz"),
  },
  { name: "directory", format: "directory", make: async () => await dump("folder", ["--format=directory"]) },
  { name: "plain", format: "plain", make: async () => await dump("plain.sql", ["--create", "--clean"]) },
  {
    name: "plain, gzipped by pg_dump",
    format: "plain",
    make: async () => await dump("plain.sql.gz", ["--compress=6"]),
  },
  {
    name: "plain INSERTs, packed with zstd",
    format: "plain",
    make: async () => await packed(await dump("inserts.sql", ["--column-inserts", "--rows-per-insert=20"]), "zst"),
  },
];

for (const [at, { name, format, make }] of FORMS.entries()) {
  test(`a dump as ${name}, with uploads and environment beside it, brings a whole installation back`, async () => {
    const { desk } = whole;
    const uploads = join(kept, at % 2 === 0 ? "storage" : "storage.tgz");
    const parts = ["--storage", uploads, "--env", join(kept, "kept.env")];
    const { point, imported, storage } = (await desk.summary(["import", "--database", await make(), ...parts])) as {
      point?: string;
      imported?: { format: string };
      storage?: { missing: number };
    };
    assert.deepEqual([imported?.format, storage?.missing], [format, 0]);
    assert.equal((await desk.summary(["drill", String(point)]))["proven"], true);
    await destroy();
    const damaged = await whole.state();
    assert.notDeepEqual(damaged, saved);
    await killedAndResumed(whole, "files", ["restore", String(point), "--yes"]);
    assertSameState(await whole.state(), saved, name);
    assert.deepEqual(await whole.running(), { web: true, worker: true });
    if (at === 0) {
      await desk.summary(["rollback", "--yes"]);
      // Files that its database lists stay.
      assertSameState(await whole.state(), rolledBack(damaged, saved), "rolled back");
      await done(whole, ["restore", String(point), "--yes", "--outbound", "allow"]);
      assertSameState(await whole.state(), saved, "restored once more");
    }
    await desk.summary(["restore", "--discard-previous", "--yes"]);
  });
}
