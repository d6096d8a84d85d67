/**
 * What a person has to do about channels once a restored Chatwoot runs: a provider sends to the address that it was told, and
 * only whoever has an account there can tell it another one.
 */
import { listSome } from "../base/bytes.ts";
import type { Connection } from "../postgres/connect.ts";
import { hasColumn, readTables, type Tables } from "./outbound-kinds.ts";

/** An inbox, or another thing that is reached from outside. */
export interface ChannelRow {
  /** Rails' name of its channel, as `Channel::Whatsapp`; or `portal`, or `slack`. */
  readonly type: string;
  readonly name: string;
  readonly account: string;
  /** By what the provider knows it: a number, an address, a domain. Never a token. */
  readonly detail: string | null;
  /** Of WhatsApp and e-mail who provides it. */
  readonly provider: string | null;
  /** Of e-mail: it is fetched by IMAP, and not forwarded to us. */
  readonly isFetched: boolean;
}

export interface Move {
  /** FRONTEND_URL of the restore point; undefined where it is not known. */
  readonly before: string | undefined;
  /** That of the place; undefined where it is not known. */
  readonly after: string | undefined;
  /** Another machine than the one that the point was taken of. */
  readonly isElsewhere: boolean;
}

interface ChannelTable {
  readonly type: string;
  readonly table: string;
  /** The first that there is. */
  readonly detail: readonly string[];
}

const TABLES: readonly ChannelTable[] = [
  { type: "Channel::WebWidget", table: "channel_web_widgets", detail: ["website_url"] },
  { type: "Channel::Whatsapp", table: "channel_whatsapp", detail: ["phone_number"] },
  { type: "Channel::FacebookPage", table: "channel_facebook_pages", detail: ["page_id"] },
  { type: "Channel::Instagram", table: "channel_instagram", detail: ["instagram_id"] },
  { type: "Channel::Telegram", table: "channel_telegram", detail: ["bot_name"] },
  { type: "Channel::Line", table: "channel_line", detail: ["line_channel_id"] },
  { type: "Channel::TwilioSms", table: "channel_twilio_sms", detail: ["phone_number", "messaging_service_sid"] },
  { type: "Channel::Sms", table: "channel_sms", detail: ["phone_number"] },
  { type: "Channel::Voice", table: "channel_voice", detail: ["phone_number"] },
  { type: "Channel::Tiktok", table: "channel_tiktok", detail: ["business_id"] },
  { type: "Channel::Email", table: "channel_email", detail: ["email"] },
  { type: "Channel::Api", table: "channel_api", detail: [] },
];

/** All that is reached from outside, of every account. Tables and columns are looked up first. */
export async function readChannels(connection: Connection): Promise<ChannelRow[]> {
  const tables = await readTables(connection);
  if (!hasColumn(tables, "inboxes", "channel_type")) return [];
  const rows = await connection.query<{ [K in keyof ChannelRow]: ChannelRow[K] }>(
    `select type, name, account, detail, provider, "isFetched" from (${queries(tables).join("\nunion all\n")}) all_of_them
     order by type, account, name`,
  );
  return rows;
}

function queries(tables: Tables): string[] {
  const known = TABLES.filter(({ table }) => hasColumn(tables, table, "id"));
  const unknown = `i.channel_type is null or i.channel_type <> all (array[${known.map(({ type }) => `'${type}'`).join(", ")}]::text[])`;
  return [
    ...known.map(({ type, table, detail }) => {
      const details = detail.filter((column) => hasColumn(tables, table, column)).map((column) => `c.${column}::text`);
      const has = (column: string) => hasColumn(tables, table, column);
      return inboxes({
        type: `'${type}'`,
        detail: details.length === 0 ? "null" : `coalesce(${details.join(", ")})`,
        provider: has("provider") ? "c.provider::text" : "null",
        isFetched: has("imap_enabled") ? "coalesce(c.imap_enabled, false)" : "false",
        rest: `join public.${table} c on c.id = i.channel_id where i.channel_type = '${type}'`,
      });
    }),
    inboxes({
      type: "coalesce(i.channel_type, '')",
      detail: "null",
      provider: "null",
      isFetched: "false",
      rest: `where ${unknown}`,
    }),
    ...(hasColumn(tables, "portals", "custom_domain")
      ? [
          `select 'portal', p.name, coalesce(a.name, ''), p.custom_domain, null, false from public.portals p
           left join public.accounts a on a.id = p.account_id where p.custom_domain <> ''`,
        ]
      : []),
    ...(hasColumn(tables, "integrations_hooks", "app_id")
      ? [
          `select 'slack', 'Slack', coalesce(a.name, ''), null, null, false from public.integrations_hooks h
           left join public.accounts a on a.id = h.account_id where h.app_id = 'slack'`,
        ]
      : []),
  ];
}

function inboxes(parts: Record<"type" | "detail" | "provider" | "isFetched" | "rest", string>): string {
  return `select ${parts.type}::text as type, i.name::text as name, coalesce(a.name, '')::text as account,
    ${parts.detail}::text as detail, ${parts.provider}::text as provider, ${parts.isFetched} as "isFetched"
    from public.inboxes i left join public.accounts a on a.id = i.account_id ${parts.rest}`;
}

/** Of one kind, as many are named. */
const SHOWN = 8;

