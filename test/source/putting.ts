/** What the tests of all kinds of targets ask of one. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { LIMITS } from "../../src/base/limits.ts";
import type { AzureSpec, S3Spec } from "../../src/source/source.ts";
import type { BlobTarget } from "../../src/source/target.ts";

const { signal } = new AbortController();
const LARGE = randomBytes(1.25 * LIMITS.objectPartBytes);

export function md5(bytes: Uint8Array): string {
  return createHash("md5").update(bytes).digest("base64");
}

/** In pieces that have nothing to do with a service's parts. */
export async function* pieces(bytes: Buffer, length = 3_000_000): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length);
}

async function put(target: BlobTarget, key: string, bytes: Buffer, sum = md5(bytes)): Promise<void> {
  await target.put(key, pieces(bytes), { bytes: bytes.length, md5: sum, type: "image/png", signal });
}

async function readBack(target: BlobTarget, key: string, expectedBytes: number): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(target.read(key, { expectedBytes, signal })));
}

async function listed(target: BlobTarget): Promise<string[]> {
  const pages = target.list === undefined ? [] : await Array.fromAsync(target.list({ signal }));
  return pages.flat().map(({ key }) => key);
}

/**
 * Holds of an empty target.
 * @param options.hasParts False for a server that cannot put parts together.
 */
export async function assertPuts(target: BlobTarget, { hasParts = true } = {}): Promise<void> {
  await target.probe({ signal });
  assert.deepEqual(await listed(target), [], "what was tried out is gone again");
  const files = {
    abcdsmall: Buffer.from("hello"),
    abcdempty: Buffer.alloc(0),
    abzzlarge: hasParts ? LARGE : LARGE.subarray(0, 50_000),
  };
  for (const [key, bytes] of Object.entries(files)) {
    assert.equal(await target.stat(key, { signal }), undefined);
    await put(target, key, bytes);
    const found = await target.stat(key, { signal });
    assert.equal(found?.bytes, bytes.length);
    assert.ok(found.md5 === undefined || found.md5 === md5(bytes));
    assert.ok((await readBack(target, key, bytes.length)).equals(bytes));
  }
  if (target.list !== undefined) assert.deepEqual((await listed(target)).toSorted(), Object.keys(files).toSorted());
  for (const [key, bytes] of Object.entries(files)) await assertRefuses(target, key, bytes);
  for (const key of [...Object.keys(files), "abcdgone"]) await target.remove(key, { signal });
  for (const key of Object.keys(files)) assert.equal(await target.stat(key, { signal }), undefined);
}

/** What is there stays, and what comes otherwise than it was announced is not put. */
async function assertRefuses(target: BlobTarget, key: string, bytes: Buffer): Promise<void> {
  const other = Buffer.from("something else");
  await assert.rejects(put(target, key, other), { code: "store/exists" });
  // The answer to a try that succeeded may be lost: what is there then is what was to be put.
  if (target.list !== undefined) await put(target, key, bytes);
  assert.ok((await readBack(target, key, bytes.length)).equals(bytes));
  const name = `${key}2`;
  await assert.rejects(put(target, name, bytes, md5(other)), { code: "source/unreadable", message: /another MD5/ });
  const short = target.put(name, pieces(bytes), { bytes: bytes.length + 1, signal });
  await assert.rejects(short, { code: "source/unreadable", message: /instead of/ });
  const broken = async function* () {
    yield bytes;
    throw new RangeError("the repository is gone");
  };
  await assert.rejects(target.put(name, broken(), { bytes: bytes.length + 1, signal }), RangeError);
  assert.equal(await target.stat(name, { signal }), undefined);
}

export function s3SpecOf(endpoint: string, changes: Partial<S3Spec> = {}): S3Spec {
  return {
    kind: "s3",
    service: "s3_compatible",
    bucket: "acme",
    names: { credentials: "THE KEYS", bucket: "THE BUCKET", address: "THE ENDPOINT" },
    scheme: "http",
    host: new URL(endpoint).host,
    basePath: "",
    isAmazon: false,
    isPathStyle: true,
    region: undefined,
    credentials: { accessKeyId: "S3RVER", secretAccessKey: "S3RVER" },
    ...changes,
  };
}

export function azureSpecOf(azure: { endpoint: string; env: Readonly<Record<string, string>> }): AzureSpec {
  const connection = azure.env["AZURE_STORAGE_CONNECTION_STRING"] ?? "";
  return {
    kind: "azure",
    service: "microsoft",
    bucket: "acme",
    names: { credentials: "THE KEY", bucket: "THE CONTAINER", address: "THE ACCOUNT" },
    account: /AccountName=([^;]+)/.exec(connection)?.[1] ?? "",
    key: /AccountKey=([^;]+)/.exec(connection)?.[1] ?? "",
    endpoint: azure.endpoint,
  };
}
