/** Puts harmless files in the place of uploaded ones, of their kind and length, under new keys. */
import { createHash, randomBytes } from "node:crypto";
import { harmlessBytes, harmlessFile } from "../../chatwoot/harmless-file.ts";
import type { Connection } from "../../postgres/connect.ts";

/** Writes one file, whole. */
export type WriteFile = (key: string, pieces: Iterable<Buffer>) => Promise<void>;

const ROWS_AT_ONCE = 500;
const KEY_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz";
const KEY_LENGTH = 28;

interface BlobRow extends Record<string, unknown> {
  place: string;
  type: string | null;
  bytes: string;
}

/** In a transaction of the caller's. @returns how many there are. */
export async function replaceFiles(
  connection: Connection,
  { service, write }: { service: string; write: WriteFile },
  { signal }: { signal: AbortSignal },
): Promise<number> {
  const columns = await connection.query<{ name: string }>(
    "select attname as name from pg_catalog.pg_attribute where attrelid = 'public.active_storage_blobs'::regclass and attname = 'service_name'",
  );
  const named = columns.length === 0 ? "" : ", service_name = $6";
  await connection.query(
    "declare uploaded no scroll cursor for select ctid::text as place, content_type as type, byte_size::text as bytes from public.active_storage_blobs",
  );
  let files = 0;
  for (;;) {
    signal.throwIfAborted();
    const batch = await connection.query<BlobRow>(`fetch ${ROWS_AT_ONCE} from uploaded`);
    if (batch.length === 0) break;
    const made: { key: string; type: string; bytes: number; checksum: string }[] = [];
    for (const { type, bytes } of batch) {
      const file = harmlessFile(type ?? "", Number(bytes));
      const key = makeKey();
      const md5 = createHash("md5");
      for (const piece of harmlessBytes(file)) md5.update(piece);
      await write(key, harmlessBytes(file));
      made.push({ key, type: file.contentType, bytes: file.sizeBytes, checksum: md5.digest("base64") });
    }
    await connection.query(
      `update public.active_storage_blobs b set key = v.key, content_type = v.type, byte_size = v.bytes, checksum = v.checksum,
         metadata = '{"identified":true,"analyzed":true}'${named}
       from (select unnest($1::tid[]) as place, unnest($2::text[]) as key, unnest($3::text[]) as type, unnest($4::bigint[]) as bytes,
         unnest($5::text[]) as checksum) v where b.ctid = v.place`,
      [
        batch.map(({ place }) => place),
        made.map(({ key }) => key),
        made.map(({ type }) => type),
        made.map(({ bytes }) => bytes),
        made.map(({ checksum }) => checksum),
        ...(named === "" ? [] : [service]),
      ],
    );
    files += batch.length;
  }
  await connection.query("close uploaded");
  return files;
}

/** As Rails makes them. */
function makeKey(): string {
  return [...randomBytes(KEY_LENGTH)].map((byte) => KEY_LETTERS[byte % KEY_LETTERS.length]).join("");
}
