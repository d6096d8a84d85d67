import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { test } from "node:test";
import type { ErrorCode } from "../../src/base/errors.ts";
import { openGsBackend } from "../../src/store/gs-backend.ts";
import { RemoteStore } from "../../src/store/remote-store.ts";
import type { Store } from "../../src/store/store.ts";
import { startFaultyHttp } from "../harness/faulty-http.ts";
import { startGs } from "../harness/gs.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { assertEveryCallFails, assertStoppedWhileSilent, failureOf, REF } from "./every-call.ts";

const { signal } = new AbortController();

/** Without what tries again. */
function openPlain(location: string, env: Readonly<Record<string, string>>): Store {
  return new RemoteStore(openGsBackend({ location, env, settings: {} }), undefined);
}

const ANSWERS: readonly [status: number, reason: string, code: ErrorCode, hint: RegExp][] = [
  [401, "authError", "store/denied", /GOOGLE_ACCESS_TOKEN/],
  [403, "forbidden", "store/denied", /docs\/stores.md/],
  [403, "rateLimitExceeded", "store/unreachable", /fewer connections/],
  [403, "quotaExceeded", "store/full", /quota/],
  [403, "retentionPolicyNotMet", "store/denied", /removed when/],
  [403, "accountDisabled", "store/denied", /console/],
  [400, "invalid", "store/denied", /docs\/stores.md/],
  [429, "rateLimitExceeded", "store/unreachable", /fewer connections/],
  [500, "backendError", "store/unreachable", /status page/],
  [503, "", "store/unreachable", /status page/],
];

for (const [status, reason, code, hint] of ANSWERS) {
  test(`gs: status ${status} ${reason} is ${code} in every call, asked once`, async () => {
    await using faulty = await startFaultyHttp();
    const body = { error: { code: status, message: "No.", errors: [{ reason, message: "No." }] } };
    faulty.answer = { status, body: reason === "" ? "<html>busy</html>" : JSON.stringify(body) };
    const store = openPlain("gs:box:/", { STORAGE_EMULATOR_HOST: faulty.endpoint });
    await assertEveryCallFails(store, faulty, { code, hint });
  });
}

test("gs: an answer that is not Google's, a cut connection and nobody there are store/unreachable", async () => {
  await using faulty = await startFaultyHttp();
  for (const answer of [{ status: 200, body: "hello" }, { status: 200, body: "{}" }, "cut"] as const) {
    faulty.answer = answer;
    const store = openPlain("gs:box:/", { STORAGE_EMULATOR_HOST: faulty.endpoint });
    assert.equal((await failureOf(store.stat(REF, { signal }))).code, "store/unreachable");
    await store.close();
  }
  const store = openPlain("gs:box:/", { STORAGE_EMULATOR_HOST: "127.0.0.1:1" });
  assert.equal((await failureOf(store.stat(REF, { signal }))).code, "store/unreachable");
  await store.close();
});

test("gs: a call that waits for a silent service ends with the signal's reason", async () => {
  await using faulty = await startFaultyHttp();
  await assertStoppedWhileSilent(openPlain("gs:box:/", { STORAGE_EMULATOR_HOST: faulty.endpoint }), faulty);
});

test("gs: a bucket that is missing is named, and is made only in a named project", async () => {
  await using gs = await startGs();
  const store = openPlain(gs.location("box"), { STORAGE_EMULATOR_HOST: gs.endpoint });
  const missing = await failureOf(store.put(REF, Buffer.from("x"), { signal }));
  assert.equal(missing.code, "store/not-found");
  assert.match(missing.message, /there is no bucket 'box'/);
  const unmade = await failureOf(store.create({ signal }));
  assert.match(unmade.hint ?? "", /GOOGLE_PROJECT_ID/);
  gs.buckets.set("box", new Map());
  await store.create({ signal });
  await store.put(REF, Buffer.from("x"), { signal });
  assert.deepEqual([...(gs.buckets.get("box")?.keys() ?? [])], [`keys/${REF.name}`]);
  await store.close();
});

test("gs: more objects than a page holds are listed, each once", async () => {
  await using gs = await startGs();
  const names = Array.from({ length: 2_100 }, (_, at) => at.toString(16).padStart(64, "0"));
  gs.buckets.set("box", new Map(names.map((name) => [`deep/locks/${name}`, Buffer.alloc(3)])));
  const store = openPlain(gs.location("box", "deep"), gs.env);
  const found = await Array.fromAsync(store.list("locks", { signal }));
  assert.deepEqual(found.map(({ name }) => name).toSorted(), names);
  assert.ok(found.every(({ sizeBytes }) => sizeBytes === 3));
  await store.close();
});

test("gs: a key file that is missing or no key file is refused with a hint", async () => {
  await using folder = await temporaryFolder();
  writeFileSync(folder.at("key.json"), "{}");
  writeFileSync(folder.at("text.json"), "no json");
  for (const name of ["key.json", "text.json", "none.json"]) {
    const env = { GOOGLE_APPLICATION_CREDENTIALS: folder.at(name) };
    const failure = await failureOf(Promise.try(() => openPlain("gs:box:/", env)));
    assert.equal(failure.code, "usage/invalid", failure.message);
    assert.match(failure.hint ?? "", /GOOGLE_APPLICATION_CREDENTIALS/);
  }
});
