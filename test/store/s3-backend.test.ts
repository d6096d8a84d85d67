/** `s3:` on s3rver, which others wrote; what it cannot do is answered by a small server of this file. */
import { after, before } from "node:test";
import { openStore } from "../../src/store/open-store.ts";
import { startS3, type TestS3 } from "../harness/s3.ts";
import { testStore } from "./conformance.ts";

let s3: TestS3;
let buckets = 0;

before(async () => {
  s3 = await startS3();
});

after(async () => {
  await s3[Symbol.asyncDispose]();
});

testStore(
  "s3 store",
  async () => {
    buckets += 1;
    const bucket = `bucket-${buckets}`;
    return {
      store: await openStore(s3.location(bucket, "some/prefix"), { env: s3.env }),
      dispose: async () => {},
      fill: async (refs) =>
        await s3.fill(
          bucket,
          refs.map(({ kind, name }) => `some/prefix/${kind}/${name}`),
        ),
    };
  },
  {
    openDenied: async () => {
      await s3.createBucket("closed");
      const env = { AWS_ACCESS_KEY_ID: "NOBODY", AWS_SECRET_ACCESS_KEY: "nobody's" };
      return { store: await openStore(s3.location("closed"), { env }), dispose: async () => {} };
    },
  },
);
