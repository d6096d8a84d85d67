/** What a clone's environment keeps, renews and lacks. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  cloneEnvironment,
  formatCloneEnvironment,
  REDIS_TO_SET,
  RENEWED_SECRETS,
  sharedWith,
} from "../../src/chatwoot/clone-environment.ts";
import { readEnvFile } from "../../src/chatwoot/environment.ts";
import { SECRET_NAMES } from "../../src/chatwoot/secrets.ts";

/** Every secret that is known, and what reaches somebody without being one; each with a value of its own. */
const SAVED = new Map([
  ...[...SECRET_NAMES].map((name) => [name, `saved-${name}`] as const),
  ["FRONTEND_URL", "https://support.acme.example"],
  ["HELPCENTER_URL", "https://help.acme.example"],
  ["SMTP_ADDRESS", "saved-smtp.acme.example"],
  ["SMTP_USERNAME", "saved-user"],
  ["MAILER_SENDER_EMAIL", "saved@acme.example"],
  ["MAILER_INBOUND_EMAIL_DOMAIN", "saved.acme.example"],
  ["REDIS_URL", "redis://:saved@redis.acme.example:6379"],
  ["REDIS_SENTINELS", "saved-sentinel:26379"],
  ["POSTGRES_HOST", "saved-db.acme.example"],
  ["DATABASE_URL", "postgres://saved:saved@saved-db/chatwoot"],
  ["S3_BUCKET_NAME", "saved-bucket"],
  ["ACTIVE_STORAGE_SERVICE", "amazon"],
  ["GOOGLE_OAUTH_CLIENT_ID", "saved-client"],
  ["WHATSAPP_CLOUD_BASE_URL", "https://saved.example"],
  ["SOMETHING_OF_A_FORK", "https://saved.example"],
  ["RAILS_ENV", "production"],
  ["RAILS_MAX_THREADS", "7"],
  ["DEFAULT_LOCALE", "pt_BR"],
  ["ENABLE_INBOX_EVENTS", "true"],
]);
const OPTIONS = {
  frontendUrl: "https://staging.acme.example",
  database: {
    host: "staging-db.example",
    port: 5433,
    user: "clone",
    password: `it's "a" $word`,
    database: "chatwoot_clone",
  },
  secret: (length: number) => "x".repeat(length),
};

test("nothing of what is copied is in a clone's environment but how the application behaves", () => {
  const made = cloneEnvironment(SAVED, OPTIONS);
  const { environment, removed } = made;
  assert.deepEqual(
    [...environment].filter(([, value]) => value.includes("saved") || value.includes("support.acme")),
    [],
  );
  assert.equal(environment.get("RAILS_MAX_THREADS"), "7");
  assert.equal(environment.get("DEFAULT_LOCALE"), "pt_BR");
  assert.equal(environment.get("ENABLE_INBOX_EVENTS"), "true");
  assert.equal(environment.get("FRONTEND_URL"), "https://staging.acme.example");
  assert.equal(environment.get("ACTIVE_STORAGE_SERVICE"), "local");
  assert.equal(environment.get("REDIS_URL"), REDIS_TO_SET);
  for (const name of RENEWED_SECRETS) assert.match(environment.get(name) ?? "", /^x{32,63}$/);
  // Rails hands mail to sendmail when there is no address.
  assert.equal(environment.get("SMTP_ADDRESS"), "127.0.0.1");
  assert.equal(environment.get("no_proxy"), "localhost,127.0.0.1,::1,staging-db.example");
  assert.ok(
    removed.includes("SOMETHING_OF_A_FORK") && removed.includes("DATABASE_URL") && !removed.includes("FRONTEND_URL"),
  );
  assert.deepEqual(readEnvFile(formatCloneEnvironment(made)).values, environment);
});

test("an address, a Redis, a bucket or a key in common with what is copied is refused", () => {
  const free = new Map([
    ["FRONTEND_URL", "https://staging.acme.example"],
    ["REDIS_URL", "redis://redis.acme.example:6379/3"],
    ["SECRET_KEY_BASE", "own"],
  ]);
  assert.deepEqual(sharedWith(SAVED, free, OPTIONS.frontendUrl), []);
  const told = (changes: Record<string, string>, url = OPTIONS.frontendUrl) =>
    sharedWith(SAVED, new Map([...free, ...Object.entries(changes)]), url).join();
  assert.match(told({}, "https://SUPPORT.acme.example/"), /the address/);
  assert.match(told({ FRONTEND_URL: "https://support.acme.example" }), /that very one/);
  assert.match(
    told({ REDIS_URL: "redis://redis.acme.example:6379", REDIS_SENTINELS: "saved-sentinel:26379" }),
    /Redis is the one/,
  );
  const alone = new Map([["REDIS_URL", "redis://redis.acme.example:6379"]]);
  assert.match(sharedWith(alone, alone, OPTIONS.frontendUrl).join(), /Redis is the one/);
  assert.match(told({ SECRET_KEY_BASE: "saved-SECRET_KEY_BASE" }), /SECRET_KEY_BASE is the one/);
  const primary = "ACTIVE_RECORD_ENCRYPTION_PRIMARY_KEY";
  assert.match(told({ [primary]: `saved-${primary}` }), /ACTIVE_RECORD_ENCRYPTION_PRIMARY_KEY is the one/);
  assert.match(told({ S3_BUCKET_NAME: "saved-bucket" }), /the bucket of what is copied \(saved-bucket\)/);
});
