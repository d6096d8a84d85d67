/** Stages that change a world of lines, each step recorded before it is done, and a journal that can fail at any write. */
import type { JournalFile } from "../../../src/job/stages/journal.ts";
import type { Stage, StageName } from "../../../src/job/stages/stage.ts";

/** Stands for a kill: nothing of ours catches it. */
export class Killed extends Error {}

/** Counts what is written, to the journal and to the world, and kills before or behind one of these writes. */
export class Fuse {
  count = 0;
  readonly #at: number;
  readonly #side: "before" | "behind";

  constructor(at = Number.POSITIVE_INFINITY, side: "before" | "behind" = "before") {
    this.#at = at;
    this.#side = side;
  }

  write(change: () => void): void {
    this.count += 1;
    if (this.count === this.#at && this.#side === "before") throw new Killed();
    if (this.count > this.#at) throw new Killed();
    change();
    if (this.count === this.#at) throw new Killed();
  }
}

/** What lasts over a kill. */
export interface World {
  lines: string[];
  journal: string | undefined;
}

export function worldJournal(world: World, fuse: Fuse): JournalFile {
  return {
    read: () => Promise.resolve(world.journal),
    replace: (text) =>
      new Promise((resolve) => {
        fuse.write(() => (world.journal = text));
        resolve();
      }),
  };
}

interface Kept {
  /** Lines that the stage puts into the world, and whether they were there before. */
  put: string[];
}

/** Adds lines one by one, and takes away those that it added. */
export function fakeStage(
  name: StageName,
  lines: readonly string[],
  { world, fuse }: { world: World; fuse: Fuse },
): Stage {
  const stage: Stage<Kept> = {
    name,
    plan: () => Promise.resolve({ lines: [`adds ${lines.join(", ")}`], blockers: [], findings: [] }),
    async apply(_context, record) {
      for (const line of lines) {
        const kept = record.kept ?? { put: [] };
        if (world.lines.includes(line)) continue;
        await record.keep({ put: [...kept.put, line] });
        fuse.write(() => world.lines.push(line));
      }
      return { lines: [`${lines.length} added`], findings: [] };
    },
    undoIs: "needed",
    async undo(_context, record) {
      for (const line of (record.kept?.put ?? []).toReversed()) {
        if (!world.lines.includes(line)) continue;
        fuse.write(() => (world.lines = world.lines.filter((one) => one !== line)));
      }
      return await Promise.resolve({ lines: ["taken away"], findings: [] });
    },
  };
  return stage;
}
