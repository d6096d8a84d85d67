/** What doctor finds in Chatwoot's own data about its settings: nothing of it hinders a backup. */
import { parse } from "yaml";
import { listSome } from "../base/bytes.ts";
import type { Finding } from "../base/findings.ts";
import type { Environment } from "../chatwoot/environment.ts";
import { linksQueries, type LinkedHost, strangeHosts } from "../chatwoot/links.ts";
import { isKeptInDatabase } from "../chatwoot/settings.ts";
import type { Queries } from "./list-storage.ts";

const COLUMNS_QUERY = `select table_name as table, column_name as column from information_schema.columns
 where table_schema = 'public' and table_name in ('articles', 'messages', 'users')`;

/** Addresses and settings that are other than the environment says. Never a value: many are secrets. */
export async function examineSettings(environment: Environment, database: Queries): Promise<Finding[]> {
  return [...(await linkFindings(environment, database)), ...(await settingFindings(environment, database))];
}

async function linkFindings(environment: Environment, database: Queries): Promise<Finding[]> {
  const columns = await database.query<{ table: string; column: string }>(COLUMNS_QUERY);
  const queries = linksQueries((table, column) =>
    columns.some((known) => known.table === table && known.column === column),
  );
  const hosts = new Set<string>();
  const where: string[] = [];
  for (const { what, query } of queries) {
    const strange = strangeHosts(environment, await database.query<LinkedHost & { tokens: string[] }>(query));
    if (strange.length > 0) where.push(what);
    for (const host of strange) hosts.add(host);
  }
  if (hosts.size === 0) return [];
  return [
    {
      kind: "links-to-other-address",
      level: "note",
      message: `links to uploaded files in ${where.join(", ")} name ${listSome([...hosts])}, and FRONTEND_URL says ${environment.get("FRONTEND_URL") ?? ""}`,
      hint: "They were written under another address and keep it, through a backup and a restore as well. Keep the old name leading to this Chatwoot (a redirect is enough), or these pictures and files do not show.",
    },
  ];
}

type SettingRow = { name: string; text: string };

async function settingFindings(environment: Environment, database: Queries): Promise<Finding[]> {
  const names = [...environment]
    .filter(([name, value]) => value !== "" && isKeptInDatabase(name))
    .map(([name]) => name);
  if (names.length === 0) return [];
  const rows = await database.query<SettingRow>(
    "select name, serialized_value #>> '{}' as text from public.installation_configs where name = any($1) order by name",
    [names],
  );
  const differing = rows
    .filter(({ name, text }) => {
      const value = settingOf(text);
      return value !== undefined && value.trim() !== environment.get(name)?.trim();
    })
    .map(({ name }) => name);
  if (differing.length === 0) return [];
  return [
    {
      kind: "settings-in-database",
      level: "note",
      message: `Chatwoot has another ${differing.join(", ")} in its database than in its environment, and uses the database's`,
      hint: "Changing the environment changes nothing: change them under Super Admin, Settings, which also clears what Redis keeps of them for a day. A restore brings the database's back.",
    },
  ];
}

/**
 * A setting's value as text: the column holds JSON, a string that is YAML of a Ruby hash, or that hash itself.
 * Undefined for a value that is no plain one, and for a text that makes no sense.
 */
export function settingOf(text: string): string | undefined {
  let read: unknown;
  try {
    read = parse(text, { logLevel: "silent" });
  } catch {
    return undefined;
  }
  if (typeof read !== "object" || read === null || !("value" in read)) return undefined;
  const { value } = read;
  if (value === null) return "";
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean"
    ? String(value)
    : undefined;
}
