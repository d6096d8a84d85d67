/** The help centre, the settings of the installation, and a few rows for every table that has none yet. */
import type { Catalogue, ColumnFact } from "../catalogue.ts";
import type { Row, Value } from "../database.ts";
import { FRONTEND_URL } from "../environment.ts";
import { DAY_MS, HISTORY_ENDS_AT, type SeedRows, formatTime, times } from "./rows.ts";
import { type Conversation, type DemoBlob, blobUrl } from "./talk.ts";
import type { DemoTeam } from "./team.ts";
import { makeSentence } from "./words.ts";

/** A help centre whose articles show pictures that no record owns: only the text links to them. */
export function addHelpCentre(rows: SeedRows, team: DemoTeam, pictures: readonly DemoBlob[]): void {
  const { random } = rows;
  const began = times(random, HISTORY_ENDS_AT - 200 * DAY_MS);
  const accountId = team.accounts[0] ?? 1;
  const portalId = rows.addWithId("portals", {
    account_id: accountId,
    name: "Help",
    slug: "help",
    custom_domain: "help.acme.example",
    config: { allowed_locales: ["en", "de"], default_locale: "en" },
    ...began,
  });
  rows.add("portals_members", { portal_id: portalId, user_id: team.users[0]?.id ?? 1 });
  const categoryId = rows.addWithId("categories", {
    account_id: accountId,
    portal_id: portalId,
    name: "Delivery",
    slug: "delivery",
    icon: "📦",
    ...began,
  });
  for (let number = 0; number < 24; number++) {
    const picture = pictures[number];
    const image = picture === undefined ? "" : `\n\n![picture](${FRONTEND_URL}${blobUrl(rows, picture)})`;
    const paragraphs = Array.from({ length: 6 }, () => makeSentence(random)).join("\n\n");
    rows.addWithId("articles", {
      account_id: accountId,
      portal_id: portalId,
      category_id: categoryId,
      title: makeSentence(random),
      slug: `article-${number}`,
      content: `# Article ${number}\n\n${paragraphs}${image}\n`,
      status: 1,
      views: random.below(5000),
      author_id: team.users[0]?.id ?? 1,
      ...began,
    });
  }
}

function yaml(value: string): string {
  return `--- !ruby/hash:ActiveSupport::HashWithIndifferentAccess\nvalue: ${value}\n`;
}

/** Settings that live in the database: JSON that holds a YAML text, as Chatwoot writes it. */
export function addSettings(rows: SeedRows): void {
  const { random } = rows;
  const settings = {
    INSTALLATION_NAME: "Acme Support",
    INSTALLATION_IDENTIFIER: random.uuid(),
    INSTALLATION_PRICING_PLAN: "community",
    ENABLE_ACCOUNT_SIGNUP: "false",
    BRAND_NAME: "Acme",
  };
  for (const [name, value] of Object.entries(settings)) {
    rows.addWithId("installation_configs", {
      name,
      serialized_value: JSON.stringify(yaml(value)),
      ...times(random, HISTORY_ENDS_AT - 400 * DAY_MS),
    });
  }
}

/** What is counted for reports: the second largest table of most installations. */
export function addReports(rows: SeedRows, conversations: readonly Conversation[]): void {
  const { random } = rows;
  for (const conversation of conversations) {
    for (const name of ["first_response", "conversation_resolved"]) {
      const ms = conversation.beganMs + random.below(3_600_000);
      rows.addWithId("reporting_events", {
        name,
        value: random.below(100_000) / 7,
        value_in_business_hours: random.below(100_000) / 3,
        account_id: conversation.inbox.accountId,
        inbox_id: conversation.inbox.id,
        user_id: conversation.agentId,
        conversation_id: conversation.id,
        event_start_time: formatTime(conversation.beganMs, random),
        event_end_time: formatTime(ms, random),
        ...times(random, ms),
      });
    }
  }
}

/** The bookkeeping of Rails: without it, Chatwoot's own set-up would wipe the database. */
export function addRailsTables(rows: SeedRows, catalogue: Catalogue): void {
  for (const version of catalogue.migrations) rows.add("schema_migrations", { version });
  const began = times(rows.random, HISTORY_ENDS_AT - 400 * DAY_MS);
  rows.add("ar_internal_metadata", { key: "environment", value: "production", ...began });
}

const ROWS_FOR_OTHERS = 3;
const VECTOR_LENGTH = 1536;

/** A value that fits the type and differs from row to row; each type's oddities among them. */
function someValue(rows: SeedRows, { name, type }: ColumnFact, number: number): Value {
  const { random } = rows;
  if (type === "bigint" || type === "integer") return number;
  if (type.startsWith("timestamp")) return formatTime(HISTORY_ENDS_AT - random.below(90 * DAY_MS), random);
  if (type.startsWith("character varying") || type === "text") return `${name} ${number}`;
  if (type === "boolean") return number % 2 === 0;
  if (type === "double precision") return [0.1 + 0.2, "NaN", "-Infinity", 1e-300][number % 4] ?? 0;
  if (type === "json") return `{"b": ${number},  "a": null, "b": "twice"}`;
  if (type === "jsonb") return { number, nested: [1, 2.5, "drei", null] };
  if (type === "text[]") return ["{}", '{a,"b c","quote \\" and \\\\ and NULL",NULL}'][number % 2] ?? "{}";
  if (type === "date") return `2026-05-${String(number).padStart(2, "0")}`;
  if (type === "vector") return Array.from({ length: VECTOR_LENGTH }, () => random.below(1000) / 1000);
  return random.uuid();
}

/** Gives every table that is still empty a few rows, so that no table can be lost unnoticed. */
export function addRest(rows: SeedRows, catalogue: Catalogue): void {
  for (const [table, columns] of catalogue.tables) {
    if (rows.tables.has(table)) continue;
    for (let number = 1; number <= ROWS_FOR_OTHERS; number++) {
      const row: Row = Object.fromEntries(columns.map((column) => [column.name, someValue(rows, column, number)]));
      rows.add(table, row);
    }
  }
}
