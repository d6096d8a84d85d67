/** Stock restic, in every version at hand, writes repositories here and now; this room reads all of them. */
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { chmod, mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { isId } from "../../src/base/ids.ts";
import { decodeLock, encodeLock } from "../../src/format/lock-file.ts";
import { openKeyFile } from "../../src/format/key-file.ts";
import { nameFromBytes, nameToBytes } from "../../src/format/quote.ts";
import { encodeSnapshot } from "../../src/format/snapshot-file.ts";
import { decodeTree, encodeTree } from "../../src/format/tree.ts";
import { decodeUnpacked, encodeUnpacked } from "../../src/format/unpacked.ts";
import { resticPath, resticPaths, runRestic } from "../harness/restic.ts";
import { type TestFolder, temporaryFolder } from "../harness/temporary.ts";
import { refusal, withBitFlipped } from "./refusal.ts";
import { contentOf, nodesBelow, openRepositoryFiles, type RepositoryFiles } from "./open-repository.ts";

const PASSWORD = "a päss phrase";

/** Names that a quoting, an escaping or an order would get wrong. */
const NASTY = [
  'quote"back\\slash',
  "it's",
  "<a&b>",
  "tab\tnewline\nreturn\r",
  "bell\u0007esc\u001bdel\u007f",
  "\u0001",
  "é",
  "e\u0301",
  "zero\u200bwidth",
  "nbsp\u00a0",
  "\u2028line",
  "\ufeffbom",
  "\ufffd",
  "\ue000private",
  "\uffef",
  "\u{10000}",
  "\u{1f600}",
  "\u{10ffff}",
  "\u2427new\u{1fae9}\u{33479}",
  " lead",
  "trail ",
  "-rf",
  "...",
  "漢字",
  "\\x41",
  "raw\udcff",
  "half\udcc3(",
  "\udced\udca0\udc80",
];

async function filesOf(folder: string): Promise<RepositoryFiles> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  const pairs = files.map(async (entry): Promise<[string, Buffer]> => {
    const path = join(entry.parentPath, entry.name);
    const inside = path.slice(folder.length + 1).replace(/^data\/..\//, "data/");
    return [inside, await readFile(path)];
  });
  return new Map(await Promise.all(pairs));
}

function below(folder: string, name: string): Buffer {
  return Buffer.concat([Buffer.from(`${folder}/`), nameToBytes(name)]);
}

/** Text and noise that cut into several chunks, nasty names, links, a pipe, special bits, many files in one folder. */
async function writeSource(source: string): Promise<Map<string, Buffer>> {
  const contents = new Map<string, Buffer>();
  const add = async (folder: string, name: string, bytes: Buffer): Promise<void> => {
    await writeFile(below(folder, name), bytes);
    contents.set(`${folder}/${name}`, bytes);
  };
  await mkdir(join(source, "many"), { recursive: true });
  for (const name of NASTY) await add(source, name, Buffer.from(`content of ${JSON.stringify(name)}`));
  for (let at = 0; at < 200; at++) await add(join(source, "many"), `file ${at}`, Buffer.from(`${at % 50}`));
  await add(source, "empty", Buffer.alloc(0));
  await add(source, "text", Buffer.from("a line of text\n".repeat(200_000)));
  // More than 8 MiB, the longest chunk: shorter, and a repository whose chunker happens to cut nowhere has one chunk.
  const noise = Array.from({ length: 270_000 }, (_, at) => createHash("sha256").update(`${at}`).digest());
  await add(source, "noise", Buffer.concat(noise));
  await chmod(join(source, "text"), 0o6711);
  await symlink("text", join(source, "link"));
  await symlink("<nowhere>&", join(source, "broken link"));
  await promisify(execFile)("mkfifo", [join(source, "pipe")]);
  return contents;
}

async function makeRepository(
  folder: TestFolder,
  restic: string,
): Promise<{ repo: string; contents: Map<string, Buffer> }> {
  const repo = folder.at("repo");
  const contents = await writeSource(folder.at("source"));
  const options = { repo, password: PASSWORD, restic };
  await runRestic(["init", "--repository-version", "2"], options);
  await runRestic(["backup", folder.at("source"), "--tag", "a<b", "--exclude", "x\u2028"], options);
  await writeFile(folder.at("source", "text"), "changed");
  contents.set(folder.at("source", "text"), Buffer.from("changed"));
  await runRestic(["backup", folder.at("source"), "--host", "elsewhere"], options);
  return { repo, contents };
}

for (const { path: restic, version } of resticPaths()) {
  test(`all that restic ${version} writes is read, and its trees and snapshots are written again byte for byte`, async () => {
    await using folder = await temporaryFolder();
    const { repo, contents } = await makeRepository(folder, restic);
    const repository = await openRepositoryFiles(await filesOf(repo), PASSWORD);
    assert.equal(repository.snapshots.length, 2);
    for (const { snapshot, json } of repository.snapshots) assert.equal(encodeSnapshot(snapshot), json);
    const trees = [...repository.chunks.values()].filter(({ entry }) => entry.type === "tree");
    assert.ok(trees.length >= 4);
    for (const { bytes } of trees) assert.equal(encodeTree(decodeTree(bytes)).toString(), bytes.toString());
    const last = repository.snapshots.find(({ snapshot }) => snapshot.hostname === "elsewhere") ?? assert.fail();
    const nodes = new Map([...nodesBelow(repository, last.snapshot.tree)].map(({ path, node }) => [path, node]));
    for (const [path, bytes] of contents) {
      const node = nodes.get(path) ?? assert.fail(`no ${JSON.stringify(path)}`);
      assert.ok(contentOf(repository, node).equals(bytes), path);
    }
    assert.equal(nodes.get(folder.at("source", "broken link"))?.linktarget, "<nowhere>&");
    assert.equal(nodes.get(folder.at("source", "pipe"))?.type, "fifo");
    assert.ok((nodes.get(folder.at("source", "noise"))?.content?.length ?? 0) > 1);
  });
}

test("names that are read are the names that the system has", async () => {
  await using folder = await temporaryFolder();
  await writeSource(folder.at("source"));
  const names = (await readdir(Buffer.from(folder.at("source")), { encoding: "buffer" })).map(nameFromBytes);
  for (const name of NASTY) assert.ok(names.includes(name), JSON.stringify(name));
});

async function waitForFile(folder: string, isOver: () => boolean): Promise<string> {
  for (;;) {
    const name = (await readdir(folder)).find(isId);
    if (name !== undefined) return name;
    if (isOver()) assert.fail(`nothing ever appeared in ${basename(folder)}`);
    await sleep(20);
  }
}

/** Starts a backup that waits for its input, and calls `whileRunning` with the lock that it took. */
async function withResticLock(repo: string, whileRunning: (lock: Buffer, pid: number) => void): Promise<void> {
  const env = { ...process.env, RESTIC_REPOSITORY: repo, RESTIC_PASSWORD: PASSWORD };
  const child = spawn(resticPath(), ["--no-cache", "backup", "--stdin"], { env, stdio: ["pipe", "ignore", "inherit"] });
  const ended = once(child, "close");
  const isOver = () => child.exitCode !== null;
  try {
    const locks = join(repo, "locks");
    whileRunning(await readFile(join(locks, await waitForFile(locks, isOver))), child.pid ?? 0);
  } finally {
    child.stdin.end("from standard input");
    await ended;
  }
  assert.equal(child.exitCode, 0);
}

test("each of two passwords opens restic's keys, its locks are read, and a lock of ours stops it", async () => {
  await using folder = await temporaryFolder();
  const options = { repo: folder.at("repo"), password: PASSWORD };
  await runRestic(["init"], options);
  await writeFile(folder.at("second"), "second password\n");
  await runRestic(["key", "add", "--new-password-file", folder.at("second")], options);
  const files = await readdir(folder.at("repo", "keys"));
  assert.equal(files.length, 2);
  const bytes = await Promise.all(files.map((name) => readFile(folder.at("repo", "keys", name))));
  const opened = async (password: string) => {
    const keys = await Promise.all(bytes.map((file) => openKeyFile(file, password)));
    return keys.filter((found) => found !== undefined);
  };
  const [[keys = assert.fail()], others] = [await opened(PASSWORD), await opened("second password")];
  assert.deepEqual(others, [keys]);

  await withResticLock(options.repo, (sealed, pid) => {
    const json = decodeUnpacked(keys, sealed);
    const lock = decodeLock(json);
    assert.equal(lock.pid, pid);
    assert.equal(lock.exclusive, false);
    assert.equal(encodeLock(lock), json);
  });

  const time = new Date().toISOString();
  const lock = { time, exclusive: true, hostname: "elsewhere", username: "keeper", pid: 4711 };
  const sealed = encodeUnpacked(keys, encodeLock(lock));
  await writeFile(folder.at("repo", "locks", createHash("sha256").update(sealed).digest("hex")), sealed);
  const refused = await runRestic(["prune"], { ...options, status: "any" });
  assert.notEqual(refused.status, 0);
  assert.match(refused.stderr, /locked exclusively by PID 4711 on elsewhere by keeper/);

  for (const kind of ["snapshots", "index"]) {
    const [file = assert.fail()] = await readdir(folder.at("repo", kind));
    const whole = await readFile(folder.at("repo", kind, file));
    for (let bit = 3; bit < whole.length * 8; bit += 97)
      refusal(() => decodeUnpacked(keys, withBitFlipped(whole, bit)));
  }
});
