/** Files of changed blocks, and manifests, as a server of PostgreSQL 17 writes them. */
import { hash } from "node:crypto";

export const BLOCK = 8192;

export interface Changed {
  /** By their numbers in the file. */
  readonly blocks: ReadonlyMap<number, Buffer>;
  readonly keptBlocks: number;
}

export function encodeIncremental({ blocks, keptBlocks }: Changed, blockBytes = BLOCK): Buffer {
  const numbers = [...blocks.keys()].toSorted((a, b) => a - b);
  const header = Buffer.alloc(12 + 4 * numbers.length);
  header.writeUInt32LE(0xd3ae1f0d, 0);
  header.writeUInt32LE(numbers.length, 4);
  header.writeUInt32LE(keptBlocks, 8);
  for (const [at, number] of numbers.entries()) header.writeUInt32LE(number, 12 + 4 * at);
  const over = header.length % blockBytes;
  const padding = Buffer.alloc(numbers.length > 0 && over > 0 ? blockBytes - over : 0);
  return Buffer.concat([header, padding, ...numbers.map((number) => blocks.get(number) ?? Buffer.alloc(0))]);
}

/** What it is together with the earlier file, said in the plainest way. */
export function wholeOf(earlier: Buffer, { blocks, keptBlocks }: Changed, blockBytes = BLOCK): Buffer {
  const count = Math.max(keptBlocks, ...[...blocks.keys()].map((number) => number + 1));
  const whole = Array.from({ length: count }, (_, number) => {
    const zeros = Buffer.alloc(blockBytes);
    if (number < keptBlocks && (number + 1) * blockBytes <= earlier.length)
      earlier.copy(zeros, 0, number * blockBytes, (number + 1) * blockBytes);
    return blocks.get(number) ?? zeros;
  });
  return Buffer.concat(whole);
}

export function encodeManifest(files: ReadonlyMap<string, Buffer>): Buffer {
  const lines = [...files].map(
    ([path, bytes]) =>
      `{ "Path": ${JSON.stringify(path)}, "Size": ${bytes.length}, "Last-Modified": "2026-11-24 08:00:00 GMT", "Checksum-Algorithm": "SHA256", "Checksum": "${hash("sha256", bytes)}" }`,
  );
  const body = [
    '{ "PostgreSQL-Backup-Manifest-Version": 2,\n"System-Identifier": 7412345678901234567,\n"Files": [',
    lines.join(",\n"),
    '],\n"WAL-Ranges": [\n{ "Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "0/2000120" }\n],\n',
  ].join("\n");
  return Buffer.from(`${body}"Manifest-Checksum": "${hash("sha256", body)}"}\n`);
}
