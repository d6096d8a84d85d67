/** What changes a repository, run twice: the second time changes no byte, in either repository and in no file beside them. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { formatInstant } from "../../src/base/clock.ts";
import { createKeyFile } from "../../src/format/key-file.ts";
import { encodeLock } from "../../src/format/lock-file.ts";
import { openRepository, type Repository } from "../../src/repo/repository.ts";
import { openLocalStore } from "../../src/store/local-store.ts";
import { callCli } from "../harness/cli.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import { readFolder } from "../harness/tree.ts";
import { isWhole } from "../harness/whole.ts";
import { CHEAP, PASSWORD, signal } from "../repo/small-backup.ts";
import { NOW } from "../job/kept-points.ts";
import { openDesk } from "./desk.ts";
import { assertRefused, type Refusal } from "./refusal.ts";
import { ENVIRONMENT, makeSmallRepositories, type SmallRepositories } from "./small-repository.ts";

let folder: TestFolder;
let made: SmallRepositories;
/** Copies of all points, with keys of its own. */
let copied: string;
/** One of the points in a file, and the file's password. */
let exported: string;
let exportPassword: string;

before(async () => {
  folder = await temporaryFolder();
  made = await makeSmallRepositories(folder.path);
  copied = made.copyOf(made.empty, "copied");
  await run(folder.path, ["--repository", made.full, "copy", "--all", "--to", copied]);
  [exported, exportPassword] = [folder.at("exported.tar"), folder.at("exported.password")];
  await run(folder.path, ["--repository", made.full, "export", "latest", exported, "--password-file", exportPassword]);
});
after(async () => await folder[Symbol.asyncDispose]());

async function run(cwd: string, args: readonly string[]): Promise<void> {
  const { status, stderr } = await callCli(args, { env: ENVIRONMENT, cwd });
  assert.equal(status, 0, `chatkeep ${args.join(" ")}\n${stderr}`);
}

function firstPack(repository: string): string {
  const folders = readdirSync(join(repository, "data")).map((name) => join(repository, "data", name));
  const [pack = ""] = folders.flatMap((each) => readdirSync(each).map((name) => join(each, name)));
  return pack;
}

async function open(repository: string): Promise<Repository> {
  return await openRepository(openLocalStore(repository), { password: PASSWORD, signal });
}

/** The lock of a process of this machine that is gone. */
async function leaveLock(repository: string): Promise<void> {
  const opened = await open(repository);
  const { pid } = spawnSync(process.execPath, ["-e", ""]);
  const lock = { time: formatInstant(NOW), exclusive: true, hostname: hostname(), username: "you", pid };
  await opened.putUnpacked("locks", encodeLock(lock), { signal });
}

const HERS = { username: "maria", hostname: "laptop", created: "2026-02-01T00:00:00Z" };

/** A colleague's key. Its name. */
async function addHerKey(repository: string): Promise<string> {
  const { keys } = await open(repository);
  const bytes = await createKeyFile("hers alone", keys, HERS, CHEAP);
  const name = createHash("sha256").update(bytes).digest("hex");
  writeFileSync(join(repository, "keys", name), bytes);
  return name;
}

interface Place {
  /** Where the command is run, with whatever lies there. */
  home: string;
  repository: string;
  other: string;
}

interface Repeated {
  args: (place: Place, prepared: string) => string[];
  /** Gives it something to do; what it returns goes to `args`. */
  before?: (place: Place) => Promise<string | void> | string | void;
  /** What the first run changes. */
  changes: readonly ("repository" | "other" | "beside")[];
  /** How the second run says that there is nothing left to do; left out where that is its answer, too. */
  refused?: Refusal;
}

const NEW_PASSWORD = ["--new-password-file", "new.password"];
const writeNewPassword = ({ home }: Place) => writeFileSync(join(home, "new.password"), "quite another one\n");

