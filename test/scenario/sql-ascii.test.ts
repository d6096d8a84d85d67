/** A Chatwoot in a database that knows no encoding, with bytes in it that are no UTF-8: all of it comes back bit for bit. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { mustRun } from "../harness/run.ts";
import { longTest } from "../harness/whole.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { openDesk } from "./desk.ts";

const CONTENT =
  "select md5(string_agg(t::text, E'\\n' order by t::text)) as md5 from (select * from contacts) t union all select md5(string_agg(t::text, E'\\n' order by t::text)) from (select * from messages) t union all select md5(string_agg(t::text, E'\\n' order by t::text)) from (select * from accounts) t";

longTest("bytes that are no text are saved, compared, restored and proven as they are", async () => {
  await using desk = await openDesk({ hasServerForDrills: true, size: { messages: 120, conversations: 20, files: 5 } });
  const { server } = desk;
  const { database } = desk.installation.database;
  const programs = server.programs;
  const connection = ["--host", server.address.host, "--port", String(server.address.port), "--username", "postgres"];
  const dump = join(desk.root, "utf8.sql");
  await mustRun(join(programs, "pg_dump"), [...connection, "--file", dump, database], {});
  await server.query(`alter database "${database}" rename to utf8`);
  await server.query(
    `create database "${database}" template template0 encoding 'SQL_ASCII' lc_collate 'C' lc_ctype 'C' owner "${desk.installation.database.user}"`,
  );
  await mustRun(
    join(programs, "psql"),
    [...connection, "--quiet", "-v", "ON_ERROR_STOP=1", "--file", dump, database],
    {},
  );
  await makeCheapToOpen(desk);
  const first = await desk.summary(["backup"]);
  await server.query(
    String.raw`update contacts set name = name || E'\xff\xfe\x80' where id % 3 = 0;
      update messages set content = E'caf\xe9 ' || content where id % 5 = 0;
      update accounts set name = E'M\xfcller' where id = 1;
      delete from messages where id % 2 = 0 and account_id = 1`,
    database,
  );
  const second = await desk.summary(["backup"]);
  const content = await server.query(CONTENT, database);

  const diff = await desk.chatkeep(["diff", String(first["point"]), String(second["point"])]);
  assert.equal(diff.status, 0, diff.stderr);
  assert.match(diff.stdout, /contacts/);

  await server.query(`create database back template template0 encoding 'SQL_ASCII' lc_collate 'C' lc_ctype 'C'`);
  const url = `postgresql://postgres@127.0.0.1:${server.address.port}/back`;
  await desk.summary(["restore", "latest", "--only", "database", "--database-url", url, "--yes"]);
  assert.deepEqual(await server.query(CONTENT, "back"), content);
  assert.equal((await desk.summary(["drill"]))["proven"], true);
});
