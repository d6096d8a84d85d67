import assert from "node:assert/strict";
import { test } from "node:test";
import { nearNames } from "../../src/base/near.ts";

test("names that are nearly the given one are offered, the nearest first, and no others", () => {
  const known = ["messages", "message_templates", "conversations", "contacts", "users"];
  assert.deepEqual(nearNames("mesages", known), ["messages"]);
  assert.deepEqual(nearNames("message", known), ["message_templates", "messages"]);
  assert.deepEqual(nearNames("contact", known), ["contacts"]);
  assert.deepEqual(nearNames("tickets", known), []);
});
