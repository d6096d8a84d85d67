import assert from "node:assert/strict";
import { normalize } from "node:path";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFailure } from "../../src/base/errors.ts";
import { blobPath, isSafeBlobKey } from "../../src/chatwoot/blobs.ts";

test("a file lies where Rails' Disk service puts it", () => {
  assert.equal(
    blobPath("/app/storage", "d4v7u86scqh0cb3xlh1wtd6juynt"),
    "/app/storage/d4/v7/d4v7u86scqh0cb3xlh1wtd6juynt",
  );
  assert.equal(blobPath("/app/storage/", "abc"), "/app/storage/ab/c/abc");
  assert.equal(blobPath("/app/storage", "a"), "/app/storage/a/a");
});

test("no key leads out of the storage folder", () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(".", "/", "a", "\0", "b"), maxLength: 12 }), (key) => {
      let path: string;
      try {
        path = blobPath("/s", key);
      } catch (error) {
        assert.ok(isFailure(error, "source/unreadable"));
        return;
      }
      assert.ok(isSafeBlobKey(key));
      assert.ok(normalize(path).startsWith("/s/"), path);
      assert.ok(!path.includes("\0"));
    }),
    { numRuns: 2000 },
  );
  assert.throws(() => blobPath("/s", "../../etc/passwd"));
  assert.throws(() => blobPath("/s", "..ab"));
});
