/** Copies between two repositories that stock restic made, with no configuration: each snapshot by its id, or all. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { callCli, summaryOf } from "../harness/cli.ts";
import { runRestic } from "../harness/restic.ts";
import type { RunResult } from "../harness/run.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";

const password = "of both";
let folder: TestFolder;
let from: string;
let to: string;

async function snapshots(repo: string): Promise<{ id: string; original?: string }[]> {
  const { stdout } = await runRestic(["snapshots", "--json"], { repo, password });
  return JSON.parse(stdout) as { id: string; original?: string }[];
}

async function copy(...args: string[]): Promise<RunResult> {
  return await callCli(["copy", ...args, "--repository", from, "--to", to], {
    cwd: folder.path,
    env: { CHATKEEP_PASSWORD: password },
  });
}

before(async () => {
  folder = await temporaryFolder();
  from = folder.at("from");
  to = folder.at("to");
  mkdirSync(folder.at("files"));
  for (const repo of [from, to]) await runRestic(["init"], { repo, password });
  for (const day of [1, 2, 3]) {
    writeFileSync(folder.at("files/one"), `of day ${day}`);
    await runRestic(["backup", folder.at("files")], { repo: from, password });
  }
});
after(async () => await folder[Symbol.asyncDispose]());

test("where there are only snapshots of others, a copy that names none says so, and names --all", async () => {
  for (const args of [[], ["latest"], ["ffffffff"]]) {
    const result = await copy(...args);
    assert.equal(result.status, 1, result.stderr + result.stdout);
    assert.match(result.stderr, /holds no restore point, but 3 snapshots of restic or another program/);
    assert.match(result.stderr, /by the ids that 'restic snapshots' shows, or copy every one with --all/);
  }
  assert.deepEqual(await snapshots(to), []);
});

test("a snapshot of restic's is copied by its id or the first digits, and a copy of it by its first name", async () => {
  const [first, second] = await snapshots(from);
  const copied = await copy(String(first?.id.slice(0, 8)), String(second?.id), "--json");
  assert.equal(copied.status, 0, copied.stderr);
  const there = await snapshots(to);
  assert.deepEqual(
    there.map(({ original }) => String(original)).toSorted(),
    [String(first?.id), String(second?.id)].toSorted(),
  );
  await runRestic(["check", "--read-data"], { repo: to, password });
  const third = folder.at("third");
  await runRestic(["init"], { repo: third, password });
  const args = ["--json", "copy", String(first?.id.slice(0, 10)), "--repository", to, "--to", third];
  const again = await callCli(args, { cwd: folder.path, env: { CHATKEEP_PASSWORD: password } });
  assert.equal(again.status, 0, again.stderr);
  assert.equal((summaryOf(again.stdout)["copied"] as unknown[]).length, 1);
  assert.deepEqual(
    (await snapshots(third)).map(({ original }) => original),
    [first?.id],
  );
});

test("with --all the others follow", async () => {
  const result = await copy("--all");
  assert.equal(result.status, 0, result.stderr);
  assert.equal((await snapshots(to)).length, 3);
});
