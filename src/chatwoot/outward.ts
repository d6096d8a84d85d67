/**
 * Every place of Chatwoot's database where an address, a token or a credential may lie that reaches somebody outside, and what
 * becomes of it in a copy that must reach nobody. Forks add tables and columns, so what is not known is judged by its name.
 */

/**
 * `empty`: nothing, or the nearest to it where the column must hold something. `renew`: a new value of its own, which opens
 * nothing in the installation that was copied. `stand-in`: a name of the row's own, where one must be there and be unique.
 * `email`, `phone`, `url`: likewise, of that form, and never anybody's.
 */
export type Way = "empty" | "renew" | "stand-in" | "email" | "phone" | "url";

/** Tables whose rows are there only to reach somebody: they are removed. */
export const REMOVED_TABLES: Readonly<Record<string, string>> = {
  webhooks: "addresses that are told of everything that happens",
  integrations_hooks: "connections to Slack, Dialogflow, OpenAI and the like, with their tokens",
  notification_subscriptions: "the browsers and telephones that get push notices",
  account_saml_settings: "the provider that signs people in",
  telegram_bots: "tokens of bots (before 4.0)",
  user_sessions: "who is signed in, from where",
};

const CHANNELS: Readonly<Record<string, Readonly<Record<string, Way>>>> = {
  channel_api: { webhook_url: "empty", identifier: "renew", hmac_token: "renew", secret: "renew" },
  channel_email: {
    email: "email",
    forward_to_email: "email",
    imap_enabled: "empty",
    imap_address: "empty",
    imap_port: "empty",
    imap_login: "empty",
    imap_password: "empty",
    smtp_enabled: "empty",
    smtp_address: "empty",
    smtp_port: "empty",
    smtp_login: "empty",
    smtp_password: "empty",
    smtp_domain: "empty",
    provider: "empty",
    provider_config: "empty",
    verified_for_sending: "empty",
  },
  channel_facebook_pages: {
    page_id: "stand-in",
    user_access_token: "stand-in",
    page_access_token: "stand-in",
    instagram_id: "empty",
  },
  channel_instagram: { access_token: "stand-in", instagram_id: "stand-in" },
  channel_line: { line_channel_id: "stand-in", line_channel_secret: "stand-in", line_channel_token: "stand-in" },
  channel_sms: { phone_number: "phone", provider_config: "empty" },
  channel_telegram: { bot_name: "empty", bot_token: "stand-in" },
  channel_tiktok: { business_id: "stand-in", access_token: "stand-in", refresh_token: "stand-in" },
  channel_twilio_sms: {
    phone_number: "phone",
    auth_token: "stand-in",
    account_sid: "stand-in",
    messaging_service_sid: "empty",
    api_key_sid: "empty",
    api_key_secret: "empty",
    twiml_app_sid: "empty",
    provider_config: "empty",
  },
  channel_twitter_profiles: {
    profile_id: "stand-in",
    twitter_access_token: "stand-in",
    twitter_access_token_secret: "stand-in",
  },
  channel_web_widgets: {
    website_token: "renew",
    hmac_token: "renew",
    continuity_via_email: "empty",
    allowed_domains: "empty",
  },
  channel_whatsapp: { phone_number: "phone", provider_config: "empty", provider_connection: "empty" },
};

/** What becomes of the columns of each table that is known; a release that lacks one has nothing there to lose. */
export const OUTWARD_COLUMNS: Readonly<Record<string, Readonly<Record<string, Way>>>> = {
  ...CHANNELS,
  access_tokens: { token: "renew" },
  accounts: { domain: "empty", support_email: "empty" },
  agent_bots: { outgoing_url: "empty", bot_config: "empty", secret: "empty" },
  captain_custom_tools: { endpoint_url: "url", auth_type: "empty", auth_config: "empty", enabled: "empty" },
  captain_documents: { external_link: "url" },
  contact_inboxes: { pubsub_token: "renew" },
  dashboard_apps: { content: "empty" },
  inboxes: { email_address: "empty" },
  portals: { custom_domain: "empty", ssl_settings: "empty" },
  users: {
    tokens: "empty",
    reset_password_token: "empty",
    confirmation_token: "empty",
    unconfirmed_email: "empty",
    pubsub_token: "renew",
    otp_secret: "empty",
    otp_backup_codes: "empty",
    otp_required_for_login: "empty",
  },
};

