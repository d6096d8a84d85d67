/**
 * A session's socket, read in place of the library for as long as one command's data comes: the library makes an object of
 * each message, and what it hands out may lie in memory that it uses again.
 */
import type { Readable, Writable } from "node:stream";

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
  /** Sends a message as it is; nothing where the socket is closed. */
  write(message: Buffer): void;
  /** Has the library read whole messages, as if they came just now. */
  pass(messages: Buffer): void;
  /** The library reads on itself, from those bytes on. */
  giveBack(rest: Buffer): void;
}

/**
 * @param connection As the library hands it to a statement of ours.
 * @param onReadable Called when something came.
 */
export function borrowSocket(connection: unknown, onReadable: () => void): BorrowedSocket {
  const { stream } = connection as ProtocolConnection;
  const [library, ...others] = stream.listeners("data");
  if (library === undefined || others.length > 0) throw new Error("somebody else reads the session's socket");
  const listener = library as DataListener;
  stream.removeListener("data", listener);
  stream.pause();
  stream.on("readable", onReadable);
  return {
    query: (sql) => (connection as ProtocolConnection).query(sql),
    read: () => stream.read() as Buffer | null,
    write: (message) => void (stream.writable && stream.write(message)),
    pass: listener,
    giveBack(rest) {
      stream.removeListener("readable", onReadable);
      stream.on("data", listener);
      listener(rest);
      process.nextTick(() => stream.resume());
    },
  };
}
