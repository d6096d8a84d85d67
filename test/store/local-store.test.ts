import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { openLocalStore } from "../../src/store/local-store.ts";
import { openStore } from "../../src/store/open-store.ts";
import type { StoreSpec } from "../../src/store/store.ts";
import { openTemporaryFolder } from "../../src/system/temporary.ts";
import { testStore } from "./conformance.ts";

const signal = new AbortController().signal;
const NAME = "ab".repeat(32);
const REF = { kind: "data", name: NAME } as const;

testStore("local store", async () => {
  const folder = await openTemporaryFolder("chatkeep-store");
  return {
    store: openLocalStore(join(folder.path, "repository")),
    dispose: async () => await folder[Symbol.asyncDispose](),
  };
});

test("a local store lets nobody else in, and its files are written once", async () => {
  await using folder = await openTemporaryFolder("chatkeep-store");
  const path = join(folder.path, "repository");
  const store = openLocalStore(path);
  await store.create({ signal });
  await store.put(REF, Buffer.from("x"), { signal });
  assert.equal(statSync(path).mode & 0o777, 0o700);
  assert.equal(statSync(join(path, "data", "ab")).mode & 0o777, 0o700);
  assert.equal(statSync(join(path, "data", "ab", NAME)).mode & 0o777, 0o400);
});

test("names that are not the format's are no files of a local store", async () => {
  await using folder = await openTemporaryFolder("chatkeep-store");
  const path = join(folder.path, "repository");
  const store = openLocalStore(path);
  await store.create({ signal });
  writeFileSync(join(path, "data", "ab", `${NAME}-tmp-123`), "x");
  writeFileSync(join(path, "snapshots", ".DS_Store"), "x");
  mkdirSync(join(path, "index", NAME));
  const found: string[] = [];
  for (const kind of ["data", "snapshots", "index"] as const) {
    for await (const file of store.list(kind, { signal })) found.push(file.name);
  }
  assert.deepEqual(found, []);
});

function isGone(error: unknown): boolean {
  return isFailure(error, "store/unreachable") && /is not there any more/.test(error.message);
}

test("a data folder that is gone is made again, a repository that is gone is not", async () => {
  await using folder = await openTemporaryFolder("chatkeep-store");
  const path = join(folder.path, "repository");
  const store = openLocalStore(path);
  await store.create({ signal });
  rmSync(join(path, "data", "ab"), { recursive: true });
  await store.put(REF, Buffer.from("x"), { signal });
  assert.ok(existsSync(join(path, "data", "ab", NAME)));

  const writer = await store.begin("data", { signal });
  await writer.write(Buffer.from("y"));
  rmSync(path, { recursive: true });
  await assert.rejects(writer.commit("cd".repeat(32)), isGone);
  await writer.abort();
  await assert.rejects(store.put(REF, Buffer.from("x"), { signal }), isGone);
  assert.equal(existsSync(path), false);
  // As the mount point of a disk that was unmounted: what is written there is found by nobody.
  mkdirSync(path);
  await assert.rejects(store.put(REF, Buffer.from("x"), { signal }), isGone);
  assert.deepEqual(readdirSync(path), []);
});

test("a full disk is store/full, and its half-written file goes away", { skip: cannotMount() }, async () => {
  await using folder = await openTemporaryFolder("chatkeep-store");
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", folder.path]);
  assert.equal(mounted.status, 0);
  try {
    const store = openLocalStore(join(folder.path, "r"));
    await store.create({ signal });
    await assert.rejects(store.put(REF, Buffer.alloc(2 << 20), { signal }), (error) => isFailure(error, "store/full"));
    assert.deepEqual(readdirSync(join(folder.path, "r", "chatkeep", "tmp")), []);
    await store.put(REF, Buffer.from("small"), { signal });
  } finally {
    spawnSync("umount", [folder.path]);
  }
});

