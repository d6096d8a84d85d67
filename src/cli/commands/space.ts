/** The commands that free space and mend. */
import type { CommandRow } from "../command.ts";
import { REPOSITORY_EXITS } from "./shared.ts";

const REPAIRS = ["index", "packs"] as const;

export const SPACE: readonly CommandRow[] = [
  {
    name: "prune",
    group: "keep tidy",
    args: [],
    options: [
      {
        flag: "--max-unused",
        value: "LIMIT",
        help: "what may stay though nobody needs it: a share (default: 5%), a size (200M), or 'unlimited'",
      },
      { flag: "--max-repack", value: "SIZE", help: "write no more than this anew, as in 2G; the next run goes on" },
      { flag: "--dry-run", help: "say what would be freed, and change nothing" },
    ],
    purpose: "free the space of what no restore point needs any more",
    description: [
      "'forget' removes restore points; what only they needed stays in the repository until it is pruned. Everything that any snapshot uses is kept, those of stock restic too. Packs that nobody needs are removed, others are written anew without what is not needed, the least useful first, until no more than --max-unused is left.",
      "When anything is lacking that a snapshot needs, a held point is not there any more, or no snapshot is left but of proofs and holds, nothing is removed. Locks the repository for itself alone; needs room for what is written anew.",
    ],
    examples: [
      ["look first", "chatkeep prune --dry-run"],
      ["", "chatkeep prune"],
      ["on a full disk: only whole packs", "chatkeep prune --max-repack 0"],
    ],
    exits: {
      ...REPOSITORY_EXITS,
      13: "something that snapshots need, or a held point, is lacking; nothing was removed",
      20: "the repository's place cannot be reached, is full, or lets nothing be removed",
    },
    kept: "every restore point is whole, and the next prune removes what this one left",
    load: async () => (await import("../verbs/prune.ts")).prune,
  },
  {
    name: "repair",
    group: "keep tidy",
    args: [{ name: "WHAT", kind: REPAIRS }],
    options: [
      {
        flag: "--from",
        value: "NAME|LOCATION",
        kind: "folder",
        help: "packs: another repository, which may have what is damaged here",
      },
      { flag: "--read-all-packs", help: "index: read the header of every pack, not just of those in doubt" },
    ],
    purpose: "mend a damaged repository as far as copies go",
    description: [
      "'repair index' makes the index anew from the packs themselves, when index files are damaged or gone. 'repair packs' reads every pack; of a damaged one it copies what is whole, and takes the rest from another pack or from the repository that --from names, where it has the same content. Everything is verified before it counts.",
      "Nothing that is whole is removed, and no restore point is changed: what no copy has is named, with the points that are not whole because of it, which 'list' marks. The next backup stores it again if the installation still has it. Locks the repository for itself alone.",
    ],
    examples: [
      ["", "chatkeep repair index"],
      ["from the second place", "chatkeep repair packs --from offsite"],
    ],
    exits: { ...REPOSITORY_EXITS, 13: "something is lost, or still damaged" },
    kept: "nothing is worse than it was, and repair can be run again",
    load: async () => (await import("../verbs/repair.ts")).repair,
  },
];
