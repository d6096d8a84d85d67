import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { test } from "node:test";
import { formatCompletions } from "../../src/cli/completions.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { mustRun, run } from "../harness/run.ts";

const asText = { serializers: [(text: string) => text] };

for (const shell of ["bash", "zsh", "fish"] as const) {
  test(`the completions for ${shell}`, (t) => {
    t.assert.snapshot(formatCompletions(shell).join("\n"), asText);
  });
}

/** What bash offers when Tab is pressed after these words. */
async function offered(...words: string[]): Promise<string[]> {
  const script = `${formatCompletions("bash").join("\n")}
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _chatkeep; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout } = await mustRun("bash", ["--norc", "-c", script, "bash", "chatkeep", ...words]);
  return stdout.split("\n").filter((line) => line !== "");
}

test("bash offers commands, their options, points and values", async () => {
  assert.deepEqual(await offered("ba"), ["backup"]);
  assert.deepEqual(await offered("restore", "la"), ["latest"]);
  assert.deepEqual(await offered("restore", "latest", "--pl"), ["--plan"]);
  assert.deepEqual(await offered("restore", "--only", "st"), ["storage"]);
  assert.deepEqual(await offered("--json", "backup", "--f"), ["--full", "--from-standby"]);
  assert.deepEqual(await offered("completion", "z"), ["zsh"]);
  assert.deepEqual(await offered("help", "exi"), ["exits"]);
  assert.ok((await offered("list", "--config", "package")).includes("package.json"));
  assert.deepEqual(await offered("import", "package.js"), ["package.json"]);
  assert.deepEqual(await offered("list", "package.js"), []);
});

test("zsh and fish take their scripts, where they are installed", async (t) => {
  await using folder = await temporaryFolder();
  for (const shell of ["zsh", "fish"] as const) {
    const found = await run("sh", ["-c", `command -v ${shell}`]);
    if (found.status !== 0) {
      t.diagnostic(`${shell} is not installed`);
      continue;
    }
    const path = folder.at(shell);
    writeFileSync(path, formatCompletions(shell).join("\n"));
    const { status, stderr } = await run(shell, ["-n", path]);
    assert.equal(status, 0, stderr);
    if (shell === "fish") {
      const offers = await mustRun("fish", ["-c", `source ${path}; complete -C "chatkeep restore --only st"`]);
      assert.match(offers.stdout, /^storage\t.*\n$/);
    }
  }
});
