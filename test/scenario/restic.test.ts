/**
 * No lock-in: stock restic, old and new, reads and changes a repository that Chatkeep made, and Chatkeep goes on with
 * what is left. Each test works on a copy of one repository, which has two points and a day of work between them.
 */
import assert from "node:assert/strict";
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { after, before, test } from "node:test";
import { dayOfWork } from "../../src/demo/day-of-work.ts";
import type { ListSummary } from "../../src/job/summaries.ts";
import { callCli, summaryOf } from "../harness/cli.ts";
import { assertSameDatabase } from "../harness/pg-dump-diff.ts";
import { judges, type Restic, resticPaths, runRestic } from "../harness/restic.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import { readFolder } from "../harness/tree.ts";
import { longTest } from "../harness/whole.ts";
import { makeCheapToOpen, type OpenedDesk } from "./cheap-key.ts";
import { type Desk, openDesk } from "./desk.ts";
import { savedPoints } from "./saved-point.ts";

const SIZE = { messages: 300, conversations: 30, files: 20 };
/** Of the copy that restic makes; another than the repository's own. */
const COPY_PASSWORD = "of the copy";

let desk: Desk;
let opened: OpenedDesk;
let folder: TestFolder;
/** Names of the two points; the second is proven. */
let first: string;
let second: string;
/** What `chatkeep restore --to` made of each. */
const ours = new Map<string, Record<string, string>>();

before(async () => {
  folder = await temporaryFolder();
  desk = await openDesk({ hasServerForDrills: true, isCheckout: true, size: SIZE });
  opened = await makeCheapToOpen(desk);
  const { signal } = new AbortController();
  first = String((await desk.summary(["backup"]))["point"]);
  await dayOfWork(desk.installation, { seed: 1, load: 0.2, signal });
  second = String((await desk.summary(["backup"]))["point"]);
  assert.equal((await desk.summary(["drill", second]))["proven"], true);
  for (const point of [first, second]) {
    const to = folder.at(point);
    await desk.summary(["restore", point, "--to", to, "--yes"]);
    ours.set(point, await readFolder(to));
  }
  assert.notDeepEqual(ours.get(first), ours.get(second));
});

