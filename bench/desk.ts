/** A small desk whose storage or messages are then made as large as a comparison wants. */
import { createHash, randomFillSync } from "node:crypto";
import { closeSync, mkdirSync, openSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { Client } from "pg";
import { blobPath } from "../src/chatwoot/blobs.ts";
import { openDesk, type Desk, SMALL } from "../test/scenario/desk.ts";
import { openWholeDesk, type WholeDesk } from "../test/scenario/whole-desk.ts";

/** PostgreSQL as it comes, with its data synced to the disk. */
const SERVER = { settings: ["fsync=on", "synchronous_commit=on", "full_page_writes=on", "shared_buffers=128MB"] };

export async function openBenchDesk(): Promise<Desk> {
  return await openDesk({ size: SMALL, server: SERVER });
}

/** The same whose application runs, so that it can be brought back as a whole. */
export async function openRunningDesk(): Promise<WholeDesk> {
  return await openWholeDesk(SMALL, { server: SERVER });
}

/** Adds incompressible files, each with its row. Text compresses; what people attach mostly does not. */
export async function addFiles(desk: Desk, count: number, sizeBytes: number): Promise<void> {
  await addFilled(desk, { count, sizeBytes, fill: (part) => randomFillSync(part) });
}

/** Adds files of words, no two alike. */
export async function addTexts(desk: Desk, count: number, sizeBytes: number): Promise<void> {
  const words = Array.from({ length: 4_000 }, () =>
    Math.random()
      .toString(36)
      .slice(2, 2 + 2 + Math.random() * 9),
  );
  const word = () => words[Math.floor(words.length * Math.random() ** 2)] ?? "";
  await addFilled(desk, {
    count,
    sizeBytes,
    fill(part) {
      for (let at = 0; at < part.length;) at += part.write(`${word()} `, at) || part.length;
    },
  });
}

interface Filling {
  count: number;
  sizeBytes: number;
  fill: (part: Buffer) => void;
}

async function addFilled(desk: Desk, { count, sizeBytes, fill }: Filling): Promise<void> {
  const client = new Client(desk.installation.database);
  await client.connect();
  const buffer = Buffer.allocUnsafe(1024 * 1024);
  const rows: string[] = [];
  const flush = async () => {
    if (rows.length === 0) return;
    await client.query(
      `insert into active_storage_blobs (key, filename, content_type, metadata, byte_size, checksum, service_name, created_at) values ${rows.join(",")}`,
    );
    rows.length = 0;
  };
  for (let number = 0; number < count; number += 1) {
    const key = `bench${number.toString(36).padStart(6, "0")}${Math.random().toString(36).slice(2).padEnd(14, "0").slice(0, 14)}`;
    const spread = `${Math.random().toString(36).slice(2, 6)}${key}`.padEnd(28, "0").slice(0, 28);
    rows.push(
      `('${spread}', 'file-${number}.bin', 'application/octet-stream', '{}', ${sizeBytes}, '${writeFile(desk, spread, { sizeBytes, fill, buffer })}', 'local', now())`,
    );
    if (rows.length >= 1000) await flush();
  }
  await flush();
  await client.query("analyze active_storage_blobs");
  await client.end();
}

function writeFile(
  desk: Desk,
  key: string,
  { sizeBytes, fill, buffer }: { sizeBytes: number; fill: Filling["fill"]; buffer: Buffer },
): string {
  const path = blobPath(desk.installation.storageRoot, key);
  mkdirSync(dirname(path), { recursive: true });
  const md5 = createHash("md5");
  const file = openSync(path, "w");
  for (let left = sizeBytes; left > 0; left -= buffer.length) {
    const part = buffer.subarray(0, Math.min(left, buffer.length));
    fill(part);
    md5.update(part);
    writeSync(file, part);
  }
  closeSync(file);
  return md5.digest("base64");
}
