import assert from "node:assert/strict";
import { test } from "node:test";
import { generateAccountSASQueryParameters, StorageSharedKeyCredential } from "@azure/storage-blob";
import { type ErrorCode, type Failure, isFailure } from "../../src/base/errors.ts";
import { openAzureBackend } from "../../src/store/azure-backend.ts";
import { RemoteStore } from "../../src/store/remote-store.ts";
import type { Store } from "../../src/store/store.ts";
import { startAzure } from "../harness/azure.ts";
import { startFaultyHttp } from "../harness/faulty-http.ts";
import { assertEveryCallFails, assertStoppedWhileSilent, failureOf as failureWithout, REF } from "./every-call.ts";

const { signal } = new AbortController();
const SECRET = Buffer.from("a secret key, not to be seen").toString("base64");
const SECRETS = [SECRET, "sig=x"];

type Env = Readonly<Record<string, string>>;

/** Without what tries again. */
function openPlain(location: string, env: Env): Store {
  return new RemoteStore(openAzureBackend({ location, env, settings: {} }), undefined);
}

function connectionTo(endpoint: string, key = SECRET): Env {
  return {
    AZURE_STORAGE_CONNECTION_STRING: `DefaultEndpointsProtocol=http;AccountName=desk;AccountKey=${key};BlobEndpoint=${endpoint}/desk;`,
  };
}

async function failureOf(call: Promise<unknown>): Promise<Failure> {
  return await failureWithout(call, SECRETS);
}

const ANSWERS: readonly [status: number, word: string, code: ErrorCode, hint: RegExp][] = [
  [403, "AuthenticationFailed", "store/denied", /AZURE_ACCOUNT_KEY/],
  [403, "AuthorizationPermissionMismatch", "store/denied", /docs\/stores.md/],
  [403, "AuthorizationFailure", "store/denied", /network settings/],
  [403, "AccountIsDisabled", "store/denied", /portal/],
  [409, "BlobImmutableDueToPolicy", "store/denied", /retention/],
  [429, "TooManyRequests", "store/unreachable", /fewer connections/],
  [500, "InternalError", "store/unreachable", /status page/],
  [503, "ServerBusy", "store/unreachable", /fewer connections/],
  [502, "", "store/unreachable", /status page/],
  [400, "Md5Mismatch", "store/unreachable", /Try again/],
  [507, "InsufficientStorage", "store/full", /Make room/],
];

for (const [status, word, code, hint] of ANSWERS) {
  test(`azure: status ${status} ${word} is ${code} in every call, asked once`, async () => {
    await using faulty = await startFaultyHttp();
    faulty.answer = {
      status,
      headers: { "Content-Type": "application/xml", ...(word === "" ? {} : { "x-ms-error-code": word }) },
      body: `<?xml version="1.0" encoding="utf-8"?><Error><Code>${word}</Code><Message>No.</Message></Error>`,
    };
    const store = openPlain("azure:box:/", connectionTo(faulty.endpoint));
    await assertEveryCallFails(store, faulty, { code, hint, secrets: SECRETS });
  });
}

test("azure: a refusal whose date is an hour from ours is the clock's fault", async () => {
  await using faulty = await startFaultyHttp();
  for (const hours of [-1, 1]) {
    const date = new Date(Date.now() + hours * 3_600_000).toUTCString();
    faulty.answer = { status: 403, headers: { "x-ms-error-code": "AuthenticationFailed", date }, body: "" };
    const store = openPlain("azure:box:/", connectionTo(faulty.endpoint));
    for (const call of [store.get(REF, { signal }), store.stat(REF, { signal })]) {
      const failure = await failureOf(call);
      assert.equal(failure.code, "store/denied");
      assert.match(failure.message, /clock is wrong/);
      assert.match(failure.hint ?? "", /NTP/);
    }
    await store.close();
  }
});

test("azure: a connection that is cut, and a host that is not there, are store/unreachable", async () => {
  await using faulty = await startFaultyHttp();
  faulty.answer = "cut";
  for (const env of [connectionTo(faulty.endpoint), connectionTo("http://127.0.0.1:1")]) {
    const store = openPlain("azure:box:/", env);
    assert.equal((await failureOf(store.get(REF, { signal }))).code, "store/unreachable");
    await store.close();
  }
  const env = { AZURE_ACCOUNT_NAME: "desk", AZURE_ACCOUNT_KEY: SECRET, AZURE_ENDPOINT_SUFFIX: "nowhere.invalid" };
  const store = openPlain("azure:box:/", env);
  const failure = await failureOf(store.get(REF, { signal }));
  assert.equal(failure.code, "store/unreachable");
  assert.match(failure.hint ?? "", /AZURE_ACCOUNT_NAME/);
  await store.close();
});

