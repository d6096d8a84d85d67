/** What a store refused, for the tests of its words. */
import assert from "node:assert/strict";
import { type ErrorCode, isFailure } from "../../src/base/errors.ts";

/** Its message and hint; fails when it was not refused, or for another reason. */
export async function refusal(promise: Promise<unknown>, code: ErrorCode): Promise<string> {
  const error: unknown = await promise.then(
    () => assert.fail("it was not refused"),
    (reason: unknown) => reason,
  );
  assert.ok(isFailure(error, code), String(error));
  return `${error.message} | ${error.hint ?? ""}`;
}