after(async () => {
  await desk[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

/** A copy of the repository with a configuration of its own, and both programs on it. */
async function copyRepository(restic: Restic, name: string) {
  const place = folder.at(`${restic.version} ${name}`);
  const repository = join(place, "repository");
  await cp(desk.repository, repository, { recursive: true });
  const config = join(place, "chatkeep.yaml");
  const text = await readFile(desk.config, "utf8");
  assert.ok(text.includes(desk.repository));
  await writeFile(config, text.replaceAll(desk.repository, repository), { mode: 0o600 });
  await cp(desk.passwordFile, join(place, basename(desk.passwordFile)));
  return {
    place,
    repository,
    restic: async (...args: string[]) =>
      (await runRestic(args, { repo: repository, password: opened.password, restic: restic.path })).stdout,
    dump: async (...args: string[]) =>
      (await runRestic(["dump", ...args], { repo: repository, password: opened.password, restic: restic.path }))
        .stdoutBytes,
    summary: async (...args: string[]) => await summarize(["--config", config, ...args], place),
  };
}

async function summarize(args: readonly string[], cwd: string, env: Record<string, string> = {}) {
  const { status, stdout, stderr } = await callCli(["--json", ...args], { cwd, env });
  assert.equal(status, 0, `chatkeep ${args.join(" ")}\n${stderr}${stdout}`);
  return summaryOf(stdout);
}

async function listedPoints(summary: Promise<Record<string, unknown>>): Promise<ListSummary["points"]> {
  return ((await summary) as unknown as ListSummary).points;
}

async function proofs(summary: Promise<Record<string, unknown>>): Promise<[point: string, isProven: boolean][]> {
  return (await listedPoints(summary)).map(({ point, provenAt }) => [point, provenAt !== null]);
}

/** The same files in a point's own layout: blobs by their keys, the rest by their paths. */
function byKeys(tree: Readonly<Record<string, string>>, storage: string): Record<string, string> {
  const entries = Object.entries(tree).map(([path, content]) => [
    path.startsWith(storage) ? `storage/${basename(path)}` : path,
    content,
  ]);
  return Object.fromEntries(entries) as Record<string, string>;
}

function below(tree: Readonly<Record<string, string>>, folders: readonly string[]): Record<string, string> {
  const entries = Object.entries(tree).filter(([path]) => folders.some((name) => path.startsWith(`${name}/`)));
  return Object.fromEntries(entries);
}

for (const restic of judges()) {
  test(`restic ${restic.version} checks, lists, compares and restores what Chatkeep restores, byte for byte`, async () => {
    const copy = await copyRepository(restic, "read");
    assert.match(await copy.restic("check", "--read-data"), /no errors were found/);
    const snapshots = JSON.parse(await copy.restic("snapshots", "--tag", "chatkeep", "--json")) as {
      id: string;
      hostname: string;
      paths: string[];
      tags: string[];
    }[];
    assert.deepEqual(
      snapshots.map(({ id, hostname, paths }) => ({ id, hostname, paths })),
      [first, second].map((id) => ({ id, hostname: "desk", paths: ["/chatkeep"] })),
    );
    const readers = await savedPoints(opened.repository);
    const trees = new Map<string, Record<string, string>>();
    for (const point of [first, second]) {
      const target = join(copy.place, point);
      await copy.restic("restore", point, "--target", target);
      const theirs = await readFolder(join(target, "chatkeep"));
      trees.set(point, theirs);
      const listed = (await copy.restic("ls", point)).split("\n");
      for (const path of Object.keys(theirs)) assert.ok(listed.includes(`/chatkeep/${path}`), path);
      const parts = ["storage", "config", "code"];
      assert.deepEqual(byKeys(below(theirs, parts), "storage/local/"), byKeys(ours.get(point) ?? {}, "storage/"));
      // All that a restore does not write: the database's files, lists, manifest, notes.
      const reader = readers.find((known) => known.point.id === point);
      assert.ok(reader);
      for (const path of Object.keys(theirs).filter((name) => !parts.includes(name.split("/")[0] ?? ""))) {
        const node = await reader.find(path);
        assert.ok(node !== undefined, path);
        const chunks: Uint8Array[] = await Array.fromAsync(reader.readNode(node));
        assert.ok(Buffer.concat(chunks).equals(await readFile(join(target, "chatkeep", path))), path);
      }
      const schema = await readFile(join(target, "chatkeep/database/schema.dump"));
      assert.ok((await desk.chatkeep(["dump", point, "database/schema.dump"])).stdoutBytes.equals(schema));
      assert.ok((await copy.dump(point, "/chatkeep/database/schema.dump")).equals(schema));
    }
    const [before, after] = [trees.get(first) ?? {}, trees.get(second) ?? {}];
    const compared = (await copy.restic("diff", first, second)).split("\n");
    for (const [mark, left, right] of [
      ["+", after, before],
      ["-", before, after],
    ] as const) {
      const told = compared.filter((line) => line.startsWith(`${mark}    /`) && !line.endsWith("/"));
      const expected = Object.keys(left).filter((path) => !Object.hasOwn(right, path));
      assert.deepEqual(told.toSorted(), expected.map((path) => `${mark}    /chatkeep/${path}`).toSorted());
      if (mark === "+") assert.ok(told.length > 0, "nothing was added");
    }
  });

  test(`restic ${restic.version} backs up into the repository, re-tags, forgets and prunes, and Chatkeep goes on`, async () => {
    const copy = await copyRepository(restic, "changed");
    const own = join(copy.place, "restic's own");
    await mkdir(own);
    await writeFile(join(own, "file"), "not Chatkeep's");
    await copy.restic("backup", own, "--tag", "own");
    await copy.restic("forget", "--tag", "own", "--keep-last", "1", "--prune");
    await copy.restic("tag", "--add", "kept", first);
    const [mine] = JSON.parse(await copy.restic("snapshots", "--tag", "own", "--json")) as { id: string }[];
    // The newest point goes, and with it the files that only it had.
    await copy.restic("forget", "--prune", second, mine?.id ?? "");
    assert.match(await copy.restic("check", "--read-data"), /no errors were found/);
    assert.deepEqual(
      (await listedPoints(copy.summary("list"))).map(({ point }) => point),
      [first],
    );
    assert.equal((await copy.summary("verify", "--read-data"))["errors"], 0);
    const again = join(copy.place, "again");
    await copy.summary("restore", "latest", "--to", again, "--yes");
    assert.deepEqual(await readFolder(again), ours.get(first));

    const third = await copy.summary("backup");
    assert.equal(third["parent"], first);
    assert.match(await copy.restic("check", "--read-data"), /no errors were found/);
    const { user, password = "", host, port } = desk.installation.database;
    const database = `after ${restic.version}`;
    const url = `postgresql://${user}:${encodeURIComponent(password)}@${host}:${port}/${encodeURIComponent(database)}`;
    const restored = join(copy.place, "third");
    await copy.summary("restore", String(third["point"]), "--to", restored, "--database-url", url, "--yes");
    // The installation is as it was at the second point.
    assert.deepEqual(
      below(await readFolder(restored), ["storage", "code"]),
      below(ours.get(second) ?? {}, ["storage", "code"]),
    );
    await assertSameDatabase(desk.installation.database, { ...desk.installation.database, database });
  });

  longTest(
    `a copy that restic ${restic.version} makes keeps the points' names, needs no configuration, and is not proven`,
    async () => {
      const copy = await copyRepository(restic, "copied");
      const target = join(copy.place, "another repository");
      const options = {
        repo: target,
        password: COPY_PASSWORD,
        restic: restic.path,
        env: { RESTIC_FROM_REPOSITORY: copy.repository, RESTIC_FROM_PASSWORD: opened.password },
      };
      await runRestic(["init", "--from-repo", copy.repository, "--copy-chunker-params"], options);
      // Everything, the proof too: it was made in the first repository and counts for no other.
      await runRestic(["copy", "--from-repo", copy.repository], options);
      const { stdout } = await runRestic(["snapshots", "--tag", "chatkeep", "--json"], options);
      const snapshots = JSON.parse(stdout) as { id: string; original?: string }[];
      assert.deepEqual(new Set(snapshots.map(({ original }) => original)), new Set([first, second]));
      assert.equal(snapshots.length, 2);
      assert.ok(snapshots.every(({ id }) => id !== first && id !== second));

      const empty = join(copy.place, "empty");
      await mkdir(empty);
      const env = { CHATKEEP_PASSWORD: COPY_PASSWORD };
      const there = async (...args: string[]) => await summarize(["--repository", target, ...args], empty, env);
      assert.deepEqual(await proofs(copy.summary("list")), [
        [second, true],
        [first, false],
      ]);
      assert.deepEqual(await proofs(there("list")), [
        [second, false],
        [first, false],
      ]);
      const { status, stderr } = await callCli(["--repository", target, "show", "proven"], { cwd: empty, env });
      assert.equal(status, 1, stderr);
      assert.match(stderr, /no restore point is proven yet/);
      const to = join(copy.place, "restored");
      await there("restore", first.slice(0, 12), "--to", to, "--yes");
      assert.deepEqual(await readFolder(to), ours.get(first));
    },
  );
}

test("restic is found at all", () => {
  assert.notEqual(resticPaths().length, 0);
});
