/**
 * What a server answers to a command of a replication session: results, and between them data that it copies. The data is
 * given on as it comes off the socket, in pieces, without being put together first; results are read by the library.
 *
 * Bounded: so many bytes are held for whoever reads, then the socket is not read until some of them were taken. What the
 * server asks meanwhile, the session answers by itself (`replication-stream.ts`).
 *
 * Source: PostgreSQL's documentation, "Frontend/Backend Protocol": "COPY Operations", "Streaming Replication Protocol".
 */
import type { Submittable } from "pg";
import { LIMITS } from "../base/limits.ts";
import { type BorrowedSocket, borrowSocket, HEAD_BYTES, LENGTH_BYTES } from "./borrowed-socket.ts";

export type Row = Readonly<Record<string, string | null>>;

export type Part =
  /** A result, whole. */
  | { readonly kind: "rows"; readonly rows: readonly Row[] }
  /** The server begins to copy; where it takes data, too, until either side has enough (`isBoth`). */
  | { readonly kind: "copy"; readonly isBoth: boolean }
  /** A piece of a message of copied data; the first of a message holds {@link HEADER_MOST} bytes of it, or all. */
  | { readonly kind: "bytes"; readonly bytes: Buffer; readonly isStart: boolean; readonly isEnd: boolean }
  /** The server has copied everything. */
  | { readonly kind: "copied" };

/** The longest header of a message of copied data: that of a piece of the log. */
export const HEADER_MOST = 25;

const LETTER = { copyBoth: 0x57, copyOut: 0x48, data: 0x64, done: 0x63, error: 0x45, ready: 0x5a } as const;
const COPY_DONE = Buffer.from([LETTER.done, 0, 0, 0, LENGTH_BYTES]);
/** The head of a message that can be no message: none of the server's has a GiB, as what it reads has to fit into one of its own buffers. */
const MESSAGE_MOST = 1024 ** 3;

export interface AnswerOptions {
  /** Told of each message of copied data as soon as its beginning is here, whether or not anybody reads. */
  onMessage?: (start: Buffer) => void;
  /**
   * The bytes of a part are lent: they are gone when the next part is asked for. Their memory is then used again, or given back
   * at once; the collector would be called for each of some tens of MiB that pass.
   */
  lends?: boolean;
}

/** A command for `Client.query`, and its answer, to be read once. */
export class ReplicationAnswer implements Submittable, AsyncIterable<Part> {
  readonly #command: string;
  readonly #onMessage: (start: Buffer) => void;
  readonly #lends: boolean;
  /** How what came from the socket at once is given back, by the last part of it. */
  readonly #lent = new WeakMap<Part, () => void>();
  /** What is to be given back when the next part is asked for. */
  #due: (() => void) | undefined;
  #socket: BorrowedSocket | undefined;
  /** What came of a message that cannot be looked at before more of it has come. */
  #held: Buffer = Buffer.alloc(0);
  /** What has still to come of the message of data under way. */
  #left = 0;
  #copying: "out" | "both" | undefined;
  #hasSaidDone = false;
  #names: string[] = [];
  #rows: Row[] | undefined;
  #queue: Part[] = [];
  #queuedBytes = 0;
  #wake: () => void = () => {};
  #end: { error?: unknown } | undefined;

  constructor(command: string, { onMessage, lends = false }: AnswerOptions = {}) {
    this.#command = command;
    this.#lends = lends;
    this.#onMessage = onMessage ?? (() => {});
  }

  /** True while the server copies and takes data. */
  get isCopyingBoth(): boolean {
    return this.#copying === "both" && this.#end === undefined;
  }

  /** False while so much is held that the socket is not read. */
  get isRead(): boolean {
    return this.#queuedBytes < LIMITS.replicationAheadBytes;
  }

  /** True once nothing of it comes any more. */
  get isOver(): boolean {
    return this.#end !== undefined;
  }

