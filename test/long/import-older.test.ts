/** Dumps that a server and a pg_dump of PostgreSQL 13 made, of the years in which Chatwoot recommended it: on today's server. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { embeddedPostgres } from "../harness/embedded.ts";
import { olderClient } from "../harness/newer-postgres.ts";
import { dumpLines } from "../harness/pg-dump-diff.ts";
import { startPostgres, type TestAddress, type TestServer } from "../harness/postgres.ts";
import { mustRun } from "../harness/run.ts";
import { makeCheapToOpen } from "../scenario/cheap-key.ts";
import { type Desk, openDesk } from "../scenario/desk.ts";

let desk: Desk;
let today: TestServer;
let client: string;

before(async () => {
  client = await olderClient();
  const { programs } = await embeddedPostgres(13);
  desk = await openDesk({ size: { messages: 300, conversations: 30, files: 10 }, server: { programs } });
  await makeCheapToOpen(desk);
  today = await startPostgres();
  assert.ok(today.major > desk.server.major && desk.server.major === 13);
});
after(async () => {
  await today.stop();
  await desk[Symbol.asyncDispose]();
});

/** Said of the schema `public` where its owner is not the one that initdb gave it: version 15 gave it another one. */
const OF_PUBLIC =
  /-- Name: public; Type: SCHEMA; [^\n]*\n--\n\n-- \*not\* creating schema, since initdb creates it\n\n\n--\n/;

/** As today's pg_dump has it, but for what is of the server's version. */
async function linesOf(address: TestAddress): Promise<string[]> {
  const lines = await dumpLines(address, { programs: today.programs });
  const text = lines.filter((line) => !line.startsWith("-- Dumped from")).join("\n");
  return text.replace(OF_PUBLIC, "").split("\n");
}

const FORMS: readonly (readonly [name: string, format: string, args: readonly string[]])[] = [
  ["old.dump", "custom", ["--format=custom"]],
  ["old.tar", "tar", ["--format=tar"]],
  ["old-folder", "directory", ["--format=directory", "--jobs=2"]],
  ["old.sql", "plain", ["--create", "--clean", "--if-exists"]],
  ["old-inserts.sql.gz", "plain", ["--inserts", "--compress=9"]],
];

for (const [name, format, args] of FORMS) {
  test(`a dump of PostgreSQL 13's own pg_dump (${name}) is imported, proven and restored`, async () => {
    const { database, storageRoot, envFile } = desk.installation;
    const { host, port, user, password = "", database: from } = database;
    const file = join(desk.root, name);
    await mustRun(join(client, "pg_dump"), [...args, "-f", file, from], {
      env: { PGHOST: host, PGPORT: String(port), PGUSER: user, PGPASSWORD: password },
    });
    const made = ["import", "--database", file, "--storage", storageRoot, "--env", envFile];
    const { point, imported } = (await desk.summary(made)) as {
      point?: string;
      imported?: { format: string; serverVersion: string; clientVersion: string };
    };
    assert.equal(imported?.format, format);
    assert.match(`${imported.serverVersion} ${imported.clientVersion}`, /^13\.\d+.* 13\.\d+/);
    assert.equal((await desk.summary(["drill", String(point)]))["proven"], true);
    const into = `from_${format}_${args.length}`;
    const url = `postgresql://${today.address.user}@${today.address.host}:${today.address.port}/${into}`;
    const restored = await desk.chatkeep(["restore", String(point), "--database-url", url, "--yes"]);
    assert.ok(restored.status === 0 || restored.status === 3, restored.stderr);
    assert.deepEqual(await linesOf({ ...today.address, database: into }), await linesOf(database));
  });
}
