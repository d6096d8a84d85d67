/**
 * Uploaded files that did not come into one repository: one finding for each kind, however many there are and however long a watch
 * runs. It goes when nothing of the kind was added for a day.
 */
import { plural } from "../base/bytes.ts";
import type { Finding } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import type { NotFollowed } from "./continuous/follow.ts";

/** So many of the newest are named. */
const NAMED = 5;

type Kind = "purged-before-copy" | "files-not-followed";

interface Losses {
  readonly count: number;
  /** Of the newest. */
  readonly names: readonly string[];
  readonly lastMs: number;
  /** What was told last: how many there were, and when. */
  readonly told: { readonly count: number; readonly atMs: number };
}

export class FollowedLosses {
  readonly #repository: string;
  readonly #kinds = new Map<Kind, Losses>();

  constructor(repository: string) {
    this.#repository = repository;
  }

  /** Called after each look, also when nothing was lost: what came together within ten minutes is told together. */
  looked(lost: readonly NotFollowed[], nowMs: number): void {
    const kinds = Map.groupBy(lost, ({ reason }): Kind => {
      return reason === "purged" ? "purged-before-copy" : "files-not-followed";
    });
    for (const [kind, more] of kinds) {
      const before = this.#kinds.get(kind);
      const names = more.slice(-NAMED).map(({ blob }) => `'${blob.filename}' (${blob.id})`);
      const count = (before?.count ?? 0) + more.length;
      this.#kinds.set(kind, {
        count,
        names: [...(before?.names ?? []), ...names].slice(-NAMED),
        lastMs: nowMs,
        told: before?.told ?? { count, atMs: nowMs },
      });
    }
    for (const [kind, losses] of this.#kinds) {
      const { count, told, lastMs } = losses;
      if (nowMs - lastMs >= LIMITS.watchEventMs) this.#kinds.delete(kind);
      else if (count > told.count && nowMs - told.atMs >= LIMITS.watchToldAgainMs) {
        this.#kinds.set(kind, { ...losses, told: { count, atMs: nowMs } });
      }
    }
  }

  get findings(): Finding[] {
    return [...this.#kinds].map(([kind, losses]) => this.#finding(kind, losses));
  }

  #finding(kind: Kind, { count, names, told }: Losses): Finding {
    const isPurged = kind === "purged-before-copy";
    const verb = isPurged
      ? "deleted in Chatwoot before a copy was made"
      : "not to be had in the storage, or not as the database says";
    const what = `${plural(count, "uploaded file")} ${count === 1 ? "was" : "were"} ${verb}`;
    const newest = count > names.length ? "the newest: " : "";
    return {
      kind,
      level: isPurged ? "note" : "warning",
      subject: this.#repository,
      event: `${told.count} ${told.atMs}`,
      message: `${what}, so repository '${this.#repository}' lacks ${count === 1 ? "it" : "them"} (${newest}${names.join(", ")})`,
      discreet: `${what}, so repository '${this.#repository}' lacks ${count === 1 ? "it" : "them"}`,
      hint: isPurged
        ? "Nothing is to be done. Moments between upload and deletion have the rows of these files and not the files; everything else is safe."
        : "All rows and all other files are safe. 'chatkeep doctor' looks for what is missing in the storage: put a file back there and the next restore point has it.",
    };
  }
}
