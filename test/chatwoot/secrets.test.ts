import { createRedactor } from "../../src/base/redact.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { fingerprintSecrets, isSecretName, SECRET_NAMES, secretValuesOf } from "../../src/chatwoot/secrets.ts";

const env = (values: Record<string, string>) => new Map(Object.entries(values));

test("secrets are known by name, and so are those of forks", () => {
  for (const name of SECRET_NAMES) assert.ok(isSecretName(name), name);
  for (const name of [
    "BAILEYS_PROVIDER_DEFAULT_API_KEY",
    "MY_PASSWORD",
    "X_TOKEN",
    "SOME_CLIENT_SECRET",
    "smtp_password",
  ]) {
    assert.ok(isSecretName(name), name);
  }
  for (const name of [
    "RAILS_ENV",
    "FRONTEND_URL",
    "AWS_REGION",
    "S3_BUCKET_NAME",
    "POSTGRES_HOST",
    "KEYBOARD",
    "TOKENIZER",
  ]) {
    assert.equal(isSecretName(name), false, name);
  }
});

test("passwords inside of URLs are secrets, whatever the variable is called", () => {
  const values = secretValuesOf(
    env({
      MY_CACHE: "redis://:pa%2Fss-word@cache:6379/1",
      FRONTEND_URL: "https://chat.example",
      POSTGRES_PASSWORD: "s3cr3t!",
    }),
  );
  assert.deepEqual(values.toSorted(), ["pa%2Fss-word", "pa/ss-word", "s3cr3t!"]);
});

test("lines of a private key are secrets of their own", () => {
  const values = secretValuesOf(
    env({ GCS_CREDENTIALS: '{"private_key":"-----BEGIN KEY-----\\nMIIEvQIBADANBgkqhkiG9w0\\n-----END-----"}' }),
  );
  assert.ok(values.includes("MIIEvQIBADANBgkqhkiG9w0"));
});

const secrets = fc.array(fc.string({ minLength: 6, maxLength: 40 }), { minLength: 1, maxLength: 4 });
const encoders: ((text: string) => string)[] = [
  (text) => text,
  (text) => encodeURIComponent(text.toWellFormed()),
  (text) => JSON.stringify(text),
  (text) => Buffer.from(text).toString("base64"),
  (text) => Buffer.from(text).toString("base64url"),
];

test("no secret is left in a text, in any of its forms", () => {
  fc.assert(
    fc.property(
      secrets,
      fc.array(fc.string(), { minLength: 1 }),
      fc.constantFrom(...encoders),
      (values, noise, encode) => {
        const redact = createRedactor(values);
        const text = noise.flatMap((part, at) => [part, encode(values[at % values.length] ?? "")]).join("");
        const redacted = redact(text);
        for (const value of values) assert.equal(redacted.includes(value), false);
        for (const value of values)
          if (text.includes(encode(value))) assert.equal(redacted.includes(encode(value)), false);
      },
    ),
  );
});

test("a secret inside of longer base64 is found at each of its three places", () => {
  const redact = createRedactor(["a-long-enough-secret-value"]);
  for (const before of ["", "u", "us", "use"]) {
    const encoded = Buffer.from(`${before}a-long-enough-secret-value tail`).toString("base64");
    assert.notEqual(redact(`Authorization: Basic ${encoded}`), `Authorization: Basic ${encoded}`, before);
  }
});

test("texts without secrets stay as they are, and so do short values and common words", () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom("a", "b", " ", "\n", "1") }), (text) => {
      assert.equal(createRedactor(["ZZZZZZZZ"])(text), text);
    }),
  );
  const line = "the database chatwoot_production of chatwoot has 12345 rows";
  assert.equal(createRedactor(["12345", "chatwoot", "Postgres", ""])(line), line);
  assert.equal(createRedactor([])(line), line);
});

test("the longer of two secrets is hidden whole", () => {
  assert.equal(createRedactor(["secret-a", "secret-a-and-b"])("x secret-a-and-b y"), "x ••• y");
});

test("fingerprints tell whether secrets agree, and hold none of them", () => {
  const key = Buffer.alloc(32, 7);
  const first = fingerprintSecrets(
    env({ SECRET_KEY_BASE: "abcdefgh", RAILS_ENV: "production", SMTP_PASSWORD: "" }),
    key,
  );
  assert.deepEqual(
    first.map((secret) => secret.name),
    ["SECRET_KEY_BASE"],
  );
  assert.match(first[0]?.hmac ?? "", /^[0-9a-f]{64}$/);
  assert.deepEqual(fingerprintSecrets(env({ SECRET_KEY_BASE: "abcdefgh" }), key), first);
  assert.notDeepEqual(fingerprintSecrets(env({ SECRET_KEY_BASE: "abcdefgi" }), key), first);
  assert.notDeepEqual(fingerprintSecrets(env({ SECRET_KEY_BASE: "abcdefgh" }), Buffer.alloc(32, 8)), first);
});
