/** Which of Chatwoot's variables are secret, how to tell later whether they are the same, and how to keep them out of texts. */
import { createHmac } from "node:crypto";
import type { Environment } from "./environment.ts";

/** Every variable of upstream that holds a secret, or a URL that may hold one. */
export const SECRET_NAMES: ReadonlySet<string> = new Set(
  `SECRET_KEY_BASE
   ACTIVE_RECORD_ENCRYPTION_PRIMARY_KEY ACTIVE_RECORD_ENCRYPTION_DETERMINISTIC_KEY ACTIVE_RECORD_ENCRYPTION_KEY_DERIVATION_SALT
   DATABASE_URL POSTGRES_PASSWORD REDIS_URL REDIS_PASSWORD REDIS_SENTINEL_PASSWORD SMTP_PASSWORD
   RAILS_INBOUND_EMAIL_PASSWORD MAILGUN_INGRESS_SIGNING_KEY MANDRILL_INGRESS_API_KEY ACTION_MAILBOX_SES_SNS_TOPIC
   AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN STORAGE_ACCESS_KEY_ID STORAGE_SECRET_ACCESS_KEY GCS_CREDENTIALS AZURE_STORAGE_ACCESS_KEY
   FB_APP_SECRET FB_VERIFY_TOKEN IG_VERIFY_TOKEN INSTAGRAM_APP_SECRET INSTAGRAM_VERIFY_TOKEN WHATSAPP_APP_SECRET TIKTOK_APP_SECRET
   TWITTER_CONSUMER_KEY TWITTER_CONSUMER_SECRET SLACK_CLIENT_SECRET GOOGLE_OAUTH_CLIENT_SECRET AZURE_APP_SECRET
   LINEAR_CLIENT_SECRET NOTION_CLIENT_SECRET SHOPIFY_CLIENT_SECRET HCAPTCHA_SERVER_KEY
   STRIPE_SECRET_KEY STRIPE_WEBHOOK_SECRET VAPID_PRIVATE_KEY FCM_SERVER_KEY FIREBASE_CREDENTIALS OPENAI_API_KEY IP_LOOKUP_API_KEY
   SENTRY_DSN NEW_RELIC_LICENSE_KEY ELASTIC_APM_SECRET_TOKEN SCOUT_KEY DD_API_KEY OPENSEARCH_URL OPENSEARCH_AWS_ACCESS_KEY_ID OPENSEARCH_AWS_SECRET_ACCESS_KEY
   CAPTAIN_OPEN_AI_API_KEY CAPTAIN_FIRECRAWL_API_KEY CLOUDFLARE_API_KEY`
    .split(/\s+/)
    .filter((name) => name !== ""),
);

const SECRET_ENDING =
  /(?:^|_)(?:PASS(?:WORD|PHRASE|WD)?|SECRETS?|TOKENS?|CREDENTIALS?|DSN|(?:API|ACCESS|PRIVATE|SIGNING|SECRET|LICENSE|SERVER|MASTER|ENCRYPTION)_KEY|SECRET_KEY_BASE)(?:_ID)?$/;

/** True for a known secret's name, and for any name that sounds like one (forks and operators add their own). */
export function isSecretName(name: string): boolean {
  const upper = name.toUpperCase();
  return SECRET_NAMES.has(upper) || SECRET_ENDING.test(upper);
}

/** The passwords inside of URLs, decoded and as written. */
function urlPasswords(value: string): string[] {
  return [...value.matchAll(/[a-z][a-z0-9+.-]*:\/\/[^\s/@:]*:([^\s/]*)@/gi)].flatMap(([, password = ""]) => {
    try {
      return [password, decodeURIComponent(password)];
    } catch {
      return [password];
    }
  });
}

/** A private key inside of JSON credentials, as one value and line by line. */
function parts(value: string): string[] {
  const lines = value.split(/\\n|[\r\n]+/).filter((line) => line.length >= 16 && line !== value);
  return [...lines, ...urlPasswords(value)];
}

/** Every value of the environment that must never be printed, for {@link createRedactor}. */
export function secretValuesOf(env: Environment): string[] {
  const values = [...env].flatMap(([name, value]) =>
    isSecretName(name) ? [value, ...parts(value)] : urlPasswords(value),
  );
  return [...new Set(values)].filter((value) => value !== "");
}

/**
 * HMAC-SHA-256 (hex) of each secret that is set, by name: tells whether two environments agree, and never what on.
 *
 * @param key Kept inside the encrypted repository: whoever has it could try weak passwords.
 */
export function fingerprintSecrets(env: Environment, key: Uint8Array): { name: string; hmac: string }[] {
  return [...env]
    .filter(([name, value]) => value !== "" && isSecretName(name))
    .map(([name, value]) => ({ name, hmac: createHmac("sha256", key).update(`${name}\0${value}`).digest("hex") }))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
}
