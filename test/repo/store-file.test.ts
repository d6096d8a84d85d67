import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { appendFileSync, mkdirSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { before, test } from "node:test";
import { LIMITS } from "../../src/base/limits.ts";
import type { Repository } from "../../src/repo/repository.ts";
import type { Sealer } from "../../src/repo/sealer.ts";
import { makeFileBuffer, storeFile } from "../../src/repo/store-file.ts";
import { createMemoryStore } from "../../src/store/memory-store.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { newRepository, openWriting } from "./small-backup.ts";

let repository: Repository;
let sealer: Sealer;
const buffer = makeFileBuffer();

before(async () => {
  repository = await newRepository(createMemoryStore());
  ({ sealer } = await openWriting(repository));
});

test("files of every length around a chunk's are stored with their size, MD5 and chunks", async () => {
  await using folder = await temporaryFolder();
  const max = LIMITS.chunkMaxBytes;
  for (const length of [0, 1, max - 1, max, max + 1, 2 * max, 2 * max + 5]) {
    const bytes = randomBytes(length);
    writeFileSync(folder.at("file"), bytes);
    const stored = await storeFile(sealer, folder.at("file"), buffer);
    assert.deepEqual(await storeFile(sealer, folder.at("file"), buffer, { isNew: true }), stored);
    assert.equal(stored.kind, "stored");
    if (stored.kind !== "stored") continue;
    assert.equal(stored.size, length);
    assert.equal(stored.md5, createHash("md5").update(bytes).digest("base64"));
    assert.deepEqual(
      stored.content,
      Array.from({ length: Math.ceil(length / max) }, (_, at) =>
        createHash("sha256")
          .update(bytes.subarray(at * max, (at + 1) * max))
          .digest("hex"),
      ),
    );
  }
});

test("a file that is not there is missing, and what is no plain file is unreadable with a reason", async () => {
  await using folder = await temporaryFolder();
  writeFileSync(folder.at("file"), "x");
  mkdirSync(folder.at("folder"));
  symlinkSync("file", folder.at("link"));
  assert.equal(spawnSync("mkfifo", [folder.at("pipe")]).status, 0);
  assert.deepEqual(await storeFile(sealer, folder.at("nothing"), buffer), { kind: "missing" });
  assert.deepEqual(await storeFile(sealer, folder.at("file/below"), buffer), { kind: "missing" });
  for (const [name, reason] of [
    ["folder", /not a plain file/],
    ["link", /symbolic link/],
    ["pipe", /not a plain file/],
  ] as const) {
    const result = await storeFile(sealer, folder.at(name), buffer);
    assert.equal(result.kind, "unreadable");
    if (result.kind === "unreadable") assert.match(result.reason, reason);
  }
});

test("a file that grows or shrinks while it is read has the size that was really read", async () => {
  await using folder = await temporaryFolder();
  const path = folder.at("file");
  for (const [change, expected] of [
    [() => appendFileSync(path, "more"), LIMITS.chunkMaxBytes + 14],
    [() => truncateSync(path, 100), LIMITS.chunkMaxBytes],
  ] as const) {
    writeFileSync(path, Buffer.alloc(LIMITS.chunkMaxBytes + 10, randomBytes(1000)));
    let isFirst = true;
    const changing = {
      add: async (type: "data" | "tree", bytes: Uint8Array) => {
        if (isFirst) change();
        isFirst = false;
        return await sealer.add(type, bytes);
      },
    } as Sealer;
    const stored = await storeFile(changing, path, buffer);
    assert.equal(stored.kind === "stored" && stored.size, expected);
  }
});