const REPEATED: Readonly<Record<string, Repeated>> = {
  prune: { args: () => ["prune", "--max-unused", "0"], changes: ["repository"] },
  forget: { args: () => ["forget", "--all", "--keep-last", "3"], changes: ["repository"] },
  "forget by name": {
    args: () => ["forget", oldest(), "--yes"],
    changes: ["repository"],
    refused: { status: 1, error: /no restore point/, hint: /list/ },
  },
  copy: { args: ({ other }) => ["copy", "--all", "--to", other], changes: ["other"] },
  "repair index": {
    args: () => ["repair", "index"],
    before: ({ repository }) => {
      const [first = ""] = readdirSync(join(repository, "index"));
      rmSync(join(repository, "index", first));
    },
    changes: ["repository"],
  },
  "repair packs": {
    args: () => ["repair", "packs", "--from", copied],
    before: ({ repository }) => writeFileSync(firstPack(repository), "not what it was"),
    changes: ["repository"],
  },
  unlock: {
    args: () => ["unlock"],
    before: async ({ repository }) => await leaveLock(repository),
    changes: ["repository"],
  },
  hold: {
    args: () => ["hold", oldest(), "--name", "audit", "--reason", "for the auditors", "--until", "2099-12-31"],
    changes: ["repository"],
  },
  "hold --release": {
    before: async ({ home, repository }) =>
      await run(home, ["--repository", repository, "hold", oldest(), "--name", "audit"]),
    args: () => ["hold", "--release", oldest(), "audit"],
    changes: ["repository"],
    refused: { status: 2, error: /has no hold 'audit'/, hint: /chatkeep hold/ },
  },
  export: {
    args: () => ["export", "latest", "point.tar", "--password-file", "point.password"],
    changes: ["beside"],
    refused: { status: 1, error: /point\.tar' exists already/, hint: /ever written over/ },
  },
  import: {
    args: ({ other }) => ["import", exported, "--password-file", exportPassword, "--to", other],
    changes: ["other"],
  },
  "key list": { args: () => ["key", "list"], changes: [] },
  "key add": {
    before: writeNewPassword,
    args: () => ["key", "add", ...NEW_PASSWORD, "--user", "maria", "--host", "laptop"],
    changes: ["repository"],
    refused: { status: 2, error: /opens the repository already/, hint: /password of its own/ },
  },
  "key add --generate": {
    args: () => ["key", "add", "--generate", "maria.password", "--user", "maria"],
    changes: ["repository", "beside"],
    refused: { status: 2, error: /maria\.password' exists already/, hint: /./ },
  },
  "key remove": {
    before: async ({ repository }) => await addHerKey(repository),
    args: (_, hers) => ["key", "remove", hers.slice(0, 8)],
    changes: ["repository"],
    refused: { status: 2, error: /there is no key/, hint: /key list/ },
  },
  "key passwd": {
    before: writeNewPassword,
    args: () => ["key", "passwd", ...NEW_PASSWORD],
    changes: ["repository"],
    // The password in the environment is the old one.
    refused: { status: 12, error: /password/, hint: /./ },
  },
  verify: { args: () => ["verify", "--read-data"], changes: [] },
};

function oldest(): string {
  return [...made.points.keys()].at(-1) ?? "";
}

// Of verbs that are alike one is enough in `npm test`.
const ALIKE = ["forget", "key list", "key add --generate", "key passwd", "hold", "export", "repair index", "copy"];

for (const [name, { args, before: prepare, changes, refused }] of Object.entries(REPEATED)) {
  if (!isWhole && ALIKE.includes(name)) continue;

  test(`${name}, a second time, changes no byte`, async () => {
    const home = folder.at(`${name} twice`);
    mkdirSync(home);
    const repository = made.copyOf(made.full, `${name} twice/repository`);
    const other = changes.includes("other") ? made.copyOf(made.empty, `${name} twice/other`) : copied;
    const prepared = (await prepare?.({ home, repository, other })) ?? "";
    const command = ["--repository", repository, ...args({ home, repository, other }, prepared)];
    const look = async () => ({
      repository: await readFolder(repository),
      other: await readFolder(other),
      beside: await readFolder(home, { except: (path) => path === "repository" || path === "other" }),
    });
    const untouched = await look();
    await run(home, command);
    const once = await look();
    for (const side of ["repository", "other", "beside"] as const) {
      if (changes.includes(side)) assert.notDeepEqual(once[side], untouched[side], "it had nothing to do");
      else assert.deepEqual(once[side], untouched[side], `it changed the ${side}`);
    }
    if (refused === undefined) await run(home, command);
    else assertRefused(await callCli(command, { env: ENVIRONMENT, cwd: home }), refused, [PASSWORD]);
    assert.deepEqual(await look(), once);
  });
}

test("init, a second time, changes no byte, nor does one more repository of the same name", async () => {
  await using desk = await openDesk({ size: { messages: 20, conversations: 5, files: 3 } });
  const look = async () => await readFolder(desk.root, { except: (path) => path === "home" });
  const args = ["init", "--yes", "--name", "desk", "--root", desk.installation.codeRoot];
  const once = await look();
  const refused = { status: 2, error: /chatkeep\.yaml' exists already/, hint: /--config/ };
  assertRefused(await desk.chatkeep([...args, "--location", desk.repository]), refused);
  assertRefused(await desk.chatkeep([...args, "--location", join(desk.root, "elsewhere")]), refused);
  assert.deepEqual(await look(), once);
  const add = ["init", "--add", "second", "--location", join(desk.root, "second")];
  await desk.summary(add);
  const added = await look();
  assert.notDeepEqual(added, once);
  assertRefused(await desk.chatkeep(add), { status: 2, error: /second/, hint: /./ });
  assert.deepEqual(await look(), added);
});
