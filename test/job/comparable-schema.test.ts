import assert from "node:assert/strict";
import { test } from "node:test";
import { comparableObjects, comparableSchema } from "../../src/job/check-database.ts";

const TABLE =
  "--\n-- Name: t; Type: TABLE; Schema: public; Owner: -\n--\n\nCREATE TABLE public.t (\n    id integer\n);\n\n\n";
const TRIGGER = "CREATE EVENT TRIGGER watching ON ddl_command_end\n   EXECUTE FUNCTION public.watch();";
const WATCHED = `--\n-- Name: watching; Type: EVENT TRIGGER; Schema: -; Owner: -\n--\n\n${TRIGGER}\n\n\n`;

test("schemas are the same wherever their tables lie on the disk", () => {
  const moved = `SET default_tablespace = away;\n\n${TABLE.replace("Owner: -", "Owner: -; Tablespace: away")}`;
  const plain = `SET default_tablespace = '';\n\n${TABLE}`;
  assert.equal(comparableSchema(moved, []), comparableSchema(plain, []));
  assert.equal(comparableSchema(TABLE, []), TABLE);
});

test("a list of texts that the server words otherwise at the second time is no difference, another list is one", () => {
  const first = "CHECK (((v)::text = ANY ((ARRAY['a'::character varying, 'it''s, b'::character varying])::text[])))";
  const second =
    "CHECK (((v)::text = ANY (ARRAY[('a'::character varying)::text, ('it''s, b'::character varying)::text])))";
  assert.equal(comparableSchema(first, []), comparableSchema(second, []));
  assert.notEqual(comparableSchema(first.replace("'a'", "'c'"), []), comparableSchema(second, []));
});

test("what the server refused is no difference, and anything else is one", () => {
  const lacking = comparableSchema(TABLE, [TRIGGER]);
  assert.equal(comparableSchema(TABLE + WATCHED, [TRIGGER]), lacking);
  assert.notEqual(comparableSchema(TABLE + WATCHED, []), comparableSchema(TABLE, []));
  assert.notEqual(comparableSchema(TABLE.replace("integer", "bigint") + WATCHED, [TRIGGER]), lacking);
});

test("object by object, what the server refused is no difference either, and anything else is one", () => {
  const [lacking, refused] = [comparableObjects(TABLE, [TRIGGER]), comparableObjects(TABLE + WATCHED, [TRIGGER])];
  assert.deepEqual(
    refused.map(({ type, name }) => [type, name]),
    [["TABLE", "t"]],
  );
  assert.deepEqual(refused, lacking);
  assert.equal(comparableObjects(TABLE + WATCHED, []).length, 2);
});
