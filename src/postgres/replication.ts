/**
 * A session of physical replication: it takes commands and no SQL, reads the whole cluster's log and files, and needs
 * the attribute REPLICATION and a line in pg_hba.conf of its own. It belongs to one signal, as every session does.
 *
 * Source: PostgreSQL's documentation, "Streaming Replication Protocol".
 */
import type { Client } from "pg";
import { bug, Failure } from "../base/errors.ts";
import { formatLsn, historyName, isLsn, type Lsn, parseLsn } from "../wal/lsn.ts";
import { describeAddress, type ServerAddress } from "./address.ts";
import { Lifeline } from "./lifeline.ts";
import { ManifestUpload } from "./manifest-upload.ts";
import { quoteIdentifier } from "./names.ts";
import { ReplicationAnswer, type Row } from "./replication-answer.ts";
import {
  type BaseBackup,
  type BaseBackupOptions,
  baseBackupCommand,
  beginBaseBackup,
  leftOutOfBase,
} from "./replication-base.ts";
import { replicationFailure } from "./replication-failures.ts";
import { sqlState } from "./server-errors.ts";
import { type Ask, WalStream } from "./replication-stream.ts";
import { signIn } from "./sign-in.ts";

export interface ReplicationOptions {
  signal: AbortSignal;
  /** What the server shows of the session; `synchronous_standby_names` goes by it. */
  applicationName?: string;
}

export interface SystemIdentity {
  /** Decimal. */
  readonly systemId: string;
  readonly timeline: number;
  /** The end of what the server has written durably; of a standby, of what it has received or replayed. */
  readonly flushed: Lsn;
}

export interface StreamFrom {
  readonly from: Lsn;
  readonly timeline: number;
  /** A slot that is there already. */
  readonly slot?: string | undefined;
  /** The bytes of a piece may be gone when the next one is asked for, which saves a copy; they stay without it. */
  readonly lends?: boolean;
}

export class ReplicationSession implements AsyncDisposable {
  readonly address: ServerAddress;
  readonly #client: Client;
  readonly #signal: AbortSignal;
  readonly #life: Lifeline;

  /** Use {@link openReplication}. */
  constructor(client: Client, address: ServerAddress, signal: AbortSignal) {
    this.address = address;
    this.#client = client;
    this.#signal = signal;
    this.#life = new Lifeline(client, signal);
  }

  /** True until the session was ended by either side. */
  get isOpen(): boolean {
    return this.#life.isOpen;
  }

  /**
   * Sends a command, and returns its answer as it comes. It is read to its end, or the session destroyed.
   * For what this room does with sessions; its errors go through {@link failure}.
   */
  ask(answer: ReplicationAnswer): ReplicationAnswer {
    return this.#client.query(answer);
  }

  /** Sends a command that answers with one result. @throws Failure of the `database/` and `wal/` codes, or the signal's reason. */
  async command(text: string): Promise<readonly Row[]> {
    try {
      let rows: readonly Row[] = [];
      for await (const part of this.ask(new ReplicationAnswer(text))) if (part.kind === "rows") rows = part.rows;
      return rows;
    } catch (error) {
      throw this.failure(error);
    }
  }

  /** Which cluster this is, and how far its log goes. */
  async identifySystem(): Promise<SystemIdentity> {
    const [row] = await this.command("IDENTIFY_SYSTEM");
    const [systemId, timeline, flushed] = [row?.["systemid"], row?.["timeline"], row?.["xlogpos"]];
    if (!systemId || !timeline || !flushed || !isLsn(flushed)) throw unheardOf("IDENTIFY_SYSTEM");
    return { systemId, timeline: Number(timeline), flushed: parseLsn(flushed) };
  }

  /** The value of a setting as SHOW writes it, with its unit. */
  async showSetting(name: string): Promise<string> {
    const [row] = await this.command(`SHOW ${quoteIdentifier(name)}`);
    const value = row === undefined ? undefined : Object.values(row)[0];
    if (value === undefined || value === null) throw unheardOf("SHOW");
    return value;
  }

  /** `wal_segment_size` in bytes. */
  async segmentBytes(): Promise<number> {
    return parseSize(await this.showSetting("wal_segment_size"));
  }

  /** The server's major version. */
  async major(): Promise<number> {
    return Math.floor(Number(await this.showSetting("server_version_num")) / 10_000);
  }

  /**
   * The history of a timeline, from 2 on: the text of its file, by which a server knows where it came from.
   * @throws Failure `wal/gone` when the server does not have it.
   */
  async timelineHistory(timeline: number): Promise<{ name: string; text: string }> {
    const [row] = await this.command(`TIMELINE_HISTORY ${timeline}`);
    const text = row?.["content"];
    if (text === undefined || text === null) throw unheardOf("TIMELINE_HISTORY");
    return { name: row?.["filename"] ?? historyName(timeline), text };
  }

  /**
   * Streams the log of a timeline from a position on, which is best the beginning of a segment: nothing before it comes.
   * The session takes no other command until the stream has ended.
   */
  async streamWal({ from, timeline, slot, lends = false }: StreamFrom): Promise<WalStream> {
    const serverPatienceMs = parseDuration(await this.showSetting("wal_sender_timeout"));
    const named = slot === undefined ? "" : `SLOT ${quoteIdentifier(slot)} `;
    const command = `START_REPLICATION ${named}PHYSICAL ${formatLsn(from)} TIMELINE ${timeline}`;
    const ask: Ask = (answer) => this.ask(answer);
    const failure = (error: unknown) => this.failure(error);
    const cut = () => this.destroy();
    const hasSlot = slot !== undefined;
    return new WalStream(command, ask, { from, serverPatienceMs, hasSlot, lends, failure, cut });
  }

