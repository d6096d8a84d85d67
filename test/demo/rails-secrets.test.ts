import assert from "node:assert/strict";
import { createDecipheriv } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { inflateSync } from "node:zlib";
import {
  type Digest,
  type EncryptionKeys,
  blobIdSigner,
  deriveEncryptionKeys,
  encryptDeterministic,
  encryptText,
} from "../../src/demo/rails-secrets.ts";

interface Vectors {
  encryption: {
    digest: string;
    primary_key: string;
    deterministic_key: string;
    key_derivation_salt: string;
    plaintext: string;
    nondeterministic: string;
    deterministic: string;
  }[];
  signed_blob_ids: { key_generator_digest: string; secret_key_base: string; blob_id: number; signed_id: string }[];
}

/** Made by the real ActiveRecord. */
const VECTORS = JSON.parse(readFileSync(new URL("../fixtures/rails-vectors.json", import.meta.url), "utf8")) as Vectors;

/** Decrypts by the description of the format, with nothing of the code under test. */
function decrypt(key: Buffer, ciphertext: string): string {
  const { p, h } = JSON.parse(ciphertext) as { p: string; h: { iv: string; at: string; c?: boolean } };
  const decipher = createDecipheriv("aes-256-gcm", key, Buffer.from(h.iv, "base64"));
  decipher.setAuthTag(Buffer.from(h.at, "base64"));
  const plain = Buffer.concat([decipher.update(Buffer.from(p, "base64")), decipher.final()]);
  return (h.c === true ? inflateSync(plain) : plain).toString("utf8");
}

function headerOf(ciphertext: string): Record<string, unknown> {
  const { h } = JSON.parse(ciphertext) as { h: Record<string, unknown> };
  return h;
}

function keysOf(vector: Vectors["encryption"][number]): EncryptionKeys {
  const digest: Digest = vector.digest === "SHA1" ? "sha1" : "sha256";
  const environment = {
    primaryKey: vector.primary_key,
    deterministicKey: vector.deterministic_key,
    salt: vector.key_derivation_salt,
  };
  return deriveEncryptionKeys(environment, digest);
}

test("a text is encrypted as Rails encrypts it, byte for byte", () => {
  assert.notEqual(VECTORS.encryption.length, 0);
  for (const vector of VECTORS.encryption) {
    // Texts this long are deflated, and two builds of zlib need not deflate alike.
    if (vector.plaintext.length > 1000) continue;
    const keys = keysOf(vector);
    const iv = Buffer.from(String(headerOf(vector.nondeterministic)["iv"]), "base64");
    assert.equal(encryptText(keys, vector.plaintext, iv), vector.nondeterministic);
    assert.equal(encryptDeterministic(keys, vector.plaintext), vector.deterministic);
  }
});

test("what Rails encrypted and what the demo encrypts open with the same keys", () => {
  for (const vector of VECTORS.encryption) {
    const keys = keysOf(vector);
    const own = encryptText(keys, vector.plaintext, Buffer.alloc(12, 7));
    for (const ciphertext of [vector.nondeterministic, own]) {
      assert.equal(decrypt(keys.primary, ciphertext), vector.plaintext);
    }
    for (const ciphertext of [vector.deterministic, encryptDeterministic(keys, vector.plaintext)]) {
      assert.equal(decrypt(keys.deterministic, ciphertext), vector.plaintext);
    }
    assert.equal(headerOf(own)["i"], headerOf(vector.nondeterministic)["i"]);
    assert.equal(headerOf(own)["c"], headerOf(vector.nondeterministic)["c"]);
  }
});

test("a blob id is signed as Rails signs it, from 1 to beyond what Marshal calls small", () => {
  assert.notEqual(VECTORS.signed_blob_ids.length, 0);
  for (const vector of VECTORS.signed_blob_ids) {
    const sign = blobIdSigner(vector.secret_key_base, vector.key_generator_digest === "SHA1" ? "sha1" : "sha256");
    assert.equal(sign(vector.blob_id), vector.signed_id);
  }
});
