/** Accounts, the people who answer, and the inboxes that messages come in by. */
import { DAY_MS, HISTORY_ENDS_AT, type SeedRows, times } from "./rows.ts";
import type { Row } from "../database.ts";
import { makePerson } from "./words.ts";

export interface DemoInbox {
  id: number;
  accountId: number;
  isEmail: boolean;
}

export interface DemoTeam {
  accounts: readonly number[];
  users: readonly { id: number; accountId: number }[];
  inboxes: readonly DemoInbox[];
}

const BEGAN_AT = HISTORY_ENDS_AT - 400 * DAY_MS;

interface Channel {
  table: string;
  type: string;
  /** The account that has it: 0 or 1. */
  account: number;
  name: string;
  row: (rows: SeedRows, number: number) => Row;
}

/** One inbox for each kind of channel, and the usual ones in both accounts. */
const CHANNELS: readonly Channel[] = [
  ...[0, 1].map((account) => ({
    table: "channel_web_widgets",
    type: "Channel::WebWidget",
    account,
    name: "Website",
    row: ({ random }: SeedRows) => ({
      website_url: "https://www.acme.example",
      website_token: random.alphanumeric(24),
      hmac_token: random.alphanumeric(24),
      welcome_title: "Hello 👋",
    }),
  })),
  ...[0, 1].map((account) => ({
    table: "channel_email",
    type: "Channel::Email",
    account,
    name: "E-mail",
    row: (rows: SeedRows, number: number) => ({
      email: `help-${number}@acme.example`,
      forward_to_email: `${rows.random.base36(20)}@reply.acme.example`,
      imap_enabled: true,
      imap_address: "imap.acme.example",
      imap_login: `help-${number}`,
      imap_password: rows.hide(rows.random.alphanumeric(18)),
      smtp_password: rows.hide(`smtp-pässwörd ${rows.random.alphanumeric(12)} 日本`),
    }),
  })),
  {
    table: "channel_api",
    type: "Channel::Api",
    account: 0,
    name: "Shop",
    row: (rows) => ({
      identifier: rows.random.alphanumeric(24),
      hmac_token: rows.random.alphanumeric(24),
      webhook_url: "https://shop.acme.example/hook",
      secret: rows.hide(rows.random.alphanumeric(24)),
    }),
  },
  {
    table: "channel_telegram",
    type: "Channel::Telegram",
    account: 0,
    name: "Telegram",
    row: (rows) => ({
      bot_name: "acme_bot",
      bot_token: rows.hideFixed(`1234567890:${rows.random.alphanumeric(35)}`),
    }),
  },
  {
    table: "channel_whatsapp",
    type: "Channel::Whatsapp",
    account: 0,
    name: "WhatsApp",
    row: ({ random }) => ({
      phone_number: "+4915700000001",
      provider: "whatsapp_cloud",
      provider_config: { phone_number_id: String(random.below(2 ** 31)), business_account_id: "1" },
    }),
  },
  {
    table: "channel_facebook_pages",
    type: "Channel::FacebookPage",
    account: 0,
    name: "Facebook",
    row: (rows) => ({
      page_id: String(rows.random.below(2 ** 31)),
      user_access_token: rows.hide(`EAA${rows.random.alphanumeric(180)}`),
      page_access_token: rows.hide(`EAA${rows.random.alphanumeric(180)}`),
    }),
  },
  {
    table: "channel_instagram",
    type: "Channel::Instagram",
    account: 0,
    name: "Instagram",
    row: (rows) => ({
      instagram_id: String(rows.random.below(2 ** 31)),
      access_token: rows.hide(`IG${rows.random.alphanumeric(160)}`),
      expires_at: "2026-08-01T00:00:00",
    }),
  },
  {
    table: "channel_tiktok",
    type: "Channel::Tiktok",
    account: 0,
    name: "TikTok",
    row: (rows) => ({
      business_id: String(rows.random.below(2 ** 31)),
      access_token: rows.hide(rows.random.alphanumeric(60)),
      refresh_token: rows.hide(rows.random.alphanumeric(60)),
      expires_at: "2026-08-01T00:00:00",
      refresh_token_expires_at: "2027-06-01T00:00:00",
    }),
  },
  {
    table: "channel_twitter_profiles",
    type: "Channel::TwitterProfile",
    account: 0,
    name: "Twitter",
    row: (rows) => ({
      profile_id: String(rows.random.below(2 ** 31)),
      twitter_access_token: rows.hide(rows.random.alphanumeric(50)),
      twitter_access_token_secret: rows.hide(rows.random.alphanumeric(45)),
    }),
  },
  {
    table: "channel_line",
    type: "Channel::Line",
    account: 1,
    name: "LINE",
    row: (rows) => ({
      line_channel_id: String(rows.random.below(2 ** 31)),
      line_channel_secret: rows.hide(rows.random.alphanumeric(32)),
      line_channel_token: rows.hide(rows.random.alphanumeric(172)),
    }),
  },
  {
    table: "channel_twilio_sms",
    type: "Channel::TwilioSms",
    account: 1,
    name: "Text messages",
    row: (rows) => ({
      phone_number: "+4915700000002",
      account_sid: `AC${rows.random.base36(32)}`,
      auth_token: rows.hide(rows.random.alphanumeric(32)),
      api_key_secret: rows.hide(rows.random.alphanumeric(32)),
    }),
  },
  {
    table: "channel_sms",
    type: "Channel::Sms",
    account: 1,
    name: "Bandwidth",
    row: () => ({ phone_number: "+4915700000003", provider_config: { account_id: "7", application_id: "x" } }),
  },
];