/** Columns whose names sound as if they reached somebody, and why they do not. */
export const HARMLESS_COLUMNS: Readonly<Record<string, string>> = {
  "active_storage_blobs.key": "names a file in the copy's own storage",
  "ar_internal_metadata.key": "Rails' own bookkeeping",
  "attachments.external_url": "shown as a link in a conversation; nothing is sent there",
  "audits.remote_address": "a record of who did something",
  "calls.meta": "a record of a call",
  "captain_assistants.config": "how answers are worded; it needs a key that is gone",
  "channel_api.additional_attributes": "how long answers are allowed",
  "channel_email.imap_authentication": "the name of a way to sign in",
  "channel_email.smtp_authentication": "the name of a way to sign in",
  "channel_email.smtp_openssl_verify_mode": "how a certificate is looked at",
  "channel_sms.provider": "the provider's name",
  "channel_twilio_sms.content_templates": "texts",
  "channel_web_widgets.pre_chat_form_options": "what visitors are asked",
  "channel_web_widgets.website_url": "shown in the settings; nothing is sent there",
  "channel_web_widgets.welcome_tagline": "a text that visitors see",
  "channel_web_widgets.welcome_title": "a text that visitors see",
  "channel_web_widgets.widget_color": "a colour",
  "channel_whatsapp.message_templates": "texts",
  "channel_whatsapp.provider": "the provider's name",
  "companies.domain": "whose customers people are; nothing is sent there",
  "contacts.email": "whom Chatwoot knows; without SMTP nothing is sent there",
  "contacts.identifier": "whom Chatwoot knows",
  "contacts.phone_number": "whom Chatwoot knows; without a channel's token nothing is sent there",
  "conversations.identifier": "how another system calls a conversation",
  "inboxes.auto_assignment_config": "how many conversations somebody gets",
  "inboxes.csat_config": "how a survey is worded",
  "macros.actions": "those that reach outside are taken out",
  "automation_rules.actions": "those that reach outside are taken out",
  "accounts.settings": "how long until a conversation is closed, and the like",
  "portals.homepage_link": "a link in the help centre",
  "portals.config": "languages and looks of the help centre",
  "users.email": "the name to sign in with; without SMTP nothing is sent there",
  "users.encrypted_password": "people sign in with their own passwords",
  "users.ui_settings": "how somebody's screen looks",
  "users.uid": "the name to sign in with",
};

/** A name that sounds like an address, a token or a credential. */
const OUTWARD_NAME =
  /token|secret|passw|hmac|otp|credential|certificate|webhook|endpoint|connection|subscription|(?:api|access|private|public|signing|auth|server)_?key|(?:^|_)(?:url|uri|link|sid|auth|login|session|sessions|config|settings|actions|identifier|domain|domains|email|phone)(?:_|$)|phone_number|smtp|imap/i;

/** True for a column that may reach outside, by its name alone. */
export function soundsOutward(column: string): boolean {
  return OUTWARD_NAME.test(column);
}

/** Actions of automation rules and macros that reach somebody, whatever they are given. */
const OUTWARD_ACTIONS = [
  "send_webhook_event",
  "send_email_to_team",
  "send_email_transcript",
  "send_attachment_by_email",
] as const;

export interface OutwardTable {
  readonly schema: string;
  readonly name: string;
  readonly columns: readonly { readonly name: string; readonly type: string; readonly isNullable: boolean }[];
}

type Column = OutwardTable["columns"][number];

/** A column that the list does not name. */
export interface UnknownColumn {
  readonly table: string;
  readonly column: string;
  /** In a table of channels or integrations: then it is emptied. */
  readonly isEmptied: boolean;
  /** Counts rows that hold something there, before: one column `count`. */
  readonly countSql: string;
}

export interface OutwardPlan {
  /** In any order, in one transaction; each takes one parameter, a secret of this run. */
  readonly statements: readonly { readonly table: string; readonly sql: string }[];
  readonly unknown: readonly UnknownColumn[];
}

