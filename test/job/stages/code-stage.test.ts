import assert from "node:assert/strict";
import { cp, readdir, readFile, rename, rm } from "node:fs/promises";
import { join, relative } from "node:path";
import { after, before, test } from "node:test";
import type { Installation } from "../../../src/installation/installation.ts";
import { codeStage, type CodeRecord } from "../../../src/job/stages/code-stage.ts";
import { temporaryFolder } from "../../harness/temporary.ts";
import { readFolder } from "../../harness/tree.ts";
import { commit, git, write } from "../../installation/checkout.ts";
import { contextOf, type ForkDesk, killedAt, openForkDesk, placeAt, stateOf, upgraded, workOf } from "./fork-desk.ts";
import { memoryRecord } from "./stage-context.ts";

let forks: ForkDesk;

before(async () => {
  forks = await openForkDesk();
});

after(async () => await forks[Symbol.asyncDispose]());

test("a fork's code comes back with its commits, edits and untracked files, also after a kill, and an undo leaves what was there", async () => {
  await using folder = await temporaryFolder();
  const root = await upgraded(forks, folder);
  const then = await stateOf(root);
  const context = await contextOf(forks, folder, forks.fork, placeAt(forks, root));
  const { lines, blockers, findings } = await codeStage.plan(context);
  assert.deepEqual([blockers, findings], [[], []]);
  assert.match(
    lines[0] ?? "",
    /bring the code in .*app to [0-9a-f]{10} \(acme\), with its own commits, edits, 1 untracked file; what is there now is kept/,
  );
  assert.deepEqual(await stateOf(root), then, "a plan changes nothing");
  const record = memoryRecord<CodeRecord>();
  await killedAt(2, record, async () => await codeStage.apply(context, record));
  // Half of the work, which nobody noted.
  await write(root, "app/models/message.rb", "half done\n");
  const result = await codeStage.apply(context, record);
  assert.deepEqual(result.findings, []);
  assert.deepEqual(await workOf(root), await workOf(forks.desk.folder.at("fork")));
  assert.deepEqual((await codeStage.plan(context)).lines, [], "then there is nothing left to do");
  const plainRecord = memoryRecord(record.kept);
  await codeStage.undo(context, plainRecord);
  await codeStage.undo(context, plainRecord);
  assert.deepEqual(await stateOf(root), then);
});

/** All that is put aside of edits, by its path. */
async function since(folder: string): Promise<Record<string, string>> {
  const into = `${folder}/restore/code-since-1/files`;
  const names = await readdir(into, { recursive: true, withFileTypes: true });
  const files = names.filter((one) => one.isFile()).map((one) => join(one.parentPath, one.name));
  return Object.fromEntries(
    await Promise.all(files.map(async (path) => [relative(into, path), await readFile(path, "utf8")] as const)),
  );
}

test("what somebody changed in the code after the restore is seen before it is undone, and is put aside by it", async () => {
  await using folder = await temporaryFolder();
  const root = await upgraded(forks, folder);
  const then = await stateOf(root);
  const context = await contextOf(forks, folder, forks.fork, placeAt(forks, root));
  const record = memoryRecord<CodeRecord>();
  await codeStage.apply(context, record);
  assert.deepEqual(await codeStage.planUndo?.(context, record), { blockers: [], findings: [] });
  await write(root, "app/models/message.rb", "a person's\n");
  await write(root, "config/app.yml", "a person's, too\n");
  await write(root, "public/acme.css", "changed again\n");
  await write(root, "lib/new.rb", "committed\n");
  await git(root, "add", "lib/new.rb");
  await git(
    root,
    "-c",
    "core.hooksPath=/dev/null",
    "commit",
    "--quiet",
    "--message",
    "made since",
    "--only",
    "lib/new.rb",
  );
  const made = (await git(root, "rev-parse", "HEAD")).trim();
  const edited = await stateOf(root);
  const planned = await codeStage.planUndo?.(context, record);
  assert.deepEqual(await stateOf(root), edited, "a look changes nothing");
  assert.deepEqual(planned?.blockers, []);
  assert.deepEqual(
    planned?.findings.map(({ kind, level }) => [kind, level]),
    [["code-changed-since", "warning"]],
  );
  for (const name of [
    "app/models/message.rb",
    "config/app.yml",
    "public/acme.css",
    `branch acme at ${made.slice(0, 10)}`,
  ])
    assert.ok(planned?.findings[0]?.message.includes(name), `${name}: ${planned?.findings[0]?.message}`);
  // Killed when it had put them aside, and called again.
  const killed = memoryRecord(record.kept);
  await killedAt(1, killed, async () => await codeStage.undo(context, killed));
  const { findings } = await codeStage.undo(context, memoryRecord(record.kept));
  assert.match(findings[0]?.message ?? "", /put aside in .*code-since-2/);
  const kept = await since(folder.path);
  assert.deepEqual(
    [kept["app/models/message.rb"], kept["config/app.yml"], kept["public/acme.css"]],
    ["a person's\n", "a person's, too\n", "changed again\n"],
  );
  const held = await git(root, "for-each-ref", "--format=%(objectname)", "refs/chatkeep/since");
  assert.deepEqual([...new Set(held.trim().split("\n"))], [made]);
  await codeStage.discard?.(context, record);
  assert.deepEqual(await stateOf(root), then);
});

