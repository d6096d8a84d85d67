/** A database that has what makes backups wrong: hostile values in every type that Chatwoot uses, odd names, odd keys. */

/** Types that Chatwoot's columns have, each with values that a careless reader or writer would change. */
const VALUES: Record<string, readonly string[]> = {
  text: [
    String.raw`'\N'`,
    String.raw`'\.'`,
    "''",
    String.raw`E'\r'`,
    String.raw`E'a\nb\r\nc\td'`,
    String.raw`E'\\N\\.\\\\n'`,
    "E'\\x01\\x02\\x08\\x0b\\x0c\\x1f\\x7f'",
    "'Ünï 漢字 😀👩‍👩‍👧‍👦 \u2028\u202e'",
    "repeat('long ', 100000)",
    "NULL",
  ],
  varchar: [String.raw`'\N'`, "'  spaces  '", "NULL"],
  integer: ["-2147483648", "2147483647", "0", "NULL"],
  bigint: ["-9223372036854775808", "9223372036854775807", "NULL"],
  boolean: ["true", "false", "NULL"],
  double: [
    "'NaN'",
    "'Infinity'",
    "'-Infinity'",
    "0.1::float8 + 0.2",
    "'-0'",
    "5e-324",
    "1.7976931348623157e308",
    "NULL",
  ],
  real: ["'NaN'", "1e-45", "3.4028235e38", "0.1", "NULL"],
  numeric: ["'NaN'", "'Infinity'", "1.0", "1.00", "12345678901234567890.123456789012345678901234567890", "NULL"],
  timestamp: ["'infinity'", "'-infinity'", "'4713-01-01 00:00:00 BC'", "'2024-02-29 23:59:59.999999'", "NULL"],
  timestamptz: ["'infinity'", "'0044-03-15 12:00:00+00 BC'", "'2024-10-27 02:30:00.000001+02'", "NULL"],
  date: ["'infinity'", "'4713-01-01 BC'", "'5874897-12-31'", "NULL"],
  time: ["'24:00:00'", "'00:00:00.000001'", "NULL"],
  interval: ["'-1 year 2 mons -3 days +04:05:06.7'", "'-178000000 years'", "'0'", "NULL"],
  uuid: ["'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'", "NULL"],
  json: [String.raw`'{"b" : 1,   "a":2, "a" : 3, "n": "\u0041\n"}'`, "'  [1 , 2]  '", "'null'", "NULL"],
  jsonb: [String.raw`'{"b": 1.10, "a": {"x": [null, true]}, "quote": "\"\\"}'`, "'\"\\\\N\"'", "'null'", "NULL"],
  bytea: [String.raw`'\x'`, String.raw`'\x00ff0a0d5c2e'`, String.raw`'\x5c4e'`, "NULL"],
  inet: ["'10.0.0.1/8'", "'::1'", "NULL"],
  "text[]": [
    "'{}'",
    "array[NULL, 'NULL', '', 'a,b', '\"', '\\', E'\\n']",
    "array[['a'],['b']]",
    "'[3:4]={x,y}'",
    "NULL",
  ],
  "integer[]": ["array[]::int[]", "array[1,NULL,3]", "NULL"],
  money: ["-1234567.89", "'92233720368547758.07'", "NULL"],
  bit: ["B'101'", "B'000'", "NULL"],
  xml: ["'<a>&amp;\n</a>'", "NULL"],
  point: ["'(0.1,-1e300)'", "NULL"],
  int4range: ["'empty'", "'[1,5)'", "'(,)'", "NULL"],
  tsvector: [`'''a\\b'':1 ''it''''s'':2'`, "NULL"],
};

const TYPES: Record<string, string> = { double: "double precision", bit: "bit(3)" };

function typed(): string {
  const names = Object.keys(VALUES);
  const columns = names.map((name, index) => `c${index} ${TYPES[name] ?? name}`).join(", ");
  const most = Math.max(...names.map((name) => VALUES[name]?.length ?? 0));
  const rows = Array.from({ length: most }, (_, row) => {
    const values = names.map((name) => VALUES[name]?.[row] ?? "NULL");
    return `insert into hostile values (default, ${values.join(", ")});`;
  });
  return `create table hostile (id serial primary key, ${columns});\n${rows.join("\n")}`;
}

const ODD_NAME = `Odd "name" with . and % and 'quotes' and \\ and 漢`;

