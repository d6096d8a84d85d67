import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { ServerAddress } from "../../src/postgres/address.ts";
import { connect } from "../../src/postgres/connect.ts";
import { addedLines, runEach, splitStatements } from "../../src/postgres/grants.ts";
import { formatRoles, formatSetting, parseRoles, readDatabaseEntry, readRoles } from "../../src/postgres/roles.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";
import { everythingEntry, EVERYTHING_ROLES } from "./everything.ts";

const signal = new AbortController().signal;
let server: TestServer;
let address: ServerAddress;

before(async () => {
  server = await startPostgres();
  await server.query(EVERYTHING_ROLES);
  address = await server.createDatabase("with roles", "support");
  await server.query(everythingEntry("with roles"));
});
after(async () => await server.stop());

test("roles are those that own, may or inherit something here, each after its groups, and never their passwords", async () => {
  await using connection = await connect({ ...address, user: "support" }, { signal });
  const roles = await readRoles(connection);
  assert.deepEqual(
    roles.map(({ name, isNamed }) => [name, isNamed]),
    [
      ["readers", false],
      ["reporting", false],
      ["support", false],
    ],
  );
  assert.deepEqual(roles[1]?.statements, [
    `CREATE ROLE "reporting" NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB LOGIN NOREPLICATION NOBYPASSRLS CONNECTION LIMIT 7 VALID UNTIL '2038-01-19 03:14:07+00';`,
    `COMMENT ON ROLE "reporting" IS E'reads; it''s \\n not for people';`,
    `ALTER ROLE "reporting" SET "work_mem" TO '12MB';`,
    `ALTER ROLE "reporting" SET "search_path" TO 'Odd, "schema"', 'public', '$user';`,
    `GRANT "pg_monitor" TO "reporting";`,
    `GRANT "readers" TO "reporting";`,
  ]);
  assert.deepEqual(roles[2]?.statements.at(-1), `GRANT "readers" TO "support" WITH ADMIN OPTION;`);
  assert.deepEqual(
    parseRoles(formatRoles(roles)),
    roles.map(({ name, statements }) => ({ name, statements })),
  );
});

test("what a policy names is a role that nothing can be restored without", async () => {
  const where = "with roles";
  await server.query("create table t (); create policy one on t to outsider using (true)", where);
  await using connection = await connect(address, { signal });
  const named = (await readRoles(connection)).filter(({ isNamed }) => isNamed);
  assert.deepEqual(
    named.map(({ name }) => name),
    ["outsider"],
  );
});

test("a database's entry is what it was, written with psql's name for the database", async () => {
  await using connection = await connect(address, { signal });
  assert.deepEqual(await readDatabaseEntry(connection), [
    `ALTER DATABASE :"DBNAME" OWNER TO "support";`,
    `COMMENT ON DATABASE :"DBNAME" IS 'everything';`,
    `ALTER DATABASE :"DBNAME" CONNECTION LIMIT 40;`,
    `ALTER DATABASE :"DBNAME" SET "DateStyle" TO 'German';`,
    `ALTER DATABASE :"DBNAME" SET "custom"."setting" TO 'it''s, "one"';`,
    `ALTER ROLE "reporting" IN DATABASE :"DBNAME" SET "statement_timeout" TO '5s';`,
    `REVOKE ALL ON DATABASE :"DBNAME" FROM PUBLIC, "support";`,
    `GRANT TEMPORARY ON DATABASE :"DBNAME" TO PUBLIC;`,
    `GRANT CREATE ON DATABASE :"DBNAME" TO "support";`,
    `GRANT TEMPORARY ON DATABASE :"DBNAME" TO "support";`,
    `GRANT CONNECT ON DATABASE :"DBNAME" TO "support";`,
    `GRANT TEMPORARY ON DATABASE :"DBNAME" TO "readers" WITH GRANT OPTION;`,
    `GRANT CONNECT ON DATABASE :"DBNAME" TO "readers" WITH GRANT OPTION;`,
  ]);
});

test("an empty search_path, names in quotes and lists are settings like others", () => {
  assert.equal(formatSetting("search_path="), `"search_path" TO ''`);
  assert.equal(formatSetting('search_path=""'), `"search_path" TO ''`);
  assert.equal(formatSetting('search_path="a""b", c'), `"search_path" TO 'a"b', 'c'`);
  assert.equal(formatSetting("log_statement=a=b, c"), `"log_statement" TO 'a=b, c'`);
});

test("statements are parted outside of quotes only", () => {
  const all = [`GRANT SELECT ON "a;b ""-- c" TO "x\ny";`, `COMMENT ON ROLE "q" IS E'it''s; -- \\\\';`, "select 1 - 2;"];
  assert.deepEqual(splitStatements(`-- a comment; with one\n${all.join("\n\n")}`), all);
  assert.deepEqual(splitStatements(""), []);
});

test("lines that one text has beyond another are owners and rights, whatever bodies say", () => {
  const bare = "-- Name: f; Type: FUNCTION; Schema: s; Owner: -\n\nAS $$\nALTER TABLE t OWNER TO x;\n$$;\n\n--\nend";
  const all = bare
    .replace("Owner: -", "Owner: x y")
    .replace(
      "$$;\n",
      () => '$$;\n\n\nALTER FUNCTION f OWNER TO "x\ny";\n--\n-- Name: f; Type: ACL; Schema: s; Owner: x y\n--\n',
    );
  assert.equal(addedLines(all, bare), 'ALTER FUNCTION f OWNER TO "x\ny";\n');
  assert.equal(addedLines(bare, bare), "");
});

test("what the server refuses is told, and the rest is done", async () => {
  await using connection = await connect({ ...address, user: "support" }, { signal });
  const refused = await runEach(connection, ["create schema own", "create role more", "comment on schema own is 'x'"]);
  assert.deepEqual(refused, [{ statement: "create role more", why: refused[0]?.why }]);
  assert.match(refused[0]?.why ?? "", /permission denied/);
});
