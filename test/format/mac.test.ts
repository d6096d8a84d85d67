/** The native sources of Poly1305, against RFC 8439 and against each other. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFailure } from "../../src/base/errors.ts";
import { choosePoly1305, nodePoly1305, poly1305, sodiumPoly1305 } from "../../src/format/mac.ts";

/** RFC 8439, section 2.5.2 and appendix A.3: key, message, tag. */
const VECTORS: readonly (readonly [string, string, string])[] = [
  [
    "85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b",
    Buffer.from("Cryptographic Forum Research Group").toString("hex"),
    "a8061dc1305136c6c22b8baf0c0127a9",
  ],
  ["00".repeat(32), "00".repeat(64), "00".repeat(16)],
  [`02${"00".repeat(31)}`, "ff".repeat(16), `03${"00".repeat(15)}`],
  [`02${"00".repeat(15)}${"ff".repeat(16)}`, `02${"00".repeat(15)}`, `03${"00".repeat(15)}`],
  [`01${"00".repeat(31)}`, `${"ff".repeat(16)}fbfefefefefefefefefefefefefefefe${"01".repeat(16)}`, "00".repeat(16)],
];

function sources() {
  return [nodePoly1305(), sodiumPoly1305()].filter((source) => source !== undefined);
}

test("at least one native Poly1305 is there, and each gives the tags of RFC 8439", () => {
  assert.ok(sources().length > 0);
  for (const source of [...sources(), poly1305]) {
    for (const [key, message, tag] of VECTORS) {
      assert.equal(source(Buffer.from(key, "hex"), Buffer.from(message, "hex")).toString("hex"), tag);
    }
  }
});

test("a message in parts has the tag of the whole, whichever source makes it", () => {
  const bytes = fc.uint8Array({ maxLength: 100 });
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), bytes, bytes, (key, head, tail) => {
      const whole = poly1305(key, Buffer.concat([head, tail]));
      for (const source of sources()) {
        assert.deepEqual(source(key, head, tail), whole);
        assert.deepEqual(source(key, Buffer.concat([head, tail])), whole);
      }
    }),
    { numRuns: 200 },
  );
});

test("with no native Poly1305 the failure names what to install", () => {
  assert.throws(
    () => choosePoly1305([() => undefined]),
    (error) => isFailure(error, "program/missing") && /sodium-native/.test(error.hint ?? ""),
  );
});
