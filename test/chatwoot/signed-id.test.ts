import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import {
  findSignedBlobIds,
  proveSecretKeyBase,
  signBlobId,
  signedIdQueries,
  verifySignedBlobId,
} from "../../src/chatwoot/signed-id.ts";
import { signedVectors } from "./vectors.ts";

test("every signed id that ActiveStorage made verifies with its secret and with no other", () => {
  const secrets = new Set(signedVectors.map((vector) => vector.secret_key_base));
  assert.ok(signedVectors.length > 0 && secrets.size > 1);
  for (const vector of signedVectors) {
    for (const secret of secrets) {
      assert.equal(verifySignedBlobId(vector.signed_id, secret), secret === vector.secret_key_base);
    }
    assert.deepEqual(findSignedBlobIds(vector.signed_id), [
      { blobId: BigInt(vector.blob_id), token: vector.signed_id },
    ]);
  }
});

test("we sign as ActiveStorage signs", () => {
  for (const { blob_id, secret_key_base, key_generator_digest, signed_id } of signedVectors) {
    const digest = key_generator_digest === "SHA1" ? "sha1" : "sha256";
    assert.equal(signBlobId(blob_id, secret_key_base, digest), signed_id);
  }
});

const URL_PATHS = [
  (token: string) => `![x](https://chat.example/rails/active_storage/blobs/redirect/${token}/a.png)`,
  (token: string) =>
    `<img src=\\"https://c.example/rails/active_storage/representations/redirect/${token}/eyJfcmFpbHMi--00/x.jpg\\">`,
  (token: string) => `/rails/active_storage/blobs/redirect/${token.replaceAll("=", "%3D")}/a%20b.pdf`,
  (token: string) => `{"url":"${token}"}`,
];

test("ids are found in Markdown, HTML, JSON and encoded URLs, in any number", () => {
  const ids = fc.oneof(
    fc.integer({ min: 0, max: 300 }),
    fc.integer({ min: 0, max: 2 ** 31 - 1 }),
    fc.integer({ min: 0, max: 2 ** 45 }),
  );
  fc.assert(
    fc.property(
      fc.uniqueArray(ids, { maxLength: 5 }),
      fc.constantFrom(...URL_PATHS),
      fc.string(),
      (blobIds, wrap, noise) => {
        const tokens = blobIds.map((id) => signBlobId(id, "secret"));
        const text = tokens.map((token) => `${noise} ${wrap(token)}\n`).join("");
        const expected = blobIds.map((id, at) => ({ blobId: BigInt(id), token: tokens[at] }));
        assert.deepEqual(findSignedBlobIds(text), expected);
      },
    ),
    { numRuns: 40 },
  );
});

test("a token in which one character differs does not verify", () => {
  const [vector] = signedVectors;
  assert.ok(vector !== undefined);
  const { signed_id: token, secret_key_base: secret } = vector;
  for (let at = 0; at < token.length; at += 7) {
    const other = token[at] === "A" || token[at] === "0" ? "1" : "0";
    const changed = `${token.slice(0, at)}${other}${token.slice(at + 1)}`;
    if (changed !== token) assert.equal(verifySignedBlobId(changed, secret), false, changed);
  }
  for (const broken of ["", "--", "a--b", token.slice(0, -1), `${token}00`, token.replace("--", "")]) {
    assert.equal(verifySignedBlobId(broken, secret), false);
  }
});

const forged = (value: unknown) => `${Buffer.from(JSON.stringify(value)).toString("base64")}--${"0".repeat(40)}`;

test("ids of other purposes, and what only looks like one, are passed over", () => {
  for (const value of [
    { _rails: { message: "BAhpBg==", exp: null, pur: "variation" } },
    { _rails: { message: "BAhJIgZhBjoGRVQ=", exp: null, pur: "blob_id" } },
    { _rails: { message: 5, exp: null, pur: "blob_id" } },
    { _rails: "and more than twenty characters" },
  ]) {
    assert.deepEqual(findSignedBlobIds(forged(value)), []);
  }
  assert.deepEqual(findSignedBlobIds(forged({ _rails: { data: 12, exp: null, pur: "blob_id" } }))[0]?.blobId, 12n);
  assert.deepEqual(findSignedBlobIds(`eyJfcmFpbHMi${"A".repeat(100_000)}`), []);
});

test("one id of ours proves the secret, even among pasted links of others", () => {
  const texts = [`a ${signBlobId(1, "ours")}`, `b ${signBlobId(1, "another's")} ${signBlobId(1, "ours")}`];
  assert.deepEqual(proveSecretKeyBase("ours", texts), { ok: true, found: 2, verified: 1 });
  assert.deepEqual(proveSecretKeyBase("wrong", texts), { ok: false, found: 2, verified: 0 });
  assert.deepEqual(proveSecretKeyBase(undefined, texts), { ok: false, found: 2, verified: 0 });
  assert.deepEqual(proveSecretKeyBase("ours", ["nothing here"]), { ok: null, found: 0, verified: 0 });
});

test("only columns that a release has are asked for", () => {
  assert.equal(signedIdQueries(() => false).length, 0);
  const queries = signedIdQueries((table) => table === "messages");
  assert.equal(queries.length, 1);
  assert.match(queries[0] ?? "", /messages order by id desc limit \d+/);
});