export const ODD = { schema: `Sch.ema "x"`, name: ODD_NAME } as const;

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** Tables for each way in which rows are ordered and cut. */
const SHAPES = `
create table no_key (a text, b int, c float8);
insert into no_key select 'v' || i % 7, i % 5, i from generate_series(1, 100) i;
insert into no_key select * from no_key;
create table text_key (k text primary key, v int);
insert into text_key values ('b', 1), ('B', 2), ('a', 3), ('Ä', 4), ('ä', 5), ('', 6), (' ', 7), ('a b', 8), ('a-b', 9), ('Z', 10);
create table composite_key (a int, b text, c timestamptz, v text, primary key (b, a));
insert into composite_key select i % 3, 'k' || i, now(), E'x\\ty' from generate_series(1, 50) i;
create table uuid_key (id uuid primary key default gen_random_uuid(), v int);
insert into uuid_key (v) select generate_series(1, 40);
create table empty_table (id bigint primary key, v text);
create table no_columns ();
insert into no_columns default values; insert into no_columns default values;
create table huge_ids (v text, id bigint primary key);
insert into huge_ids (id, v) values (-9223372036854775808, 'lowest'), (-4611686018427387904, 'low'), (-1, 'minus one'), (0, 'zero'),
  (1, 'one'), (4611686018427387904, 'high'), (9223372036854775806, 'last but one'), (9223372036854775807, 'last');
create table small_ids (id smallint primary key, v text);
insert into small_ids select i, 'v' from generate_series(-32768, 32767, 1111) i;
create table dropped (id serial primary key, gone text, stays text, also_gone int, last text default 'x');
insert into dropped (gone, stays) values ('1', 'a'), ('2', 'b');
alter table dropped drop column gone, drop column also_gone;
alter table dropped add column added text default 'added later';
create table generated (id int generated always as identity primary key, a int, twice int generated always as (a * 2) stored, b text);
insert into generated (a, b) values (1, 'x'), (21, 'y');
create unlogged table unlogged (id int primary key, v text);
insert into unlogged values (1, 'kept');
create table parted (id int, at date, v text, primary key (id, at)) partition by range (at);
create table parted_2023 partition of parted for values from ('2023-01-01') to ('2024-01-01');
create table parted_rest partition of parted default;
insert into parted select i, '2023-01-01'::date + i * 10, 'v' || i from generate_series(1, 80) i;
create table parent (id int primary key, v text);
create table child (w text) inherits (parent);
insert into parent values (1, 'parent'); insert into child values (2, 'child', 'w');
create type mood as enum ('sad', 'it''s "fine"');
create domain email as text check (value like '%@%');
create table own_types (id int primary key, m mood, e email, pair text_key);
insert into own_types values (1, 'it''s "fine"', 'a@b', row('k', 1)), (2, 'sad', null, null);
create materialized view summary as select v, count(*) as n from small_ids group by v;
create materialized view of_summary as select sum(n) as total from summary;
create index on summary (v);
create view plain_view as select * from text_key;
`;

/** Chatwoot's own traps: triggers that take numbers from free-standing sequences. */
const CHATWOOT = `
create table accounts (id serial primary key, name text);
create table conversations (id serial primary key, account_id int not null, display_id int not null, content_attributes json, updated_at timestamp);
create unique index on conversations (account_id, display_id);
create function accounts_after_insert_row_tr() returns trigger language plpgsql as $$
begin execute format('create sequence if not exists conv_dpid_seq_%s', NEW.id); return null; end $$;
create function conversations_before_insert_row_tr() returns trigger language plpgsql as $$
begin NEW.display_id := nextval('conv_dpid_seq_' || NEW.account_id); return NEW; end $$;
create trigger accounts_after_insert_row_tr after insert on accounts for each row execute function accounts_after_insert_row_tr();
create trigger conversations_before_insert_row_tr before insert on conversations for each row execute function conversations_before_insert_row_tr();
insert into accounts (name) values ('one'), ('two');
insert into conversations (account_id, display_id, content_attributes) select 1 + i % 2, 0, '{"a" :  1}' from generate_series(1, 500) i;
delete from conversations where id % 5 = 0;
select nextval('conv_dpid_seq_2') from generate_series(1, 10);
create sequence never_called start 5; create sequence downwards increment -1 minvalue -9223372036854775808 start -1; select nextval('downwards');
`;

const ODD_TABLE = `
create schema ${quoted(ODD.schema)};
create table ${quoted(ODD.schema)}.${quoted(ODD.name)} (${quoted('Id "key"')} bigserial primary key, ${quoted("select")} text, ${quoted("a,b(c)")} int);
insert into ${quoted(ODD.schema)}.${quoted(ODD.name)} (${quoted("select")}, ${quoted("a,b(c)")}) values (E'x\\ny', 1), (null, 2);
comment on table ${quoted(ODD.schema)}.${quoted(ODD.name)} is E'\\\\restrict me\\n\\n\\n-- Dumped from nowhere';
`;

/** What can be added to a database that is Chatwoot's already. */
export const HOSTILE_ADDITIONS = [typed(), SHAPES, ODD_TABLE].join("\n");

/** SQL that makes the database. */
export const HOSTILE_SQL = [HOSTILE_ADDITIONS, CHATWOOT].join("\n");

/** A table whose rows fill several ranges. */
export function largeTable(rows: number): string {
  return `create table large (content text, id bigserial primary key, updated_at timestamptz default now());
insert into large (content) select repeat(md5(i::text), 30) from generate_series(1, ${rows}) i;`;
}
