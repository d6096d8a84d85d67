/** The files of the demo's uploads: what is in them, and where Active Storage keeps them. */
import { createHash } from "node:crypto";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { SeededRandom } from "./random.ts";
import { makeText } from "./seed/words.ts";

const KIB = 1024;

export interface MadeFile {
  key: string;
  filename: string;
  contentType: string;
  content: Buffer;
  /** Base64 of the MD5, as `active_storage_blobs.checksum` has it. */
  checksum: string;
}

const KINDS = [
  { name: "photo", extension: "jpg", contentType: "image/jpeg", minBytes: 8 * KIB, maxBytes: 180 * KIB, isText: false },
  { name: "Größe ½", extension: "png", contentType: "image/png", minBytes: 2 * KIB, maxBytes: 60 * KIB, isText: false },
  {
    name: "invoice",
    extension: "pdf",
    contentType: "application/pdf",
    minBytes: 20 * KIB,
    maxBytes: 300 * KIB,
    isText: false,
  },
  { name: "voice", extension: "ogg", contentType: "audio/ogg", minBytes: 10 * KIB, maxBytes: 90 * KIB, isText: false },
  { name: "export", extension: "csv", contentType: "text/csv", minBytes: 200, maxBytes: 40 * KIB, isText: true },
  { name: "notes", extension: "txt", contentType: "text/plain", minBytes: 1, maxBytes: 4 * KIB, isText: true },
] as const;

/** Every so many files one is large, and one has the content of an earlier file. */
const LARGE_EVERY = 150;
const LARGE_BYTES = 3 * 1024 * KIB;
const COPY_EVERY = 25;
const KEY_LENGTH = 28;

/** Where a service of kind Disk keeps a file. */
export function storagePath(storageRoot: string, key: string): string {
  return join(storageRoot, key.slice(0, 2), key.slice(2, 4), key);
}

/** Makes up a file; `sizeBytes` where the size matters, otherwise one that is usual for its kind. */
export function makeFile(random: SeededRandom, number: number, sizeBytes?: number): MadeFile {
  const kind = random.pick(KINDS);
  const size = sizeBytes ?? kind.minBytes + random.below(kind.maxBytes - kind.minBytes);
  const content = kind.isText ? makeText(random, size) : random.bytes(size);
  return describeFile(random, `${kind.name}-${number}.${kind.extension}`, kind.contentType, content);
}

function describeFile(random: SeededRandom, filename: string, contentType: string, content: Buffer): MadeFile {
  const checksum = createHash("md5").update(content).digest("base64");
  return { key: random.base36(KEY_LENGTH), filename, contentType, content, checksum };
}

/** The files of an installation: one is empty, a few are large, some have the same content. */
export function* makeFiles(random: SeededRandom, count: number, sizeBytes?: number): Generator<MadeFile> {
  let earlier: MadeFile | undefined;
  for (let number = 1; number <= count; number++) {
    if (number === 2) yield describeFile(random, "empty.txt", "text/plain", Buffer.alloc(0));
    else if (number % COPY_EVERY === 0 && earlier !== undefined) {
      yield describeFile(random, earlier.filename, earlier.contentType, earlier.content);
    } else {
      const isLarge = sizeBytes === undefined && number % LARGE_EVERY === 0;
      const file = makeFile(random, number, isLarge ? LARGE_BYTES : sizeBytes);
      if (number % COPY_EVERY === 1) earlier = file;
      yield file;
    }
  }
}

export async function writeStorageFile(storageRoot: string, file: Pick<MadeFile, "key" | "content">): Promise<void> {
  const path = storagePath(storageRoot, file.key);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, file.content);
}

export async function removeStorageFile(storageRoot: string, key: string): Promise<void> {
  await rm(storagePath(storageRoot, key), { force: true });
}
