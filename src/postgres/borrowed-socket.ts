/**
 * A session's socket, read in place of the library for as long as one command's data comes: the library makes an object of
 * each message, and what it hands out may lie in memory that it uses again.
 */
import type { Readable, Writable } from "node:stream";
import { releaseBytes } from "../base/bytes.ts";
import { type BlockReader, readerOf } from "./block-socket.ts";

/** A message begins with a letter and a length that counts itself and not the letter. */
export const HEAD_BYTES = 5;
export const LENGTH_BYTES = 4;

/** What is used of the library's connection: its socket, and how a statement is sent. */
interface ProtocolConnection {
  readonly stream: Readable & Writable;
  query(sql: string): void;
}

type DataListener = (bytes: Buffer) => void;

export interface BorrowedSocket {
  query(sql: string): void;
  /** What has come; null when nothing has. Until then `onReadable` is not called again. */
  read(): Buffer | null;
  /** Nobody looks any more at bytes that were lent, as {@link read} gave them: their memory is used again. */
  release(bytes: Buffer): void;
  /** Sends a message as it is; nothing where the socket is closed. */
  write(message: Buffer): void;
  /** Has the library read whole messages, as if they came just now. */
  pass(messages: Buffer): void;
  /** The library reads on itself, from those bytes on. */
  giveBack(rest: Buffer): void;
}

export interface BorrowOptions {
  /** Called when something came. */
  readonly onReadable: () => void;
  /** What {@link BorrowedSocket.read} gives is lent until it is released; without it, it stays. */
  readonly lends?: boolean;
}

/** @param connection As the library hands it to a statement of ours. */
export function borrowSocket(connection: unknown, { onReadable, lends = false }: BorrowOptions): BorrowedSocket {
  const { stream } = connection as ProtocolConnection;
  const [library, ...others] = stream.listeners("data");
  if (library === undefined || others.length > 0) throw new Error("somebody else reads the session's socket");
  const listener = library as DataListener;
  stream.removeListener("data", listener);
  const common = {
    query: (sql: string) => (connection as ProtocolConnection).query(sql),
    write: (message: Buffer) => void (stream.writable && stream.write(message)),
    pass: listener,
  };
  const readOn = (rest: Buffer) => {
    stream.on("data", listener);
    listener(rest);
    process.nextTick(() => stream.resume());
  };
  const reader = readerOf(stream);
  if (reader !== undefined) {
    reader.borrow(onReadable);
    return {
      ...common,
      read: () => (lends ? reader.read() : copied(reader)),
      release: (bytes) => void (lends && reader.release(bytes)),
      giveBack(rest) {
        reader.giveBack();
        readOn(rest);
      },
    };
  }
  stream.pause();
  stream.on("readable", onReadable);
  return {
    ...common,
    read: () => stream.read() as Buffer | null,
    release: (bytes) => void (lends && releaseBytes(bytes)),
    giveBack(rest) {
      stream.removeListener("readable", onReadable);
      readOn(rest);
    },
  };
}

function copied(reader: BlockReader): Buffer | null {
  const bytes = reader.read();
  if (bytes === null) return null;
  const copy = Buffer.from(bytes);
  reader.release(bytes);
  return copy;
}
