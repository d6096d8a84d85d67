/** `s3:` on OpenStack Swift, an object store that providers run, and a repository in it that restic reads. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { CreateBucketCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { mapConcurrent } from "../../src/base/concurrent.ts";
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
