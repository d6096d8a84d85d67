/** How many sessions a backup holds at once, beside the one that holds the snapshot. */
import { plural } from "../base/bytes.ts";
import { LIMITS } from "../base/limits.ts";
import type { TableFacts } from "../postgres/catalogue.ts";
import type { ServerFacts } from "../postgres/server-facts.ts";
import { isStamped } from "./reuse.ts";

export interface SpareSessions {
  /** Sessions that the server has left for us. */
  spare: number;
  /** Is given the line for people when they are too few. */
  tellSpare: (line: string) => void;
}

export interface SessionPlan {
  needed: number;
  atOnce: number;
}

export interface SessionsWanted extends SpareSessions {
  server: Pick<ServerFacts, "major">;
  /** Sessions that ranges are read over. */
  readers: number;
  stampedTableBytes?: number;
}

/**
 * At once where the server has sessions for all of it, else one after the other, each over as many as there are. Where no table
 * can have stamps, none is looked through.
 */
export function planSessions(
  tables: readonly Pick<TableFacts, "bytes" | "isSelfContained" | "isUnlogged">[],
  { server, stampedTableBytes, spare, readers, tellSpare }: SessionsWanted,
): SessionPlan {
  const isAnyStamped = tables.some((table) => isStamped(table, server, stampedTableBytes));
  const needed = 1 + (isAnyStamped ? LIMITS.scanConnections : 0) + readers;
  if (spare >= needed) return { needed, atOnce: needed };
  tellSpare(
    `the server has ${plural(spare, "connection")} left for us, and ${needed} would be used: slower, with fewer`,
  );
  return { needed, atOnce: Math.max(1, spare) };
}
