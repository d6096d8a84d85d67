import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { endpointOf, parseS3Location } from "../../src/store/s3-location.ts";

type Row = [location: string, scheme: string, host: string, bucket: string, prefix: string];

/** As restic's own parser has them. */
const LOCATIONS: readonly Row[] = [
  ["s3://eu-central-1/bucketname", "https", "eu-central-1", "bucketname", ""],
  ["s3://eu-central-1/bucketname/", "https", "eu-central-1", "bucketname", ""],
  ["s3://host/bucketname/prefix/directory", "https", "host", "bucketname", "prefix/directory"],
  ["s3:host/bucketname/prefix/directory/", "https", "host", "bucketname", "prefix/directory"],
  ["s3:hostname.foo/foobar", "https", "hostname.foo", "foobar", ""],
  ["s3:hostname.foo/foobar//a/./b/../c/", "https", "hostname.foo", "foobar", "a/c"],
  ["s3:https://hostname/foobar", "https", "hostname", "foobar", ""],
  ["s3:https://hostname:9999/foobar/", "https", "hostname:9999", "foobar", ""],
  ["s3:http://hostname:9999/foobar", "http", "hostname:9999", "foobar", ""],
  ["s3:http://hostname:9999/bucket/prefix/directory/", "http", "hostname:9999", "bucket", "prefix/directory"],
  ["s3:https://hostname/bucket/a%20b", "https", "hostname", "bucket", "a b"],
  ["s3:hostname/bucket/a%20b", "https", "hostname", "bucket", "a%20b"],
  ["s3:http://[::1]:9000/bucket", "http", "[::1]:9000", "bucket", ""],
  ["s3:s3.amazonaws.com/bucket", "https", "s3.amazonaws.com", "bucket", ""],
];

for (const [location, scheme, host, bucket, prefix] of LOCATIONS) {
  test(`${location} is read as restic reads it`, () => {
    const { scheme: s, host: h, bucket: b, prefix: p, shown } = parseS3Location(location, {});
    assert.deepEqual([shown, s, h, b, p], [location, scheme, host, bucket, prefix]);
  });
}

test("what is no location of a bucket is refused, without repeating what may be a password", () => {
  const wrong = [
    "s3:",
    "s3://",
    "s3:///bucket/prefix",
    "s3:host",
    "s3:host/",
    "s3:https://host",
    "s3:https://host/",
    "s3:host/bu cket",
    "s3:host:port/bucket",
    "s3:host/bucket?versionId=secret",
    "s3:https://host/bucket#secret",
    "s3:https://key:secret@host/bucket",
    "s3:key:secret@host/bucket",
    "s3:https://host/bucket/%zz",
  ];
  for (const location of wrong) {
    assert.throws(
      () => parseS3Location(location, {}),
      (error) => isFailure(error, "usage/invalid") && !`${error.message}${error.hint}`.includes("secret"),
      location,
    );
  }
});

test("the region comes from Amazon's host, else from the environment", () => {
  const rows: [location: string, env: Record<string, string>, region: string | undefined][] = [
    ["s3:s3.amazonaws.com/bucket", {}, undefined],
    ["s3:s3.amazonaws.com/bucket", { AWS_DEFAULT_REGION: "eu-west-1", AWS_REGION: "no" }, "eu-west-1"],
    ["s3:s3.amazonaws.com/bucket", { AWS_DEFAULT_REGION: "", AWS_REGION: "eu-west-2" }, "eu-west-2"],
    ["s3:s3.eu-central-1.amazonaws.com/bucket", { AWS_DEFAULT_REGION: "us-east-1" }, "eu-central-1"],
    ["s3:s3-eu-west-1.amazonaws.com/bucket", {}, "eu-west-1"],
    ["s3:s3.dualstack.eu-west-1.amazonaws.com/bucket", {}, "eu-west-1"],
    ["s3:s3-fips.us-gov-west-1.amazonaws.com/bucket", {}, "us-gov-west-1"],
    ["s3:bucket.vpce-1a2b.s3.us-east-1.vpce.amazonaws.com/bucket", {}, "us-east-1"],
    ["s3:s3.cn-north-1.amazonaws.com.cn/bucket", {}, "cn-north-1"],
    ["s3:s3-external-1.amazonaws.com/bucket", {}, "us-east-1"],
    ["s3:minio.example/bucket", {}, undefined],
    ["s3:s3.eu-west-1.amazonaws.com.example/bucket", {}, undefined],
  ];
  for (const [location, env, region] of rows) assert.equal(parseS3Location(location, env).region, region, location);
});

test("the bucket stands in the host's name where the service wants it, as with restic", () => {
  const rows: [location: string, lookup: string, isPathStyle: boolean][] = [
    ["s3:s3.amazonaws.com/bucket", "", false],
    ["s3:s3.amazonaws.com/bucket.with.dots", "", true],
    ["s3:http://s3.amazonaws.com/bucket.with.dots", "", false],
    ["s3:minio.example/bucket", "", true],
    ["s3:storage.googleapis.com/bucket", "auto", false],
    ["s3:oss-cn-beijing.aliyuncs.com/bucket", "", false],
    ["s3:minio.example/bucket", "dns", false],
    ["s3:s3.amazonaws.com/bucket", "path", true],
  ];
  for (const [location, lookup, isPathStyle] of rows) {
    const found = parseS3Location(location, { CHATKEEP_S3_BUCKET_LOOKUP: lookup });
    assert.equal(found.isPathStyle, isPathStyle, `${location} ${lookup}`);
  }
  assert.throws(
    () => parseS3Location("s3:host/bucket", { CHATKEEP_S3_BUCKET_LOOKUP: "virtual" }),
    (error) => isFailure(error, "usage/invalid"),
  );
});

test("Amazon's address follows the region, any other stays as it is written", () => {
  const rows: [location: string, endpoint: string][] = [
    ["s3:s3.amazonaws.com/bucket", "https://s3.eu-north-1.amazonaws.com"],
    ["s3:s3.eu-central-1.amazonaws.com/bucket", "https://s3.eu-north-1.amazonaws.com"],
    ["s3:s3.dualstack.eu-west-1.amazonaws.com/bucket", "https://s3.dualstack.eu-west-1.amazonaws.com"],
    ["s3:s3.cn-north-1.amazonaws.com.cn/bucket", "https://s3.eu-north-1.amazonaws.com.cn"],
    ["s3:http://minio.example:9000/bucket", "http://minio.example:9000"],
  ];
  for (const [location, endpoint] of rows) {
    assert.equal(endpointOf(parseS3Location(location, {}), "eu-north-1"), endpoint);
  }
});
