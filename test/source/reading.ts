/** What the tests of all kinds of sources ask of one. */
import assert from "node:assert/strict";
import type { BucketFacts } from "../../src/source/bucket-facts.ts";
import type { BlobSource, GcsSpec } from "../../src/source/source.ts";

const { signal } = new AbortController();

export async function readFrom(source: BlobSource, key: string, expectedBytes: number): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(source.read(key, { expectedBytes, signal })));
}

/** What the bucket says of itself; the source is closed. */
export async function factsOf(source: BlobSource): Promise<BucketFacts> {
  try {
    const facts = await source.facts({ sample: "key", signal });
    assert.ok(facts);
    return facts;
  } finally {
    await source.close();
  }
}

/** The bucket `acme` of the stand-in for Google's service. */
export function gcsSpecOf(endpoint: string): GcsSpec {
  return {
    kind: "gcs",
    service: "google",
    bucket: "acme",
    names: { credentials: "GCS_CREDENTIALS", bucket: "GCS_BUCKET", address: "GCS_BUCKET" },
    key: undefined,
    projectId: undefined,
    emulator: endpoint,
  };
}

/** Holds of a bucket with `small`, `empty` and `large`; the source is closed. */
export async function assertWholeFiles(source: BlobSource, large: Buffer): Promise<void> {
  await source.probe({ signal });
  assert.equal((await readFrom(source, "small", 5)).toString(), "hello");
  for (const expected of [0, 5]) assert.equal((await readFrom(source, "empty", expected)).length, 0);
  assert.deepEqual(await readFrom(source, "large", large.length), large);
  assert.equal(await source.size("large", { expectedBytes: 1, signal }), large.length);
  assert.equal(await source.size("gone", { expectedBytes: 1, signal }), undefined);
  await assert.rejects(readFrom(source, "gone", 5), { code: "store/not-found" });
  assert.equal(source.outage, undefined);
  await source.close();
}

/** Holds that a file which `replace` changes between two of its parts is given up. */
export async function assertNotOfTwo(
  source: BlobSource,
  large: Buffer,
  replace: (bytes: Buffer) => unknown,
): Promise<void> {
  const pieces = source.read("large", { expectedBytes: large.length, signal })[Symbol.asyncIterator]();
  await pieces.next();
  await replace(Buffer.from(large).fill(7));
  await assert.rejects(pieces.next(), { code: "source/unreadable", message: /was replaced/ });
  await replace(large);
  await source.close();
}
