/** A plain dump taken apart: as the server's own scanner would, wherever the pieces in which it comes are cut. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { connectedTo, createdDatabase, judgeStatement, mentionedTable } from "../../src/postgres/dump-statements.ts";
import { readSqlItems } from "../../src/postgres/sql-reader.ts";

async function itemsOf(text: string, size = text.length): Promise<string[]> {
  const bytes = Buffer.from(text);
  const pieces = async function* () {
    for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
  };
  const found: string[] = [];
  for await (const item of readSqlItems(pieces())) {
    if (item.kind === "statement") found.push(`S ${item.sql.toString()}`);
    else if (item.kind === "command") found.push(`${item.isAlone ? "C" : "c"} ${item.line.trim().slice(0, 10)}`);
    else if (item.kind === "comment") found.push(`- ${item.text}`);
    // Rows may come in any number of pieces.
    else if (item.kind === "rows" && found.at(-1)?.startsWith("R ") === true)
      found[found.length - 1] += item.bytes.toString();
    else found.push(item.kind === "rows" ? `R ${item.bytes.toString()}` : ".");
  }
  return found;
}

const DUMP = String.raw`-- a head; with 'quotes'

SET client_encoding = 'UTF8';
SELECT 'it''s; \', $$x; '$$ AS "a;""b", E'\'; \\' ; /* ; /* ; */ '; */ SELECT 1 -- ; ' "
  + 2;
CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS $_$ BEGIN; x := '$$'; \! END $_$;
CREATE FUNCTION g(a$b int, b text) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN 1 = 1 THEN 2 END; SELECT 3; END;
CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2);
COPY t (a, "from stdin;") FROM stdin;
1	\\.	';
\N	$$ -- /*
.\.
\.


\connect "a b"
\restrict abc
SELECT '\';
-- the end
`;

test("statements, rows, commands and comments come apart as the server's scanner has them", async () => {
  assert.deepEqual(await itemsOf(DUMP), [
    "- a head; with 'quotes'",
    "S SET client_encoding = 'UTF8';",
    String.raw`S SELECT 'it''s; \', $$x; '$$ AS "a;""b", E'\'; \\' ;`,
    "S /* ; /* ; */ '; */ SELECT 1 -- ; ' \"\n  + 2;",
    String.raw`S CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS $_$ BEGIN; x := '$$'; \! END $_$;`,
    "S CREATE FUNCTION g(a$b int, b text) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN 1 = 1 THEN 2 END; SELECT 3; END;",
    "S CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2);",
    'S COPY t (a, "from stdin;") FROM stdin;',
    `R ${String.raw`1	\\.	';
