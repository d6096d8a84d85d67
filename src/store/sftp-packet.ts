/**
 * The packets of SFTP version 3 (draft-ietf-secsh-filexfer-02), and of OpenSSH's extensions: bytes ↔ values.
 *
 * Every length that a server sends is checked against what is there before anything is made of it.
 */
import { Failure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";

export const REQUEST = {
  init: 1,
  open: 3,
  close: 4,
  read: 5,
  write: 6,
  fstat: 8,
  opendir: 11,
  readdir: 12,
  remove: 13,
  mkdir: 14,
  stat: 17,
  rename: 18,
  extended: 200,
} as const;

const VERSION = 2;
const STATUS = 101;
const HANDLE = 102;
const BYTES = 103;
const NAMES = 104;
const ATTRIBUTES = 105;
const EXTENDED_REPLY = 201;

/** How files are opened. */
export const OPEN = { read: 0x01, write: 0x02, create: 0x08, exclusive: 0x20 } as const;

/** What a status says: those of version 3, and of later versions the ones that some servers send all the same. */
export const SAYS = {
  ok: 0,
  endOfFile: 1,
  noSuchFile: 2,
  permissionDenied: 3,
  failure: 4,
  unsupported: 8,
  exists: 11,
  writeProtected: 12,
  noSpace: 14,
  quota: 15,
} as const;

const HAS_SIZE = 0x1;
const HAS_OWNER = 0x2;
const HAS_MODE = 0x4;
const HAS_TIMES = 0x8;
const HAS_MORE = 0x8000_0000;

export interface SftpAttributes {
  readonly sizeBytes: number | undefined;
  /** With the file's type, as `st_mode`. */
  readonly mode: number | undefined;
  /** Seconds since 1970. */
  readonly modifiedAt: number | undefined;
}

export interface SftpName extends SftpAttributes {
  readonly name: string;
}

export type SftpReply =
  | { readonly type: "version"; readonly version: number; readonly extensions: ReadonlyMap<string, string> }
  | { readonly type: "status"; readonly code: number; readonly message: string }
  | { readonly type: "handle"; readonly handle: Buffer }
  | { readonly type: "bytes"; readonly bytes: Buffer }
  | { readonly type: "names"; readonly names: readonly SftpName[] }
  | { readonly type: "attributes"; readonly attributes: SftpAttributes }
  | { readonly type: "extended"; readonly bytes: Buffer };

/** `id` is undefined for the version alone. */
export interface SftpPacket {
  readonly id: number | undefined;
  readonly reply: SftpReply;
}

/** A `uint32`, a `uint64`, or a string with its length before it. */
export type Field = number | bigint | string | Buffer;

/** Attributes that say the mode alone. */
export function modeFields(mode: number): Field[] {
  return [HAS_MODE, mode];
}

/** @param id Undefined for `init` alone. */
export function encodePacket(type: number, id: number | undefined, fields: readonly Field[]): Buffer {
  const parts = id === undefined ? fields : [id, ...fields];
  const sizeOf = (field: Field) => {
    if (typeof field === "number") return 4;
    if (typeof field === "bigint") return 8;
    return 4 + Buffer.byteLength(field);
  };
  const length = parts.reduce<number>((sum, field) => sum + sizeOf(field), 1);
  const packet = Buffer.allocUnsafe(4 + length);
  packet.writeUInt32BE(length, 0);
  let at = packet.writeUInt8(type, 4);
  for (const field of parts) {
    if (typeof field === "number") at = packet.writeUInt32BE(field, at);
    else if (typeof field === "bigint") at = packet.writeBigUInt64BE(field, at);
    else {
      at = packet.writeUInt32BE(Buffer.byteLength(field), at);
      at += typeof field === "string" ? packet.write(field, at) : field.copy(packet, at);
    }
  }
  return packet;
}

function notSftp(why: string): Failure {
  return new Failure("store/unreachable", `what the server sent is no SFTP: ${why}`, {
    hint: "Does the server offer SFTP, and do its login scripts print nothing? 'sftp' on the command line shows the same.",
  });
}

/** Reads fields one after another, never beyond the end. */
export class FieldReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  #take(length: number): Buffer {
    if (length > this.left) throw notSftp("a packet ends in the middle of a field");
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  byte(): number {
    return this.#take(1).readUInt8();
  }

  uint32(): number {
    return this.#take(4).readUInt32BE();
  }

  uint64(): bigint {
    return this.#take(8).readBigUInt64BE();
  }

  size(): number {
    const size = this.uint64();
    if (size > BigInt(Number.MAX_SAFE_INTEGER)) throw notSftp("a file has a size that no file has");
    return Number(size);
  }

  bytes(): Buffer {
    return this.#take(this.uint32());
  }

  text(): string {
    return this.bytes().toString("utf8");
  }
}