test("a rollback that fails at the code says in the end what it has put aside, and does not put it aside each time", async () => {
  await using folder = await temporaryFolder();
  const root = await upgraded(forks, folder);
  const then = await stateOf(root);
  const context = await contextOf(forks, folder, forks.fork, placeAt(forks, root));
  const record = memoryRecord<CodeRecord>();
  await codeStage.apply(context, record);
  await write(root, "app/models/message.rb", "a person's\n");
  const copy = folder.at("restore/code-before/files/config/app.yml");
  await rename(copy, `${copy}.away`);
  const asides = async () => (await readdir(folder.at("restore"))).filter((name) => name.startsWith("code-since"));
  for (const _try of [1, 2]) {
    await assert.rejects(async () => await codeStage.undo(context, record), /ENOENT/);
    assert.deepEqual(await asides(), ["code-since-1"]);
  }
  // What comes between two calls is somebody's again.
  await write(root, "app/models/message.rb", "once more\n");
  await assert.rejects(async () => await codeStage.undo(context, record), /ENOENT/);
  assert.deepEqual(await asides(), ["code-since-1", "code-since-2"]);
  await rename(`${copy}.away`, copy);
  const { findings } = await codeStage.undo(context, record);
  assert.match(findings[0]?.message ?? "", /1 change is put aside in .*code-since-1: app\/models\/message\.rb$/);
  assert.equal((await since(folder.path))["app/models/message.rb"], "a person's\n");
  assert.deepEqual(await asides(), ["code-since-1", "code-since-2"]);
  await codeStage.discard?.(context, record);
  assert.deepEqual(await stateOf(root), then);
});

test("what is dropped of a restore holds no commit in the checkout any more, and another restore's are left", async () => {
  await using folder = await temporaryFolder();
  const root = await upgraded(forks, folder);
  const context = await contextOf(forks, folder, forks.fork, placeAt(forks, root));
  const record = memoryRecord<CodeRecord>();
  const held = async () => await git(root, "for-each-ref", "--format=%(refname)", "refs/chatkeep/before");
  const others = "refs/chatkeep/before/restored-earlier/HEAD";
  await git(root, "update-ref", others, "HEAD");
  await codeStage.apply(context, record);
  assert.match(await held(), /^refs\/chatkeep\/before\/restore\/HEAD$/m);
  const restored = await workOf(root);
  await codeStage.discard?.(context, record);
  assert.equal((await held()).trim(), others);
  assert.deepEqual(await workOf(root), restored);
  await rm(root, { recursive: true });
  await codeStage.discard?.(context, record);
});

test("code whose copies are gone, or whose commit is, stands in the way of a rollback", async () => {
  await using folder = await temporaryFolder();
  const root = await upgraded(forks, folder);
  const context = await contextOf(forks, folder, forks.fork, placeAt(forks, root));
  const record = memoryRecord<CodeRecord>();
  await codeStage.apply(context, record);
  await rm(folder.at("restore/code-before/files/config/app.yml"));
  const kept = record.kept;
  assert.ok(kept?.kind === "git");
  const lacking = memoryRecord<CodeRecord>({ ...kept, checkout: { ...kept.checkout, head: "0".repeat(40) } });
  const found = await codeStage.planUndo?.(context, record);
  assert.deepEqual(
    found?.blockers.map(({ kind, message }) => [kind, message.replace(/^.*: /, "")]),
    [["put-aside-gone", "files/config/app.yml"]],
  );
  assert.deepEqual(
    (await codeStage.planUndo?.(context, lacking))?.blockers.map(({ kind }) => kind),
    ["put-aside-gone", "code-commit-missing"],
  );
});

