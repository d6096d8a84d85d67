/** Makes a demo installation's database hostile: odd values in Chatwoot's own tables, and tables of every odd shape. */
import { Client } from "pg";
import type { DemoInstallation } from "../../src/demo/installation.ts";
import { HOSTILE_ADDITIONS } from "../postgres/hostile.ts";

/** Values in Chatwoot's own columns, and rows that were changed and deleted, so that heap order is no order. */
const IN_CHATWOOT = String.raw`
update messages set content = E'\\N' where id % 11 = 1;
update messages set content = E'\\.' where id % 11 = 2;
update messages set content = E'a\r\nb\tc\\d\x01\x1b\x7f' where id % 11 = 3;
update messages set content = '😀 👩‍👩‍👧‍👦 𝒳 ﷽ \u2028', content_attributes = '{"b" :  1, "a":[ ] , "n": "\u0041\\"}' where id % 11 = 4;
update messages set content = '', content_attributes = '  null ' where id % 11 = 5;
update messages set created_at = 'infinity', updated_at = '4713-01-01 00:00:00 BC' where id % 13 = 6;
update contacts set custom_attributes = '{"b": 1.10, "a": {"x": [null, true, {}]}, "": "\\N"}', additional_attributes = '[]' where id % 3 = 1;
delete from messages where id % 17 = 4 and id not in (select message_id from attachments);
`;

/** What pg_dump carries and the additions lack; a view that was never filled must stay so, its query fails. */
const MORE = `
create table settled (id bigint primary key, v text);
insert into settled select i * 4611686018427387, 'v' || i from generate_series(-900, 900) i;
update settled set v = v || '!' where id % 2 = 0;
delete from settled where id % 5 = 3;
create table booleans_first (flag boolean, id int, n numeric(10, 2), tags varchar(20)[], primary key (flag, id));
insert into booleans_first select i % 2 = 0, i, i / 3.0, array['a,b', null, '{}', E'\\\\N'] from generate_series(1, 30) i;
create materialized view never_filled as select 1 / 0 as broken with no data;
create materialized view of_settled as select id from settled where id > 0;
create unique index on of_settled (id);
alter table text_key enable row level security;
create policy everyone on text_key using (true);
create table ruled (id int primary key, v text);
create rule keep_none as on insert to ruled where new.v = 'none' do instead nothing;
insert into ruled values (1, 'some');
create table referring (id int primary key, to_id bigint references settled deferrable initially deferred);
insert into referring select row_number() over (), id from settled limit 20;
create function shout() returns trigger language plpgsql as $$ begin new.v := upper(new.v); return new; end $$;
insert into ruled values (2, 'lower before the trigger');
create trigger shout before insert on ruled for each row execute function shout();
create sequence cyclic as smallint increment 3 maxvalue 10 cycle; select nextval('cyclic') from generate_series(1, 3);
create table more_types (id int primary key, reals real[]);
insert into more_types values (1, '{NaN,Infinity,-0,1e-45}'), (2, '{}'), (3, '{{1},{2}}'), (4, '[0:1]={1,NULL}'), (5, null);
create statistics ruled_statistics on id, v from ruled;
create table partitioned_by_list (k text, v int) partition by list (k);
create table list_a partition of partitioned_by_list for values in ('a', E'\\\\N') partition by range (v);
create table list_a_low partition of list_a for values from (minvalue) to (10);
create table list_rest partition of partitioned_by_list default;
select lo_from_bytea(0, ''), lo_from_bytea(0, '\\x00ff5c0a'), lo_from_bytea(4294967295, '\\x01');
select lo_put(lo_create(4000000000), 300000, 'behind a hole');
select lo_from_bytea(77777, convert_to(string_agg(md5(i::text), '' order by i), 'UTF8')) from generate_series(1, 9000) i;
comment on large object 77777 is E'it''s \\n ''\\ large';
insert into partitioned_by_list values ('a', 1), (E'\\\\N', 2), (null, 3), ('z', 4);
`;

export async function onDatabase<T>({ database }: DemoInstallation, act: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client(database);
  await client.connect();
  try {
    return await act(client);
  } finally {
    await client.end();
  }
}

/**
 * Does it; further SQL may bring what only some servers have.
 * @returns the types of Chatwoot's own columns for which no hostile values were tried: tests say that there are none.
 */
export async function makeHostile(installation: DemoInstallation, further = ""): Promise<string[]> {
  return await onDatabase(installation, async (client) => {
    const types = async (condition: string) => {
      const { rows } = await client.query<{ type: string }>(
        `select distinct format_type(a.atttypid, -1) as type from pg_attribute a join pg_class c on c.oid = a.attrelid
         where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped and ${condition}`,
      );
      return rows.map(({ type }) => type);
    };
    const own = await types("true");
    for (const sql of [HOSTILE_ADDITIONS, IN_CHATWOOT, MORE, further]) await client.query(sql);
    const tried = new Set(await types("c.relname in ('hostile', 'more_types')"));
    return own.filter((type) => !tried.has(type));
  });
}