function addUsers(rows: SeedRows, accounts: readonly number[]): { id: number; accountId: number }[] {
  const { random } = rows;
  return Array.from({ length: 14 }, (_, number) => {
    const accountId = accounts[number % 3 === 2 ? 1 : 0] ?? 1;
    const { name } = makePerson(random, number, "acme.example");
    const email = `agent-${number}@acme.example`;
    const hasSecondFactor = number < 3;
    const codes = JSON.stringify(Array.from({ length: 10 }, () => random.base36(16)));
    const id = rows.addWithId("users", {
      name,
      email,
      uid: email,
      display_name: name.split(" ")[0] ?? name,
      encrypted_password: `$2a$11$${random.alphanumeric(53)}`,
      pubsub_token: random.alphanumeric(24),
      // `json`, not `jsonb`: its spacing and the order of its keys must survive.
      tokens: `{ "${random.alphanumeric(22)}": {"token":"$2a$10$${random.alphanumeric(53)}",  "expiry": 1787000000} }`,
      type: number === 0 ? "SuperAdmin" : null,
      otp_required_for_login: hasSecondFactor,
      otp_secret: hasSecondFactor ? rows.hideFixed(random.alphanumeric(32).toUpperCase()) : null,
      otp_backup_codes: hasSecondFactor ? rows.hide(codes) : null,
      ...times(random, BEGAN_AT),
    });
    rows.addWithId("account_users", {
      account_id: accountId,
      user_id: id,
      role: number < 2 ? 1 : 0,
      ...times(random, BEGAN_AT),
    });
    rows.addWithId("access_tokens", {
      owner_type: "User",
      owner_id: id,
      token: random.alphanumeric(24),
      ...times(random, BEGAN_AT),
    });
    rows.addWithId("user_sessions", {
      user_id: id,
      client_id: random.alphanumeric(22),
      ip_address: `192.0.2.${number}`,
      ...times(random, HISTORY_ENDS_AT - DAY_MS),
    });
    return { id, accountId };
  });
}

function addInboxes(rows: SeedRows, accounts: readonly number[]): DemoInbox[] {
  const { random } = rows;
  return CHANNELS.map(({ table, type, account, name, row }, number) => {
    const accountId = accounts[account] ?? 1;
    const began = times(random, BEGAN_AT + number * DAY_MS);
    const channelId = rows.addWithId(table, { account_id: accountId, ...row(rows, number), ...began });
    const id = rows.addWithId("inboxes", {
      channel_id: channelId,
      channel_type: type,
      account_id: accountId,
      name,
      greeting_enabled: number % 2 === 0,
      auto_assignment_config: { max_assignment_limit: 10 + number },
      ...began,
    });
    for (let day = 0; day < 7; day++) {
      rows.addWithId("working_hours", {
        inbox_id: id,
        account_id: accountId,
        day_of_week: day,
        open_hour: 9,
        open_minutes: 0,
        close_hour: 17,
        close_minutes: 30,
        ...began,
      });
    }
    return { id, accountId, isEmail: type === "Channel::Email" };
  });
}

/** Two accounts with everything that one sets up before the first message arrives. */
export function addTeam(rows: SeedRows): DemoTeam {
  const { random } = rows;
  const accounts = ["Acme", "Acme – B2B"].map((name, number) =>
    rows.addWithId("accounts", {
      name,
      // The highest bit that a flag has in a signed column; more than a JavaScript number holds.
      feature_flags: number === 0 ? "4611686018427387905" : "1023",
      limits: { agents: 25 },
      settings: { auto_resolve_after: 40_320 },
      ...times(random, BEGAN_AT),
    }),
  );
  const users = addUsers(rows, accounts);
  const inboxes = addInboxes(rows, accounts);
  for (const [number, inbox] of inboxes.entries()) {
    const members = users.filter((user) => user.accountId === inbox.accountId).slice(0, 2 + (number % 4));
    for (const user of members) {
      rows.addWithId("inbox_members", { user_id: user.id, inbox_id: inbox.id, ...times(random, BEGAN_AT) });
    }
  }
  for (const accountId of accounts) {
    rows.addWithId("webhooks", {
      account_id: accountId,
      url: `https://crm.acme.example/hook/${accountId}`,
      secret: rows.hide(random.alphanumeric(32)),
      ...times(random, BEGAN_AT),
    });
    rows.addWithId("agent_bots", {
      name: "Sorter",
      account_id: accountId,
      outgoing_url: "https://bot.acme.example",
      secret: rows.hide(random.alphanumeric(32)),
      ...times(random, BEGAN_AT),
    });
    rows.addWithId("integrations_hooks", {
      account_id: accountId,
      app_id: "slack",
      access_token: rows.hideFixed(`xoxb-${random.alphanumeric(48)}`),
      settings: { channel_name: "support" },
      ...times(random, BEGAN_AT),
    });
    rows.addWithId("campaigns", {
      account_id: accountId,
      inbox_id: inboxes[0]?.id ?? 1,
      title: "Summer",
      message: "Free delivery until the end of June",
      display_id: 1,
      ...times(random, BEGAN_AT),
    });
  }
  return { accounts, users, inboxes };
}
