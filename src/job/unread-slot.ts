/**
 * Where restore points are made in place of following the log, a slot from before may be left at the server, which keeps its log for it
 * although nobody reads. That is told; and where it becomes more than the server may keep, the slot is given up, for the disk of the
 * database counts more.
 */
import { formatBytes } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import type { ServerAddress } from "../postgres/address.ts";
import { connect, type Connection } from "../postgres/connect.ts";
import { dropOwnSlot, readSlot, type Slot, slotName } from "../postgres/replication-slots.ts";
import { type Lsn, parseLsn } from "../wal/lsn.ts";
import type { MostRetained } from "./continuous/retained.ts";
import { givenUpFinding } from "./log-findings.ts";
import type { WatchBook } from "./watch-book.ts";

export interface UnreadSlotOptions {
  readonly address: () => ServerAddress;
  readonly installation: string;
  readonly most: MostRetained;
  readonly book: Pick<WatchBook, "find" | "happened">;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

export class UnreadSlot {
  readonly #o: UnreadSlotOptions;
  /** What it kept when it was seen first, and since when that is so: whoever was cut off comes again within minutes. */
  #seen: { readonly restart: Lsn; readonly sinceMs: number } | undefined;

  constructor(options: UnreadSlotOptions) {
    this.#o = options;
  }

  /** Until the signal is aborted. @throws its reason, or a fault of ours. */
  async run(): Promise<never> {
    const { clock, signal } = this.#o;
    for (;;) {
      try {
        await this.look();
      } catch (error) {
        signal.throwIfAborted();
        // That the server does not answer the points tell.
        if (!isFailure(error) || error.code === "internal/bug") throw error;
      }
      await clock.sleep(LIMITS.unreadSlotLookMs, signal);
    }
  }

  /** @throws Failure of the `database/` codes. */
  async look(): Promise<void> {
    const { address, installation, book, clock, signal } = this.#o;
    await using connection = await connect(address(), { signal });
    const slot = await readSlot(connection, slotName(installation));
    if (slot?.restart === undefined || slot.activePid !== undefined || slot.isTemporary) {
      this.#seen = undefined;
      book.find("slot");
      return;
    }
    if (this.#seen?.restart !== slot.restart) this.#seen = { restart: slot.restart, sinceMs: clock.monotonic() };
    const bytes = await keptFor(connection, slot.restart);
    book.find("slot", leftFinding(slot, bytes));
    if (clock.monotonic() - this.#seen.sinceMs >= LIMITS.unreadSlotMs) await this.#giveUp(connection, slot, bytes);
  }

  async #giveUp(connection: Connection, slot: Slot, bytes: number): Promise<void> {
    const { most, book, clock, signal } = this.#o;
    const may = typeof most === "number" ? most : await most(slot);
    if (bytes <= may) return;
    await dropOwnSlot(connection, slot.name, { signal });
    this.#seen = undefined;
    book.find("slot");
    const what = `the server kept ${formatBytes(bytes)} of its log for us, more than the ${formatBytes(may)} that it may (watch.max-retained), and nobody read it: its slot was given up`;
    const hint =
      "Restore points are made in place of following the log. Where that is followed again, a new base begins what follows.";
    book.happened("slot-given-up", givenUpFinding(new Failure("wal/given-up", what, { hint }), clock.now()));
  }
}

async function keptFor(connection: Pick<Connection, "query">, restart: Lsn): Promise<number> {
  const [row] = await connection.query<{ lsn: string }>(
    `select (case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn()
       else pg_catalog.pg_current_wal_insert_lsn() end)::text as lsn`,
  );
  const end = row === undefined ? restart : parseLsn(row.lsn);
  return end > restart ? Number(end - restart) : 0;
}

function leftFinding({ name }: Slot, bytes: number): Finding {
  return {
    kind: "slot-left",
    level: "warning",
    subject: name,
    message: `the replication slot '${name}' is left from following the log, and nobody reads from it: the server keeps ${formatBytes(bytes)} of its log for it`,
    hint: `If the log is to be followed again, mend what keeps it from that ('chatkeep doctor'). Else a superuser drops it: SELECT pg_drop_replication_slot('${name}');`,
  };
}
