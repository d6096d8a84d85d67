/**
 * A client of SFTP version 3 over a channel that somebody else opened (`ssh -s sftp`): many requests under way at
 * once, each answered under its number. Source: draft-ietf-secsh-filexfer-02, OpenSSH's PROTOCOL for the extensions.
 */
import type { Readable, Writable } from "node:stream";
import { Failure, isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import {
  decodePacket,
  encodePacket,
  type Field,
  FieldReader,
  modeFields,
  OPEN,
  PacketSplitter,
  REQUEST,
  SAYS,
  type SftpAttributes,
  type SftpName,
  type SftpReply,
} from "./sftp-packet.ts";

/** What carries the packets. */
export interface SftpChannel {
  readonly toServer: Writable;
  readonly fromServer: Readable;
  /** Whether the process must stay alive for this channel: while an answer is awaited. */
  hold(isNeeded: boolean): void;
  /** Ends it, and says why it ended: what the user must know about a connection that is gone. Never rejects. */
  end(): Promise<Failure>;
}

export interface FilesystemState {
  readonly freeBytes: number;
  readonly hasFreeFiles: boolean;
  readonly isReadOnly: boolean;
}

interface Waiting {
  resolve: (reply: SftpReply) => void;
  reject: (error: unknown) => void;
}

interface Call {
  readonly signal: AbortSignal;
}

const EXTENSIONS = {
  posixRename: ["posix-rename@openssh.com", "1"],
  hardlink: ["hardlink@openssh.com", "1"],
  fsync: ["fsync@openssh.com", "1"],
  statvfs: ["statvfs@openssh.com", "2"],
  limits: ["limits@openssh.com", "1"],
} as const;

/** Says what a status means. */
function statusFailure(code: number, message: string): Failure {
  const said = message === "" ? `status ${code}` : message;
  switch (code) {
    case SAYS.noSuchFile:
      return new Failure("store/not-found", `not there: ${said}`);
    case SAYS.permissionDenied:
    case SAYS.writeProtected:
      return new Failure("store/denied", `the server does not allow it: ${said}`);
    case SAYS.noSpace:
    case SAYS.quota:
      return new Failure("store/full", `no space left: ${said}`);
    default:
      return new Failure("store/unreachable", `the server refused: ${said}`);
  }
}

/** Waits for a promise, or for the signal, whatever is first. */
export async function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const stop = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", stop, { once: true });
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/**
 * Greets the server and asks for its limits.
 * @throws Failure what the channel says when it ends, `store/unreachable` for a server that speaks something else.
 */
export async function openSftp(channel: SftpChannel, call: Call): Promise<SftpClient> {
  const client = new SftpClient(channel);
  try {
    await client.greet(call);
    return client;
  } catch (error) {
    await client.close();
    throw error;
  }
}

export class SftpClient {
  readonly #channel: SftpChannel;
  readonly #splitter = new PacketSplitter();
  /** By the number of their request; the greeting has none. */
  readonly #waiting = new Map<number | undefined, Waiting>();
  #extensions: ReadonlyMap<string, string> = new Map();
  #lastId = 0;
  #ended: Promise<Failure> | undefined;
  /** Why it ended, where we know it and the channel does not. */
  #reason: Failure | undefined;
  /** Bytes in one read or write. */
  readBlockBytes: number = LIMITS.sftpBlockBytes;
  writeBlockBytes: number = LIMITS.sftpBlockBytes;

  constructor(channel: SftpChannel) {
    this.#channel = channel;
    channel.fromServer.on("data", (chunk: Buffer) => this.#take(chunk));
    for (const event of ["end", "error", "close"]) channel.fromServer.on(event, () => this.#end());
    // A write to a channel that is gone: what it still sent, and its end, say why.
    channel.toServer.on("error", () => this.#end());
    channel.hold(false);
  }

  /** False once the connection is gone: a new client is needed. */
  get isOpen(): boolean {
    return this.#ended === undefined;
  }

  #take(chunk: Buffer): void {
    if (this.#reason !== undefined) return;
    try {
      for (const packet of this.#splitter.push(chunk)) {
        const { id, reply } = decodePacket(packet);
        // What nobody waits for any more was given up.
        this.#settle(id)?.resolve(reply);
      }
    } catch (error) {
      if (isFailure(error)) this.#reason = error;
      this.#end();
    }
  }

  #settle(id: number | undefined): Waiting | undefined {
    const waiting = this.#waiting.get(id);
    if (this.#waiting.delete(id) && this.#waiting.size === 0) this.#channel.hold(false);
    return waiting;
  }

  /** Every call under way fails with the reason. */
  #end(reason?: Failure): void {
    if (this.#ended !== undefined) return;
    this.#reason ??= reason;
    this.#ended = this.#channel.end().then((failure) => this.#reason ?? failure);
    void this.#ended.then((failure) => {
      for (const id of this.#waiting.keys()) this.#settle(id)?.reject(failure);
    });
  }

  /** Never rejects. */
  async close(): Promise<void> {
    this.#end(new Failure("store/unreachable", "the connection was closed"));
    await this.#ended;
  }

  async #exchange(id: number | undefined, packet: Buffer, { signal }: Call): Promise<SftpReply> {
    signal.throwIfAborted();
    if (this.#ended !== undefined) throw await this.#ended;
    const { promise, resolve, reject } = Promise.withResolvers<SftpReply>();
    this.#waiting.set(id, { resolve, reject });
    this.#channel.hold(true);
    const stop = () => this.#settle(id)?.reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    try {
      this.#channel.toServer.write(packet);
      return await promise;
    } finally {
      signal.removeEventListener("abort", stop);
    }
  }

  async #ask(type: number, fields: readonly Field[], call: Call): Promise<SftpReply> {
    this.#lastId = (this.#lastId + 1) >>> 0;
    const id = this.#lastId;
    return await this.#exchange(id, encodePacket(type, id, fields), call);
  }

  /** @throws Failure for every status but `ok`. */
  async #tell(type: number, fields: readonly Field[], call: Call): Promise<void> {
    expect(await this.#ask(type, fields, call), "status");
  }

  async greet(call: Call): Promise<void> {
    const { version, extensions } = expect(
      await this.#exchange(undefined, encodePacket(REQUEST.init, undefined, [3]), call),
      "version",
    );
    if (version !== 3) throw new Failure("store/unreachable", `the server speaks SFTP version ${version}, not 3`);
    this.#extensions = extensions;
    if (!this.has("limits")) return;
    const reply = await this.#ask(REQUEST.extended, [EXTENSIONS.limits[0]], call);
    if (reply.type !== "extended") return;
    const reader = new FieldReader(reply.bytes);
    reader.uint64();
    this.readBlockBytes = blockBytes(reader.uint64());
    this.writeBlockBytes = blockBytes(reader.uint64());
  }

  has(extension: keyof typeof EXTENSIONS): boolean {
    const [name, version] = EXTENSIONS[extension];
    return this.#extensions.get(name) === version;
  }

  async #openHandle(type: number, fields: readonly Field[], call: Call): Promise<Buffer> {
    return expect(await this.#ask(type, fields, call), "handle").handle;
  }

  async openFile(path: string, call: Call): Promise<Buffer> {
    return await this.#openHandle(REQUEST.open, [path, OPEN.read, 0], call);
  }

  /** @throws Failure also where the file exists. */
  async createFile(path: string, mode: number, call: Call): Promise<Buffer> {
    return await this.#openHandle(
      REQUEST.open,
      [path, OPEN.write | OPEN.create | OPEN.exclusive, ...modeFields(mode)],
      call,
    );
  }

  async openFolder(path: string, call: Call): Promise<Buffer> {
    return await this.#openHandle(REQUEST.opendir, [path], call);
  }

  async closeHandle(handle: Buffer, call: Call): Promise<void> {
    await this.#tell(REQUEST.close, [handle], call);
  }

  /** Up to `length` bytes; none at the file's end. */
  async read(handle: Buffer, { offset, length, signal }: Call & { offset: number; length: number }): Promise<Buffer> {
    const reply = await this.#ask(REQUEST.read, [handle, BigInt(offset), length], { signal });
    if (reply.type === "status" && reply.code === SAYS.endOfFile) return Buffer.alloc(0);
    const { bytes } = expect(reply, "bytes");
    if (bytes.length > length) throw new Failure("store/unreachable", "the server sent more than it was asked for");
    return bytes;
  }

  async write(handle: Buffer, bytes: Buffer, { offset, signal }: Call & { offset: number }): Promise<void> {
    await this.#tell(REQUEST.write, [handle, BigInt(offset), bytes], { signal });
  }

  async statHandle(handle: Buffer, call: Call): Promise<SftpAttributes> {
    return expect(await this.#ask(REQUEST.fstat, [handle], call), "attributes").attributes;
  }

  /** Undefined when nothing is there. */
  async stat(path: string, call: Call): Promise<SftpAttributes | undefined> {
    const reply = await this.#ask(REQUEST.stat, [path], call);
    if (reply.type === "status" && reply.code === SAYS.noSuchFile) return undefined;
    return expect(reply, "attributes").attributes;
  }

  /** The next names of a folder; undefined at its end. */
  async readFolder(handle: Buffer, call: Call): Promise<readonly SftpName[] | undefined> {
    const reply = await this.#ask(REQUEST.readdir, [handle], call);
    if (reply.type === "status" && reply.code === SAYS.endOfFile) return undefined;
    return expect(reply, "names").names;
  }

  async remove(path: string, call: Call): Promise<void> {
    await this.#tell(REQUEST.remove, [path], call);
  }

  async makeFolder(path: string, mode: number, call: Call): Promise<void> {
    await this.#tell(REQUEST.mkdir, [path, ...modeFields(mode)], call);
  }

  /** Where the new name exists, it fails. */
  async rename(from: string, to: string, call: Call): Promise<void> {
    await this.#tell(REQUEST.rename, [from, to], call);
  }

  async #extended(extension: keyof typeof EXTENSIONS, fields: readonly Field[], call: Call): Promise<SftpReply> {
    return await this.#ask(REQUEST.extended, [EXTENSIONS[extension][0], ...fields], call);
  }

  /** In the place of what has the new name. Needs `posixRename`. */
  async replace(from: string, to: string, call: Call): Promise<void> {
    expect(await this.#extended("posixRename", [from, to], call), "status");
  }

  /** A second name for a file. Needs `hardlink`. */
  async link(from: string, to: string, call: Call): Promise<void> {
    expect(await this.#extended("hardlink", [from, to], call), "status");
  }

  /** Needs `fsync`. */
  async sync(handle: Buffer, call: Call): Promise<void> {
    expect(await this.#extended("fsync", [handle], call), "status");
  }

  /** Undefined where the server does not say. */
  async filesystem(path: string, call: Call): Promise<FilesystemState | undefined> {
    if (!this.has("statvfs")) return undefined;
    const reply = await this.#extended("statvfs", [path], call);
    if (reply.type !== "extended") return undefined;
    const reader = new FieldReader(reply.bytes);
    reader.uint64();
    const unitBytes = reader.uint64();
    reader.uint64();
    reader.uint64();
    const available = reader.uint64();
    const files = reader.uint64();
    reader.uint64();
    const freeFiles = reader.uint64();
    reader.uint64();
    const flags = reader.uint64();
    return {
      freeBytes: Number(unitBytes * available),
      // A filesystem that makes them as they are needed says that it has none.
      hasFreeFiles: files === 0n || freeFiles > 0n,
      isReadOnly: (flags & 1n) !== 0n,
    };
  }
}

/** @param most 0 where the server knows no limit. */
function blockBytes(most: bigint): number {
  return most === 0n || most > BigInt(LIMITS.sftpBlockMaxBytes) ? LIMITS.sftpBlockMaxBytes : Number(most);
}

type ReplyOf<T extends SftpReply["type"]> = Extract<SftpReply, { type: T }>;

/** @throws Failure what a status says when it is not what was asked for. */
function expect<T extends SftpReply["type"]>(reply: SftpReply, type: T): ReplyOf<T> {
  if (reply.type === "status" && (type !== "status" || reply.code !== SAYS.ok)) {
    throw statusFailure(reply.code, reply.message);
  }
  if (reply.type !== type) throw new Failure("store/unreachable", "the server answered what was not asked");
  return reply as ReplyOf<T>;
}
