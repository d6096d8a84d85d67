import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { showControls } from "../../src/cli/print.ts";
import { createKeptPrinter } from "./fakes.ts";

test("results go to stdout, what is said beside them to stderr, and neither holds a secret", () => {
  const { printer, stdout, stderr } = createKeptPrinter(["canary-1"]);
  printer.out(["first canary-1", "second"]);
  printer.note("beside canary-1");
  printer.json({ type: "summary", where: "canary-1" });
  assert.equal(stdout.text, 'first •••\nsecond\n{"type":"summary","where":"•••"}\n');
  assert.equal(stderr.text, "beside •••\n");
});

test("no lines print nothing, an empty line prints a line end", () => {
  const { printer, stdout } = createKeptPrinter();
  printer.out([]);
  assert.equal(stdout.text, "");
  printer.out("");
  assert.equal(stdout.text, "\n");
});

test("control characters in data are made visible, colours of our own are kept", () => {
  const { printer, stdout } = createKeptPrinter();
  printer.out("evil\u001B[2J\u001B]0;title\u0007\u009B31m\rname \u001B[31mred\u001B[0m\tend");
  assert.equal(stdout.text, "evil\\x1b[2J\\x1b]0;title\\x07\\x9b31m\\x0dname \u001B[31mred\u001B[0m\tend\n");
  assert.equal(showControls("\u001B[8mhidden"), "\\x1b[8mhidden");
});

test("the live line gives way to what is printed and comes back below it", () => {
  const { printer, stderr } = createKeptPrinter();
  printer.live("working");
  printer.live("working");
  printer.note("a word");
  printer.live("");
  assert.deepEqual(stderr.pieces, ["\r\u001B[2Kworking", "\r\u001B[2K", "a word\n", "working", "\r\u001B[2K"]);
});

test("a reader that has gone is no error, and nothing more is sent to it", async () => {
  const { printer, stdout } = createKeptPrinter();
  stdout.error = Object.assign(new Error("write EPIPE"), { code: "EPIPE" });
  printer.out("lost");
  await printer.flush();
  assert.equal(printer.isClosed, true);
  assert.equal(printer.failure, undefined);
  stdout.error = undefined;
  printer.out("not sent");
  assert.equal(stdout.text, "");
});

test("a full disk below stdout is a failure", async () => {
  const { printer, stdout } = createKeptPrinter();
  stdout.error = Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
  await assert.rejects(printer.bytes(Buffer.from("x")), (error) => isFailure(error, "target/unsuitable"));
  assert.equal(printer.isClosed, false);
  assert.match(printer.failure?.message ?? "", /no space left/);
});

test("bytes that were asked for come out unchanged, secrets and control characters too", async () => {
  const { printer, stdout } = createKeptPrinter(["canary-1"]);
  await printer.bytes(Buffer.from("PASSWORD=canary-1\u001B[2J"));
  assert.equal(stdout.text, "PASSWORD=canary-1\u001B[2J");
});
