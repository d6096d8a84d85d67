/** One byte flipped, a file cut, gone or swapped with another of its kind, in each kind of file of a repository: found, named, and the rest restores. */
import assert from "node:assert/strict";
import { cp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { after, before, test } from "node:test";
import { systemClock } from "../../src/base/clock.ts";
import { attachFile } from "../../src/demo/change.ts";
import { onDatabase } from "../../src/demo/database.ts";
import { seededRandom } from "../../src/demo/random.ts";
import type { PointReader } from "../../src/job/point-reader.ts";
import { createRepository } from "../../src/repo/repository.ts";
import { openLocalStore } from "../../src/store/local-store.ts";
import { jsonLines, callCli, summaryOf } from "../harness/cli.ts";
import type { RunResult } from "../harness/run.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import { readFolder } from "../harness/tree.ts";
import { firstOf } from "../harness/whole.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { type Desk, openDesk } from "./desk.ts";
import { savedPoints } from "./saved-point.ts";

let desk: Desk;
/** Another repository with the same password: what a file of which there is only one is swapped with. */
let foreign: TestFolder;
let older: PointReader;
let newer: PointReader;
/** Path below the repository → file, for each kind of file. */
let victims: Record<string, string>;
/** What `restore --only storage` gives of the whole repository, by point. */
const whole = new Map<string, Record<string, string>>();

const { signal } = new AbortController();

before(async () => {
  desk = await openDesk({ size: { messages: 100, conversations: 20, files: 10 } });
  const { repository, password } = await makeCheapToOpen(desk);
  foreign = await temporaryFolder();
  await createRepository(openLocalStore(foreign.at("repository")), {
    password,
    clock: systemClock,
    hostname: "test-host",
    username: "tester",
    signal,
  });
  await desk.summary(["backup"]);
  const random = seededRandom("damage");
  await onDatabase(desk.installation.database, async (client) => {
    await attachFile(client, random, desk.installation.storageRoot);
  });
  await desk.summary(["backup"]);
  const points = await savedPoints(repository);
  assert.ok(points[0] && points[1]);
  [older, newer] = [points[0], points[1]];
  victims = await findVictims();
  for (const { point } of points) {
    await using target = await temporaryFolder();
    await restoreStorage(desk.repository, point.id, target.at("out"));
    whole.set(point.id, await readFolder(target.at("out")));
  }
});

after(async () => {
  await desk[Symbol.asyncDispose]();
  await foreign[Symbol.asyncDispose]();
});

async function only(kind: string): Promise<string> {
  const [name] = await readdir(join(desk.repository, kind));
  return join(kind, name ?? "");
}

async function packOf(point: PointReader, type: "data" | "tree", path: string): Promise<string> {
  const node = await point.find(path);
  const id = type === "tree" ? node?.subtree : node?.content?.[0];
  assert.ok(id, path);
  const [location] = (await point.repository.loadIndex({ signal })).find(type, id);
  assert.ok(location, path);
  return join("data", location.pack.slice(0, 2), location.pack);
}

async function findVictims(): Promise<Record<string, string>> {
  const [range] = (await newer.folder("database/data/public.messages")) ?? [];
  const { id: group, folder, key } = await newestBlob();
  return {
    config: "config",
    key: await only("keys"),
    index: await only("index"),
    snapshot: join("snapshots", newer.point.snapshotId),
    "pack of rows": await packOf(newer, "data", `database/data/public.messages/${range?.name}`),
    "pack of an uploaded file": await packOf(newer, "data", `storage/local/${group}/${folder}/${key}`),
    "pack of trees": await packOf(newer, "tree", "storage"),
  };
}

/** The file that only the newer point has. */
async function newestBlob(): Promise<{ id: string; folder: string; key: string }> {
  const known = new Set((await older.folder("storage/local/0/0"))?.map(({ name }) => name));
  const added = (await newer.folder("storage/local/0/0"))?.find(({ name }) => !known.has(name));
  assert.ok(added);
  return { id: "0", folder: "0", key: added.name };
}

const DAMAGES: Record<string, (path: string) => Promise<void>> = {
  "one byte flipped": async (path) => {
    const bytes = await readFile(path);
    const at = Math.floor(bytes.length / 2);
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    await rm(path);
    await writeFile(path, bytes);
  },
  gone: async (path) => await rm(path),
  swapped: async (path) => {
    const other = await another(path);
    const mine = await readFile(path);
    await writeFile(path, await readFile(other));
    await writeFile(other, mine);
  },
  cut: async (path) => await truncate(path, 11),
};

/** Another file of its kind: of the same folder, or for a pack of the next one; of the key, another repository's. */
async function another(path: string): Promise<string> {
  const kinds = ["keys", "index", "snapshots", "data"];
  const [kind = ""] = kinds.filter((name) => path.includes(`/repository/${name}`));
  const root =
    kind === "keys" ? foreign.at("repository/keys") : path.slice(0, path.lastIndexOf(`/${kind}/`) + kind.length + 1);
  const files = await readdir(root, { recursive: true, withFileTypes: true });
  const others = files.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const other = others.find((found) => found !== path);
  assert.ok(other, path);
  return other;
}

async function chatkeep(repository: string, args: readonly string[]): Promise<RunResult> {
  const result = await callCli(["--repository", repository, "--json", ...args], {
    cwd: desk.root,
    env: { CHATKEEP_PASSWORD_FILE: desk.passwordFile },
  });
  assert.doesNotMatch(result.stderr + result.stdout, /^\s+at .*:\d+:\d+\)?$/m, "a stack trace");
  assert.notEqual(result.status, 70, result.stderr);
  return result;
}

