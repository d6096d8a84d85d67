/** A table of messages as large as a comparison wants, and what a day of work does to it. */
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { Client } from "pg";
import { from as copyFrom } from "pg-copy-streams";
import { seededRandom, type SeededRandom } from "../src/demo/random.ts";
import type { Desk } from "../test/scenario/desk.ts";

const COLUMNS =
  "id, content, account_id, inbox_id, conversation_id, message_type, created_at, updated_at, content_attributes, additional_attributes, sender_type, sender_id";
const ROWS_AT_ONCE = 2_000;

/**
 * Adds rows to `messages`, each of some 350 bytes of words that compress as prose does. Where the table is to be
 * `indexed`, its indexes are made anew afterwards, which takes minutes for the one of trigrams; a backup reads none but
 * the primary key.
 */
export async function addMessages(desk: Desk, rows: number, { indexed }: { indexed: boolean }): Promise<void> {
  const client = new Client(desk.installation.database);
  await client.connect();
  try {
    const indexes = await dropIndexes(client);
    const { rows: last } = await client.query<{ id: string }>("select coalesce(max(id), 0)::text as id from messages");
    const first = Number(last[0]?.id) + 1;
    const into = client.query(copyFrom(`copy messages (${COLUMNS}) from stdin`));
    await pipeline(Readable.from(lines(first, rows)), into);
    await client.query("set maintenance_work_mem = '512MB'; set max_parallel_maintenance_workers = 2");
    for (const index of indexed ? indexes : []) await client.query(index);
    await client.query("select setval(pg_get_serial_sequence('messages', 'id'), (select max(id) from messages))");
    await client.query("vacuum analyze messages");
    await client.query("checkpoint");
  } finally {
    await client.end();
  }
}

/** All but the primary key. @returns what makes them again. */
async function dropIndexes(client: Client): Promise<string[]> {
  const { rows } = await client.query<{ name: string; sql: string }>(
    `select indexrelid::regclass::text as name, pg_get_indexdef(indexrelid) as sql from pg_index
     where indrelid = 'messages'::regclass and not indisprimary`,
  );
  for (const { name } of rows) await client.query(`drop index ${name}`);
  return rows.map(({ sql }) => sql);
}

function* lines(first: number, rows: number): Generator<string> {
  const random = seededRandom("messages");
  const vocabulary = Array.from({ length: 6_000 }, () => random.base36(2 + random.below(9)));
  const now = Date.UTC(2026, 10, 1);
  for (let done = 0; done < rows;) {
    let text = "";
    for (let n = 0; n < ROWS_AT_ONCE && done < rows; n += 1, done += 1) {
      const at = new Date(now - (rows - done) * 17_000).toISOString().slice(0, 23).replace("T", " ");
      const [inbox, conversation, sender] = [1 + random.below(4), 1 + random.below(60), 1 + random.below(50)];
      text += `${first + done}\t${prose(random, vocabulary)}\t1\t${inbox}\t${conversation}\t${done % 2}\t${at}\t${at}\t{}\t{}\tContact\t${sender}\n`;
    }
    yield text;
  }
}

/** Frequent words are drawn more often, as in a language. */
function prose(random: SeededRandom, vocabulary: readonly string[]): string {
  const words: string[] = [];
  for (let left = 30 + random.below(50); left > 0; left -= 1) {
    words.push(vocabulary[Math.floor(vocabulary.length * (random.below(65_536) / 65_536) ** 3)] ?? "");
  }
  return words.join(" ");
}

/** Which rows a day of work changes: the newest of them, or as many anywhere. */
export type Spread = "newest" | "random";

/** Updates one row in a hundred. */
export async function changeMessages(desk: Desk, spread: Spread): Promise<void> {
  const where =
    spread === "newest"
      ? "id > (select max(id) - count(*) / 100 from messages)"
      : "id in (select id from messages tablesample bernoulli (1))";
  await onDesk(desk, `update messages set content = content || ' .', updated_at = now() where ${where}`);
}

/** Adds one row for each hundred. */
export async function growMessages(desk: Desk): Promise<void> {
  await onDesk(
    desk,
    `insert into messages (content, account_id, inbox_id, conversation_id, message_type, created_at, updated_at,
       content_attributes, additional_attributes, sender_type, sender_id)
     select reverse(content), account_id, inbox_id, conversation_id, message_type, now(), now(),
       content_attributes, additional_attributes, sender_type, sender_id
     from messages tablesample bernoulli (1)`,
  );
}

async function onDesk(desk: Desk, sql: string): Promise<void> {
  const client = new Client(desk.installation.database);
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}
