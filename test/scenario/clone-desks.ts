/** Production, of which there is a point, and a staging installation on servers of its own whose place a clone of it takes. */
import assert from "node:assert/strict";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { SECRET_NAMES } from "../../src/chatwoot/secrets.ts";
import type { DemoSize } from "../../src/demo/seed/seed.ts";
import { runCounted } from "../harness/namespace.ts";
import { dumpLines } from "../harness/pg-dump-diff.ts";
import type { TestServer } from "../harness/postgres.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { type Desk, openDesk } from "./desk.ts";
import { openWholeDesk, type WholeDesk } from "./whole-desk.ts";

export const STAGING = "https://chat.acme-staging.example";

/** What staging has of its own for those whom Chatwoot speaks to, besides what every installation has. */
export const OWN_CREDENTIALS: Readonly<Record<string, string>> = {
  SENTRY_DSN: "https://0123456789abcdef@errors.acme-staging.example/2",
  SLACK_CLIENT_SECRET: "staging-slack-secret",
  OPENAI_API_KEY: "sk-staging-0123456789",
  OPENAI_API_ENDPOINT: "https://llm.acme-staging.example/v1",
};

export interface CloneDesks extends AsyncDisposable {
  readonly production: Desk;
  readonly staging: WholeDesk;
  /** Arguments of a command at staging that read production's repository. */
  readonly from: readonly string[];
  /** Calls the command line at staging with production's repository, which must end with status 0; returns the summary. */
  summary(args: readonly string[]): Promise<Record<string, unknown>>;
  readonly env: Readonly<Record<string, string>>;
}

export async function openCloneDesks(size: Partial<DemoSize>): Promise<CloneDesks> {
  const production = await openDesk({ size });
  await makeCheapToOpen(production);
  await production.summary(["backup"]);
  const staging = await openWholeDesk({ messages: 40, conversations: 8, files: 3 }, { seed: 7, isCheckout: false });
  const { envFile } = staging.desk.installation;
  const text = await readFile(envFile, "utf8");
  const own = text.replaceAll("acme.example", "acme-staging.example");
  const credentials = Object.entries(OWN_CREDENTIALS).map(([name, value]) => `${name}=${value}\n`);
  await writeFile(envFile, own.replace(/^FRONTEND_URL=.*$/m, `FRONTEND_URL=${STAGING}`) + credentials.join(""));
  const from = ["--repository", production.repository];
  const env = { CHATKEEP_PASSWORD_FILE: production.passwordFile };
  return {
    production,
    staging,
    from,
    env,
    summary: async (args) => await staging.desk.summary([...from, ...args], 0, { env }),
    async [Symbol.asyncDispose]() {
      await staging[Symbol.asyncDispose]();
      await production[Symbol.asyncDispose]();
    },
  };
}

/** Everything by which production is reached or opened, as its database, its environment and its channels have it. */
async function secretsOf({ installation, server }: Desk): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  const { environment } = installation;
  for (const [name, value] of environment) if (SECRET_NAMES.has(name) && value.length >= 8) found.set(name, value);
  for (const name of ["FRONTEND_URL", "SMTP_ADDRESS", "MAILER_INBOUND_EMAIL_DOMAIN"])
    found.set(name, (environment.get(name) ?? name).replace(/^https:\/\//, ""));
  for (const [at, secret] of installation.secrets.entries()) found.set(`a channel's credential ${at}`, secret);
  const tokens = await server.query(
    `select 'access_tokens' as name, token as value from access_tokens union all select 'users.pubsub_token', pubsub_token from users
     union all select 'webhooks.url', url from webhooks union all select 'contact_inboxes.pubsub_token', pubsub_token from contact_inboxes
     union all select 'website_token', website_token from channel_web_widgets union all select 'hmac_token', hmac_token from channel_web_widgets`,
    installation.database.database,
  );
  for (const { name, value } of tokens) if (typeof value === "string") found.set(`${String(name)} ${value}`, value);
  return found;
}

/** Reads the clone's database and every file of its environment, its configuration and its restores. */
export async function assertNothingOf({ production, staging }: CloneDesks): Promise<void> {
  const { desk } = staging;
  const secrets = await secretsOf(production);
  assert.ok(secrets.size > 40, String(secrets.size));
  const own = join(desk.root, "chatkeep");
  const entries = await readdir(own, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
  assert.ok(
    files.some((path) => path.endsWith("journal.json")),
    "the restore's own folder is looked through",
  );
  const places = new Map([
    ["database", (await dumpLines(desk.installation.database)).join("\n")],
    [".env", await readFile(desk.installation.envFile, "utf8")],
  ]);
  for (const path of files) places.set(path, await readFile(path, "utf8"));
  for (const [place, text] of places) {
    for (const [name, secret] of secrets) {
      const at = text.indexOf(secret);
      assert.equal(at, -1, `${name} of production is in ${place}: ${text.slice(Math.max(0, at - 60), at + 80)}`);
    }
  }
}

export interface Leaving {
  /** Host and port of each way that was tried. */
  tried: string[];
  /** Addresses that were found. */
  addresses: number;
  /** That left the network which the sender was in. */
  packets: number;
}

/** What leaves when whoever a database and its environment name is spoken to. */
export async function whatLeaves(server: TestServer, database: string, envFile: string): Promise<Leaving> {
  const script = join(import.meta.dirname, "../harness/would-be-sender.ts");
  const args = [script, server.socketFolder, String(server.address.port), database, envFile];
  const { status, stdout, stderr } = await runCounted(process.execPath, args);
  assert.equal(status, 0, stderr);
  const [said = "", packets = ""] = stdout.trim().split("\n");
  return { ...(JSON.parse(said) as Omit<Leaving, "packets">), packets: Number(packets) };
}

/**
 * Every name, address, telephone number and text by which somebody of production would be recognised, as its own dump has
 * them, byte by byte as `dumpLines` has it, in small letters.
 */
export async function originalsOf({ installation: { database }, server }: Desk): Promise<string[]> {
  const rows = await server.query(
    `select 'name' as kind, name as value from contacts where name like '% %' union select 'name', name from users where name like '% %'
     union select 'mail', email from contacts union select 'mail', email from users union select 'identifier', identifier from contacts
     union select 'telephone', phone_number from contacts union select 'telephone', phone_number from channel_whatsapp
     union select 'text', content from messages where length(content) > 60`,
    database.database,
  );
  const found = new Map<string, Set<string>>();
  for (const { kind, value } of rows) {
    if (typeof value !== "string" || value === "") continue;
    const told = { telephone: value.replace(/^\+/, ""), text: longestPart(value) }[String(kind)] ?? value;
    found.set(
      String(kind),
      (found.get(String(kind)) ?? new Set()).add(Buffer.from(told).toString("latin1").toLowerCase()),
    );
  }
  for (const kind of ["name", "mail", "telephone", "text"]) assert.ok((found.get(kind)?.size ?? 0) > 1, kind);
  const originals = [...found.values()].flatMap((values) => [...values]);
  const dump = (await dumpLines(database)).join("\n").toLowerCase();
  for (const original of originals) assert.ok(dump.includes(original), `production's own dump has no '${original}'`);
  return originals;
}

/** What a dump writes as it is: neither an end of a line nor a backslash is in it. */
function longestPart(text: string): string {
  const [longest = ""] = text.split(/[\n\r\t\\]/).toSorted((a, b) => b.length - a.length);
  return longest.slice(0, 40);
}
