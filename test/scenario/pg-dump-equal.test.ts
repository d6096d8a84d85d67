/** A hostile database comes back so that pg_dump says the same of it, line for line, on the machine's own PostgreSQL. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { quoteIdentifier } from "../../src/postgres/names.ts";
import type { TestAddress } from "../harness/postgres.ts";
import { ODD } from "../postgres/hostile.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { openDesk } from "./desk.ts";
import { makeHostile } from "./hostile-installation.ts";
import { backUpAndTell, prove, restoreAndCompare, type Round } from "./line-for-line.ts";

const ODD_TABLE = `${quoteIdentifier(ODD.schema)}.${quoteIdentifier(ODD.name)}`;

let round: Round;
let point: string;
let withoutHostileValues: string[];
let restored: TestAddress;

before(async () => {
  const desk = await openDesk({ size: { messages: 400, conversations: 40, files: 10 } });
  round = { desk, programs: desk.server.programs };
  withoutHostileValues = await makeHostile(desk.installation);
  await makeCheapToOpen(desk);
  point = await backUpAndTell(round);
  restored = await restoreAndCompare(round, point);
});

after(async () => await round.desk[Symbol.asyncDispose]());

test("every type that Chatwoot's columns have was tried with hostile values", () => {
  assert.deepEqual(withoutHostileValues, []);
});

test("the restored database goes on: the next conversation, row and identity get the numbers that come next", async () => {
  const { server, installation } = round.desk;
  const next = async (database: string) => ({
    conversation: await server.query(
      `insert into conversations (account_id, inbox_id, status, display_id, contact_id, created_at, updated_at)
       select account_id, inbox_id, 0, 0, contact_id, now(), now() from conversations order by id limit 1 returning id, display_id`,
      database,
    ),
    identity: await server.query("insert into generated (a, b) values (5, 'next') returning id, twice", database),
    cyclic: await server.query("select nextval('cyclic')", database),
    odd: await server.query(`insert into ${ODD_TABLE} default values returning *`, database),
  });
  const expected = await next(installation.database.database);
  for (const [what, rows] of Object.entries(expected)) assert.equal(rows.length, 1, what);
  assert.deepEqual(await next(restored.database), expected);
});

test("a view that was never filled is not filled, and one that was has its rows", async () => {
  const { server, installation } = round.desk;
  const filled = "select relname, relispopulated from pg_class where relkind = 'm' order by 1";
  assert.deepEqual(await server.query(filled, restored.database), [
    { relname: "never_filled", relispopulated: false },
    { relname: "of_settled", relispopulated: true },
    { relname: "of_summary", relispopulated: true },
    { relname: "summary", relispopulated: true },
  ]);
  const total = "select total from of_summary";
  assert.deepEqual(
    await server.query(total, restored.database),
    await server.query(total, installation.database.database),
  );
});

test("a drill proves the point", async () => {
  await prove(round, point, "of_settled");
});
