/** Conversations that an async cascade deletes in bulk (F24): the alarm, the point that stays, and which ones they were. */
import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { test } from "node:test";
import { Client } from "pg";
import type { Finding } from "../../src/base/findings.ts";
import { storagePath } from "../../src/demo/files.ts";
import type { DiffSummary, ForgetSummary } from "../../src/job/summaries.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { openDesk } from "./desk.ts";

interface Deleted {
  conversations: string[];
  messages: string[];
  blobs: { id: string; key: string; byte_size: string }[];
}

/** What one run of Chatwoot's jobs takes when half of an account's conversations go: all that hangs on them, leaves first. */
async function deleteInBulk(client: Client, account: number): Promise<Deleted> {
  const idsOf = async (sql: string, values: unknown[]) =>
    (await client.query<{ id: string }>(sql, values)).rows.map(({ id }) => id);
  const conversations = await idsOf(
    "select id::text from conversations where account_id = $1 order by random() limit (select count(*) / 2 from conversations where account_id = $1)",
    [account],
  );
  await client.query("begin");
  const blobs = await client.query<Deleted["blobs"][number]>(
    `with files as (delete from active_storage_attachments s using attachments a, messages m where s.record_type = 'Attachment'
       and s.record_id = a.id and a.message_id = m.id and m.conversation_id = any($1::bigint[]) returning s.blob_id)
     select b.id::text, b.key, b.byte_size::text from active_storage_blobs b where id in (select blob_id from files)`,
    [conversations],
  );
  await client.query("delete from active_storage_blobs where id = any($1::bigint[])", [blobs.rows.map(({ id }) => id)]);
  await client.query(
    "delete from attachments a using messages m where a.message_id = m.id and m.conversation_id = any($1::bigint[])",
    [conversations],
  );
  const messages = await idsOf("delete from messages where conversation_id = any($1::bigint[]) returning id::text", [
    conversations,
  ]);
  await client.query("delete from conversations where id = any($1::bigint[])", [conversations]);
  await client.query("commit");
  return { conversations, messages, blobs: blobs.rows };
}

const inOrder = (ids: readonly string[]): string[] => ids.toSorted((a, b) => Number(a) - Number(b));

test("conversations that go in bulk are an alarm with numbers, the point that has them stays, and diff names each", async () => {
  await using desk = await openDesk({ size: { messages: 500, conversations: 100, files: 30 } });
  await makeCheapToOpen(desk);
  const client = new Client(desk.installation.database);
  await client.connect();
  try {
    const count = async (table: string) =>
      Number((await client.query<{ n: string }>(`select count(*) as n from ${table} where account_id = 1`)).rows[0]?.n);
    const before = [await count("conversations"), await count("messages")];
    const whole = String((await desk.summary(["backup"]))["point"]);
    const gone = await deleteInBulk(client, 1);
    for (const { key } of gone.blobs) await rm(storagePath(desk.installation.storageRoot, key));
    assert.ok(gone.blobs.length > 0 && gone.messages.length > 100 && gone.conversations.length > 20);

    const after = await desk.summary(["backup"], 3);
    const [told, ...others] = (after["findings"] as Finding[]).filter(({ level }) => level !== "note");
    assert.ok(told);
    assert.deepEqual([told.kind, told.level, others], ["shrunk", "alarm", []]);
    const numbers = `from ${before[0]} conversations to ${await count("conversations")}, from ${before[1]} messages to ${await count("messages")} since restore point ${whole.slice(0, 8)} of `;
    assert.ok(told.message.includes(numbers), told.message);
    assert.match(told.hint, new RegExp(`^Restore point ${whole.slice(0, 8)} still has what is lacking`));

    const kept = (await desk.summary(["forget", "--keep-last", "1"], 3)) as unknown as ForgetSummary;
    assert.deepEqual([kept.forgotten.length, kept.kept.map(({ point }) => point).includes(whole)], [0, true]);

    const diff = async (...args: string[]) =>
      (await desk.summary(["diff", whole, "latest", ...args])) as unknown as DiffSummary;
    const removed = async (table: string) => (await diff("--table", table)).rows?.removed;
    assert.deepEqual(await removed("conversations"), inOrder(gone.conversations).slice(0, 100));
    assert.deepEqual(await removed("messages"), inOrder(gone.messages).slice(0, 100));
    assert.deepEqual(await removed("active_storage_blobs"), inOrder(gone.blobs.map(({ id }) => id)));
    const { tables, storage } = await diff();
    const byName = new Map(tables.map((table) => [table.name, table]));
    assert.equal(byName.get("messages")?.removed, gone.messages.length);
    assert.equal(byName.get("conversations")?.removed, gone.conversations.length);
    const bytes = gone.blobs.reduce((sum, { byte_size }) => sum + Number(byte_size), 0);
    assert.deepEqual([storage?.[0]?.removed.files, storage?.[0]?.removed.bytes], [gone.blobs.length, bytes]);
  } finally {
    await client.end();
  }
});
