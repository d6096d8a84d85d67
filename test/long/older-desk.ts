/** Makes a desk one of Chatwoot 3.16.0: its tables, columns and migrations, and code of that number. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { compareVersions } from "../../src/chatwoot/versions.ts";
import { onDatabase, quoteName } from "../../src/demo/database.ts";
import { readReleases } from "../../src/installation/releases.ts";
import { type CatalogueTable, chatwoot3, chatwoot4 } from "../harness/catalogues.ts";
import { commit } from "../installation/checkout.ts";
import type { Desk } from "../scenario/desk.ts";

const VERSION = "3.16.0";

/** Those of the two tables that later releases have no more. */
const INDEXES = `
alter table portal_members add constraint portal_members_pkey primary key (id);
alter table telegram_bots add constraint telegram_bots_pkey primary key (id);
create unique index index_portal_members_on_portal_id_and_user_id on portal_members (portal_id, user_id);
create unique index index_portal_members_on_user_id_and_portal_id on portal_members (user_id, portal_id);
insert into portal_members (id, portal_id, user_id, created_at, updated_at) select 1, p.id, u.id, now(), now() from portals p, users u limit 1;
`;

export async function makeOlder({ installation }: Desk): Promise<void> {
  const then = new Map(chatwoot3().map((table) => [table.name, table]));
  const now = new Map(chatwoot4().map((table) => [table.name, table]));
  const statements = [
    ...[...now.keys()].filter((name) => !then.has(name)).map((name) => `drop table ${quoteName(name)} cascade`),
    ...[...then.values()].flatMap((table) => reshape(table, now.get(table.name))),
    INDEXES,
    "delete from schema_migrations",
    `insert into schema_migrations (version) values ${(await migrations()).map((version) => `('${version}')`).join()}`,
  ];
  await onDatabase(installation.database, async (client) => await client.query(statements.join(";\n")));
  await installCode(installation.codeRoot, VERSION);
  await commit(installation.codeRoot, `Release ${VERSION}`);
}

function reshape({ name, columns }: CatalogueTable, later: CatalogueTable | undefined): string[] {
  const table = quoteName(name);
  const definition = ({ name: column, type, isNullable }: (typeof columns)[number]) =>
    `${quoteName(column)} ${type}${isNullable ? "" : " not null"}`;
  if (later === undefined) return [`create table ${table} (${columns.map(definition).join(", ")})`];
  const was = new Set(columns.map((column) => column.name));
  const is = new Map(later.columns.map((column) => [column.name, column]));
  return [
    ...[...is.keys()].filter((column) => !was.has(column)).map((column) => `drop column ${quoteName(column)} cascade`),
    ...columns.map((column) =>
      is.has(column.name)
        ? `alter column ${quoteName(column.name)} type ${column.type}`
        : `add column ${definition(column)}`,
    ),
  ].map((change) => `alter table ${table} ${change}`);
}

/** Those that the release has files of. */
async function migrations(): Promise<string[]> {
  const known = await readReleases();
  return known.migrations
    .filter(({ first, last }) => compareVersions(first, VERSION) <= 0 && compareVersions(last, VERSION) >= 0)
    .map(({ version }) => version);
}

/** Another release takes the place of the code, as far as it says which it is. */
export async function installCode(codeRoot: string, version: string): Promise<void> {
  await writeFile(join(codeRoot, "VERSION_CW"), `${version}\n`);
  const shared = `shared: &shared\n  version: '${version}'\n\nproduction:\n  <<: *shared\n`;
  await writeFile(join(codeRoot, "config/app.yml"), shared);
}
