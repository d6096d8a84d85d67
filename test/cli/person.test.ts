import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import { Failure, isFailure } from "../../src/base/errors.ts";
import { createPerson } from "../../src/cli/person.ts";

function setUp() {
  const input = new PassThrough();
  const output = new PassThrough();
  const controller = new AbortController();
  const asking: boolean[] = [];
  const onAsking = (isAsking: boolean) => asking.push(isAsking);
  const person = createPerson({ input, output, onAsking, signal: controller.signal });
  return { input, output, controller, person, asking, asked: () => String(output.read()) };
}

test("a question is asked and its answer comes back without the spaces around it", async () => {
  const { input, person, asked, asking } = setUp();
  const answer = person.text("What is it called?", "acme");
  input.write("  shop \n");
  assert.equal(await answer, "shop");
  assert.equal(asked(), "What is it called? [acme] ");
  assert.deepEqual(asking, [true, false]);
});

test("an empty answer takes what was suggested, or is empty", async () => {
  const { input, person } = setUp();
  const suggested = person.text("Name?", "acme");
  input.write("\n");
  assert.equal(await suggested, "acme");
  const none = person.text("Name?");
  input.write("\n");
  assert.equal(await none, "");
});

test("only y and yes are a yes", async () => {
  for (const [typed, expected] of [
    ["y", true],
    ["YES", true],
    ["", false],
    ["n", false],
    ["yeah", false],
  ] as const) {
    const { input, person } = setUp();
    const answer = person.confirm("Go on?");
    input.write(`${typed}\n`);
    assert.equal(await answer, expected, typed);
  }
});

test("an input that ends without an answer cancels", async () => {
  const { input, person } = setUp();
  const answer = person.text("Name?");
  input.end();
  await assert.rejects(answer, (error) => isFailure(error, "run/cancelled"));
});

test("Ctrl-C while a question stands cancels it", async () => {
  const { controller, person } = setUp();
  const answer = person.text("Name?");
  const reason = new Failure("run/cancelled", "stopped before the end");
  controller.abort(reason);
  await assert.rejects(answer, reason);
});

test("a secret is not shown, may be mended while it is typed, and puts the terminal back", async () => {
  const { input, output, person, asking } = setUp();
  const modes: boolean[] = [];
  Object.assign(input, { setRawMode: (isRaw: boolean) => modes.push(isRaw) });
  const answer = person.secret("New password:");
  input.write("wrong\u0015päx\u007Fss ");
  input.write(Buffer.from("w\u00F6rd \u{1F511}x").subarray(0, 8));
  input.write(Buffer.from("w\u00F6rd \u{1F511}x").subarray(8));
  input.write("\b\rnot read");
  assert.equal(await answer, "päss wörd \u{1F511}");
  let shown = "";
  for (let piece = ""; piece !== "null"; piece = String(output.read())) shown += piece;
  assert.equal(shown, "New password: \n");
  assert.deepEqual(modes, [true, false]);
  assert.deepEqual(asking, [true, false]);
});

test("the end of the input, Ctrl-D and a run that is stopped end a secret, and put the terminal back", async () => {
  for (const end of ["end", "\u0004", "abort"]) {
    const { input, controller, person } = setUp();
    const modes: boolean[] = [];
    Object.assign(input, { setRawMode: (isRaw: boolean) => modes.push(isRaw) });
    const answer = person.secret("Password?");
    if (end === "end") input.end("half");
    else if (end === "abort") controller.abort(new Failure("run/cancelled", "stopped before the end"));
    else input.write(`half${end}`);
    await assert.rejects(answer, (error) => isFailure(error, "run/cancelled"), end);
    assert.deepEqual(modes, [true, false], end);
  }
});
