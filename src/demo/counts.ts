/** What an installation holds, counted where it lies: in its database and on its disk. */
import { readdir } from "node:fs/promises";
import { onDatabase } from "./database.ts";
import type { DemoInstallation } from "./installation.ts";

export interface InstallationCounts {
  tables: number;
  messages: number;
  conversations: number;
  /** Files in the storage folder. */
  files: number;
}

const QUERY = `
select (select count(*) from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r')::int as tables,
       (select count(*) from messages)::int as messages,
       (select count(*) from conversations)::int as conversations`;

export async function countInstallation(installation: DemoInstallation): Promise<InstallationCounts> {
  const counts = await onDatabase(installation.database, async (client) => {
    const { rows } = await client.query<Omit<InstallationCounts, "files">>(QUERY);
    return rows[0] ?? { tables: 0, messages: 0, conversations: 0 };
  });
  const entries = await readdir(installation.storageRoot, { recursive: true, withFileTypes: true });
  return { ...counts, files: entries.filter((entry) => entry.isFile()).length };
}
