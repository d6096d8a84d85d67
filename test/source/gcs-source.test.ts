/** Files of a bucket of Google Cloud Storage: against a stand-in for its JSON API (see the harness for what that shows). */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { LIMITS } from "../../src/base/limits.ts";
import { openSource } from "../../src/source/open-source.ts";
import type { BlobSource, GcsSpec } from "../../src/source/source.ts";
import { startGs, type TestGs } from "../harness/gs.ts";
import { quick } from "./quick-clock.ts";

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
  const names = { credentials: "GCS_CREDENTIALS", bucket: "GCS_BUCKET", address: "GCS_BUCKET" };
  const spec: GcsSpec = {
    kind: "gcs",
    service: "google",
    bucket: "acme",
    names,
    key: undefined,
    projectId: undefined,
    emulator: gs.endpoint,
  };
  return await openSource({ ...spec, ...changes }, { clock: quick });
}

async function read(source: BlobSource, key: string, expectedBytes: number): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(source.read(key, { expectedBytes, signal })));
}

test("files come whole, whatever their length, and those that are not there are told so", async () => {
  const source = await open();
  await source.probe({ signal });
  assert.equal((await read(source, "small", 5)).toString(), "hello");
  for (const expected of [0, 5]) assert.equal((await read(source, "empty", expected)).length, 0);
  assert.deepEqual(await read(source, "large", LARGE.length), LARGE);
  assert.equal(await source.size("large", { expectedBytes: 1, signal }), LARGE.length);
  assert.equal(await source.size("gone", { expectedBytes: 1, signal }), undefined);
  await assert.rejects(read(source, "gone", 5), { code: "store/not-found" });
  assert.equal(source.outage, undefined);
  await source.close();
});

test("a large file is read in parts of one generation", async () => {
  const source = await open();
  const pieces = source.read("large", { expectedBytes: LARGE.length, signal })[Symbol.asyncIterator]();
  await pieces.next();
  gs.buckets.get("acme")?.set("large", Buffer.from(LARGE).fill(7));
  await assert.rejects(pieces.next(), { code: "source/unreadable", message: /was replaced/ });
  gs.buckets.get("acme")?.set("large", LARGE);
  await source.close();
});

test("a bucket that is not there ends the service, and the hint names Chatwoot's variable", async () => {
  const source = await open({ bucket: "nowhere" });
  await assert.rejects(source.probe({ signal }), { code: "store/not-found" });
  assert.match(source.outage?.hint ?? "", /GCS_BUCKET/);
  await source.close();
});