/** What makes a database reach nobody, for the tables and columns that it has. */
export function planOutward(tables: readonly OutwardTable[]): OutwardPlan {
  const statements: OutwardPlan["statements"][number][] = [];
  const unknown: UnknownColumn[] = [];
  for (const table of tables) {
    const relation = `${quoted(table.schema)}.${quoted(table.name)}`;
    if (table.name in REMOVED_TABLES) {
      statements.push({ table: table.name, sql: `delete from ${relation} where $1::text is not null` });
      continue;
    }
    const found = table.columns.filter((column) => isUnknown(table.name, column));
    const isEmptied = isChannelTable(table.name);
    for (const { name } of found) {
      const countSql = `select count(*)::int as count from ${relation} where coalesce(${quoted(name)}::text, '') not in ('', '{}', '[]', 'false')`;
      unknown.push({ table: table.name, column: name, isEmptied, countSql });
    }
    const sets = table.columns.flatMap((column) => {
      const way =
        OUTWARD_COLUMNS[table.name]?.[column.name] ?? (isEmptied && found.includes(column) ? "empty" : undefined);
      return way === undefined ? [] : [`${quoted(column.name)} = ${valueOf(way, table, column)}`];
    });
    sets.push(...(SPECIAL[table.name]?.(new Set(table.columns.map(({ name }) => name))) ?? []));
    if (sets.length === 0) continue;
    statements.push({ table: table.name, sql: `update ${relation} set ${sets.join(", ")} where $1::text is not null` });
  }
  return { statements, unknown };
}

/** Empties the values of one column that Rails encrypted, and no other; takes the same parameter as the others. */
export function withoutCiphertextsSql(table: OutwardTable, column: Column): string {
  const name = quoted(column.name);
  return `update ${quoted(table.schema)}.${quoted(table.name)} set ${name} = ${valueOf("empty", table, column)}
 where $1::text is not null and ${name} ~ '^\\{"p":"[A-Za-z0-9+/]*=*","h":\\{[^{}]*"iv":"[A-Za-z0-9+/]+=*"[^{}]*\\}\\}$'`;
}

function isChannelTable(table: string): boolean {
  return /^(?:channel|integration|integrations|whatsapp|baileys|webhook)_/.test(table);
}

const TEXT = /^(?:character|varchar|text|json|bytea|hstore|citext)/;

function isUnknown(table: string, { name, type }: Column): boolean {
  const known = OUTWARD_COLUMNS[table];
  if (!TEXT.test(type) || known?.[name] !== undefined || `${table}.${name}` in HARMLESS_COLUMNS) return false;
  if (soundsOutward(name)) return true;
  // Whatever a channel that is not known keeps as JSON or text may be a credential; of one that is known, JSON may.
  return isChannelTable(table) && (known === undefined || type.startsWith("json"));
}

/** Settings of the installation that name no one and open nothing; all others are removed, and Chatwoot makes them anew. */
const KEPT_SETTINGS = [
  "^(INSTALLATION_NAME|LOGO|LOGO_DARK|LOGO_THUMBNAIL|BRAND_NAME|BRAND_URL|WIDGET_BRAND_URL|TERMS_URL|PRIVACY_URL|DISPLAY_MANIFEST)$",
  "^(CREATE_NEW_ACCOUNT_FROM_DASHBOARD|DIRECT_UPLOADS_ENABLED|DISABLE_[A-Z_]+|ENABLE_[A-Z_]+|[A-Z]+_API_VERSION|NOTION_VERSION)$",
  "^(CAPTAIN_[A-Z_]*MODEL|CAPTAIN_CLOUD_PLAN_LIMITS|CHATWOOT_CLOUD_PLANS|CHATWOOT_CLOUD_PLAN_FEATURES|DEPLOYMENT_ENV|ACCOUNT_LEVEL_FEATURE_DEFAULTS)$",
  "^(BLOCKED_EMAIL_DOMAINS|INSTALLATION_PRICING_PLAN|INSTALLATION_PRICING_PLAN_QUANTITY|API_CHANNEL_NAME|LOGOUT_REDIRECT_LINK)$",
  "^(ACCOUNT_EMAILS_[A-Z_]+|MAXIMUM_FILE_UPLOAD_SIZE|EMAIL_PROCESSING_TIMEOUT_SECONDS)$",
].join("|");

