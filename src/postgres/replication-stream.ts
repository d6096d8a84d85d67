/**
 * The write-ahead log as a server streams it, from a position on. The server is told every ten seconds, and at once when it
 * asks, how far we are, whether or not anybody reads: a consumer that is slow slows the server's sending, and is not taken
 * for dead. Only what was confirmed as durable is told as flushed, so that a slot never lets go of anything else.
 *
 * Source: PostgreSQL's documentation, "Streaming Replication Protocol": START_REPLICATION, XLogData, primary keepalive
 * message, standby status update; what happens at the end of a timeline.
 */
import { systemClock } from "../base/clock.ts";
import { formatSeconds } from "../base/bytes.ts";
import { Failure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { formatLsn, type Lsn, parseLsn } from "../wal/lsn.ts";
import { HEADER_MOST, type Part, ReplicationAnswer, type Row } from "./replication-answer.ts";

/** A stretch of the log, without a gap behind the one before. */
export interface WalPiece {
  /** Where it begins. */
  readonly start: Lsn;
  /** Lent, where that was asked for. Empty where the server only says how far it is: everything up to `serverEnd` that there was to send has come. */
  readonly bytes: Buffer;
  /** How far the server's own log is. */
  readonly serverEnd: Lsn;
  /** When it was sent, by the server's clock: microseconds since 1970. */
  readonly serverTimeUs: bigint;
}

/** The timeline that follows one that has ended, and where it begins. */
export interface NextTimeline {
  readonly timeline: number;
  readonly from: Lsn;
}

export interface Confirmation {
  /** What has arrived somewhere; the server shows it. */
  readonly written: Lsn;
  /** What is durable: a slot lets the server remove what lies before. */
  readonly flushed: Lsn;
}

const DATA = 0x77; // w
const KEEP_ALIVE = 0x6b; // k
const STATUS = 0x72; // r
const DATA_HEADER_BYTES = HEADER_MOST;
const KEEP_ALIVE_BYTES = 18;
/** PostgreSQL counts microseconds since 2000-01-01. */
const EPOCH_US = 946_684_800_000_000n;
/** So often it is looked whether something is to be told. */
const TICK_MS = 1_000;

export interface WalStreamOptions {
  /** Where it was asked to begin. */
  readonly from: Lsn;
  /** After so long without a word of ours the server ends the session: its `wal_sender_timeout`; 0 for never. */
  readonly serverPatienceMs: number;
  /** Without a slot nothing depends on what is flushed, and a server could wait for us at each commit. */
  readonly hasSlot: boolean;
  /** The bytes of a piece are gone when the next one is asked for. */
  readonly lends: boolean;
  /** Makes a failure of what an answer throws. */
  readonly failure: (error: unknown) => unknown;
  /** Cuts the session. */
  readonly cut: () => void;
}

/** Sends a command, and returns its answer. */
export type Ask = (answer: ReplicationAnswer) => ReplicationAnswer;

/** The log, to be iterated once; made by `ReplicationSession.streamWal`. */
export class WalStream implements AsyncIterable<WalPiece>, AsyncDisposable {
  readonly #options: WalStreamOptions;
  readonly #answer: ReplicationAnswer;
  readonly #over = new AbortController();
  #confirmed: Confirmation;
  #hasNews = false;
  #heardAt = systemClock.monotonic();
  #silence: Failure | undefined;
  #received: Lsn;
  #next: NextTimeline | undefined;

  constructor(command: string, ask: Ask, options: WalStreamOptions) {
    this.#options = options;
    this.#received = options.from;
    this.#confirmed = { written: 0n, flushed: 0n };
    const { serverPatienceMs, lends } = options;
    const intervalMs = Math.min(LIMITS.walStatusMs, ...(serverPatienceMs > 0 ? [serverPatienceMs / 4] : []));
    this.#answer = ask(new ReplicationAnswer(command, { onMessage: (start) => this.#onMessage(start), lends }));
    void this.#keepTelling(intervalMs);
  }

  /** How far the log has been handed over. */
  get received(): Lsn {
    return this.#received;
  }

  /** Once the iteration has ended: the timeline that follows, and where it begins. */
  get next(): NextTimeline | undefined {
    return this.#next;
  }

  /**
   * What is durable now, in any order: the furthest counts. The server is told within a second.
   */
  confirm({ written, flushed }: Confirmation): void {
    const { written: writtenBefore, flushed: flushedBefore } = this.#confirmed;
    if (written <= writtenBefore && flushed <= flushedBefore) return;
    this.#confirmed = {
      written: written > writtenBefore ? written : writtenBefore,
      flushed: flushed > flushedBefore ? flushed : flushedBefore,
    };
    this.#hasNews = true;
  }

  /**
   * Ends well only when the timeline has ended ({@link next}).
   * @throws Failure `wal/gone`, `wal/slot-in-use`, or of the `database/` codes; the signal's reason.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<WalPiece, void, void> {
    try {
      let at: Pick<WalPiece, "serverEnd" | "serverTimeUs"> = { serverEnd: 0n, serverTimeUs: 0n };
      for await (const part of this.#answer) {
        if (part.kind === "rows") this.#next = nextOf(part.rows);
        if (part.kind !== "bytes") continue;
        if (part.isStart) {
          at = readHeader(part.bytes) ?? at;
          refuseGap(part.bytes, this.#received);
        }
        const bytes = payloadOf(part);
        if (bytes.length === 0 && part.bytes[0] !== KEEP_ALIVE) continue;
        const piece = { start: this.#received, bytes, ...at };
        this.#received += BigInt(bytes.length);
        yield piece;
      }
    } catch (error) {
      throw this.#silence ?? this.#options.failure(error);
    } finally {
      await this[Symbol.asyncDispose]();
    }
  }

  /** Tells the server what was confirmed last, and ends: the session takes other commands afterwards. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort();
    if (this.#answer.isOver) return;
    this.#tell({ isAsking: false });
    this.#answer.sendDone();
    // What was sent meanwhile still comes first.
    const enough = new AbortController();
    void after(LIMITS.walGoodbyeMs, enough.signal, this.#options.cut);
    try {
      while ((await this.#answer.next()) !== undefined);
    } catch {
      // Whoever iterates is told; here nobody waits for anything more.
    } finally {
      enough.abort();
    }
  }

  #onMessage(start: Buffer): void {
    const isAsked = start[0] === KEEP_ALIVE && start[KEEP_ALIVE_BYTES - 1] === 1;
    this.#heardAt = systemClock.monotonic();
    if (isAsked) this.#tell({ isAsking: false });
  }

  async #keepTelling(intervalMs: number): Promise<void> {
    let askedAt = systemClock.monotonic();
    const tick = () => {
      const now = systemClock.monotonic();
      // What is not read is no silence of the server's.
      if (!this.#answer.isRead) this.#heardAt = now;
      if (now - this.#heardAt > LIMITS.walSilenceMs) return this.#giveUp();
      const isAsking = now - askedAt >= intervalMs;
      if (isAsking) askedAt = now;
      if (isAsking || this.#hasNews) this.#tell({ isAsking });
    };
    while (!this.#over.signal.aborted) await after(Math.min(TICK_MS, intervalMs / 2), this.#over.signal, tick);
  }

  /** Where a line is dead and nobody says so, only silence tells. */
  #giveUp(): void {
    this.#over.abort();
    const text = `the server has said nothing for ${formatSeconds(LIMITS.walSilenceMs / 1000)}`;
    this.#silence = new Failure("database/unreachable", text, {
      hint: "Is the network in between up, and the server's machine? What was confirmed is kept; try again.",
    });
    this.#options.cut();
  }

  #tell({ isAsking }: { isAsking: boolean }): void {
    this.#hasNews = false;
    const { written, flushed } = this.#confirmed;
    const status = Buffer.alloc(34);
    status.writeUInt8(STATUS);
    status.writeBigUInt64BE(written, 1);
    // 0: nothing to say about it.
    status.writeBigUInt64BE(this.#options.hasSlot ? flushed : 0n, 9);
    status.writeBigUInt64BE(0n, 17);
    status.writeBigInt64BE(BigInt(systemClock.now()) * 1000n - EPOCH_US, 25);
    // It then says at once how far it is: an idle server would say nothing, as one does that is gone.
    if (isAsking) status.writeUInt8(1, 33);
    this.#answer.send(status);
  }
}

