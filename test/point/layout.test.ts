import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { blobFolder, decodeName, encodeName, tableFolder } from "../../src/point/layout.ts";

test("any name of the database makes a safe file name, and comes back", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme", minLength: 1 }), (name) => {
      const encoded = encodeName(name);
      assert.match(encoded, /^[A-Za-z0-9_%-]+$/);
      assert.equal(decodeName(encoded), name);
    }),
  );
});

test("two tables never share a folder, even when their names hold dots", () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), fc.string(), fc.string(), (a, b, c, d) => {
      fc.pre(a !== c || b !== d);
      assert.notEqual(tableFolder(a, b), tableFolder(c, d));
    }),
  );
  assert.equal(tableFolder("public", "messages"), "public.messages");
  assert.equal(tableFolder("a.b", "c"), "a%2Eb.c");
});

for (const [id, group, folder] of [
  [0n, "0", "0"],
  [1_023n, "0", "0"],
  [1_024n, "0", "1"],
  [1_048_575n, "0", "1023"],
  [1_048_576n, "1", "1024"],
  [2n ** 62n, (2n ** 42n).toString(), (2n ** 52n).toString()],
] as const) {
  test(`blob ${id} lies in folder ${folder} of group ${group}`, () => {
    assert.deepEqual(blobFolder(id), { group, folder });
  });
}