\N	$$ -- /*
.\.
`}`,
    ".",
    'C \\connect "',
    "C \\restrict ",
    "S SELECT '\\';",
    "- the end",
  ]);
});

test("wherever the pieces are cut it comes apart the same", async () => {
  const whole = await itemsOf(DUMP);
  for (let size = 1; size <= 40; size += 1) assert.deepEqual(await itemsOf(DUMP, size), whole, `pieces of ${size}`);
});

test("a backslash outside of quotes is a command for psql, wherever it stands, also where strings take escapes", async () => {
  assert.deepEqual(await itemsOf("SELECT 1 \\! touch x\n"), ["c SELECT 1 \\"]);
  const old = "SET standard_conforming_strings = off;\nSELECT 'a\\';\\! touch x';\nSELECT 2;\n";
  assert.deepEqual((await itemsOf(old)).slice(1), ["S SELECT 'a\\';\\! touch x';", "S SELECT 2;"]);
});

test("what ends within a statement, a quote or rows is cut short", async () => {
  for (const text of [
    "SELECT 1",
    "SELECT 'a;",
    "COPY t FROM stdin;\n1\n",
    "COPY t FROM stdin;\n",
    "SELECT $a$ ;",
    "/* ; ",
  ]) {
    await assert.rejects(itemsOf(text), { code: "dump/damaged" }, text);
  }
});

test("lines that end as on Windows are read, and so are the ends of their rows", async () => {
  const items = await itemsOf("COPY t FROM stdin;\r\n1\r\n\\.\r\nSELECT 1;\r\n", 3);
  assert.deepEqual(items, ["S COPY t FROM stdin;", "R 1\r\n", ".", "S SELECT 1;"]);
});

function kindOf(sql: string): string {
  return judgeStatement(Buffer.from(sql)).kind;
}

test("what has no place in a database of its own is left, and what no dump has is refused", () => {
  const left = [
    "SET transaction_timeout = 0;",
    "SET SESSION AUTHORIZATION 'x';",
    'ALTER TABLE public.t OWNER TO "a ""b";',
    "ALTER FUNCTION public.f(integer, text) OWNER TO chatwoot;",
    "GRANT ALL ON SCHEMA public TO PUBLIC;",
    "ALTER DEFAULT PRIVILEGES FOR ROLE x GRANT SELECT ON TABLES TO y;",
    "CREATE DATABASE x WITH TEMPLATE = template0;",
    "CREATE ROLE x;",
    "DROP TABLE IF EXISTS public.t;",
    "ALTER TABLE IF EXISTS ONLY public.t DROP CONSTRAINT IF EXISTS c;",
    "COMMENT ON EXTENSION vector IS 'x';",
    "CREATE SCHEMA public;",
  ];
  for (const sql of left) assert.equal(kindOf(sql), "leave", sql);
  const run = [
    "CREATE TABLE public.t (id integer, note text DEFAULT 'OWNER TO x'::text);",
    "ALTER TABLE ONLY public.t ALTER COLUMN id SET DEFAULT nextval('public.t_id_seq'::regclass);",
    "CREATE FUNCTION public.f() RETURNS void LANGUAGE sql AS $$ DROP TABLE x $$;",
    "SELECT pg_catalog.set_config('search_path', '', false);",
    "COMMENT ON TABLE public.t IS 'GRANT x';",
    "SET check_function_bodies = false;",
  ];
  for (const sql of run) assert.equal(kindOf(sql), "run", sql);
  for (const sql of [
    "COPY t TO STDOUT;",
    "COPY t FROM '/etc/passwd';",
    "copy t from program 'x';",
    "ALTER SYSTEM SET x = 1;",
    "LOAD 'x';",
  ]) {
    assert.equal(kindOf(sql), "refuse", sql);
  }
  assert.deepEqual(judgeStatement(Buffer.from('CREATE EXTENSION IF NOT EXISTS "uuid-ossp" WITH SCHEMA public;')), {
    kind: "extension",
    name: "uuid-ossp",
    schema: "public",
  });
});

test("what a dump says of databases and tables is understood in every way of writing it", () => {
  assert.equal(connectedTo("\\connect chatwoot_production"), "chatwoot_production");
  assert.equal(connectedTo("\\connect -reuse-previous=on \"dbname='a \\'b'\""), "a 'b");
  assert.equal(connectedTo("\\! rm"), undefined);
  assert.deepEqual(mentionedTable(Buffer.from("CREATE TABLE public.accounts (")), {
    table: "accounts",
    isCreated: true,
    isBare: false,
  });
  assert.equal(mentionedTable(Buffer.from('COPY other."A b" (x) FROM stdin;'))?.table, "other.A b");
  assert.equal(mentionedTable(Buffer.from("CREATE TABLE t (a int)\nPARTITION BY RANGE (a);"))?.isBare, true);
  const made =
    "CREATE DATABASE x WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = icu LOCALE = 'de_DE.UTF-8' ICU_LOCALE = 'de';";
  assert.deepEqual(createdDatabase(Buffer.from(made)), {
    name: "x",
    locale: { collate: "de_DE.UTF-8", ctype: "de_DE.UTF-8", provider: { name: "icu", locale: "de", rules: null } },
  });
});
