/** Single changes to a living installation, each made in the order in which Chatwoot makes it. */
import type { Client } from "pg";
import { type MadeFile, makeFile, removeStorageFile, writeStorageFile } from "./files.ts";
import type { SeededRandom } from "./random.ts";
import { makeSentence } from "./seed/words.ts";

async function firstId(client: Client, sql: string, values: readonly unknown[]): Promise<number> {
  const { rows } = await client.query<{ id: string | number }>(sql, [...values]);
  const id = rows[0]?.id;
  if (id === undefined) throw new Error("the installation has no row that this change needs");
  return Number(id);
}

/** A conversation to write in: any, but the newest ones more often. */
async function someConversation(client: Client, random: SeededRandom): Promise<number> {
  const share = random.below(1000) / 1000;
  const sql = `SELECT id FROM conversations, (SELECT max(id) AS newest, min(id) AS oldest FROM conversations) AS ends
     WHERE id <= greatest(oldest, newest - floor($1::float8 * $1::float8 * 200)) ORDER BY id DESC LIMIT 1`;
  return await firstId(client, sql, [share]);
}

/** A customer writes for the first time; the trigger gives the conversation its number. */
export async function beginConversation(client: Client, random: SeededRandom): Promise<number> {
  const sql = `INSERT INTO conversations (account_id, inbox_id, contact_id, contact_inbox_id, status, uuid, created_at, updated_at)
     SELECT account_id, inbox_id, contact_id, contact_inbox_id, 0, $1, now(), now()
     FROM conversations WHERE id = $2 RETURNING id`;
  return await firstId(client, sql, [random.uuid(), await someConversation(client, random)]);
}

/** Adds one message, to a conversation that is named or to some other. Returns its id. */
export async function sendMessage(client: Client, random: SeededRandom, conversationId?: number): Promise<number> {
  const conversation = conversationId ?? (await someConversation(client, random));
  const sql = `INSERT INTO messages
       (content, processed_message_content, account_id, inbox_id, conversation_id, message_type, sender_type, sender_id, created_at, updated_at)
     SELECT $1, $1, account_id, inbox_id, id, $2, 'Contact', contact_id, now(), now()
     FROM conversations WHERE id = $3 RETURNING id`;
  return await firstId(client, sql, [makeSentence(random), random.below(2), conversation]);
}

/** A file arrives with a message: its rows are committed first, and its bytes follow. Returns the file. */
export async function attachFile(
  client: Client,
  random: SeededRandom,
  storageRoot: string,
  /** Runs between the commit and the first byte. */
  pause: () => Promise<void> = async () => {},
): Promise<MadeFile> {
  const messageId = await sendMessage(client, random);
  const file = makeFile(random, messageId);
  await client.query("BEGIN");
  const blob = `INSERT INTO active_storage_blobs (key, filename, content_type, metadata, byte_size, checksum, service_name, created_at)
     VALUES ($1, $2, $3, '{"identified":true}', $4, $5, 'local', now()) RETURNING id`;
  const values = [file.key, file.filename, file.contentType, file.content.length, file.checksum];
  const blobId = await firstId(client, blob, values);
  const attachment = `INSERT INTO attachments (file_type, message_id, account_id, created_at, updated_at)
     SELECT 3, id, account_id, now(), now() FROM messages WHERE id = $1 RETURNING id`;
  const attachmentId = await firstId(client, attachment, [messageId]);
  await client.query(
    `INSERT INTO active_storage_attachments (name, record_type, record_id, blob_id, created_at)
     VALUES ('file', 'Attachment', $1, $2, now())`,
    [attachmentId, blobId],
  );
  await client.query("COMMIT");
  await pause();
  await writeStorageFile(storageRoot, file);
  return file;
}

/** Purges a file that was sent with a message: its rows go first, then its bytes. Returns its key, if any was left. */
export async function purgeFile(
  client: Client,
  random: SeededRandom,
  storageRoot: string,
  /** Runs between the commit and the removal. */
  pause: () => Promise<void> = async () => {},
): Promise<string | undefined> {
  await client.query("BEGIN");
  const sql = `SELECT b.id, b.key, a.id AS attachment FROM active_storage_blobs b
     JOIN active_storage_attachments a ON a.blob_id = b.id AND a.record_type = 'Attachment'
     ORDER BY b.id OFFSET floor($1::float8 * (SELECT count(*) FROM active_storage_attachments WHERE record_type = 'Attachment'))
     LIMIT 1 FOR UPDATE OF b`;
  const { rows } = await client.query<{ id: string; key: string; attachment: string }>(sql, [
    random.below(1000) / 1000,
  ]);
  const [found] = rows;
  if (found !== undefined) {
    await client.query("DELETE FROM active_storage_attachments WHERE id = $1", [found.attachment]);
    await client.query("DELETE FROM active_storage_blobs WHERE id = $1", [found.id]);
  }
  await client.query("COMMIT");
  if (found === undefined) return undefined;
  await pause();
  await removeStorageFile(storageRoot, found.key);
  return found.key;
}
