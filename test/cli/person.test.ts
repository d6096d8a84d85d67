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