test("code that is as it was saved is left alone", async () => {
  await using folder = await temporaryFolder();
  await cp(forks.desk.folder.at("fork"), folder.at("app"), { recursive: true });
  await write(folder.at("app"), "made-since.txt", "nobody's\n");
  const { lines, blockers, findings } = await codeStage.plan(
    await contextOf(forks, folder, forks.fork, placeAt(forks, folder.at("app"))),
  );
  assert.deepEqual({ lines, blockers, findings }, { lines: [], blockers: [], findings: [] });
});

test("files without git come back, what differed is kept, and an undo puts it back", async () => {
  await using folder = await temporaryFolder();
  const root = folder.at("app");
  await write(root, "changed.rb", "present\n");
  await write(root, "others.rb", "of nobody's\n");
  const then = await readFolder(root);
  const context = await contextOf(forks, folder, forks.plain, placeAt(forks, root, "files"));
  const record = memoryRecord<CodeRecord>();
  await killedAt(1, record, async () => await codeStage.apply(context, record));
  await codeStage.apply(context, record);
  const { "others.rb": others, ...back } = await readFolder(root);
  assert.deepEqual([back, others], [await readFolder(forks.desk.folder.at("plain")), then["others.rb"]]);
  await write(root, "changed.rb", "a person's\n");
  assert.deepEqual(
    (await codeStage.planUndo?.(context, record))?.findings.map(({ kind }) => kind),
    ["code-changed-since"],
  );
  const { findings } = await codeStage.undo(context, record);
  assert.match(findings[0]?.message ?? "", /1 change .*: changed\.rb$/);
  assert.deepEqual(await since(folder.path), { "changed.rb": "a person's\n" });
  assert.deepEqual(await readFolder(root), then);
});

function inImage(name: string, version: string, digest?: string): Installation {
  const { code: _, root: __, ...rest } = forks.desk.installation;
  const image = { name, id: `sha256:${name.length}${version}`, ...(digest === undefined ? {} : { digest }) };
  return { ...rest, kind: "docker-compose", image, version };
}

function of(image: Installation["image"]): Parameters<typeof contextOf>[4] {
  return image === undefined ? {} : { chatwoot: { image } };
}

test("an image is compared: the same is nothing to do, another is named, and one that does not fit stands in the way", async () => {
  await using folder = await temporaryFolder();
  const here = inImage("chatwoot/chatwoot:v4.15.1", "4.15.1", "chatwoot/chatwoot@sha256:aa");
  const kinds = async (installation: Installation, options: Parameters<typeof contextOf>[4]) => {
    const { lines, blockers, findings } = await codeStage.plan(
      await contextOf(forks, folder, forks.plain, installation, options),
    );
    return [lines.length, ...[...blockers, ...findings].map(({ kind }) => kind)];
  };
  assert.deepEqual(await kinds(here, of(here.image)), [1, "code-put-beside"], "files that were mounted into it");
  const older = inImage("chatwoot/chatwoot:v4.9.0", "4.9.0");
  assert.deepEqual(await kinds(older, of(here.image)), [1, "code-too-old", "image-differs", "code-put-beside"]);
  const next = await codeStage.apply(
    await contextOf(forks, folder, forks.plain, here, of(here.image)),
    memoryRecord<CodeRecord>(),
  );
  assert.match(next.next?.[0] ?? "", /compare .*restore\/code with the code that runs here/);
  assert.equal(await readFile(folder.at("restore/code/files/lib/mine.rb"), "utf8"), "mine\n");
});

test("newer code of a checkout stays where the database is to be migrated, unless a step must not be jumped over", async () => {
  await using folder = await temporaryFolder();
  const root = folder.at("app");
  await cp(forks.desk.folder.at("fork"), root, { recursive: true });
  const applied = (await forks.fork.manifest()).chatwoot.migrations;
  for (const version of [...applied, "20991231000000"]) await write(root, `db/migrate/${version}_x.rb`, "");
  await commit(root, "newer");
  const place = { ...placeAt(forks, root), version: "5.0.0" };
  const migrated = await codeStage.plan(await contextOf(forks, folder, forks.fork, place, { migrate: true }));
  assert.deepEqual(migrated.blockers, []);
  assert.match(migrated.lines[0] ?? "", /stays: it is newer than Chatwoot/);
  const back = await codeStage.plan(await contextOf(forks, folder, forks.fork, place));
  assert.match(back.lines[0] ?? "", /bring the code/);
  const ancient = { chatwoot: { migrations: ["20220101000000"], version: "2.0.0" }, migrate: true };
  const { blockers } = await codeStage.plan(await contextOf(forks, folder, forks.fork, place, ancient));
  assert.deepEqual(
    blockers.map(({ kind }) => kind),
    ["upgrade-in-steps", "pgvector-needed"],
  );
});