  /** Sends a message of copied data; nothing where the server takes none any more. */
  send(data: Buffer): void {
    if (!this.isCopyingBoth || this.#hasSaidDone) return;
    const head = Buffer.alloc(HEAD_BYTES);
    head.writeUInt8(LETTER.data);
    head.writeUInt32BE(data.length + LENGTH_BYTES, 1);
    this.#socket?.write(Buffer.concat([head, data]));
  }

  /** Says that nothing more is sent: the server then ends its copying as well. */
  sendDone(): void {
    if (!this.isCopyingBoth || this.#hasSaidDone) return;
    this.#hasSaidDone = true;
    this.#socket?.write(COPY_DONE);
  }

  /** The next part; undefined at the end. @throws what the server, the network or the library says. */
  async next(): Promise<Part | undefined> {
    this.#due?.();
    this.#due = undefined;
    for (;;) {
      const part = this.#queue.shift();
      if (part !== undefined) {
        this.#due = this.#lent.get(part);
        if (part.kind === "bytes") this.#queuedBytes -= part.bytes.length;
        this.#take();
        return part;
      }
      if (this.#end !== undefined) {
        if (this.#end.error !== undefined) throw this.#end.error;
        return undefined;
      }
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Part, void, void> {
    for (let part = await this.next(); part !== undefined; part = await this.next()) yield part;
  }

  submit(connection: unknown): void {
    this.#socket = borrowSocket(connection, { onReadable: () => this.#take(), lends: this.#lends });
    this.#socket.query(this.#command);
  }

  handleRowDescription({ fields }: { fields: readonly { name: string }[] }): void {
    this.#names = fields.map(({ name }) => name);
    this.#rows = [];
  }

  handleDataRow({ fields }: { fields: readonly (string | null)[] }): void {
    this.#rows?.push(Object.fromEntries(this.#names.map((name, at) => [name, fields[at] ?? null])));
  }

  handleCommandComplete(): void {
    if (this.#rows !== undefined) this.#put({ kind: "rows", rows: this.#rows });
    this.#rows = undefined;
    // A server that stops says so in the middle of copying, when it has sent everything.
    if (this.#copying === "both") this.#finish({ error: new Error("Connection terminated: the server stops") });
  }

  handleReadyForQuery(): void {
    this.#finish({});
  }

  handleError(error: Error): void {
    this.#finish({ error });
  }

  // The library calls them, and nothing is left to do.
  handleEmptyQuery(): void {}
  handleCopyData(): void {}

  #put(part: Part): void {
    this.#queue.push(part);
    this.#wake();
  }

  #finish(end: { error?: unknown }): void {
    this.#end ??= end;
    this.#wake();
  }

  #take(): void {
    for (let socket = this.#socket; socket !== undefined && this.isRead; socket = this.#socket) {
      const bytes = socket.read();
      if (bytes === null) return;
      const whole = this.#held.length === 0 ? bytes : Buffer.concat([this.#held, bytes]);
      const queued = this.#queue.length;
      this.#read(whole);
      const giveBack = () => socket.release(bytes);
      const last = this.#queue.length > queued ? this.#queue.at(-1) : undefined;
      if (last === undefined || whole !== bytes) giveBack();
      else this.#lent.set(last, giveBack);
    }
  }

  #read(bytes: Buffer): void {
    this.#held = Buffer.alloc(0);
    for (let at = 0; at < bytes.length;) {
      const rest = bytes.subarray(at);
      const taken = this.#left > 0 ? this.#readData(rest, false) : this.#readMessage(rest);
      if (this.#socket === undefined) return;
      if (taken === 0) {
        this.#held = Buffer.from(rest);
        return;
      }
      at += taken;
    }
  }

  #readData(bytes: Buffer, isStart: boolean): number {
    const piece = bytes.subarray(0, this.#left);
    this.#left -= piece.length;
    this.#queuedBytes += piece.length;
    if (isStart) this.#onMessage(piece);
    this.#put({ kind: "bytes", bytes: piece, isStart, isEnd: this.#left === 0 });
    return piece.length;
  }

  /** @returns how many bytes were read; 0 where too few are there. */
  #readMessage(bytes: Buffer): number {
    if (bytes.length < HEAD_BYTES) return 0;
    const letter = bytes[0];
    const length = bytes.readUInt32BE(1) - LENGTH_BYTES;
    if (letter === LETTER.error || length < 0 || length > MESSAGE_MOST) return this.#giveBack(bytes);
    const size = HEAD_BYTES + length;
    if (letter === LETTER.data) {
      if (bytes.length < Math.min(size, HEAD_BYTES + HEADER_MOST)) return 0;
      this.#left = length;
      return HEAD_BYTES + this.#readData(bytes.subarray(HEAD_BYTES), true);
    }
    if (bytes.length < size) return 0;
    if (letter === LETTER.ready) return this.#giveBack(bytes);
    if (letter === LETTER.copyBoth || letter === LETTER.copyOut) this.#begin(letter === LETTER.copyBoth);
    else if (letter === LETTER.done) this.#done();
    else this.#socket?.pass(bytes.subarray(0, size));
    return size;
  }

  #begin(isBoth: boolean): void {
    this.#copying = isBoth ? "both" : "out";
    this.#hasSaidDone = false;
    this.#put({ kind: "copy", isBoth });
  }

  /** Where both sides copy, the server waits for the same from us. */
  #done(): void {
    this.sendDone();
    this.#copying = undefined;
    this.#put({ kind: "copied" });
  }

  /** From an error on, or the end of the answer, the library reads on. */
  #giveBack(rest: Buffer): number {
    const socket = this.#socket;
    this.#socket = undefined;
    // The library may keep a part of it for longer than it is lent.
    socket?.giveBack(Buffer.from(rest));
    return rest.length;
  }
}
