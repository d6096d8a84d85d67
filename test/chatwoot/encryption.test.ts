import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import {
  type CiphertextSample,
  ciphertextColumns,
  decrypt,
  deriveKeys,
  ENCRYPTED_COLUMNS,
  type EncryptionKeys,
  keyIdOf,
  keyProofFindings,
  proveKeys,
  readCiphertext,
  readCiphertextRows,
} from "../../src/chatwoot/encryption.ts";
import { encryptionVectors, environmentOf } from "./vectors.ts";

function allKeys(keys: EncryptionKeys | undefined): Buffer[] {
  return keys === undefined
    ? []
    : [keys.primary.sha1, keys.primary.sha256, keys.deterministic.sha1, keys.deterministic.sha256];
}

const derived = new Map<string, Promise<EncryptionKeys | undefined>>();
function keysOf(vector: (typeof encryptionVectors)[number]): Promise<EncryptionKeys | undefined> {
  const found = derived.get(vector.primary_key) ?? deriveKeys(environmentOf(vector));
  derived.set(vector.primary_key, found);
  return found;
}

test("every ciphertext that ActiveRecord made opens with its key and with no other", async () => {
  const sets = await Promise.all(encryptionVectors.map(keysOf));
  const every = [...new Map(sets.flatMap(allKeys).map((key) => [key.toString("hex"), key])).values()];
  for (const vector of encryptionVectors) {
    const keys = await keysOf(vector);
    const digest = vector.digest === "SHA1" ? "sha1" : "sha256";
    for (const [text, own] of [
      [vector.nondeterministic, keys?.primary[digest]],
      [vector.deterministic, keys?.deterministic[digest]],
    ] as const) {
      const ciphertext = readCiphertext(text);
      assert.ok(ciphertext !== undefined && own !== undefined);
      assert.equal(ciphertext.keyId, keyIdOf(own));
      assert.equal(decrypt(ciphertext, own)?.toString("utf8"), vector.plaintext);
      for (const other of every) if (!other.equals(own)) assert.equal(decrypt(ciphertext, other), undefined);
    }
  }
});