function readAttributes(reader: FieldReader): SftpAttributes {
  const flags = reader.uint32();
  const sizeBytes = (flags & HAS_SIZE) === 0 ? undefined : reader.size();
  if ((flags & HAS_OWNER) !== 0) reader.uint64();
  const mode = (flags & HAS_MODE) === 0 ? undefined : reader.uint32();
  if ((flags & HAS_TIMES) !== 0) reader.uint32();
  const modifiedAt = (flags & HAS_TIMES) === 0 ? undefined : reader.uint32();
  if ((flags & HAS_MORE) >>> 0 !== 0) {
    for (let count = reader.uint32(); count > 0; count -= 1) {
      reader.bytes();
      reader.bytes();
    }
  }
  return { sizeBytes, mode, modifiedAt };
}

function readNames(reader: FieldReader): SftpName[] {
  const names: SftpName[] = [];
  for (let count = reader.uint32(); count > 0; count -= 1) {
    const name = reader.text();
    // As `ls -l` prints it, for people.
    reader.bytes();
    names.push({ name, ...readAttributes(reader) });
  }
  return names;
}

function readVersion(reader: FieldReader): SftpReply {
  const version = reader.uint32();
  const extensions = new Map<string, string>();
  while (reader.left > 0) extensions.set(reader.text(), reader.text());
  return { type: "version", version, extensions };
}

function readStatus(reader: FieldReader): SftpReply {
  const code = reader.uint32();
  // Some servers of earlier versions leave the words out.
  const words = reader.left > 0 ? reader.text() : "";
  return { type: "status", code, message: words.replaceAll(/[^\x20-\x7e]+/g, " ").slice(0, 200) };
}

/** @throws Failure `store/unreachable` for what is no packet of a server. */
export function decodePacket(packet: Buffer): SftpPacket {
  const reader = new FieldReader(packet);
  const type = reader.byte();
  if (type === VERSION) return { id: undefined, reply: readVersion(reader) };
  const id = reader.uint32();
  switch (type) {
    case STATUS:
      return { id, reply: readStatus(reader) };
    case HANDLE:
      return { id, reply: { type: "handle", handle: reader.bytes() } };
    case BYTES:
      return { id, reply: { type: "bytes", bytes: reader.bytes() } };
    case NAMES:
      return { id, reply: { type: "names", names: readNames(reader) } };
    case ATTRIBUTES:
      return { id, reply: { type: "attributes", attributes: readAttributes(reader) } };
    case EXTENDED_REPLY:
      return { id, reply: { type: "extended", bytes: packet.subarray(5) } };
    default:
      throw notSftp(`a packet of type ${type}`);
  }
}

/** Cuts a stream into packets, without their lengths. */
export class PacketSplitter {
  #rest: Buffer[] = [];
  #restBytes = 0;
  /** Length of the packet that has begun, its own four bytes with it. */
  #wanted = 4;

  /** @throws Failure `store/unreachable` for a length that no packet has. */
  push(chunk: Buffer): Buffer[] {
    this.#rest.push(chunk);
    this.#restBytes += chunk.length;
    const packets: Buffer[] = [];
    if (this.#restBytes < this.#wanted) return packets;
    let bytes = this.#rest.length === 1 ? chunk : Buffer.concat(this.#rest);
    this.#wanted = 4;
    while (bytes.length >= 4) {
      const length = bytes.readUInt32BE(0);
      if (length < 1 || length > LIMITS.sftpPacketMaxBytes) throw notSftp(`a packet of ${length} bytes`);
      this.#wanted = 4 + length;
      if (bytes.length < this.#wanted) break;
      packets.push(bytes.subarray(4, this.#wanted));
      bytes = bytes.subarray(this.#wanted);
      this.#wanted = 4;
    }
    this.#rest = bytes.length === 0 ? [] : [bytes];
    this.#restBytes = bytes.length;
    return packets;
  }
}
