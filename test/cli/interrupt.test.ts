/** Ctrl-C in a real run: one that waits for the command that gives the repository's password. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "node:test";
import { jsonLines, startCli } from "../harness/cli.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";

/** A configuration whose password command does what is to be done first, writes its process id, and then takes for ever. */
function writeConfig(folder: TestFolder, command: string, first = "true"): string {
  const config = folder.at("chatkeep.yaml");
  const value = JSON.stringify(
    `${first}; echo $$ > '${folder.at("pid.new")}'; mv '${folder.at("pid.new")}' '${folder.at("pid")}'; ${command}`,
  );
  writeFileSync(
    config,
    `installation: { id: 6f1c0d5e-9a77-4d0e-8f2b-3f6f5b1c2d3e, name: acme }
repositories:
  - { name: primary, location: ${folder.at("repository")}, password-command: ${value} }
`,
  );
  return config;
}

async function started(folder: TestFolder): Promise<number> {
  while (!existsSync(folder.at("pid"))) await sleep(20);
  return Number(readFileSync(folder.at("pid"), "utf8"));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test("Ctrl-C once stops cleanly: the child is ended, the status is 130, and it is said what is kept", async () => {
  await using folder = await temporaryFolder();
  const child = startCli(["list", "--json", "--config", writeConfig(folder, "exec sleep 600")]);
  let stdout = "";
  let stderr = "";
  child.stdout?.on("data", (data: Buffer) => (stdout += data.toString("utf8")));
  child.stderr?.on("data", (data: Buffer) => (stderr += data.toString("utf8")));
  const pid = await started(folder);
  child.kill("SIGINT");
  const [status] = (await once(child, "close")) as [number];
  assert.equal(status, 130);
  assert.equal(isAlive(pid), false);
  assert.match(stderr, /^stopping cleanly; press Ctrl-C again to stop at once\nerror: stopped before the end\nhint: /m);
  const error = jsonLines(stdout).at(-1);
  assert.deepEqual([error?.["type"], error?.["code"], error?.["exit"]], ["error", "run/cancelled", 130]);
  assert.equal(existsSync(folder.at("repository")), false);
});

test("Ctrl-C twice ends at once, whatever the child does", async () => {
  await using folder = await temporaryFolder();
  // The loop keeps the shell, which does not listen, and lets it end by itself when the folder is gone.
  const command = `while [ -e '${folder.at("pid")}' ]; do sleep 0.1; done`;
  const child = startCli(["list", "--config", writeConfig(folder, command, "trap '' TERM INT")]);
  const closed = once(child, "exit");
  const pid = await started(folder);
  try {
    child.kill("SIGINT");
    let stderr = "";
    for await (const data of child.stderr ?? []) {
      stderr += String(data);
      if (stderr.includes("stopping cleanly")) break;
    }
    await sleep(300);
    child.kill("SIGINT");
    assert.deepEqual(await closed, [130, null]);
    assert.equal(isAlive(pid), true);
  } finally {
    if (isAlive(pid)) process.kill(pid, "SIGKILL");
  }
});