/** Removes every setting that is not known to be harmless; takes the same parameter as the others. */
export function settingsSql(tables: readonly OutwardTable[]): string | undefined {
  const table = tables.find(({ name }) => name === "installation_configs");
  if (table === undefined) return undefined;
  return `delete from ${quoted(table.schema)}.installation_configs where $1::text is not null and name !~ ${text(KEPT_SETTINGS)}`;
}

/** True for a setting of `installation_configs` that a copy keeps. */
export function isKeptSetting(name: string): boolean {
  return new RegExp(KEPT_SETTINGS).test(name);
}

type Special = (columns: ReadonlySet<string>) => string[];

/** Takes actions out that reach somebody: known ones, and any that is given an address. */
const withoutOutwardActions: Special = (columns) =>
  columns.has("actions")
    ? [
        `actions = case when jsonb_typeof(actions::jsonb) = 'array' then coalesce((select jsonb_agg(a) from jsonb_array_elements(actions::jsonb) a
  where coalesce(a->>'action_name', '') not in (${OUTWARD_ACTIONS.map(text).join(", ")}) and a::text !~* '[a-z]+://|[^"\\s]@[^"\\s]'), '[]') else actions::jsonb end`,
      ]
    : [];

const SPECIAL: Readonly<Record<string, Special>> = {
  automation_rules: withoutOutwardActions,
  macros: withoutOutwardActions,
  // What was changed in these holds addresses and tokens as they were before and after.
  audits: (columns) =>
    columns.has("audited_changes") && columns.has("auditable_type")
      ? [
          "audited_changes = case when auditable_type ~ '^(Channel::|Inbox$|Webhook$|Integrations::|AgentBot|AccountSaml|InstallationConfig|Captain::CustomTool)' then '{}' else audited_changes end",
        ]
      : [],
  // Done, and off: none is due however long ago it was planned.
  campaigns: (columns) => [
    ...(columns.has("campaign_status") ? ["campaign_status = 1"] : []),
    ...(columns.has("enabled") ? ["enabled = false"] : []),
  ],
  // Whoever was to be deleted in production is not deleted here.
  accounts: (columns) =>
    columns.has("custom_attributes")
      ? ["custom_attributes = custom_attributes - 'marked_for_deletion_at' - 'marked_for_deletion_reason'"]
      : [],
};

/** A domain that nobody can have (RFC 2606): what is sent there arrives nowhere. */
export const NOWHERE = "clone.invalid";

function valueOf(way: Way, table: OutwardTable, column: Column): string {
  const id = table.columns.some(({ name }) => name === "id") ? "id" : "0";
  const name = quoted(column.name);
  // No country has the code 999.
  const ways: Record<Way, () => string> = {
    empty: () => emptyOf(column, id),
    renew: () =>
      `case when ${name} is null then null else substr(encode(sha256(convert_to($1 || ${text(`${table.name}.${column.name}.`)} || ${id}, 'UTF8')), 'hex'), 1, 24) end`,
    "stand-in": () => `'clone-' || ${id}`,
    email: () => `${text(column.name.replaceAll("_", "-"))} || '-' || ${id} || '@${NOWHERE}'`,
    phone: () => `case when ${name} is null then null else '+999' || lpad(${id}::text, 8, '0') end`,
    url: () => `'https://${NOWHERE}/' || ${id}`,
  };
  return ways[way]();
}

function emptyOf({ name, type, isNullable }: Column, id: string): string {
  if (type === "boolean") return "false";
  if (type.startsWith("json")) {
    return `case when ${quoted(name)} is null then null when left(ltrim(${quoted(name)}::text), 1) = '[' then '[]' else '{}' end::${type}`;
  }
  if (isNullable) return "null";
  if (/^(?:smallint|integer|bigint)/.test(type)) return "0";
  return type.endsWith("[]") ? "'{}'" : `'clone-' || ${id}`;
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

function text(value: string): string {
  return `'${value.replaceAll("'", "''")}'`;
}
