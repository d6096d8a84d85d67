/** Writes a log as a server does, of records that real servers seldom write or that are too large to have one write them. */
import { CRC32C_START, extendCrc32c, finishCrc32c } from "../../src/wal/crc32c.ts";
import type { Lsn } from "../../src/wal/lsn.ts";
import type { WalReaderOptions } from "../../src/wal/reader.ts";

export interface LogRecord {
  readonly rmgr: number;
  readonly info?: number;
  readonly xid?: number;
  readonly body: Uint8Array;
}

export interface Written {
  /** Where each record begins. */
  readonly starts: Lsn[];
  add(record: LogRecord): Lsn;
  /** A record of which the server wrote all that fits on this page, crashed, and went on behind it. */
  addLost(record: LogRecord): Lsn;
  /** XLOG_SWITCH, and the rest of the segment in zeros. */
  switchSegment(): void;
  bytes(): Buffer;
  readonly at: Lsn;
}

const MAGICS = new Map([
  [13, 0xd106],
  [15, 0xd110],
  [18, 0xd118],
]);
const CONTINUES = 1;
const LONG = 2;
const OVERWRITES = 8;

export const OPTIONS: WalReaderOptions & { timeline: number; pageBytes: number } = {
  from: 0x16_0000_0000n,
  major: 15,
  systemId: "7012345678901234567",
  timeline: 1,
  segmentBytes: 2 ** 20,
  pageBytes: 8192,
};

export function writeLog(options = OPTIONS): Written {
  const { from, major, systemId, timeline, segmentBytes, pageBytes } = options;
  const parts: Uint8Array[] = [];
  const starts: Lsn[] = [];
  let at = from;
  let prev = 0n;
  let isOverwriting = false;

  function put(bytes: Uint8Array): void {
    parts.push(bytes);
    at += BigInt(bytes.length);
  }

  function putPage(left: number): void {
    const isLong = at % BigInt(segmentBytes) === 0n;
    const header = Buffer.alloc(isLong ? 40 : 24);
    header.writeUInt16LE(MAGICS.get(major) ?? 0, 0);
    header.writeUInt16LE((left > 0 ? CONTINUES : 0) | (isLong ? LONG : 0) | (isOverwriting ? OVERWRITES : 0), 2);
    isOverwriting = false;
    header.writeUInt32LE(timeline, 4);
    header.writeBigUInt64LE(BigInt.asUintN(64, at), 8);
    header.writeUInt32LE(left, 16);
    if (isLong) {
      header.writeBigUInt64LE(BigInt(systemId), 24);
      header.writeUInt32LE(segmentBytes, 32);
      header.writeUInt32LE(pageBytes, 36);
    }
    put(header);
  }

  function room(): number {
    return pageBytes - Number(at % BigInt(pageBytes));
  }

  function encode({ rmgr, info = 0, xid = 0, body }: LogRecord): Buffer {
    const head = Buffer.alloc(24);
    head.writeUInt32LE(24 + body.length, 0);
    head.writeUInt32LE(xid, 4);
    head.writeBigUInt64LE(prev, 8);
    head.set([info, rmgr], 16);
    head.writeUInt32LE(finishCrc32c(extendCrc32c(extendCrc32c(CRC32C_START, body), head, 0, 20)), 20);
    return Buffer.concat([head, body]);
  }

  function begin(): Lsn {
    if (room() === pageBytes) putPage(0);
    return at;
  }

  function add(record: LogRecord): Lsn {
    const start = begin();
    const bytes = encode(record);
    for (let done = 0; done < bytes.length;) {
      if (room() === pageBytes) putPage(bytes.length - done);
      const count = Math.min(room(), bytes.length - done);
      put(bytes.subarray(done, done + count));
      done += count;
    }
    put(Buffer.alloc(Number(-at & 7n)));
    prev = start;
    starts.push(start);
    return start;
  }

  return {
    starts,
    add,
    addLost(record) {
      const start = begin();
      put(encode(record).subarray(0, room()));
      isOverwriting = true;
      return start;
    },
    switchSegment() {
      add({ rmgr: 0, info: 0x40, body: new Uint8Array(0) });
      put(Buffer.alloc(Number(-at & BigInt(segmentBytes - 1))));
    },
    bytes: () => Buffer.concat(parts),
    get at() {
      return at;
    },
  };
}

/** A body of main data alone. */
export function main(data: Uint8Array): Buffer {
  const head = Buffer.alloc(data.length < 256 ? 2 : 5);
  head[0] = data.length < 256 ? 255 : 254;
  if (data.length < 256) head[1] = data.length;
  else head.writeUInt32LE(data.length, 1);
  return Buffer.concat([head, data]);
}

/** A body with one block, of the relation 1663/5/`relation`, and main data. */
export function onBlock(relation: number, data: Uint8Array): Buffer {
  const block = Buffer.alloc(20);
  for (const [n, number] of [1663, 5, relation, 0].entries()) block.writeUInt32LE(number, 4 + 4 * n);
  return Buffer.concat([block, main(data)]);
}

export function insertion(xid: number, relation: number): LogRecord {
  return { rmgr: 10, info: 0, xid, body: onBlock(relation, Buffer.alloc(3)) };
}

/** `flags` of xl_heap_delete. */
export function deletion(xid: number, relation: number, flags = 0): LogRecord {
  return { rmgr: 10, info: 0x10, xid, body: onBlock(relation, Buffer.from([0, 0, 0, 0, 1, 0, 0, flags])) };
}

/** Commits at 2026-01-01T00:00:00Z, with subtransactions. */
export function commit(xid: number, subxids: Uint32Array = new Uint32Array(0)): LogRecord {
  const head = Buffer.alloc(subxids.length === 0 ? 8 : 16);
  head.writeBigInt64LE(BigInt(Date.UTC(2026, 0) - Date.UTC(2000, 0)) * 1000n, 0);
  if (subxids.length === 0) return { rmgr: 1, xid, body: main(head) };
  head.writeUInt32LE(2, 8);
  head.writeUInt32LE(subxids.length, 12);
  return { rmgr: 1, info: 0x80, xid, body: main(Buffer.concat([head, Buffer.from(subxids.buffer)])) };
}

/** PREPARE TRANSACTION. */
export function prepare(xid: number, gid: string, of: { major: number; subxids: readonly number[] }): LogRecord {
  const head = Buffer.alloc(of.major >= 15 ? 72 : 64);
  head.writeUInt32LE(xid, 8);
  head.writeUInt32LE(of.subxids.length, 28);
  head.writeUInt16LE(gid.length + 1, head.length - 18);
  const name = Buffer.alloc(Math.ceil((gid.length + 1) / 8) * 8);
  name.write(gid);
  return {
    rmgr: 1,
    info: 0x10,
    xid,
    body: main(Buffer.concat([head, name, Buffer.from(new Uint32Array(of.subxids).buffer)])),
  };
}

/** xl_running_xacts: nothing runs, or what began from `oldest` on. */
export function running(next: number, oldest = next): LogRecord {
  return { rmgr: 8, info: 0x10, body: main(Buffer.from(new Uint32Array([0, 0, 0, next, oldest, next - 1]).buffer)) };
}

/** Bytes that nobody looks into: a record of an index. */
export function filling(length: number): LogRecord {
  return { rmgr: 11, body: main(Buffer.alloc(length, length)) };
}
