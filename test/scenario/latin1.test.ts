/** A Chatwoot in a database of LATIN1: a moment of it comes back letter for letter, into LATIN1 and into UTF-8. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { listPoints } from "../../src/job/points.ts";
import { mustRun, run } from "../harness/run.ts";
import { longTest } from "../harness/whole.ts";
import { reopen, signal } from "../repo/small-backup.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { type Desk, openDesk } from "./desk.ts";
import { FOLLOWED, protect } from "./protected-desk.ts";

const ROWS =
  "select 'contact' as what, id::int, name as text from contacts union all select 'message', id::int, content from messages union all select 'account', id::int, name from accounts order by 1, 2";

/** Moves the desk's database into one that has no letter beyond Latin-1. */
async function becomeLatin({ root, server, installation }: Desk): Promise<void> {
  const { database, user } = installation.database;
  const connection = ["--host", server.address.host, "--port", String(server.address.port), "--username", "postgres"];
  const dump = join(root, "utf8.sql");
  await mustRun(join(server.programs, "pg_dump"), [...connection, "--file", dump, database], {});
  const text = (await readFile(dump, "utf8"))
    .replace("SET client_encoding = 'UTF8'", "SET client_encoding = 'LATIN1'")
    .replaceAll(/[^\x00-\xff]/gu, "ÿ");
  await writeFile(dump, text, "latin1");
  await server.query(`alter database "${database}" rename to utf8`);
  await server.query(
    `create database "${database}" template template0 encoding 'LATIN1' lc_collate 'C' lc_ctype 'C' owner "${user}"`,
  );
  const load = [...connection, "--quiet", "-v", "ON_ERROR_STOP=1", "--file", dump, database];
  await mustRun(join(server.programs, "psql"), load, {});
}

longTest("a moment of a database of LATIN1 comes back letter for letter", async () => {
  await using desk = await openDesk({
    hasOwnState: true,
    server: { settings: [...FOLLOWED] },
    size: { messages: 120, conversations: 20, files: 5 },
  });
  const { server } = desk;
  const { database } = desk.installation.database;
  await becomeLatin(desk);
  const { repository } = await makeCheapToOpen(desk);
  const backup = String((await desk.summary(["backup"]))["point"]);
  const [point] = (await listPoints(reopen(repository), { signal })).points;
  const protection = await protect(server, { id: point?.installationId ?? "", name: "desk" }, { database });
  await server.query(
    `update contacts set name = 'Zoë Müller ' || id where id % 3 = 0;
     update messages set content = 'café à la crème «' || id || '»' where id % 5 = 0;
     update accounts set name = 'Große Straße' where id = 1;
     delete from messages where id % 2 = 0 and account_id = 1`,
    database,
  );
  const rows = await server.query(ROWS, database);
  const [at] = await server.query("select pg_current_wal_insert_lsn()::text as lsn");
  const moment = `lsn:${String(at?.["lsn"])}`;
  await server.query("update contacts set name = 'später'", database);
  await protection.finish(reopen(repository));

  for (const encoding of ["LATIN1", "UTF8"]) {
    const name = `back_${encoding.toLowerCase()}`;
    await server.query(`create database ${name} template template0 encoding '${encoding}' lc_collate 'C' lc_ctype 'C'`);
    const url = `postgresql://postgres@127.0.0.1:${server.address.port}/${name}`;
    await desk.summary(["restore", moment, "--only", "database", "--database-url", url, "--yes"]);
    assert.deepEqual(await server.query(ROWS, name), rows, encoding);
  }

  const drilled = await desk.summary(["drill", moment]);
  assert.equal(drilled["proven"], true, JSON.stringify(drilled["checks"]));
  const compared = await desk.chatkeep(["diff", backup, moment]);
  assert.equal(compared.status, 0, compared.stderr);
  assert.match(compared.stdout, /contacts/);
  const dumped = join(desk.root, "plain.sql");
  await desk.summary(["export", moment, dumped, "--only", "database", "--format", "plain"]);
  assert.match(await readFile(dumped, "utf8"), /Große Straße/);

  const { started } = await desk.summary(["restore", moment, "--run"]);
  const { id, access } = started as { id: string; access: { url: string } };
  try {
    const ask = "select name from accounts where id = 1";
    const asked = await run("psql", [access.url, "-XAtc", ask], {
      env: { PGPASSWORD: undefined, PGCLIENTENCODING: "UTF8" },
    });
    assert.equal(asked.stdout, "Große Straße\n", asked.stderr);
  } finally {
    await desk.summary(["restore", "--stop", id]);
  }
});
