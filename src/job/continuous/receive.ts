/** Follows a timeline over one session, until the timeline or the session ends. */
import type { ReplicationSession } from "../../postgres/replication.ts";
import type { NextTimeline, WalPiece } from "../../postgres/replication-stream.ts";
import type { Lsn } from "../../wal/lsn.ts";
import type { LogLine } from "./line.ts";

export interface ReceiveOptions {
  readonly session: ReplicationSession;
  readonly line: LogLine;
  /** By which the server keeps the log; undefined where it keeps what it keeps. */
  readonly slot: string | undefined;
  /**
   * The oldest byte that it keeps. A server takes a position before that for the slot's new beginning, and keeps everything from
   * there once more: what a slot that was given up had let go of.
   */
  readonly keptFrom?: Lsn | undefined;
  /** The server said how far it is. */
  readonly onServer: (at: Pick<WalPiece, "serverEnd" | "serverTimeUs">) => void;
  /** Handed a function that tells the server what is durable now. */
  readonly onConfirm: (confirm: () => void) => void;
  readonly signal: AbortSignal;
}

/**
 * @returns the timeline that follows; undefined where the server did not say.
 * @throws Failure `wal/gone`, `wal/slot-in-use`, `wal/damaged`, of the `database/` codes; what storing threw; the signal's reason.
 */
export async function receive(options: ReceiveOptions): Promise<NextTimeline | undefined> {
  const { session, line, slot, keptFrom = 0n, signal } = options;
  const { tail } = line;
  const { timeline } = line.line;
  await using stream = await session.streamWal({ from: tail.end, timeline, slot, lends: true });
  const confirm = () => {
    stream.confirm({ written: tail.end, flushed: line.acknowledged < keptFrom ? 0n : line.acknowledged });
  };
  options.onConfirm(confirm);
  for await (const piece of stream) {
    // An idle server says something every few seconds, too.
    signal.throwIfAborted();
    options.onServer(piece);
    tail.heard(piece.serverEnd);
    if (piece.bytes.length > 0) await line.add(piece.bytes, { signal });
    confirm();
  }
  return stream.next;
}