function cannotMount(): string | false {
  return process.getuid?.() === 0 &&
    spawnSync("unshare", ["--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).status === 0
    ? false
    : "this machine lets us mount nothing";
}

/** Root may do everything: what asks for rights is done as somebody else. */
async function asSomebodyElse(work: () => Promise<void>): Promise<void> {
  if (process.geteuid?.() !== 0) return await work();
  process.seteuid?.(65_534);
  try {
    await work();
  } finally {
    process.seteuid?.(0);
  }
}

test("a folder without rights is store/denied", async () => {
  await using folder = await openTemporaryFolder("chatkeep-store");
  chmodSync(folder.path, 0o755);
  const store = openLocalStore(join(folder.path, "repository"));
  await store.create({ signal });
  await store.put(REF, Buffer.from("x"), { signal });
  chmodSync(join(folder.path, "repository", "chatkeep", "tmp"), 0o500);
  await asSomebodyElse(async () => {
    await assert.rejects(store.begin("data", { signal }), (error) => isFailure(error, "store/denied"));
  });
  chmodSync(join(folder.path, "repository", "chatkeep", "tmp"), 0o700);
});

test("a store on a read-only filesystem is store/denied", { skip: cannotMount() }, async () => {
  await using folder = await openTemporaryFolder("chatkeep-store");
  assert.equal(spawnSync("mount", ["-t", "tmpfs", "-o", "ro", "tmpfs", folder.path]).status, 0);
  try {
    const store = openLocalStore(join(folder.path, "r"));
    await assert.rejects(store.create({ signal }), (error) => isFailure(error, "store/denied"));
  } finally {
    spawnSync("umount", [folder.path]);
  }
});

test("half-written files of a dead process go, those of a living one and of unknown ones stay", async () => {
  await using folder = await openTemporaryFolder("chatkeep-store");
  const path = join(folder.path, "repository");
  const store = openLocalStore(path);
  await store.create({ signal });
  const temporary = join(path, "chatkeep", "tmp");

  const living = await store.begin("data", { signal });
  const [own = ""] = readdirSync(temporary);
  const dead = spawnSync(process.execPath, ["-e", ""]).pid;
  const ofDead = own.replace(`-${process.pid}-`, `-${dead}-`);
  const elsewhere = `${"0".repeat(12)}${own.slice(12)}`;
  const elsewhereLongAgo = `${"1".repeat(12)}${own.slice(12)}`;
  for (const name of [ofDead, elsewhere, elsewhereLongAgo, "what-is-this"]) writeFileSync(join(temporary, name), "x");
  const longAgo = new Date(Date.now() - 8 * 24 * 3_600_000);
  utimesSync(join(temporary, elsewhereLongAgo), longAgo, longAgo);

  assert.equal(await store.removeLeftovers({ signal }), 2);
  assert.deepEqual(readdirSync(temporary).toSorted(), [own, elsewhere, "what-is-this"].toSorted());
  await living.write(Buffer.from("still here"));
  await living.commit(NAME);
});

test("a place in which nothing can be made is refused", async () => {
  const creating = openLocalStore("/proc/chatkeep/repository").create({ signal });
  await assert.rejects(creating, (error) => isFailure(error, "store/unreachable"));
});

async function locationOf(location: string | StoreSpec): Promise<string> {
  return (await openStore(location)).location;
}

test("locations are opened as restic writes them", async () => {
  assert.equal(await locationOf("/var/backups/x"), "/var/backups/x");
  assert.equal(await locationOf("local:/var/backups/x"), "/var/backups/x");
  assert.equal(await locationOf("backups"), join(process.cwd(), "backups"));
  assert.equal(await locationOf({ kind: "local", path: "/x" }), "/x");
  assert.equal(await locationOf("local:odd:folder"), join(process.cwd(), "odd:folder"));
  assert.equal(await locationOf("./odd:folder"), join(process.cwd(), "odd:folder"));
  assert.equal(await locationOf("in/odd:folder"), join(process.cwd(), "in/odd:folder"));
  const elsewhere = ["b2:bucket:path", "rclone:remote:path", "swift:container:/path"];
  const unknown = [
    "https://host/x",
    "odd:folder",
    "S3:host/bucket",
    "ssh://host/x",
    "~/x",
    "local:~/x",
    "~me/x",
    "/a\nb",
  ];
  for (const location of [...elsewhere, ...unknown, ""]) {
    await assert.rejects(openStore(location), (error) => isFailure(error, "usage/invalid"));
  }
});
