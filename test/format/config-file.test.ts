/** The repository's config. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { decodeConfig, encodeConfig, newConfig } from "../../src/format/config-file.ts";
import { seal, unseal } from "../../src/format/crypto.ts";
import { isFailure } from "../../src/base/errors.ts";
import { FIXED_KEYS, hostile, refusal, survives, withBitFlipped, withEachFieldReplaced } from "./refusal.ts";

const SAMPLE = `{"version":2,"id":"${"5c".repeat(32)}","chunker_polynomial":"3c880f09a69c6d"}`;

function sealed(json: string): Buffer {
  return seal(FIXED_KEYS, Buffer.from(json, "utf8"));
}

test("a config is sealed JSON, not compressed, and comes back as it was", () => {
  const config = newConfig();
  const bytes = encodeConfig(FIXED_KEYS, config);
  assert.deepEqual(JSON.parse(unseal(FIXED_KEYS, bytes).toString()), config);
  assert.deepEqual(decodeConfig(FIXED_KEYS, bytes), config);
  assert.equal(
    unseal(FIXED_KEYS, encodeConfig(FIXED_KEYS, decodeConfig(FIXED_KEYS, sealed(SAMPLE)))).toString(),
    SAMPLE,
  );
});

test("two new repositories differ in id and polynomial", () => {
  const [a, b] = [newConfig(), newConfig()];
  assert.notEqual(a.id, b.id);
  assert.notEqual(a.chunker_polynomial, b.chunker_polynomial);
});

test("another format version is unsupported, and version 1 comes with the way out", () => {
  assert.match(
    refusal(() => decodeConfig(FIXED_KEYS, sealed(SAMPLE.replace(":2", ":3")))),
    /^repo\/unsupported.* 3;/,
  );
  assert.throws(
    () => decodeConfig(FIXED_KEYS, sealed(SAMPLE.replace(":2", ":1"))),
    (error) => isFailure(error, "repo/unsupported") && /upgrade_repo_v2/.test(error.hint ?? ""),
  );
});

test("a polynomial that is not irreducible is refused, as stock restic refuses it", () => {
  for (const bad of ["3c880f09a69c6c", "", "1", "zz", "3C880F09A69C6D", "11111111111111111"]) {
    assert.match(
      refusal(() => decodeConfig(FIXED_KEYS, sealed(SAMPLE.replace("3c880f09a69c6d", bad)))),
      /polynomial/,
    );
  }
});

test("damage is refused, and hostile JSON never more than refused", () => {
  const bytes = sealed(SAMPLE);
  for (let bit = 0; bit < bytes.length * 8; bit += 3)
    refusal(() => decodeConfig(FIXED_KEYS, withBitFlipped(bytes, bit)));
  for (const changed of withEachFieldReplaced(SAMPLE)) refusal(() => decodeConfig(FIXED_KEYS, sealed(changed)));
  fc.assert(
    fc.property(hostile(SAMPLE), (json) => survives(() => decodeConfig(FIXED_KEYS, sealed(json)))),
    { numRuns: 300 },
  );
});
