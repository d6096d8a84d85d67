/** A value that is longer as text than PostgreSQL writes: what `pg_dump` ends with is named, and everything else is saved. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { startPostgres } from "../harness/postgres.ts";
import { take } from "../job/captures.ts";

test("a row of which the text is longer than 1 GB is named by its id, and the rows beside it are saved", async () => {
  await using server = await startPostgres();
  const address = await server.createDatabase("huge");
  await server.query(
    `create table files (id bigserial primary key, body bytea);
     insert into files (body) select convert_to(repeat(md5(n::text), 100), 'UTF8') from generate_series(1, 200) n;
     update files set body = convert_to(repeat('x', 600000000), 'UTF8') where id = 77`,
    "huge",
  );
  const first = await take(address);
  const entry = first.capture.tables.find((table) => table.entry.name === "files")?.entry;
  assert.deepEqual(
    entry?.unreadable?.map(({ from, to }) => [from, to]),
    [["77", "77"]],
  );
  assert.equal(entry.rows, 199);
  const [finding] = first.capture.findings.filter(({ kind }) => kind === "rows-unreadable");
  assert.match(finding?.message ?? "", /^the server cannot read the rows with id 77 of table public\.files: /);
  // It stays so, and is read whole as soon as it is shorter.
  const second = await take(address, first);
  assert.deepEqual(
    second.capture.tables.find((table) => table.entry.name === "files")?.entry.unreadable,
    entry.unreadable,
  );
  await server.query("update files set body = '' where id = 77", "huge");
  const third = await take(address, second);
  assert.equal(third.capture.tables.find((table) => table.entry.name === "files")?.entry.rows, 200);
  assert.deepEqual(
    third.capture.findings.filter(({ kind }) => kind === "rows-unreadable"),
    [],
  );
});
