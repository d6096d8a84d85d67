/** Customers who do not wait for a backup to end: keeps an installation busy until it is told to stop. */
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { attachFile, beginConversation, purgeFile, sendMessage } from "../../src/demo/change.ts";
import { onDatabase } from "../../src/demo/database.ts";
import type { DemoInstallation } from "../../src/demo/installation.ts";
import { seededRandom } from "../../src/demo/random.ts";

export interface LoadOptions {
  /** Ends the load, which is no failure. */
  signal: AbortSignal;
  seed?: number;
  clock?: Clock;
  /** How long a file's bytes lag behind its rows, and outlive them, at most. Milliseconds. */
  lagMs?: number;
  /** How long everybody rests between two actions, at most. Milliseconds; default 0. */
  restMs?: number;
}

/** What was done, and the keys of the files that came and went: whoever saved a row must know these. */
export interface LoadCounts {
  messages: number;
  attached: string[];
  purged: string[];
}

const DEFAULT_LAG_MS = 20;

/**
 * Inserts messages, attaches and purges files until the signal; then resolves with what it did. A file's rows are
 * committed before its bytes are there, and gone before its bytes are, as with Rails.
 */
export async function loadGenerator(
  installation: DemoInstallation,
  { signal, seed = 1, clock = systemClock, lagMs = DEFAULT_LAG_MS, restMs = 0 }: LoadOptions,
): Promise<LoadCounts> {
  const random = seededRandom(`${installation.seed}/load/${seed}`);
  const counts: LoadCounts = { messages: 0, attached: [], purged: [] };
  const lag = async () => await clock.sleep(random.below(lagMs + 1));
  const { storageRoot } = installation;
  await onDatabase(installation.database, async (client) => {
    await client.query("SET synchronous_commit = off");
    // What has begun is finished before the signal is looked at again: no file is left without its bytes.
    while (!signal.aborted) {
      if (restMs > 0) await clock.sleep(random.below(restMs + 1));
      const conversation = random.chance(0.1) ? await beginConversation(client, random) : undefined;
      for (let number = random.below(4); number >= 0; number--) {
        await sendMessage(client, random, conversation);
        counts.messages++;
      }
      if (random.chance(0.4)) {
        counts.attached.push((await attachFile(client, random, storageRoot, lag)).key);
        counts.messages++;
      }
      if (random.chance(0.2)) {
        const key = await purgeFile(client, random, storageRoot, lag);
        if (key !== undefined) counts.purged.push(key);
      }
    }
  });
  return counts;
}
