/** The QR code of a password: read back from its modules by a reader that is not the writer's. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { makePassword } from "../../src/app/new-password.ts";
import { encodeQr } from "../../src/app/qr.ts";
import { isFailure } from "../../src/base/errors.ts";
import { readQr } from "./qr-reader.ts";

test("a QR code holds exactly the password, whatever is in it", () => {
  const passwords = ["a", `"quoted" $HOME\\`, "päss wörd \u{1F511}", "x".repeat(42), "1234567890"];
  for (const password of passwords) assert.equal(readQr(encodeQr(password)), password);
});

test("passwords that are made here have 160 bits, differ, and can be read back from their code", () => {
  const made = Array.from({ length: 50 }, makePassword);
  assert.equal(new Set(made).size, made.length);
  for (const password of made) {
    assert.match(password, /^([0-9a-hjkmnp-tv-z]{4}-){7}[0-9a-hjkmnp-tv-z]{4}$/);
    assert.equal(readQr(encodeQr(password)), password);
  }
});

test("a password that no code can hold is refused by name", () => {
  assert.throws(
    () => encodeQr("x".repeat(3000)),
    (error) => isFailure(error, "config/invalid") && /too long for a QR code/.test(error.message),
  );
});