  /**
   * Begins a base of the whole cluster; resolves when the server's checkpoint is done. The session takes no other command until
   * it is finished, and is cut where it is left before.
   * @throws Failure of the `database/` codes, or the signal's reason.
   */
  async baseBackup(options: BaseBackupOptions): Promise<BaseBackup> {
    const major = await this.major();
    let leftOut: string | undefined;
    this.#client.on("notice", (notice) => (leftOut ??= leftOutOfBase(notice)));
    if (options.since !== undefined) await this.#upload(options.since);
    const answer = this.ask(
      new ReplicationAnswer(baseBackupCommand(major, options), { lends: options.lends === true }),
    );
    return await beginBaseBackup(answer, {
      major,
      failure: (error) => this.failure(error),
      cut: () => this.destroy(),
      leftOut: () => leftOut,
    });
  }

  async #upload(manifest: Buffer): Promise<void> {
    try {
      const upload = new ManifestUpload(manifest);
      this.#client.query(upload);
      await upload.done;
    } catch (error) {
      throw this.failure(error);
    }
  }

  /** An error of this session as a failure; the signal's reason when it was aborted. */
  failure(error: unknown): unknown {
    if (this.#signal.aborted) return this.#signal.reason;
    return replicationFailure(error, this.address);
  }

  /** Ends the session at once; the server notices when it next sends. */
  destroy(): void {
    this.#life.destroy();
  }

  async close(): Promise<void> {
    await this.#life.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** What went wrong is told by the server's words: SQLSTATEs are too coarse, and such a session takes no SET. */
const IN_ENGLISH = "-c lc_messages=C";
/** Only a superuser may ask for it; and poolers take no options. */
const OPTION_REFUSED: ReadonlySet<string> = new Set(["42501", "08P01"]);
/** Whom a server refused it: each refusal is a line in its log. */
const inOwnLanguage = new Set<string>();

/**
 * Opens a session of physical replication.
 * @throws Failure `database/unreachable`, `database/full`, `database/denied` or `database/unsuitable`, with a hint; the signal's
 * reason.
 */
export async function openReplication(
  address: ServerAddress,
  options: ReplicationOptions,
): Promise<ReplicationSession> {
  const begin = async (client: Client, signedIn: ServerAddress) => {
    const session = new ReplicationSession(client, { ...signedIn, options: address.options }, options.signal);
    // A pooler that knows nothing of replication lets one in all the same, as somebody who wants statements.
    await session.identifySystem();
    return session;
  };
  const signInWith = async (asked: ServerAddress) => await signIn(asked, { ...options, isReplication: true }, begin);
  const who = describeAddress(address);
  try {
    if (!inOwnLanguage.has(who)) {
      try {
        return await signInWith({ ...address, options: `${address.options ?? ""} ${IN_ENGLISH}`.trim() });
      } catch (error) {
        if (!OPTION_REFUSED.has(sqlState(error) ?? "")) throw error;
        inOwnLanguage.add(who);
      }
    }
    return await signInWith(address);
  } catch (error) {
    if (options.signal.aborted) throw options.signal.reason;
    throw replicationFailure(error, address);
  }
}

/** @throws Failure `wal/other-cluster` where a server is not the one that was followed. */
export function refuseOtherCluster(
  found: Pick<SystemIdentity, "systemId">,
  expected: string,
  address: ServerAddress,
): void {
  if (found.systemId === expected) return;
  throw new Failure(
    "wal/other-cluster",
    `the server is another one than was followed (${describeAddress(address)}): its system identifier is ${found.systemId}, not ${expected}`,
    {
      hint: "Does the address lead elsewhere now? Let it lead to the right server. Where a new cluster took the old one's place for good, as after a restore or an upgrade, say so: 'chatkeep watch --new-server'. It is followed then, with a base of its own.",
    },
  );
}

function unheardOf(command: string): Failure {
  return bug(`the server answered ${command} in a way that is not known`);
}

const UNITS: Readonly<Record<string, number>> = { B: 1, kB: 1024, MB: 1024 ** 2, GB: 1024 ** 3, TB: 1024 ** 4 };

/** A size as SHOW writes it: `16MB`. */
export function parseSize(text: string): number {
  const [, amount = "", unit = ""] = /^(\d+)(B|kB|MB|GB|TB)$/.exec(text) ?? [];
  const bytes = Number(amount) * (UNITS[unit] ?? Number.NaN);
  if (amount === "" || !Number.isSafeInteger(bytes)) throw unheardOf("SHOW");
  return bytes;
}

const SPANS: Readonly<Record<string, number>> = { ms: 1, s: 1000, min: 60_000, h: 3_600_000, d: 86_400_000 };

/** A time as SHOW writes it, in milliseconds: `1min`, `0`. */
export function parseDuration(text: string): number {
  const [, amount = "", unit = "ms"] = /^(\d+)(ms|s|min|h|d)?$/.exec(text) ?? [];
  if (amount === "") throw unheardOf("SHOW");
  return Number(amount) * (SPANS[unit] ?? 1);
}
