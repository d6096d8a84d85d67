/** What `doctor` makes of what a bucket says of itself. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { bucketFindings } from "../../src/job/doctor-storage.ts";
import { isAckable, isDoctorsOwn } from "../../src/job/quiet.ts";
import type { BucketFacts } from "../../src/source/bucket-facts.ts";
import { openSource } from "../../src/source/open-source.ts";
import type { S3Spec } from "../../src/source/source.ts";
import { startGs, type TestGs } from "../harness/gs.ts";
import { factsOf, gcsSpecOf } from "../source/reading.ts";

let gs: TestGs;

before(async () => {
  gs = await startGs();
  gs.buckets.set("acme", new Map([["key", Buffer.from("hello")]]));
});
after(async () => await gs[Symbol.asyncDispose]());

const AMAZON: S3Spec = {
  kind: "s3",
  service: "amazon",
  bucket: "acme",
  names: {
    credentials: "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    bucket: "S3_BUCKET_NAME",
    address: "AWS_REGION",
  },
  scheme: "https",
  host: "s3.eu-west-1.amazonaws.com",
  basePath: "",
  isAmazon: true,
  isPathStyle: false,
  region: "eu-west-1",
  credentials: undefined,
};

const SOUND: BucketFacts = {
  region: "eu-west-1",
  versioning: true,
  lock: false,
  expiring: [],
  archiving: [],
  publicReads: false,
  publicLists: false,
  replication: false,
  softDeleteDays: undefined,
  rights: [],
};

function told(changes: Partial<BucketFacts>): string[] {
  return bucketFindings(AMAZON, { ...SOUND, ...changes }).map(
    ({ kind, level, message }) => `${level} ${kind}: ${message}`,
  );
}

test("a sound bucket gives one note: what the provider's protection is no help against", () => {
  const [note, ...others] = told({});
  assert.deepEqual(others, []);
  assert.match(
    note ?? "",
    /^note bucket-protection: .*keeps what is deleted for a while, and does not stand for a backup/,
  );
  assert.match(told({ versioning: false })[0] ?? "", /keeps nothing that is deleted/);
  assert.match(told({ versioning: "unknown" })[0] ?? "", /may keep what is deleted/);
});

test("what loses files or shows them to strangers is an alarm, what is merely not told a note", () => {
  assert.match(
    told({ publicReads: true, publicLists: true })[0] ?? "",
    /^alarm bucket-public: anybody can list and read/,
  );
  assert.match(
    told({ expiring: ["files are deleted after 30 days"] })[0] ?? "",
    /^alarm bucket-expires: .*after 30 days/,
  );
  assert.match(told({ archiving: ["files are moved to GLACIER after 90 days"] })[0] ?? "", /^warning bucket-archives/);
  assert.match(
    told({ region: "eu-central-1" })[0] ?? "",
    /^note bucket-elsewhere: .*lies in eu-central-1.*says eu-west-1/,
  );
  const rights = ["s3:GetBucketVersioning", "s3:GetLifecycleConfiguration"];
  const unknown = told({ versioning: "unknown", expiring: "unknown", rights });
  assert.match(unknown[0] ?? "", /^note bucket-not-told: .*s3:GetBucketVersioning, s3:GetLifecycleConfiguration/);
  assert.equal(unknown.length, 2, "once, not for each right");
});

async function askGoogle(metadata: object | "forbidden"): Promise<BucketFacts> {
  gs.metadata = metadata;
  return await factsOf(await openSource(gcsSpecOf(gs.endpoint)));
}

test("Google's bucket tells versions, soft deletion, rules and where it is; without the right it is said which lacks", async () => {
  const facts = await askGoogle({
    location: "EU",
    locationType: "multi-region",
    versioning: { enabled: true },
    softDeletePolicy: { retentionDurationSeconds: "604800" },
    lifecycle: {
      rule: [
        { action: { type: "Delete" }, condition: { age: 365 } },
        { action: { type: "Delete" }, condition: { age: 30, isLive: false } },
        { action: { type: "Delete" }, condition: { numNewerVersions: 3 } },
        { action: { type: "SetStorageClass" }, condition: { age: 90 } },
      ],
    },
  });
  assert.deepEqual(facts.expiring, ["files are deleted after 365 days"]);
  assert.deepEqual([facts.versioning, facts.softDeleteDays, facts.replication, facts.region], [true, 7, true, "EU"]);
  assert.deepEqual((await askGoogle("forbidden")).rights, ["storage.buckets.get"]);
});

/** What Google's bucket says where a rule deletes by each of these conditions. */
async function expiring(...conditions: object[]): Promise<BucketFacts["expiring"]> {
  const rule = conditions.map((condition) => ({ action: { type: "Delete" }, condition }));
  return (await askGoogle({ lifecycle: { rule } })).expiring;
}

test("of Google's rules only those count that a file of Chatwoot can meet", async () => {
  assert.deepEqual(
    await expiring(
      { age: 7, matchesPrefix: ["exports/", "tmp_"] },
      { age: 7, matchesSuffix: [".log"] },
      { age: 7, matchesPrefix: ["a"], matchesSuffix: [".log"] },
      { daysSinceCustomTime: 30 },
      { customTimeBefore: "2026-01-01" },
      { age: 7, daysSinceNoncurrentTime: 3 },
    ),
    [],
  );
  assert.deepEqual(
    await expiring(
      { age: 7, matchesPrefix: ["exports/", "ab", "x9"] },
      { age: 7, matchesSuffix: ["", ".log"], matchesPrefix: [] },
      { age: 7, matchesSuffix: ["z"] },
      { age: 400, matchesStorageClass: ["COLDLINE"] },
      { createdBefore: "2020-01-01" },
      { isLive: true },
    ),
    [
      "files that begin with 'ab' or 'x9' are deleted after 7 days",
      "files are deleted after 7 days",
      "files that end with 'z' are deleted after 7 days",
      "files of class COLDLINE are deleted after 400 days",
      "files are deleted when they are from before 2020-01-01",
      "files are deleted",
    ],
  );
});

test("a rule that is meant to be is acknowledged by what it does, and another one rings again", () => {
  const rules = ["a", "b", "c", "d"].map((prefix) => `files that begin with '${prefix}' are deleted after 7 days`);
  const subjects = [rules, rules.slice(0, 3), [...rules.slice(0, 3), "files are deleted"]].map(
    (told) => bucketFindings(AMAZON, { ...SOUND, expiring: told })[0]?.subject,
  );
  assert.equal(new Set(subjects).size, 3);
  assert.ok(isAckable("bucket-expires") && isDoctorsOwn("bucket-expires"));
});
