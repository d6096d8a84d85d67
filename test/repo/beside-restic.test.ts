/** Our writers and real restic processes at one repository at once: what each saved is there, and nothing else is harmed. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readdirSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { systemClock } from "../../src/base/clock.ts";
import { isFailure } from "../../src/base/errors.ts";
import type { SnapshotId } from "../../src/base/ids.ts";
import { silent } from "../../src/base/progress.ts";
import { lockExclusive, lockShared } from "../../src/repo/lock.ts";
import { pruneRepository } from "../../src/repo/prune.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { openLocalStore } from "../../src/store/local-store.ts";
import { judges, runRestic } from "../harness/restic.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { backUp, newRepository, PASSWORD, readFiles, reopen, signal, type Files } from "./small-backup.ts";

const OURS = { clock: systemClock, signal, hostname: hostname(), pid: process.pid };

/** Does something under a lock, when whoever is alone there has gone. */
async function patiently<T>(work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!isFailure(error, "repo/locked")) throw error;
      await sleep(50);
    }
  }
}

async function save(repository: Repository, files: Files): Promise<SnapshotId> {
  return await patiently(async () => {
    const fresh = reopen(repository);
    await using lock = await lockShared(fresh, OURS);
    const id = await backUp(fresh, files);
    await lock.confirm({ signal });
    return id;
  });
}

async function pruneOnce(repository: Repository): Promise<void> {
  await patiently(async () => {
    const fresh = reopen(repository);
    await using lock = await lockExclusive(fresh, OURS);
    await pruneRepository(fresh, { maxUnused: { bytes: 0 }, isDryRun: false, lock, progress: silent, signal });
  });
}

for (const { path: restic, version } of judges()) {
  test(`three of our backups, three of restic ${version}'s, two prunes of each: all are whole`, async () => {
    await using folder = await temporaryFolder();
    const options = { repo: folder.at("repository"), password: PASSWORD, restic };
    const repository = await newRepository(openLocalStore(options.repo));
    const files = [1, 2, 3].map((number) => ({
      shared: Buffer.alloc(200_000, "what all of them have\n"),
      [`noise-${number}`]: randomBytes(2 << 20),
    }));
    const stdin = async (number: number) => {
      const input = randomBytes(2 << 20);
      const args = ["backup", "--stdin", "--stdin-filename", `stdin-${number}`];
      for (;;) {
        const { status, stderr } = await runRestic(args, { ...options, input, status: "any" });
        if (status === 0) return { name: `stdin-${number}`, input };
        assert.match(stderr, /locked/);
        await sleep(50);
      }
    };
    const resticPrune = async () => {
      for (;;) {
        const { status, stderr } = await runRestic(["prune", "--max-unused=0"], { ...options, status: "any" });
        if (status === 0) return;
        assert.match(stderr, /locked/);
        await sleep(50);
      }
    };
    const ours = (async () => {
      const saved: SnapshotId[] = [];
      for (const content of files) {
        saved.push(await save(repository, content));
        if (saved.length < 3) await pruneOnce(repository);
      }
      return saved;
    })();
    const theirs = (async () => {
      const saved = [];
      for (const number of [1, 2, 3]) {
        saved.push(await stdin(number));
        if (number < 3) await resticPrune();
      }
      return saved;
    })();
    const [saved, streams] = await Promise.all([ours, theirs]);
    await runRestic(["check", "--read-data"], options);
    const fresh = reopen(repository);
    const { snapshots } = await fresh.listSnapshots({ signal });
    assert.equal(snapshots.length, 6);
    for (const [at, id] of saved.entries()) {
      const tree = snapshots.find((one) => one.id === id)?.snapshot.tree;
      assert.ok(tree);
      const read = await readFiles(fresh, tree);
      for (const [path, bytes] of Object.entries(files[at] ?? {})) assert.ok(read[path]?.equals(bytes), path);
    }
    const found = new Map<string, Buffer>();
    for (const { snapshot } of snapshots) {
      for (const [path, bytes] of Object.entries(await readFiles(fresh, snapshot.tree))) found.set(path, bytes);
    }
    for (const { name, input } of streams) assert.ok(found.get(name)?.equals(input), name);
    assert.deepEqual(await Array.fromAsync(fresh.store.list("locks", { signal })), []);
  });

  test(`while restic ${version} prunes nobody of ours begins, and its lock is named`, async () => {
    await using folder = await temporaryFolder();
    const repo = folder.at("repository");
    const repository = await newRepository(openLocalStore(repo));
    await backUp(repository, { file: randomBytes(1000) });
    writeFileSync(folder.at("password"), PASSWORD);
    const child = spawn(restic, ["--no-cache", "-r", repo, "--password-file", folder.at("password"), "prune"], {
      stdio: "ignore",
    });
    const ended = once(child, "exit");
    try {
      // It waits 200 ms after it has written its lock; it stands still from then on.
      const isLocked = () => readdirSync(`${repo}/locks`).some((name) => /^[0-9a-f]{64}$/.test(name));
      while (!isLocked() && child.exitCode === null) await sleep(2);
      child.kill("SIGSTOP");
      const isNamed = (error: unknown) =>
        isFailure(error, "repo/locked") &&
        error.message.includes(`process ${child.pid} of`) &&
        error.hint !== undefined;
      await assert.rejects(lockShared(reopen(repository), OURS), isNamed);
      await assert.rejects(lockExclusive(reopen(repository), OURS), isNamed);
    } finally {
      child.kill("SIGCONT");
    }
    assert.deepEqual(await ended, [0, null]);
    await using _lock = await lockExclusive(reopen(repository), OURS);
  });
}
