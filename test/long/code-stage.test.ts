/** Bringing code back, killed behind each record, and where it does not fit. */
import assert from "node:assert/strict";
import { rm, writeFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { codeStage, type CodeRecord } from "../../src/job/stages/code-stage.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { commit, git, makeCheckout, makeUpstream, write } from "../installation/checkout.ts";
import {
  contextOf,
  type ForkDesk,
  killedAt,
  openForkDesk,
  placeAt,
  stateOf,
  upgraded,
  workOf,
} from "../job/stages/fork-desk.ts";
import { memoryRecord } from "../job/stages/stage-context.ts";

let forks: ForkDesk;

before(async () => {
  forks = await openForkDesk();
});

after(async () => await forks[Symbol.asyncDispose]());

test("killed behind any record it goes on to the same end, and can be undone to the same beginning", async () => {
  for (const kill of [1, 2, 3]) {
    await using folder = await temporaryFolder();
    const root = await upgraded(forks, folder);
    const then = await stateOf(root);
    const context = await contextOf(forks, folder, forks.fork, placeAt(forks, root));
    const record = memoryRecord<CodeRecord>();
    await killedAt(kill, record, async () => await codeStage.apply(context, record));
    // Half of the work, which nobody noted; behind the last record all of it is done.
    if (kill < 3) await write(root, "app/models/message.rb", "half done\n");
    await codeStage.apply(context, record);
    assert.deepEqual(await workOf(root), await workOf(forks.desk.folder.at("fork")), `killed at ${kill}`);
    await codeStage.undo(context, record);
    assert.deepEqual(await stateOf(root), then, `killed at ${kill}`);
  }
});

test("without the commit that the saved code builds upon nothing is begun, and it is said how to fetch it", async () => {
  await using folder = await temporaryFolder();
  await makeUpstream(folder.at("app"));
  await rm(folder.at("app/.git"), { recursive: true });
  await git(folder.at("app"), "init", "--quiet");
  await write(folder.at("app"), "other.rb", "of another history\n");
  await commit(folder.at("app"), "another history");
  const context = await contextOf(forks, folder, forks.fork, placeAt(forks, folder.at("app")));
  const { blockers } = await codeStage.plan(context);
  assert.deepEqual(
    blockers.map(({ kind }) => kind),
    ["code-commit-missing"],
  );
  assert.match(blockers[0]?.hint ?? "", /git fetch https:\/\/github\.com\/chatwoot\/chatwoot\.git/);
  const then = await workOf(folder.at("app"));
  await assert.rejects(codeStage.apply(context, memoryRecord<CodeRecord>()), (error) =>
    isFailure(error, "target/unsuitable"),
  );
  assert.deepEqual(await workOf(folder.at("app")), then);
});

test("a branch with commits of somebody else is left, and told: the commit that is checked out is the saved one", async () => {
  await using folder = await temporaryFolder();
  const root = folder.at("app");
  await makeCheckout(forks.desk.folder.at("upstream"), root);
  await git(root, "checkout", "--quiet", "-b", "acme");
  await write(root, "diverged.rb", "x\n");
  const diverged = await commit(root, "diverged");
  const record = memoryRecord<CodeRecord>();
  const context = await contextOf(forks, folder, forks.fork, placeAt(forks, root));
  const { findings } = await codeStage.apply(context, record);
  assert.deepEqual(
    findings.map(({ kind }) => kind),
    ["code-conflicts-left"],
  );
  assert.equal(await git(root, "rev-parse", "acme"), diverged);
  assert.equal(await git(root, "rev-parse", "HEAD"), await git(forks.desk.folder.at("fork"), "rev-parse", "HEAD"));
  await codeStage.undo(context, record);
  assert.equal(await git(root, "symbolic-ref", "HEAD"), "refs/heads/acme");
});

test("libraries of other code stop the restore once, with what to do", async () => {
  await using folder = await temporaryFolder();
  const root = await upgraded(forks, folder);
  await git(root, "stash", "--quiet", "--include-untracked");
  await writeFile(`${root}/Gemfile.lock`, "newer\n");
  await commit(root, "other gems");
  const context = await contextOf(forks, folder, forks.fork, { ...placeAt(forks, root), kind: "linux-vm" });
  const record = memoryRecord<CodeRecord>();
  assert.match((await codeStage.apply(context, record)).holds ?? "", /bundle install/);
  assert.equal((await codeStage.apply(context, record)).holds, undefined);
});
