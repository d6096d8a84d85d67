/** A tar file read as it comes, once from its beginning to its end: from a file that is packed nothing else can be done. */
import { Failure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import {
  ANNOUNCING,
  BETWEEN,
  decodePaxRecords,
  decodeTarHeader,
  ORDINARY,
  TAR_BLOCK,
  tarPadding,
  textAt,
} from "./tar.ts";

export interface StreamedMember {
  /** As it stands in the file. It may lead anywhere. */
  readonly path: string;
  readonly sizeBytes: number;
  /** Its bytes, before the next member is asked for; what is not read is passed over. */
  read(): AsyncGenerator<Buffer, void, void>;
}

/** Bytes that come in pieces, taken in other pieces. */
class Pieces {
  readonly #chunks: AsyncIterator<Buffer>;
  #held: Buffer = Buffer.alloc(0);

  constructor(chunks: AsyncIterable<Buffer>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** Up to so many bytes, one at least; undefined at the end. */
  async some(most: number): Promise<Buffer | undefined> {
    while (this.#held.length === 0) {
      const { value, done } = await this.#chunks.next();
      if (done === true) return undefined;
      this.#held = value;
    }
    const taken = this.#held.subarray(0, most);
    this.#held = this.#held.subarray(taken.length);
    return taken;
  }

  /** Exactly so many; undefined where it ends before. */
  async exactly(count: number): Promise<Buffer | undefined> {
    const parts: Buffer[] = [];
    for (let left = count; left > 0;) {
      const part = await this.some(left);
      if (part === undefined) return undefined;
      parts.push(part);
      left -= part.length;
    }
    return Buffer.concat(parts);
  }

  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}

/**
 * Every ordinary file of a tar; links, devices and folders are passed over.
 * @param chunks Unpacked.
 * @throws Failure `dump/unsuitable` when it is no tar, `dump/damaged` when it is cut short or damaged.
 */
export async function* readTarStream(
  chunks: AsyncIterable<Buffer>,
  { path }: { path: string },
): AsyncGenerator<StreamedMember, void, void> {
  const pieces = new Pieces(chunks);
  try {
    let announced: { path?: string; sizeBytes?: number } = {};
    for (let isFirst = true; ; isFirst = false) {
      const block = await pieces.exactly(TAR_BLOCK);
      if (block === undefined) throw isFirst ? noTar(path) : cutShort(path);
      if (block.every((byte) => byte === 0)) {
        if (isFirst) throw noTar(path);
        return;
      }
      const header = decodeTarHeader(block);
      if (header === undefined) throw isFirst ? noTar(path) : damaged(path);
      if (ANNOUNCING.has(header.type)) {
        if (header.sizeBytes > LIMITS.tarRecordMaxBytes) throw damaged(path);
        const record = await pieces.exactly(header.sizeBytes + tarPadding(header.sizeBytes));
        if (record === undefined) throw cutShort(path);
        const text = record.subarray(0, header.sizeBytes);
        const found = header.type === "L" ? { path: textAt(text, 0, text.length) } : decodePaxRecords(text);
        if (found === undefined) throw damaged(path);
        announced = { ...announced, ...found };
        continue;
      }
      const isBetween = BETWEEN.has(header.type);
      const sizeBytes = isBetween ? header.sizeBytes : (announced.sizeBytes ?? header.sizeBytes);
      const member = openMember(pieces, announced.path ?? header.path, sizeBytes, path);
      if (ORDINARY.has(header.type) && !member.path.endsWith("/")) yield member;
      await member.passOver();
      if (!isBetween) announced = {};
    }
  } finally {
    await pieces.close();
  }
}

function openMember(pieces: Pieces, name: string, sizeBytes: number, path: string) {
  let left = sizeBytes + tarPadding(sizeBytes);
  const take = async (most: number): Promise<Buffer> => {
    const part = await pieces.some(Math.min(most, left));
    if (part === undefined) throw cutShort(path);
    left -= part.length;
    return part;
  };
  return {
    path: name,
    sizeBytes,
    async *read(): AsyncGenerator<Buffer, void, void> {
      for (let due = sizeBytes; due > 0;) {
        const part = await take(due);
        due -= part.length;
        yield part;
      }
    },
    async passOver(): Promise<void> {
      for (;;) {
        if (left === 0) return;
        await take(left);
      }
    },
  };
}

function noTar(path: string): Failure {
  return new Failure("dump/unsuitable", `'${path}' is no tar file`, {
    hint: "Name the folder of uploaded files, or a tar of it, which may be packed with gzip or zstd.",
  });
}

function cutShort(path: string): Failure {
  return new Failure("dump/damaged", `'${path}' is cut short`, {
    hint: "Was the disk full, or the copying stopped? Compare its size with the original's; else unpack what there is, and name the folder.",
  });
}

function damaged(path: string): Failure {
  return new Failure("dump/damaged", `'${path}' is damaged: a part of it means nothing`, {
    hint: "Compare its SHA-256 with the original's; else unpack what there is with tar, and name the folder.",
  });
}
