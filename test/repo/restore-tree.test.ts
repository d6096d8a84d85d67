import assert from "node:assert/strict";
import { hash, randomBytes } from "node:crypto";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { before, test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import type { ChunkId } from "../../src/base/ids.ts";
import { silent } from "../../src/base/progress.ts";
import { dirNode, fileNode, goMode, symlinkNode, type TreeNode } from "../../src/format/node.ts";
import { encodeTree } from "../../src/format/tree.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { FolderMaker } from "../../src/repo/restore-folders.ts";
import { openRestorer, restoreTree, type RestoreOptions } from "../../src/repo/restore-tree.ts";
import { walkTree } from "../../src/repo/walk.ts";
import { openLocalStore } from "../../src/store/local-store.ts";
import { createMemoryStore, type MemoryStore } from "../../src/store/memory-store.ts";
import type { Store } from "../../src/store/store.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { readFolder } from "../harness/tree.ts";
import { copyStore, newRepository, openWriting, reopen, signal, storeBytes } from "./small-backup.ts";

let repository: Repository;
let store: MemoryStore;
const OPTIONS: RestoreOptions = { signal, progress: silent };

before(async () => {
  store = createMemoryStore();
  repository = await newRepository(store);
});

type Kit = {
  tree: (nodes: TreeNode[]) => Promise<ChunkId>;
  raw: (json: string) => Promise<ChunkId>;
  file: (name: string, bytes: Uint8Array, rest?: { mode?: number; mtime?: string }) => Promise<TreeNode>;
};

/** Stores a tree that `make` puts together, into a store of its own unless one is given. */
async function stored(make: (kit: Kit) => Promise<ChunkId>, place?: Store): Promise<{ of: Repository; tree: ChunkId }> {
  const of = reopen(repository, place ?? copyStore(store));
  const { sealer, writer } = await openWriting(of);
  const tree = await make({
    tree: async (nodes) => (await sealer.add("tree", encodeTree(nodes))).id,
    raw: async (json) => (await sealer.add("tree", Buffer.from(json))).id,
    file: async (name, bytes, rest = {}) => fileNode({ name, ...rest, ...(await storeBytes(sealer, bytes)) }),
  });
  await sealer.flush();
  await writer.finish();
  return { of, tree };
}

test("files, folders and links come back with their bytes, modes and times", async () => {
  await using folder = await temporaryFolder();
  const large = Buffer.concat([Buffer.alloc(8 << 20, "same"), Buffer.alloc(8 << 20, "same"), randomBytes(100)]);
  const { of, tree } = await stored(async ({ tree, file }) => {
    const inner = await tree([
      await file("small", Buffer.from("small"), { mode: 0o400, mtime: "2020-02-02T02:02:02.25+02:00" }),
      await file("empty", Buffer.alloc(0), { mode: 0o600 }),
      symlinkNode({ name: "link", linktarget: "../../outside", mtime: "2021-01-01T00:00:00Z" }),
    ]);
    return await tree([
      dirNode({ name: "folder", subtree: inner, mode: 0o550, mtime: "2001-01-01T00:00:00Z" }),
      dirNode({ name: "nothing in it", subtree: await tree([]), mtime: "2002-01-01T00:00:00Z" }),
      await file("large", large, { mode: 0o440, mtime: "2022-01-01T00:00:00Z" }),
    ]);
  });
  const result = await restoreTree(of, tree, folder.at("out"), OPTIONS);
  assert.deepEqual(result, { files: 3, folders: 2, symlinks: 1, bytes: large.length + 5, problems: [] });
  assert.ok(readFileSync(folder.at("out/large")).equals(large));
  assert.equal(readFileSync(folder.at("out/folder/small"), "utf8"), "small");
  assert.equal(statSync(folder.at("out/folder/empty")).size, 0);
  assert.equal(readlinkSync(folder.at("out/folder/link")), "../../outside");
  for (const [path, mode, mtime] of [
    ["large", 0o440, "2022-01-01T00:00:00Z"],
    ["folder", 0o550, "2001-01-01T00:00:00Z"],
    ["folder/small", 0o400, "2020-02-02T00:02:02.25Z"],
    ["folder/empty", 0o600, "1970-01-01T00:00:00Z"],
    ["folder/link", 0o777, "2021-01-01T00:00:00Z"],
    ["nothing in it", 0o755, "2002-01-01T00:00:00Z"],
  ] as const) {
    const facts = lstatSync(folder.at("out", path));
    assert.equal(facts.mode & 0o7777, mode, path);
    assert.equal(facts.mtimeMs, Date.parse(mtime), path);
  }
});

test("in threads from a local store, thousands of files and many copies of one chunk come back", async () => {
  await using folder = await temporaryFolder();
  const local = openLocalStore(folder.at("repository"));
  await local.create({ signal });
  const { of, tree } = await stored(async ({ tree, file }) => {
    const folders: TreeNode[] = [];
    for (let group = 0; group < 4; group += 1) {
      const files: TreeNode[] = [];
      for (let at = 0; at < 500; at += 1) files.push(await file(`${at}`, Buffer.from(`${group} ${at % 50}`)));
      folders.push(dirNode({ name: `${group}`, subtree: await tree(files) }));
    }
    return await tree(folders);
  }, local);
  const result = await restoreTree(of, tree, folder.at("out"), OPTIONS);
  assert.equal(result.files, 2000);
  assert.deepEqual(result.problems, []);
  for (let group = 0; group < 4; group += 1) {
    for (let at = 0; at < 500; at += 1) {
      assert.equal(readFileSync(folder.at(`out/${group}/${at}`), "utf8"), `${group} ${at % 50}`);
    }
  }
});

test("what was restored is read back, and told from what was announced and from what a disk makes of it", async () => {
  await using folder = await temporaryFolder();
  const local = openLocalStore(folder.at("repository"));
  await local.create({ signal });
  const contents = { small: Buffer.from("small"), large: randomBytes(9 << 20), plain: randomBytes(2 << 20) };
  const nodes: TreeNode[] = [];
  const { of } = await stored(async ({ tree, file }) => {
    for (const [name, bytes] of Object.entries(contents)) nodes.push(await file(name, bytes, { mode: 0o444 }));
    return await tree(nodes);
  }, local);
  for (const isSmall of [true, false]) {
    const root = folder.at(`out-${isSmall}`);
    await using restorer = await openRestorer(of, root, { ...OPTIONS, isSmall, fileMode: 0o600 });
    const files = nodes.map((node) => ({ path: node.name, node, md5: undefined as string | undefined }));
    for (const one of files) assert.deepEqual((await restorer.restore([one])).problems, []);
    for (const [name, bytes] of Object.entries(contents)) {
      assert.ok(readFileSync(folder.at(`out-${isSmall}`, name)).equals(bytes), name);
      assert.equal(statSync(folder.at(`out-${isSmall}`, name)).mode & 0o777, 0o600);
    }
    assert.deepEqual(await restorer.check(files), new Map());
    const md5 = (name: string) => hash("md5", contents[name as keyof typeof contents], "base64");
    assert.deepEqual(await restorer.check(files.map((one) => ({ ...one, md5: md5(one.path) }))), new Map());
    const others = await restorer.check(files.map((one) => ({ ...one, md5: md5("small") })));
    assert.deepEqual([...others.keys()].toSorted(), ["large", "plain"]);
    writeFileSync(folder.at(`out-${isSmall}`, "large"), Buffer.concat([contents.large.subarray(0, -1), Buffer.of(0)]));
    for (const announced of [undefined, md5("large")]) {
      const checking = restorer.check(
        files.map((one) => ({ ...one, md5: one.path === "large" ? announced : undefined })),
      );
      await assert.rejects(checking, (error) => isFailure(error, "store/unreachable"));
    }
  }
});

test("names that lead out of the folder are refused, and what else there is is restored", async () => {
  const time = `"mtime":"1970-01-01T00:00:00Z","atime":"1970-01-01T00:00:00Z","ctime":"1970-01-01T00:00:00Z"`;
  for (const name of ["..", ".", "", "a/b", "../evil", "/etc/evil", "nul\\\\x00byte"]) {
    await using folder = await temporaryFolder();
    const { of, tree } = await stored(async ({ tree, raw, file }) => {
      const node = `{"name":"${name}","type":"file",${time},"uid":0,"gid":0,"content":[]}`;
      const bad = await raw(`{"nodes":[${node}]}\n`);
      return await tree([dirNode({ name: "bad", subtree: bad }), await file("good", Buffer.from("good"))]);
    });
    const result = await restoreTree(of, tree, folder.at("out"), OPTIONS);
    assert.deepEqual(
      result.problems.map(({ path }) => path),
      ["bad"],
      name,
    );
    assert.deepEqual(Object.keys(await readFolder(folder.path, { folders: true })), ["out", "out/bad", "out/good"]);
  }
});

test("nothing is written through a symbolic link, whether it is in the tree or in the target", async () => {
  await using folder = await temporaryFolder();
  mkdirSync(folder.at("outside"));
  const time = `"mtime":"1970-01-01T00:00:00Z","atime":"1970-01-01T00:00:00Z","ctime":"1970-01-01T00:00:00Z"`;
  const twice = await stored(async ({ tree, raw, file }) => {
    const inner = await tree([await file("evil", Buffer.from("evil"))]);
    const link = `{"name":"x","type":"symlink",${time},"uid":0,"gid":0,"linktarget":"${folder.at("outside")}","content":null}`;
    const dir = `{"name":"x","type":"dir","mode":${goMode(0o755, "dir")},${time},"uid":0,"gid":0,"content":null,"subtree":"${inner}"}`;
    return await tree([dirNode({ name: "d", subtree: await raw(`{"nodes":[${link},${dir}]}\n`) })]);
  });
  assert.equal((await restoreTree(twice.of, twice.tree, folder.at("one"), OPTIONS)).problems.length, 1);

  const { of, tree } = await stored(async ({ tree, file }) => {
    const inner = await tree([await file("evil", Buffer.from("evil"))]);
    return await tree([dirNode({ name: "x", subtree: inner }), await file("f", Buffer.from("evil"))]);
  });
  mkdirSync(folder.at("two"));
  symlinkSync(folder.at("outside"), folder.at("two/x"));
  symlinkSync(folder.at("outside/f"), folder.at("two/f"));
  const { problems, files } = await restoreTree(of, tree, folder.at("two"), OPTIONS);
  assert.deepEqual(problems.map(({ path }) => path).toSorted(), ["f", "x", "x/evil"]);
  assert.equal(files, 0);
  assert.deepEqual(Object.keys(await readFolder(folder.at("outside"), { folders: true })), []);
});

test("what is there already stays, and is named", async () => {
  await using folder = await temporaryFolder();
  mkdirSync(folder.at("out"));
  for (const name of ["small", "large", "empty"]) writeFileSync(folder.at("out", name), "mine");
  const { of, tree } = await stored(async ({ tree, file }) => {
    const files = [
      await file("small", Buffer.from("theirs")),
      await file("large", Buffer.alloc(9 << 20)),
      await file("empty", Buffer.alloc(0)),
      await file("new", Buffer.from("new")),
    ];
    return await tree(files);
  });
  const result = await restoreTree(of, tree, folder.at("out"), OPTIONS);
  assert.deepEqual(result.problems.map(({ path }) => path).toSorted(), ["empty", "large", "small"]);
  assert.equal(result.files, 1);
  for (const name of ["small", "large", "empty"]) assert.equal(readFileSync(folder.at("out", name), "utf8"), "mine");
});

test("a filter leaves things out, and a place puts things elsewhere but never outside", async () => {
  await using folder = await temporaryFolder();
  const { of, tree } = await stored(async ({ tree, file }) => {
    const inner = await tree([await file("a", Buffer.from("a")), await file("b", Buffer.from("b"))]);
    const other = await tree([await file("c", Buffer.from("c"))]);
    return await tree([dirNode({ name: "in", subtree: inner }), dirNode({ name: "not", subtree: other })]);
  });
  await restoreTree(of, tree, folder.at("filtered"), {
    ...OPTIONS,
    filter: (path) => path !== "not" && path !== "in/b",
  });
  assert.deepEqual(Object.keys(await readFolder(folder.at("filtered"), { folders: true })), ["in", "in/a"]);

  await restoreTree(of, tree, folder.at("placed"), {
    ...OPTIONS,
    place: (path, node) => (node.type === "file" ? `x/y/${path.replace("/", "-")}` : undefined),
  });
  assert.deepEqual(Object.keys(await readFolder(folder.at("placed"))), ["x/y/in-a", "x/y/in-b", "x/y/not-c"]);

  mkdirSync(folder.at("outside"));
  mkdirSync(folder.at("linked"));
  symlinkSync(folder.at("outside"), folder.at("linked/x"));
  const { files, problems } = await restoreTree(of, tree, folder.at("linked"), {
    ...OPTIONS,
    place: (_, node) => (node.type === "file" ? `x/${node.name}` : undefined),
  });
  assert.deepEqual([files, problems.map(({ path }) => path).toSorted()], [0, ["x/a", "x/b", "x/c"]]);
  assert.deepEqual(readdirSync(folder.at("outside")), []);

  for (const evil of ["../evil", "x/../../evil", "/evil"]) {
    await assert.rejects(restoreTree(of, tree, folder.at("evil-out"), { ...OPTIONS, place: () => evil }));
    assert.equal(existsSync(folder.at("evil")), false);
  }
});

test("owners and set-id bits are given only when they are asked for", { skip: process.getuid?.() !== 0 }, async () => {
  await using folder = await temporaryFolder();
  const { of, tree } = await stored(async ({ tree, file }) => {
    const node = await file("f", Buffer.from("x"));
    return await tree([{ ...node, uid: 1234, gid: 2345, mode: goMode(0o4755) }]);
  });
  await restoreTree(of, tree, folder.at("plain"), OPTIONS);
  const plain = statSync(folder.at("plain/f"));
  assert.deepEqual([plain.uid, plain.gid, plain.mode & 0o7777], [0, 0, 0o755]);
  await restoreTree(of, tree, folder.at("owned"), { ...OPTIONS, keepOwner: true });
  const owned = statSync(folder.at("owned/f"));
  assert.deepEqual([owned.uid, owned.gid, owned.mode & 0o7777], [1234, 2345, 0o4755]);
});

test("an abort stops a restore with its reason", async () => {
  await using folder = await temporaryFolder();
  const { of, tree } = await stored(async ({ tree, file }) => await tree([await file("f", randomBytes(1000))]));
  const reason = new Error("stopped by hand");
  await assert.rejects(
    restoreTree(of, tree, folder.at("out"), { ...OPTIONS, signal: AbortSignal.abort(reason) }),
    (error) => error === reason,
  );
});

test("a tree is walked folder by folder, and paths in it are found", async () => {
  const { of, tree } = await stored(async ({ tree, file }) => {
    const leaf = await tree([await file("c", Buffer.from("c"))]);
    const inner = await tree([dirNode({ name: "b", subtree: leaf }), await file("a", Buffer.from("a"))]);
    return await tree([dirNode({ name: "x", subtree: inner }), await file("z", Buffer.alloc(0))]);
  });
  const all = await Array.fromAsync(walkTree(of, tree, { signal }));
  assert.deepEqual(
    all.map(({ path }) => path),
    ["x", "x/a", "x/b", "x/b/c", "z"],
  );
  const shallow = await Array.fromAsync(walkTree(of, tree, { signal, enter: (path) => path !== "x/b" }));
  assert.deepEqual(
    shallow.map(({ path }) => path),
    ["x", "x/a", "x/b", "z"],
  );
});

test("a folder that cannot be made is the target's fault, and no fault of ours", async () => {
  await using folder = await temporaryFolder();
  const { of, tree } = await stored(async (kit) => await kit.tree([await kit.file("a", Buffer.from("a"))]));
  writeFileSync(folder.at("file"), "");
  await assert.rejects(restoreTree(of, tree, folder.at("file/below"), OPTIONS), (error) =>
    isFailure(error, "target/unsuitable"),
  );
});

test("a folder that takes neither mode nor time is told of, and the others get theirs", async () => {
  await using folder = await temporaryFolder();
  const folders = new FolderMaker(folder.path);
  const meta = { mode: 0o700, mtime: 86_400 };
  for (const path of ["gone", "kept"]) folders.make(path, meta);
  rmSync(folder.at("gone"), { recursive: true });
  const failed: string[] = [];
  folders.finish((path, work) => {
    try {
      work();
    } catch {
      failed.push(path);
    }
  });
  assert.deepEqual(failed, ["gone"]);
  assert.equal(statSync(folder.at("kept")).mtimeMs, 86_400_000);
});