/** What is left for a person, a line each, in the order in which customers notice. None where there is nothing to reach. Pure. */
export function channelChecklist(rows: readonly ChannelRow[], move: Move): string[] {
  if (rows.length === 0) return [];
  const isSame = move.before !== undefined && move.after !== undefined && plain(move.before) === plain(move.after);
  if (isSame) return sameAddress(rows, move);
  const url = plain(move.after ?? "https://YOUR-CHATWOOT");
  const hosts = move.before === undefined ? "" : ` (it was ${plain(move.before)})`;
  const steps = KINDS.flatMap((kind) => {
    const own = rows.filter(({ type }) => kind.types.includes(type));
    return kind.step(own, url);
  });
  const known = new Set(KINDS.flatMap(({ types }) => types));
  const others = rows.filter(({ type }) => !known.has(type));
  return [
    `Chatwoot's address is ${url} now${hosts}: as long as the old one leads here, too, channels go on; each of these ends with that`,
    ...steps,
    ...(others.length === 0 ? [] : [`${named(others)}: whatever sends to them has to be told ${url}`]),
  ];
}

function plain(url: string): string {
  return url.trim().replace(/\/+$/, "");
}

function sameAddress(rows: readonly ChannelRow[], { after = "", isElsewhere }: Move): string[] {
  const one = rows.filter(({ type }, at) => rows.findIndex((other) => other.type === type) === at);
  const look = `send a message through one inbox of each kind, and answer it: ${listSome(one.map(shownName), SHOWN)}`;
  const on = "channels go on by themselves, for address and keys are the same";
  return isElsewhere
    ? [`let ${plain(after)} lead to this machine (DNS, proxy, certificate), and to no other`, `then ${on}; ${look}`]
    : [`${on}; ${look}`];
}

function shownName({ name, detail, type }: ChannelRow): string {
  const kind = type.replace(/^Channel::/, "");
  const whole = name.replaceAll(/\s+/g, " ").trim();
  return `'${whole}' (${[kind, ...(detail === null || detail === "" ? [] : [detail])].join(", ")})`;
}

function named(rows: readonly ChannelRow[]): string {
  return listSome(rows.map(shownName), SHOWN);
}

interface Kind {
  readonly types: readonly string[];
  step(rows: readonly ChannelRow[], url: string): string[];
}

/** One line for all inboxes of a kind, or none. */
function together(types: readonly string[], what: (url: string) => string): Kind {
  return { types, step: (rows, url) => (rows.length === 0 ? [] : [`${named(rows)}: ${what(url)}`]) };
}

/** A line for each inbox, whose provider is told an address of its own. */
function each(type: string, what: (row: ChannelRow, url: string) => string): Kind {
  return { types: [type], step: (rows, url) => rows.map((row) => `${shownName(row)}: ${what(row, url)}`) };
}

const KINDS: readonly Kind[] = [
  together(
    ["Channel::WebWidget"],
    (url) =>
      `in the script on each website, set the base URL (BASE_URL) to ${url}, or copy it anew from the inbox's settings`,
  ),
  each("Channel::Whatsapp", ({ detail, provider }, url) =>
    provider === "whatsapp_cloud"
      ? `in Meta's app under WhatsApp, Configuration, set the callback URL to ${url}/webhooks/whatsapp/${detail ?? ""}, with the verify token from the inbox's settings`
      : `tell the provider the webhook ${url}/webhooks/whatsapp/${detail ?? ""}; saving the API key in the inbox's settings once more does it for 360dialog`,
  ),
  together(
    ["Channel::FacebookPage"],
    (url) =>
      `in Meta's app under Messenger, Webhooks, set the callback URL to ${url}/bot, with FB_VERIFY_TOKEN, and add ${url} to the app's domains`,
  ),
  together(
    ["Channel::Instagram"],
    (url) =>
      `in Meta's app under Instagram, Webhooks, set the callback URL to ${url}/webhooks/instagram, with IG_VERIFY_TOKEN, and the redirect to ${url}/instagram/callback`,
  ),
  together(
    ["Channel::Telegram"],
    (url) =>
      `save the bot's token in the inbox's settings once more, which tells Telegram ${url}; or call its setWebhook with ${url}/webhooks/telegram/TOKEN`,
  ),
  each(
    "Channel::Line",
    ({ detail }, url) => `in LINE's developer console, set the webhook URL to ${url}/webhooks/line/${detail ?? ""}`,
  ),
  together(
    ["Channel::TwilioSms"],
    (url) =>
      `in Twilio's console, set "a message comes in" of each number or messaging service to ${url}/twilio/callback`,
  ),
  each(
    "Channel::Voice",
    ({ detail }, url) =>
      `in Twilio's console, set "a call comes in" to ${url}/twilio/voice/call/${(detail ?? "").replace(/^\+/, "")}`,
  ),
  each("Channel::Sms", ({ detail }, url) => `tell the provider the callback ${url}/webhooks/sms/${detail ?? ""}`),
  together(
    ["Channel::Tiktok"],
    (url) =>
      `in TikTok's developer portal, set the webhook to ${url}/webhooks/tiktok and the redirect to ${url}/tiktok/callback`,
  ),
  {
    types: ["Channel::Email"],
    step(rows, url) {
      const signedIn = rows.filter(({ provider }) => provider === "google" || provider === "microsoft");
      const forwarded = rows.filter((row) => !row.isFetched && !signedIn.includes(row));
      return [
        ...(forwarded.length === 0
          ? []
          : [
              `${named(forwarded)}: mail is forwarded to Chatwoot: let the mail server or service that receives it post to ${url}/rails/action_mailbox/…, as RAILS_INBOUND_EMAIL_SERVICE says`,
            ]),
        ...(signedIn.length === 0
          ? []
          : [
              `${named(signedIn)}: in Google's or Microsoft's app, add ${url}/google/callback or ${url}/microsoft/callback to the redirects; whoever signs in again needs it`,
            ]),
      ];
    },
  },
  together(["Channel::Api"], (url) => `the programs that send to these inboxes have to use ${url}`),
  together(["slack"], (url) => `in Slack's app, set the request URL of events to ${url}/api/v1/integrations/webhooks`),
  together(["portal"], () => "let the help centre's own domain lead to this machine"),
];
