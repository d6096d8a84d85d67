/** A row of one large uploaded file, for tests of disks that fill up. */
import { createHash } from "node:crypto";
import { Client } from "pg";
import type { Desk } from "../scenario/desk.ts";

/** Its key in the storage. */
export const FILM_KEY = "abcdefghijklmnopqrstuvwxyz12";

/** Lists it in the database; where its bytes lie is the caller's business. */
export async function listFilm({ installation }: Desk, content: Buffer): Promise<void> {
  const client = new Client(installation.database);
  await client.connect();
  await client.query(
    `insert into active_storage_blobs (key, filename, content_type, metadata, byte_size, checksum, created_at, service_name)
     values ($1, 'film.mp4', 'video/mp4', null, $2, $3, now() - interval '1 hour', 'local')`,
    [FILM_KEY, content.length, createHash("md5").update(content).digest("base64")],
  );
  await client.end();
}
