import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { objectName, parseBucketLocation } from "../../src/store/bucket-location.ts";

const READ: readonly [string, string, string][] = [
  ["azure:box:/", "box", ""],
  ["azure:box:", "box", ""],
  ["azure:box:/desk", "box", "desk"],
  ["azure:box:desk", "box", "desk"],
  ["azure:box:/desk/", "box", "desk"],
  ["azure:box://a//b/./c/../d/", "box", "a/b/d"],
  ["azure:$root:/desk", "$root", "desk"],
  ["azure:box:/a:b", "box", "a:b"],
];

for (const [location, bucket, prefix] of READ) {
  test(`'${location}' is the folder '${prefix}' of '${bucket}'`, () => {
    const place = parseBucketLocation(location, "azure");
    assert.deepEqual(place, { bucket, prefix, shown: `azure:${bucket}:/${prefix}` });
    assert.equal(objectName(place, "data/00/x"), prefix === "" ? "data/00/x" : `${prefix}/data/00/x`);
    assert.equal(parseBucketLocation(location.replace("azure:", "gs:"), "gs").prefix, prefix);
  });
}

for (const location of ["gs:", "gs:bucket", "gs::/x", "gs:bucket/x", "gs:Bucket:/", "gs:a b:/", "gs:bucket:../x"]) {
  test(`'${location}' is refused, and the hint says how to write it`, () => {
    assert.throws(
      () => parseBucketLocation(location, "gs"),
      (error) => isFailure(error, "usage/invalid") && error.hint?.includes("gs:bucket:/") === true,
    );
  });
}
