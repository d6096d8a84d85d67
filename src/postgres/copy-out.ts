/**
 * The data of `COPY … TO STDOUT` as it comes from the server.
 *
 * A server sends each row as a message of its own, a letter and a length before it. Taking those off is most of what a
 * client does while it reads a table, so here it is done in the memory that the socket read into: rows are moved together
 * over what stood between them, and what one read brought is given on as one piece.
 *
 * Source: PostgreSQL's documentation, "Frontend/Backend Protocol": "COPY Operations" and "Message Formats".
 */
import { Readable } from "node:stream";
import type { Submittable } from "pg";
import { type BorrowedSocket, borrowSocket, HEAD_BYTES, LENGTH_BYTES } from "./borrowed-socket.ts";

const COPY_DATA = 0x64; // d
/** What may come before the data, and between rows: CopyOutResponse, ParameterStatus, NoticeResponse, NotificationResponse. */
const PASSED_OVER: ReadonlySet<number> = new Set(Buffer.from("HSNA"));
const ERROR_RESPONSE = 0x45; // E

/** A statement for `Client.query`, and the stream of its data: rows as text, each with its line end. */
export class CopyOut extends Readable implements Submittable {
  readonly #sql: string;
  #socket: BorrowedSocket | undefined;
  /** The beginning of a message's head, of which the rest has not come. */
  #head: Buffer = Buffer.alloc(0);
  /** What has still to come of the message under way. */
  #left = 0;
  #isRow = false;
  #isWanted = false;
  #rowCount = 0;

  constructor(sql: string) {
    super();
    this.#sql = sql;
  }

  /** Rows, as the server counts them: right once the next query has ended. */
  get rowCount(): number {
    return this.#rowCount;
  }

  submit(connection: unknown): void {
    this.#socket = borrowSocket(connection, { onReadable: () => this.#take() });
    this.#socket.query(this.#sql);
  }

  handleError(error: Error): void {
    this.destroy(error);
  }

  handleCommandComplete({ text }: { text?: string }): void {
    this.#rowCount = Number(/^COPY (\d+)$/.exec(text ?? "")?.[1] ?? 0);
  }

  // The library calls it, and nothing is left to do.
  handleReadyForQuery(): void {}

  override _read(): void {
    this.#isWanted = true;
    this.#take();
  }

  #take(): void {
    while (this.#isWanted && this.#socket !== undefined && !this.destroyed) {
      const bytes = this.#socket.read();
      if (bytes === null) return;
      const { filled, rest } = this.#unwrap(this.#withHead(bytes));
      if (filled.length > 0) this.#isWanted = this.push(filled);
      if (rest !== undefined) this.#end(rest);
    }
  }

  #withHead(bytes: Buffer): Buffer {
    if (this.#head.length === 0) return bytes;
    const both = Buffer.concat([this.#head, bytes]);
    this.#head = Buffer.alloc(0);
    return both;
  }

  /** @returns the rows, moved to the front; and from the message on that ends the data, what is the library's. */
  #unwrap(bytes: Buffer): { filled: Buffer; rest?: Buffer } {
    let filled = 0;
    let at = 0;
    while (at < bytes.length) {
      if (this.#left === 0) {
        if (bytes.length - at < HEAD_BYTES) {
          this.#head = bytes.subarray(at);
          break;
        }
        const letter = bytes[at] ?? 0;
        this.#isRow = letter === COPY_DATA;
        if (!this.#isRow && !PASSED_OVER.has(letter)) {
          return { filled: bytes.subarray(0, filled), rest: bytes.subarray(at) };
        }
        this.#left = bytes.readUInt32BE(at + 1) - LENGTH_BYTES;
        at += HEAD_BYTES;
      }
      const size = Math.min(bytes.length - at, this.#left);
      if (this.#isRow) {
        bytes.copyWithin(filled, at, at + size);
        filled += size;
      }
      this.#left -= size;
      at += size;
    }
    return { filled: bytes.subarray(0, filled) };
  }

  /** The data has ended, or an error ends it: the library reads on, from there. */
  #end(rest: Buffer): void {
    const socket = this.#socket;
    if (socket === undefined) return;
    this.#socket = undefined;
    // After an error the library calls handleError, and the data never ends well.
    if (rest[0] !== ERROR_RESPONSE) this.push(null);
    socket.giveBack(rest);
  }
}
