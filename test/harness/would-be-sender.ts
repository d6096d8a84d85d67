/**
 * A worker's stand-in that tries to reach whoever an installation could reach: every address in its database and its environment,
 * and the providers of every channel that there is, in the ways in which Rails would. Says what it tried.
 *
 * Arguments: the folder of the server's socket, its port, the database, the environment file.
 */
import { readFile } from "node:fs/promises";
import { Resolver } from "node:dns/promises";
import { connect, isIP } from "node:net";
import { Client } from "pg";
import { readEnvFile } from "../../src/chatwoot/environment.ts";

const [host = "", port = "", database = "", envFile = ""] = process.argv.slice(2);
const { values: environment } = readEnvFile(await readFile(envFile, "utf8"));
const PATIENCE_MS = 150;

/** Where a channel's messages are handed over, whatever token it has. */
const PROVIDERS: Readonly<Record<string, string>> = {
  channel_whatsapp: environment.get("WHATSAPP_CLOUD_BASE_URL") ?? "https://graph.facebook.com",
  channel_facebook_pages: "https://graph.facebook.com",
  channel_instagram: "https://graph.instagram.com",
  channel_telegram: "https://api.telegram.org",
  channel_line: "https://api.line.me",
  channel_twilio_sms: "https://api.twilio.com",
  channel_tiktok: "https://business-api.tiktok.com",
};

const client = new Client({ host, port: Number(port), database, user: "postgres" });
await client.connect();
const { rows: columns } = await client.query<{ table: string; column: string }>(
  `select c.relname as table, a.attname as column from pg_class c join pg_attribute a on a.attrelid = c.oid
   where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace and a.attnum > 0 and not a.attisdropped
     and a.atttypid::regtype::text in ('text', 'character varying', 'json', 'jsonb')
     and c.relname ~ '^(channel_|webhooks|integrations_hooks|agent_bots|automation_rules|macros|dashboard_apps|captain_custom_tools|installation_configs|notification_subscriptions|account_saml_settings)'`,
);
const urls = new Set<string>(["https://hub.2.chatwoot.com/ping"]);
const servers = new Map<string, number>();
const tables = new Set<string>();
for (const { table, column } of columns) {
  const { rows } = await client.query<{ value: string | null }>(`select "${column}"::text as value from "${table}"`);
  for (const { value } of rows) {
    tables.add(table);
    for (const [url] of (value ?? "").matchAll(/https?:\/\/[^\s"'\\<>]+/g)) urls.add(url);
    if (column.endsWith("_address") && value !== null && value !== "")
      servers.set(value, column.startsWith("imap") ? 993 : 587);
  }
}
await client.end();
for (const [table, url] of Object.entries(PROVIDERS)) if (tables.has(table)) urls.add(url);
for (const [name, value] of environment) {
  if (/^https?:\/\//.test(value) && !/proxy$/i.test(name) && name !== "FRONTEND_URL") urls.add(value);
}
// Without an address the machine's own sendmail would take it: as good as sent.
servers.set(
  environment.get("SMTP_ADDRESS") || "sendmail.of.this.machine.example",
  Number(environment.get("SMTP_PORT") ?? 587),
);

/** As Ruby's HTTP does: through the proxy, unless the host is excepted. */
function wayTo(url: string): { host: string; port: number } {
  const { hostname, port: own, protocol } = new URL(url);
  const proxy = environment.get(protocol === "https:" ? "https_proxy" : "http_proxy");
  const excepted = (environment.get("no_proxy") ?? "").split(",").some((end) => end !== "" && hostname.endsWith(end));
  if (proxy === undefined || excepted)
    return { host: hostname, port: Number(own || (protocol === "https:" ? 443 : 80)) };
  return { host: new URL(proxy).hostname, port: Number(new URL(proxy).port) };
}

async function addressOf(name: string): Promise<string | undefined> {
  if (isIP(name) !== 0) return name;
  const resolver = new Resolver({ timeout: PATIENCE_MS, tries: 1 });
  resolver.setServers(["192.0.2.53"]);
  return await resolver.resolve4(name).then(
    ([first]) => first,
    // Nobody answers there; that it was asked for has left already, and an address would have been tried as well.
    () => "192.0.2.80",
  );
}

async function tryToReach({ host: name, port: at }: { host: string; port: number }): Promise<void> {
  const address = await addressOf(name);
  if (address === undefined) return;
  await new Promise<void>((resolve) => {
    const socket = connect({ host: address, port: at, timeout: PATIENCE_MS });
    for (const event of ["connect", "error", "timeout"]) socket.once(event, () => (socket.destroy(), resolve()));
  });
}

const ways = [...[...urls].map(wayTo), ...[...servers].map(([name, at]) => ({ host: name, port: at }))];
const different = [...new Map(ways.map((way) => [`${way.host}:${way.port}`, way])).values()];
for (const way of different) await tryToReach(way);
console.log(
  JSON.stringify({
    tried: different.map((way) => `${way.host}:${way.port}`).toSorted(),
    addresses: urls.size + servers.size,
  }),
);
