/** A day at the support desk, in a second: what changes between one backup and the next. */
import { attachFile, beginConversation, purgeFile, sendMessage } from "./change.ts";
import { editCode } from "./code.ts";
import { onDatabase } from "./database.ts";
import type { DemoInstallation } from "./installation.ts";
import { seededRandom } from "./random.ts";

export interface DayOptions {
  /** Different days have different seeds. */
  seed: number;
  signal: AbortSignal;
  /** How busy it was: 1 is a usual day. */
  load?: number;
}

/** What happened. */
export interface DayCounts {
  messages: number;
  conversations: number;
  files: number;
  purged: number;
  updated: number;
}

const USUAL = { conversations: 30, messages: 400, files: 12, purged: 3, updatedContacts: 25 };

/** New conversations, messages and files, some purged, some rows changed, and an edit in the code. */
export async function dayOfWork(
  installation: DemoInstallation,
  { seed, signal, load = 1 }: DayOptions,
): Promise<DayCounts> {
  const random = seededRandom(`${installation.seed}/day/${seed}`);
  const times = (usual: number) => Math.max(1, Math.round(usual * load));
  const counts: DayCounts = { messages: 0, conversations: 0, files: 0, purged: 0, updated: 0 };
  await onDatabase(installation.database, async (client) => {
    await client.query("SET synchronous_commit = off");
    for (let number = 0; number < times(USUAL.conversations); number++) {
      signal.throwIfAborted();
      await sendMessage(client, random, await beginConversation(client, random));
      counts.conversations++;
      counts.messages++;
    }
    for (let number = 0; number < times(USUAL.messages); number++) {
      signal.throwIfAborted();
      await sendMessage(client, random);
      counts.messages++;
    }
    for (let number = 0; number < times(USUAL.files); number++) {
      signal.throwIfAborted();
      await attachFile(client, random, installation.storageRoot);
      counts.files++;
      counts.messages++;
    }
    for (let number = 0; number < times(USUAL.purged); number++) {
      if ((await purgeFile(client, random, installation.storageRoot)) !== undefined) counts.purged++;
    }
    const updates = [
      "UPDATE conversations SET status = 1, updated_at = now() WHERE status = 0",
      `UPDATE contacts SET last_activity_at = now(), updated_at = now() WHERE id <= ${times(USUAL.updatedContacts)}`,
    ];
    for (const sql of updates) counts.updated += (await client.query(sql)).rowCount ?? 0;
  });
  await editCode(installation.codeRoot, String(seed));
  return counts;
}