async function restoreStorage(repository: string, point: string, to: string): Promise<RunResult> {
  return await chatkeep(repository, ["restore", point, "--only", "storage", "--to", to, "--yes"]);
}

interface Problem {
  kind: string;
  name: string;
  points: string[];
}

/** Each file that a restore left is whole; those that are not there are told of, and the status says so. */
async function assertRestore(repository: string, { point }: PointReader, isTouched: boolean): Promise<void> {
  await using target = await temporaryFolder();
  const result = await restoreStorage(repository, point.id, target.at("out"));
  const files = await readFolder(target.at("out")).catch(() => ({}));
  const expected = whole.get(point.id) ?? {};
  for (const [path, content] of Object.entries(files)) assert.equal(content, expected[path], path);
  const lacks = Object.keys(files).length < Object.keys(expected).length;
  if (!isTouched) assert.ok(!lacks, `point ${point.id} is not named, and does not restore: ${result.stderr}`);
  if (lacks) assert.ok([3, 13].includes(result.status), `files are lacking, and the status is ${result.status}`);
  else assert.equal(result.status, 0, result.stderr);
}

async function damagedCopy(victim: string, damage: (path: string) => Promise<void>, to: string): Promise<void> {
  await cp(desk.repository, to, { recursive: true });
  await damage(join(to, victim));
}

// Of a file that was cut, or swapped, the hash is another, as it is of one with a flipped byte.
for (const [how, damage] of firstOf(Object.entries(DAMAGES), 2)) {
  for (const kind of how === "swapped" ? ["key"] : ["config", "key"]) {
    test(`the ${kind} file, ${how}: nothing opens, and the file is named`, async () => {
      await using copy = await temporaryFolder();
      const repository = copy.at("repository");
      await damagedCopy(victims[kind] ?? "", damage, repository);
      for (const verb of [["verify", "--read-data"], ["list"]]) {
        const { status, stdout } = await chatkeep(repository, verb);
        const error = jsonLines(stdout).at(-1);
        assert.deepEqual([status, error?.["type"]], [13, "error"], stdout);
        assert.match(String(error?.["message"]), kind === "key" ? /key file/ : /'config'/);
      }
    });
  }

  const packs = ["pack of rows", "pack of an uploaded file", "pack of trees"];
  for (const kind of ["index", "snapshot", ...(how === "swapped" ? ["pack of trees"] : packs)]) {
    test(`the ${kind}, ${how}: found, named with the points it touches, and the rest restores`, async () => {
      await using copy = await temporaryFolder();
      const repository = copy.at("repository");
      const victim = victims[kind] ?? "";
      await damagedCopy(victim, damage, repository);

      const verified = await chatkeep(repository, ["verify", "--read-data"]);
      const problems = summaryOf(verified.stdout)["problems"] as Problem[];
      const isGoneSnapshot = kind === "snapshot" && how === "gone";
      // Nothing can tell that a snapshot was ever there.
      assert.equal(verified.status, isGoneSnapshot ? 0 : 13, verified.stderr);
      const named = problems.filter(({ name }) => name === basename(victim));
      if (kind === "index" && how === "gone") {
        assert.ok(problems.every(({ kind: what }) => what === "pack-not-indexed") && problems.length > 0);
      } else if (!isGoneSnapshot) assert.equal(named.length, 1, JSON.stringify(problems));
      const touched = new Set(problems.flatMap(({ points }) => points));
      if (kind === "index") assert.deepEqual([...touched], []);
      else if (!isGoneSnapshot) assert.ok(touched.has(newer.point.id), JSON.stringify(problems));

      // What only the newer point has costs the older one nothing.
      if (kind === "pack of an uploaded file") assert.ok(!touched.has(older.point.id));

      const listed = await chatkeep(repository, ["list"]);
      const summary = summaryOf(listed.stdout);
      const names = (summary["points"] as { point: string }[]).map(({ point }) => point);
      const listable = how === "swapped" ? [] : [older.point.id];
      assert.deepEqual(names, kind === "snapshot" ? listable : [newer.point.id, older.point.id]);
      assert.ok([0, 3].includes(listed.status));

      if (kind === "snapshot" && how === "swapped") return;
      await assertRestore(repository, older, touched.has(older.point.id));
      if (kind !== "snapshot") await assertRestore(repository, newer, touched.has(newer.point.id));
    });
  }
}
