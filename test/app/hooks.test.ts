import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { hookOf, runHook, type HookFacts } from "../../src/app/hooks.ts";
import type { Surroundings } from "../../src/app/surroundings.ts";
import { systemClock } from "../../src/base/clock.ts";
import { isFailure } from "../../src/base/errors.ts";
import { silent } from "../../src/base/progress.ts";
import { isAlive } from "../../src/system/alive.ts";
import { LIMITS } from "../../src/base/limits.ts";
import { temporaryFolder } from "../harness/temporary.ts";

const FACTS: HookFacts = {
  hook: "after",
  installation: { id: "x", name: "acme" },
  point: undefined,
  exit: 3,
  outcome: "finding",
};

function surroundings(cwd: string, said: string[] = []): Surroundings {
  return {
    signal: new AbortController().signal,
    progress: { ...silent, say: (line) => said.push(line) },
    env: {},
    cwd,
    clock: systemClock,
    person: undefined,
    redact: (value) => value,
    hide: () => {},
  };
}

test("both outputs of a hook are shown line by line, and it finds what it is told", async () => {
  await using folder = await temporaryFolder();
  const said: string[] = [];
  const command = `echo "$CHATKEEP_EXIT $CHATKEEP_OUTCOME [$CHATKEEP_POINT]"; echo oops >&2; printf 'no end'`;
  await runHook({ command, limitMs: 60_000, isIgnored: false }, FACTS, surroundings(folder.path, said));
  assert.deepEqual(said, ["hook after: 3 finding []", "hook after: oops", "hook after: no end"]);
});

test("a flood of output is cut, and the hook runs to its end", async () => {
  await using folder = await temporaryFolder();
  const said: string[] = [];
  const command = "i=0; while [ $i -lt 2000 ]; do echo line; i=$((i+1)); done; touch ended";
  await runHook({ command, limitMs: 60_000, isIgnored: false }, FACTS, surroundings(folder.path, said));
  assert.equal(said.length, LIMITS.hookLines);
  assert.ok(existsSync(folder.at("ended")));
});

test("a hook that takes too long is ended with all that it started", async () => {
  await using folder = await temporaryFolder();
  const said: string[] = [];
  const command = "sleep 600 & echo $!; wait";
  await assert.rejects(
    runHook({ command, limitMs: 300, isIgnored: false }, FACTS, surroundings(folder.path, said)),
    (error) => isFailure(error, "hook/failed") && /was not over after/.test(error.message),
  );
  const pid = Number(said[0]?.split(" ").at(-1));
  for (let turn = 0; turn < 100 && isAlive(pid); turn += 1) await new Promise((done) => setTimeout(done, 20));
  assert.ok(pid > 0 && !isAlive(pid));
});

test("a hook that fails says with which status, and not its command", async () => {
  await using folder = await temporaryFolder();
  const hook = { command: ": secret; exit 7", limitMs: 60_000, isIgnored: false };
  await assert.rejects(runHook(hook, FACTS, surroundings(folder.path)), (error) => {
    assert.ok(isFailure(error, "hook/failed"));
    assert.equal(error.message, "hook 'after' failed: it ended with status 7");
    return true;
  });
});

test("a hook is a command, or one with its limit", () => {
  assert.equal(hookOf(undefined), undefined);
  assert.deepEqual(hookOf("true"), { command: "true", limitMs: LIMITS.hookMs, isIgnored: false });
  assert.deepEqual(hookOf({ command: "true", "time-limit": "1h", ignore: true }), {
    command: "true",
    limitMs: 3_600_000,
    isIgnored: true,
  });
});
