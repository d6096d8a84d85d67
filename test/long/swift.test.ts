/** `s3:` on OpenStack Swift, an object store that providers run, and a repository in it that restic reads. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { CreateBucketCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { mapConcurrent } from "../../src/base/concurrent.ts";
import { LIMITS } from "../../src/base/limits.ts";
import { openSource } from "../../src/source/open-source.ts";
import { openStore } from "../../src/store/open-store.ts";
import { resticPaths, runRestic } from "../harness/restic.ts";
import { startSwift, type TestSwift } from "../harness/swift.ts";
import { openDesk } from "../scenario/desk.ts";
import { testStore } from "../store/conformance.ts";
import { assertTold, probeOf } from "../store/probing.ts";

const { signal } = new AbortController();
let swift: TestSwift;
let buckets = 0;

before(async () => {
  swift = await startSwift();
});

after(async () => {
  await swift[Symbol.asyncDispose]();
});

testStore(
  "s3 store on swift",
  async () => {
    buckets += 1;
    const bucket = `bucket-${buckets}`;
    return {
      store: await openStore(swift.location(bucket, "some/prefix"), { env: swift.env }),
      dispose: async () => {},
      fill: async (refs) => {
        await mapConcurrent(
          refs,
          16,
          async ({ kind, name }) =>
            await swift.client.send(
              new PutObjectCommand({ Bucket: bucket, Key: `some/prefix/${kind}/${name}`, ContentLength: 0 }),
            ),
          { signal },
        );
      },
    };
  },
  {
    openDenied: async () => {
      await swift.client.send(new CreateBucketCommand({ Bucket: "closed" }));
      return { store: await openStore(swift.location("closed"), { env: swift.otherEnv }), dispose: async () => {} };
    },
  },
);

test("s3 store on swift: trying it tells all of it", async () => {
  // Its S3 API writes over a name whatever the condition says: doctor tells so.
  assertTold(await probeOf(openStore(swift.location("tried", "a"), { env: swift.env })), false);
});

test("a repository on swift is written, tidied, copied and restored, and both restics check every byte of it", async () => {
  await using desk = await openDesk({
    isCheckout: true,
    hasProcesses: true,
    size: { messages: 200, conversations: 20, files: 20 },
  });
  const { env } = swift;
  const location = swift.location("offsite", "acme");
  await desk.summary(["init", "--yes", "--add", "offsite", "--location", location], 0, { env });
  const offsite = async (args: readonly string[]) =>
    await desk.summary(["--repository", "offsite", ...args], 0, { env });
  const { point } = await offsite(["backup"]);
  await offsite(["backup"]);
  await desk.summary(["backup"], 0, { env });
  await offsite(["forget", String(point), "--yes"]);
  await offsite(["prune", "--max-unused", "0", "--yes"]);
  assert.equal((await offsite(["verify", "--read-data"]))["errors"], 0);
  await offsite(["restore", "latest", "--to", `${desk.root}/restored`, "--yes"]);
  const password = (await readFile(`${desk.root}/chatkeep/chatkeep-offsite.password`, "utf8")).trim();
  // Over plain HTTP restic signs what it writes in a way that this Swift does not take, so it only reads here.
  for (const restic of resticPaths()) {
    const options = { repo: location, password, restic: restic.path, env };
    assert.match(
      (await runRestic(["check", "--read-data", "--no-lock"], options)).stdout,
      /no errors were found/,
      restic.version,
    );
  }
});

test("Chatwoot's files in a bucket on swift come whole, and what it does not tell of itself keeps nobody from reading", async () => {
  const large = randomBytes(LIMITS.chunkMaxBytes + 1000);
  await swift.client.send(new CreateBucketCommand({ Bucket: "uploads" }));
  for (const [Key, Body] of [
    ["large", large],
    ["empty", Buffer.alloc(0)],
  ] as const) {
    await swift.client.send(new PutObjectCommand({ Bucket: "uploads", Key, Body, ContentLength: Body.length }));
  }
  const source = await openSource({
    kind: "s3",
    service: "s3_compatible",
    bucket: "uploads",
    names: { credentials: "THE KEYS", bucket: "THE BUCKET", address: "THE ENDPOINT" },
    scheme: "http",
    host: new URL(swift.endpoint).host,
    basePath: "",
    isAmazon: false,
    isPathStyle: true,
    region: undefined,
    credentials: {
      accessKeyId: swift.env["AWS_ACCESS_KEY_ID"] ?? "",
      secretAccessKey: swift.env["AWS_SECRET_ACCESS_KEY"] ?? "",
    },
  });
  const read = async (key: string, expectedBytes: number) =>
    Buffer.concat(await Array.fromAsync(source.read(key, { expectedBytes, signal })));
  await source.probe({ signal });
  assert.deepEqual(await read("large", large.length), large);
  for (const expected of [0, 5]) assert.equal((await read("empty", expected)).length, 0);
  await assert.rejects(read("gone", 5), { code: "store/not-found" });
  assert.equal(await source.size("gone", { expectedBytes: 1, signal }), undefined);
  const facts = await source.facts({ sample: "large", signal });
  assert.deepEqual([facts?.publicReads, facts?.publicLists], [false, false]);
  await source.close();
});
