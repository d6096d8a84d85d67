/** What keeps a repository tidy, run twice: the second time changes no byte, in either repository. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { formatInstant } from "../../src/base/clock.ts";
import { encodeLock } from "../../src/format/lock-file.ts";
import { openRepository } from "../../src/repo/repository.ts";
import { openLocalStore } from "../../src/store/local-store.ts";
import { runCli } from "../harness/cli.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import { readFolder } from "../harness/tree.ts";
import { PASSWORD, signal } from "../repo/small-backup.ts";
import { NOW } from "../job/kept-points.ts";
import { ENVIRONMENT, makeSmallRepositories, type SmallRepositories } from "./small-repository.ts";

let folder: TestFolder;
let made: SmallRepositories;
/** Copies of all points, with keys of its own. */
let copied: string;

before(async () => {
  folder = await temporaryFolder();
  made = await makeSmallRepositories(folder.path);
  copied = made.copyOf(made.empty, "copied");
  await run(["--repository", made.full, "copy", "--all", "--to", copied]);
});
after(async () => await folder[Symbol.asyncDispose]());

async function run(args: readonly string[]): Promise<void> {
  const { status, stderr } = await runCli(args, { env: ENVIRONMENT, cwd: folder.path });
  assert.equal(status, 0, `chatkeep ${args.join(" ")}\n${stderr}`);
}

function firstPack(repository: string): string {
  const folders = readdirSync(join(repository, "data")).map((name) => join(repository, "data", name));
  const [pack = ""] = folders.flatMap((each) => readdirSync(each).map((name) => join(each, name)));
  return pack;
}

/** The lock of a process of this machine that is gone. */
async function leaveLock(repository: string): Promise<void> {
  const opened = await openRepository(openLocalStore(repository), { password: PASSWORD, signal });
  const { pid } = spawnSync(process.execPath, ["-e", ""]);
  const lock = { time: formatInstant(NOW), exclusive: true, hostname: hostname(), username: "you", pid };
  await opened.putUnpacked("locks", encodeLock(lock), { signal });
}

interface Maintenance {
  args: (other: string) => string[];
  /** Gives it something to do. */
  before?: (repository: string, other: string) => Promise<void> | void;
  changes: "repository" | "other" | "nothing";
}

const MAINTENANCE: Readonly<Record<string, Maintenance>> = {
  prune: { args: () => ["prune", "--max-unused", "0"], changes: "repository" },
  forget: { args: () => ["forget", "--all", "--keep-last", "3"], changes: "repository" },
  copy: { args: (other) => ["copy", "--all", "--to", other], changes: "other" },
  "repair index": {
    args: () => ["repair", "index"],
    before: (repository) => {
      const [first = ""] = readdirSync(join(repository, "index"));
      rmSync(join(repository, "index", first));
    },
    changes: "repository",
  },
  "repair packs": {
    args: () => ["repair", "packs", "--from", copied],
    before: (repository) => writeFileSync(firstPack(repository), "not what it was"),
    changes: "repository",
  },
  unlock: { args: () => ["unlock"], before: leaveLock, changes: "repository" },
  "key list": { args: () => ["key", "list"], changes: "nothing" },
  verify: { args: () => ["verify", "--read-data"], changes: "nothing" },
};

for (const [name, { args, before: prepare, changes }] of Object.entries(MAINTENANCE)) {
  test(`${name}, a second time, changes no byte`, async () => {
    const repository = made.copyOf(made.full, `${name} twice`);
    const other = name === "copy" ? made.copyOf(made.empty, `${name} twice, other`) : copied;
    await prepare?.(repository, other);
    const look = async () => ({ repository: await readFolder(repository), other: await readFolder(other) });
    const untouched = await look();
    await run(["--repository", repository, ...args(other)]);
    const once = await look();
    for (const side of ["repository", "other"] as const) {
      if (changes === side) assert.notDeepEqual(once[side], untouched[side], "it had nothing to do");
      else assert.deepEqual(once[side], untouched[side], `it changed the ${side}`);
    }
    await run(["--repository", repository, ...args(other)]);
    assert.deepEqual(await look(), once);
  });
}
