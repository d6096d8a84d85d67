/** Files of a bucket of Google Cloud Storage: against a stand-in for its JSON API (see the harness for what that shows). */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { LIMITS } from "../../src/base/limits.ts";
import { openSource } from "../../src/source/open-source.ts";
import type { BlobSource, GcsSpec } from "../../src/source/source.ts";
import { startGs, type TestGs } from "../harness/gs.ts";
import { quick } from "./quick-clock.ts";
import { assertNotOfTwo, assertWholeFiles, gcsSpecOf } from "./reading.ts";

const { signal } = new AbortController();
const LARGE = randomBytes(2.5 * LIMITS.chunkMaxBytes);
let gs: TestGs;

before(async () => {
  gs = await startGs();
  gs.buckets.set(
    "acme",
    new Map([
      ["small", Buffer.from("hello")],
      ["empty", Buffer.alloc(0)],
      ["large", LARGE],
    ]),
  );
});
after(async () => await gs[Symbol.asyncDispose]());

async function open(changes: Partial<GcsSpec> = {}): Promise<BlobSource> {
  return await openSource({ ...gcsSpecOf(gs.endpoint), ...changes }, { clock: quick });
}

test("files come whole, whatever their length, and those that are not there are told so", async () => {
  await assertWholeFiles(await open(), LARGE);
});

test("a large file is read in parts of one generation", async () => {
  await assertNotOfTwo(await open(), LARGE, (bytes) => gs.buckets.get("acme")?.set("large", bytes));
});

test("a bucket that is not there ends the service, and the hint names Chatwoot's variable", async () => {
  const source = await open({ bucket: "nowhere" });
  await assert.rejects(source.probe({ signal }), { code: "store/not-found" });
  assert.match(source.outage?.hint ?? "", /GCS_BUCKET/);
  await source.close();
});
