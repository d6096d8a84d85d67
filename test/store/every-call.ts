/** What a place's answers become in each call to it, for the kinds of place that are spoken to over HTTP. */
import assert from "node:assert/strict";
import { type ErrorCode, Failure } from "../../src/base/errors.ts";
import type { Store } from "../../src/store/store.ts";
import type { startFaultyHttp } from "../harness/faulty-http.ts";

type Faulty = Awaited<ReturnType<typeof startFaultyHttp>>;

const { signal } = new AbortController();
export const REF = { kind: "keys", name: "ab".repeat(32) } as const;

/** What a call fails with; none of the secrets may stand in it. */
export async function failureOf(call: Promise<unknown>, secrets: readonly string[] = []): Promise<Failure> {
  const error: unknown = await call.then(
    () => assert.fail("it worked"),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof Failure, String(error));
  for (const secret of secrets) assert.ok(!`${error.message}${error.hint}`.includes(secret));
  return error;
}

/** Each call fails alike, and asks the place once. Closes the store. */
export async function assertEveryCallFails(
  store: Store,
  faulty: Faulty,
  { code, hint, secrets }: { code: ErrorCode; hint: RegExp; secrets?: readonly string[] },
): Promise<void> {
  const calls = [
    async () => await store.stat(REF, { signal }),
    async () => await store.get(REF, { signal }),
    async () => await store.put(REF, Buffer.from("x"), { signal }),
    async () => await Array.fromAsync(store.list("keys", { signal })),
    async () => await store.remove(REF, { signal }),
  ];
  for (const [at, call] of calls.entries()) {
    const failure = await failureOf(call(), secrets);
    assert.equal(failure.code, code, failure.message);
    assert.match(failure.hint ?? "", hint);
    assert.equal(faulty.count, at + 1);
  }
  await store.close();
}

/** A call that waits for a place which says nothing ends with the signal's reason. Closes the store. */
export async function assertStoppedWhileSilent(store: Store, faulty: Faulty): Promise<void> {
  faulty.answer = "silent";
  const controller = new AbortController();
  const reason = new Error("stopped");
  const call = store.get(REF, { signal: controller.signal });
  while (faulty.count === 0) await new Promise((resolve) => setImmediate(resolve));
  controller.abort(reason);
  await assert.rejects(call, (error) => error === reason);
  await store.close();
}