test("azure: a call that waits for a silent service ends with the signal's reason", async () => {
  await using faulty = await startFaultyHttp();
  await assertStoppedWhileSilent(openPlain("azure:box:/", connectionTo(faulty.endpoint)), faulty);
});

const REFUSED: readonly [string, Env, RegExp][] = [
  ["nothing", {}, /no Azure account is named/],
  ["an account without a key", { AZURE_ACCOUNT_NAME: "desk" }, /no key for the Azure account 'desk'/],
  ["a name that is none", { AZURE_ACCOUNT_NAME: "Desk!", AZURE_ACCOUNT_KEY: SECRET }, /cannot be the name/],
  ["a key that is none", { AZURE_ACCOUNT_NAME: "desk", AZURE_ACCOUNT_KEY: "sv=1&sig=x" }, /is no key/],
  ["an SAS that is none", { AZURE_ACCOUNT_NAME: "desk", AZURE_ACCOUNT_SAS: "x" }, /no shared access signature/],
  ["a connection string that is none", { AZURE_STORAGE_CONNECTION_STRING: "x" }, /cannot be read/],
  [
    "certificates that are not there",
    { ...connectionTo("http://127.0.0.1:1"), RESTIC_CACERT: "/none" },
    /RESTIC_CACERT/,
  ],
];

for (const [what, env, message] of REFUSED) {
  test(`azure: ${what} is refused before anything is asked`, async () => {
    const failure = await failureOf(Promise.try(() => openPlain("azure:box:/", env)));
    assert.equal(failure.code, "usage/invalid");
    assert.match(failure.message, message);
    assert.notEqual(failure.hint, undefined);
  });
}

test("azure: an SAS that ended is told of with its end", async () => {
  const env = { AZURE_ACCOUNT_NAME: "desk", AZURE_ACCOUNT_SAS: "?sv=2024-08-04&se=2020-01-01T00:00:00Z&sig=x" };
  const failure = await failureOf(Promise.try(() => openPlain("azure:box:/", env)));
  assert.equal(failure.code, "store/denied");
  assert.match(failure.message, /ended at 2020-01-01T00:00:00Z/);
});

test("azurite: a wrong key is denied, an SAS may do what it says, and a container that is missing is named", async () => {
  await using azure = await startAzure();
  const connected = openPlain(azure.location("box"), azure.env);
  const missing = await failureOf(connected.put(REF, Buffer.from("x"), { signal }));
  assert.equal(missing.code, "store/not-found");
  assert.match(missing.message, /there is no container 'box'/);
  await connected.create({ signal });
  await connected.put(REF, Buffer.from("x"), { signal });

  const [account = ""] = azure.endpoint.split("/").slice(-1);
  const wrong = {
    AZURE_STORAGE_CONNECTION_STRING: `DefaultEndpointsProtocol=http;AccountName=${account};AccountKey=${SECRET};BlobEndpoint=${azure.endpoint};`,
  };
  const denied = openPlain(azure.location("box"), wrong);
  assert.equal((await failureOf(denied.stat(REF, { signal }))).code, "store/denied");
  assert.equal((await failureOf(denied.put(REF, Buffer.from("x"), { signal }))).code, "store/denied");

  const { credential } = azure.client;
  assert.ok(credential instanceof StorageSharedKeyCredential);
  const sasOf = (expiresOn: Date) =>
    generateAccountSASQueryParameters(
      {
        expiresOn,
        permissions: { toString: () => "rl" } as never,
        services: "b",
        resourceTypes: "co",
      },
      credential,
    ).toString();
  const withSas = (expiresOn: Date): Store =>
    openPlain(azure.location("box"), {
      AZURE_STORAGE_CONNECTION_STRING: `BlobEndpoint=${azure.endpoint};SharedAccessSignature=${sasOf(expiresOn)}`,
    });
  const reader = withSas(new Date(Date.now() + 3_600_000));
  await reader.create({ signal });
  assert.equal((await reader.get(REF, { signal })).toString(), "x");
  assert.ok(isFailure(await failureOf(reader.remove(REF, { signal })), "store/denied"));
  const unwritten = await failureOf(reader.put({ kind: "keys", name: "cd".repeat(32) }, Buffer.from("y"), { signal }));
  assert.equal(unwritten.code, "store/denied");
  assert.match(unwritten.hint ?? "", /least rights/);
  const late = withSas(new Date(Date.now() - 3_600_000));
  assert.ok(isFailure(await failureOf(late.get(REF, { signal })), "store/denied"));
  for (const store of [connected, denied, reader, late]) await store.close();
});