/** Does something after a time, unless the signal is aborted before. */
async function after(ms: number, signal: AbortSignal, act: () => void): Promise<void> {
  try {
    await systemClock.sleep(ms, signal);
  } catch {
    return;
  }
  act();
}

function readHeader(start: Buffer): Pick<WalPiece, "serverEnd" | "serverTimeUs"> | undefined {
  const at = start[0] === DATA ? 9 : start[0] === KEEP_ALIVE ? 1 : undefined;
  if (at === undefined || start.length < at + 16) return undefined;
  return { serverEnd: start.readBigUInt64BE(at), serverTimeUs: start.readBigInt64BE(at + 8) + EPOCH_US };
}

/** A server sends one byte after the other; anything else is no log. */
function refuseGap(start: Buffer, due: Lsn): void {
  if (start[0] !== DATA || start.readBigUInt64BE(1) === due) return;
  throw new Failure(
    "database/failed",
    `the server sent its log from ${formatLsn(start.readBigUInt64BE(1))} on, where ${formatLsn(due)} was due`,
    { hint: "What came before is intact. Is something between here and the server that is no PostgreSQL?" },
  );
}

/** The log's own bytes. */
function payloadOf({ bytes, isStart }: Extract<Part, { kind: "bytes" }>): Buffer {
  if (!isStart) return bytes;
  return bytes[0] === DATA ? bytes.subarray(DATA_HEADER_BYTES) : bytes.subarray(bytes.length);
}

function nextOf([row]: readonly Row[]): NextTimeline | undefined {
  const [timeline, from] = [row?.["next_tli"], row?.["next_tli_startpos"]];
  if (timeline === undefined || timeline === null || from === undefined || from === null) return undefined;
  return { timeline: Number(timeline), from: parseLsn(from) };
}
