/** How much of its log a server keeps for us, and when that is too much: the disk of the database counts more than a gap of ours. */
import { formatBytes } from "../../base/bytes.ts";
import { Failure } from "../../base/errors.ts";
import type { Slot } from "../../postgres/replication-slots.ts";
import type { Lsn } from "../../wal/lsn.ts";

/** In bytes; or what gives it for a slot, asked at each look. */
export type MostRetained = number | ((slot: Slot) => Promise<number>);

export interface ServerLog {
  readonly end: Lsn;
  /** From where on the server needs it itself; undefined where that is not known. */
  readonly redo: Lsn | undefined;
}

export class Retained {
  readonly #most: MostRetained;
  /** At the last look of this session. */
  #before = 0;
  /** When the session before began. */
  #atStart: { readonly restart: Lsn | undefined; readonly retained: number } | undefined;

  constructor(most: MostRetained) {
    this.#most = most;
  }

  /**
   * For the beginning of a session: where sessions end before anything is stored, nobody looks in between.
   * @throws Failure `wal/given-up` where it is too much, and nothing was let go of since the session before began.
   */
  async begins(slot: Slot, log: ServerLog): Promise<void> {
    const retained = retainedBy(slot, log);
    const { restart } = slot;
    const last = this.#atStart;
    this.#atStart = { restart, retained };
    this.#before = 0;
    const stands = last !== undefined && last.restart === restart && retained >= last.retained;
    if (stands) await this.#refuse(slot, retained);
  }

  /** During a session. What becomes less is being fetched: it fills no disk. @throws Failure `wal/given-up`. */
  async look(slot: Slot, log: ServerLog): Promise<void> {
    const retained = retainedBy(slot, log);
    const before = this.#before;
    this.#before = retained;
    if (before > 0 && retained >= before) await this.#refuse(slot, retained);
  }

  /** The slot is made anew: it begins where the server's last checkpoint did, and what it keeps from there on may be fetched. */
  renewed(): void {
    this.#atStart = undefined;
  }

  async #refuse(slot: Slot, retained: number): Promise<void> {
    const most = typeof this.#most === "number" ? this.#most : await this.#most(slot);
    if (retained > most) throw givenUp(retained, most);
  }
}

function retainedBy({ restart }: Slot, { end, redo }: ServerLog): number {
  if (restart === undefined || (redo !== undefined && restart >= redo)) return 0;
  return Number(end - restart);
}

function givenUp(retained: number, most: number): Failure {
  return new Failure(
    "wal/given-up",
    `the server kept ${formatBytes(retained)} of its log for us, more than the ${formatBytes(most)} that it may (watch.max-retained): its slot was given up, for its disk counts more`,
    {
      hint: "Does a repository not take what comes, or is the line to it too slow? What the server still has is fetched; where that is too little, a new base begins.",
    },
  );
}