test("a ciphertext in which any bit was flipped does not open", async () => {
  const [vector] = encryptionVectors;
  assert.ok(vector !== undefined);
  const key = (await keysOf(vector))?.primary.sha1;
  const whole = readCiphertext(vector.nondeterministic);
  assert.ok(key !== undefined && whole !== undefined);
  for (const part of ["payload", "iv", "tag"] as const) {
    for (let bit = 0; bit < whole[part].length * 8; bit += 1) {
      const bytes: Buffer = Buffer.from(whole[part]);
      bytes.writeUInt8(bytes.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      assert.equal(decrypt({ ...whole, [part]: bytes }, key), undefined, `${part} ${bit}`);
    }
  }
});

test("plain texts are never taken for ciphertexts, whatever they look like", () => {
  for (const text of [
    "",
    "hunter2",
    "{",
    "{}",
    "null",
    '{"json":"inside"}',
    '{"p":"YQ==","h":{}}',
    '{"p":"YQ==","h":{"iv":"YQ==","at":"YQ=="}}',
    '{"p":1,"h":{"iv":[],"at":null}}',
    '{"p":"not base64!","h":{"iv":"E7I2AHI3c8AHjVV7","at":"goR338DbmlNfE7odQ6+cMA=="}}',
  ]) {
    assert.equal(readCiphertext(text), undefined, text);
  }
  fc.assert(fc.property(fc.oneof(fc.string(), fc.json()), (text) => readCiphertext(text) === undefined));
});

function sampleOf(text: string, table = "channel_email", column = "imap_password", count = 3): CiphertextSample {
  return { table, column, keyId: readCiphertext(text)?.keyId, count, sample: text };
}

test("keys are proven where they open everything, and there is nothing to prove without ciphertexts", async () => {
  const [vector] = encryptionVectors;
  assert.ok(vector !== undefined);
  const samples = [sampleOf(vector.nondeterministic), sampleOf(vector.deterministic, "users", "otp_secret", 1)];
  const proof = await proveKeys(environmentOf(vector), samples);
  assert.equal(proof.ok, true);
  assert.deepEqual(
    proof.checks.map((check) => check.status),
    ["opens", "opens"],
  );
  assert.deepEqual(keyProofFindings(proof), []);
  assert.deepEqual(await proveKeys(new Map(), []), { ok: null, checks: [] });
});

test("both digests of Rails are tried", async () => {
  for (const digest of ["SHA1", "SHA256"]) {
    const vector = encryptionVectors.find((candidate) => candidate.digest === digest);
    assert.ok(vector !== undefined);
    assert.equal((await proveKeys(environmentOf(vector), [sampleOf(vector.deterministic)])).ok, true);
  }
});

test("wrong, mixed, altered and missing keys are told apart", async () => {
  const vectorsByKey = [...new Map(encryptionVectors.map((vector) => [vector.primary_key, vector])).values()];
  const [ours, foreign] = vectorsByKey;
  assert.ok(ours !== undefined && foreign !== undefined);
  const mixed = [sampleOf(ours.nondeterministic), sampleOf(foreign.nondeterministic, "channel_api", "secret", 2)];
  const proof = await proveKeys(environmentOf(ours), mixed);
  assert.equal(proof.ok, false);
  assert.deepEqual(
    proof.checks.map((check) => check.status),
    ["opens", "unknown-key"],
  );
  const [finding] = keyProofFindings(proof);
  assert.equal(finding?.kind, "encryption-keys-unknown");
  assert.equal(finding?.level, "alarm");
  assert.match(finding?.message ?? "", /^2 encrypted values in channel_api\.secret /);

  const altered = { ...sampleOf(ours.nondeterministic), sample: ours.nondeterministic.replace(/"p":"./, '"p":"+') };
  assert.equal((await proveKeys(environmentOf(ours), [altered])).checks[0]?.status, "wrong-key");

  const salted = new Map([...environmentOf(ours), ["ACTIVE_RECORD_ENCRYPTION_KEY_DERIVATION_SALT", "another"]]);
  assert.equal((await proveKeys(salted, [sampleOf(ours.nondeterministic)])).checks[0]?.status, "unknown-key");

  for (const name of environmentOf(ours).keys()) {
    const without: Map<string, string> = new Map([...environmentOf(ours), [name, ""]]);
    assert.equal((await proveKeys(without, [sampleOf(ours.nondeterministic)])).checks[0]?.status, "no-keys");
  }
});

test("a ciphertext that names no key opens with whichever fits", async () => {
  const [vector] = encryptionVectors;
  assert.ok(vector !== undefined);
  const text = vector.nondeterministic.replace(/,"i":"[^"]*"/, "");
  assert.equal((await proveKeys(environmentOf(vector), [sampleOf(text)])).ok, true);
});

test("no finding and no check holds a key or a secret", async () => {
  const [ours, , , , , , foreign] = encryptionVectors;
  assert.ok(ours !== undefined && foreign !== undefined);
  const proof = await proveKeys(environmentOf(ours), [sampleOf(ours.deterministic), sampleOf(foreign.deterministic)]);
  const told = JSON.stringify([proof, keyProofFindings(proof)]);
  for (const secret of [...environmentOf(ours).values(), ours.plaintext]) assert.equal(told.includes(secret), false);
});

const text = (name: string) => ({ name, type: "text" });

test("columns are looked at in every table that holds secrets, and text columns only", () => {
  const found = ciphertextColumns([
    { name: "messages", columns: [text("content")] },
    {
      name: "webhooks",
      columns: [text("secret"), { name: "id", type: "bigint" }, { name: "url", type: "character varying(255)" }],
    },
    {
      name: "channel_of_a_fork",
      columns: [text("token"), { name: "tags", type: "text[]" }, { name: "config", type: "jsonb" }],
    },
    { name: "channel_empty", columns: [{ name: "id", type: "integer" }] },
  ]);
  assert.deepEqual(found, [
    { table: "webhooks", columns: ["secret", "url"] },
    { table: "channel_of_a_fork", columns: ["token"] },
  ]);
  assert.equal(
    new Set(ENCRYPTED_COLUMNS.map((column) => `${column.table}.${column.column}`)).size,
    ENCRYPTED_COLUMNS.length,
  );
});

test("rows of the query become samples", () => {
  const rows = [
    { column: "secret", key_id: "ZjNjYg==", count: "12", sample: "x" },
    { column: "secret", key_id: null, count: "1", sample: "y" },
  ];
  assert.deepEqual(readCiphertextRows("webhooks", rows), [
    { table: "webhooks", column: "secret", keyId: "f3cb", count: 12, sample: "x" },
    { table: "webhooks", column: "secret", keyId: undefined, count: 1, sample: "y" },
  ]);
});
