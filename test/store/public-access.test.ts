/** What somebody without credentials gets of a place, which `doctor` asks. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ContainerSASPermissions } from "@azure/storage-blob";
import { systemClock } from "../../src/base/clock.ts";
import { Failure } from "../../src/base/errors.ts";
import { openGsBackend } from "../../src/store/gs-backend.ts";
import { openStore } from "../../src/store/open-store.ts";
import { type PublicAccess, publicAccessOf } from "../../src/store/public-access.ts";
import type { Store } from "../../src/store/store.ts";
import { startAzure } from "../harness/azure.ts";
import { startGs } from "../harness/gs.ts";
import { startGuard } from "../harness/guard.ts";
import { startRestServer } from "../harness/rclone.ts";
import { startS3 } from "../harness/s3.ts";
import { MemoryBackend } from "./memory-backend.ts";

const { signal } = new AbortController();
const KEY = { kind: "keys", name: "ab".repeat(32) } as const;
const ALL: PublicAccess = { reads: true, lists: true };
const NOTHING: PublicAccess = { reads: false, lists: false };

type Env = Readonly<Record<string, string>>;

async function withStore<T>(location: string, env: Env, work: (store: Store) => Promise<T>): Promise<T> {
  const store = await openStore(location, { env });
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}

async function fill(location: string, env: Env): Promise<void> {
  await withStore(location, env, async (store) => {
    await store.create({ signal });
    await store.put({ kind: "config", name: "" }, Buffer.from("config"), { signal });
    await store.put(KEY, Buffer.from("key"), { signal });
  });
}

async function accessTo(location: string, env: Env): Promise<PublicAccess | undefined> {
  return await withStore(location, env, async (store) => {
    const probe = await store.probe?.({ clock: systemClock, signal });
    assert.ok(probe !== undefined);
    return probe.publicAccess;
  });
}

test("s3: a public bucket is found out, for reading and for listing, and nobody's credentials are sent for it", async () => {
  await using inner = await startS3();
  await using s3 = await startGuard(inner.endpoint);
  const location = `s3:${s3.endpoint}/box/desk`;
  const env = { ...inner.env, AWS_SESSION_TOKEN: "the-session" };
  await fill(location, env);
  assert.deepEqual(await accessTo(location, env), ALL);
  s3.denies = ({ isSigned, url }) => !isSigned && url.includes("list-type");
  assert.deepEqual(await accessTo(location, env), { reads: true, lists: false });
  s3.denies = ({ isSigned, url }) => !isSigned && !url.includes("list-type");
  assert.deepEqual(await accessTo(location, env), { reads: false, lists: true });
  s3.denies = ({ isSigned }) => !isSigned;
  assert.deepEqual(await accessTo(location, env), NOTHING);
  const unsigned = s3.asked.filter(({ isSigned }) => !isSigned);
  assert.ok(unsigned.length >= 8, String(unsigned.length));
  for (const { url, headers } of unsigned) {
    assert.doesNotMatch(`${url} ${JSON.stringify(headers)}`, /S3RVER|the-session|x-amz-security-token|signature/i);
  }
});

test("azure: a container that is public, or only its blobs, is found out, and an SAS is not sent for it", async () => {
  await using azure = await startAzure();
  const container = azure.client.getContainerClient("box");
  const location = azure.location("box", "desk");
  await fill(location, azure.env);
  assert.deepEqual(await accessTo(location, azure.env), NOTHING);
  const permissions = ContainerSASPermissions.parse("racwdl");
  const url = await container.generateSasUrl({ permissions, expiresOn: new Date(Date.now() + 3_600_000) });
  const sas = `BlobEndpoint=${azure.endpoint};SharedAccessSignature=${new URL(url).search.slice(1)}`;
  assert.deepEqual(await accessTo(location, { AZURE_STORAGE_CONNECTION_STRING: sas }), NOTHING);
  await container.setAccessPolicy("blob");
  assert.deepEqual(await accessTo(location, azure.env), { reads: true, lists: false });
  await container.setAccessPolicy("container");
  assert.deepEqual(await accessTo(location, azure.env), ALL);
});

test("gs: a public bucket is found out, and the token is not sent for it", async () => {
  await using gs = await startGs();
  const location = gs.location("box", "desk");
  await fill(location, gs.env);
  const headers = { authorization: "Bearer the-token" };
  const place = { location, env: gs.env, settings: {} };
  const access = { endpoint: gs.endpoint, projectId: undefined, authorize: async () => headers };
  const backend = openGsBackend(place, access);
  try {
    assert.deepEqual(await backend.publicAccess?.({ signal }), ALL);
    gs.authorization = headers.authorization;
    assert.deepEqual(await backend.publicAccess?.({ signal }), NOTHING);
  } finally {
    await backend.close();
  }
  gs.authorization = undefined;
  assert.equal(await accessTo(location, gs.env), undefined, "an emulator gets no credentials");
});

test("rest: a server that asks nobody for a password is found out, where one is configured", async () => {
  await using server = await startRestServer();
  await fill(server.location("desk/"), server.env);
  assert.deepEqual(await accessTo(server.location("desk/"), server.env), NOTHING);
  await using open = await startRestServer({ folder: server.folder, open: true });
  assert.deepEqual(await accessTo(open.location("desk/"), server.env), ALL);
  const named = open.location("desk/").replace("//", "//desk:secret@");
  assert.deepEqual(await accessTo(named, {}), ALL);
  assert.equal(await accessTo(open.location("desk/"), {}), undefined, "its owner wanted it so");
});

test("only what was answered counts: no page of words, no empty list, no refusal, no broken line", async () => {
  const own = new MemoryBackend();
  own.files.set("config", Buffer.from("config"));
  const ask = async (stranger: MemoryBackend) => await publicAccessOf(own, stranger, { signal });
  const page = new MemoryBackend();
  page.files.set("config", Buffer.from("<html>Please log in</html>"));
  page.files.set("keys/index.html", Buffer.from("<html>Please log in</html>"));
  assert.deepEqual(await ask(page), NOTHING);
  assert.deepEqual(await ask(new MemoryBackend()), NOTHING);
  for (const code of ["store/denied", "store/not-found", "store/unreachable"] as const) {
    const refusing = new MemoryBackend();
    refusing.before = () => {
      throw new Failure(code, "no");
    };
    assert.deepEqual(await ask(refusing), NOTHING);
  }
  const stop = new AbortController();
  stop.abort(new Error("stopped"));
  await assert.rejects(publicAccessOf(own, new MemoryBackend(), { signal: stop.signal }), /stopped/);
});
