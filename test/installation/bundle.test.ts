import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { parseBundleHeader, verifyBundle } from "../../src/installation/bundle.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { git, makeUpstream } from "./checkout.ts";

const signal = new AbortController().signal;

test("any damage to a bundle is noticed", async () => {
  await using folder = await temporaryFolder();
  await makeUpstream(folder.at("repo"));
  const whole = folder.at("whole.bundle");
  const thin = folder.at("thin.bundle");
  await git(folder.at("repo"), "bundle", "create", "--quiet", whole, "--all");
  await git(folder.at("repo"), "bundle", "create", "--quiet", thin, "HEAD~1..master");
  for (const [path, unpacked] of [
    [whole, true],
    [thin, false],
  ] as const) {
    const verdict = await verifyBundle(path, { signal });
    assert.deepEqual([verdict.ok, verdict.unpacked], [true, unpacked]);
    const bytes = await readFile(path);
    const start = verdict.header?.packAt ?? 0;
    const step = Math.max(1, Math.floor((bytes.length - start) / 12));
    for (let at = start; at < bytes.length; at += step) {
      const flipped = Buffer.from(bytes);
      flipped.writeUInt8(flipped.readUInt8(at) ^ 1, at);
      await writeFile(folder.at("damaged"), flipped);
      assert.equal((await verifyBundle(folder.at("damaged"), { signal })).ok, false, `byte ${at}`);
      await writeFile(folder.at("cut"), bytes.subarray(0, at));
      assert.equal((await verifyBundle(folder.at("cut"), { signal })).ok, false, `cut at ${at}`);
    }
  }
});

test("what is no bundle is refused", async () => {
  await using folder = await temporaryFolder();
  for (const text of ["", "hello\n\n", "# v9 git bundle\n\nPACK", "# v2 git bundle\n"]) {
    await writeFile(folder.at("x"), text);
    assert.equal((await verifyBundle(folder.at("x"), { signal })).ok, false);
  }
});

test("a bundle whose references name commits that it does not hold is refused", async () => {
  await using folder = await temporaryFolder();
  await makeUpstream(folder.at("repo"));
  await git(folder.at("repo"), "bundle", "create", "--quiet", folder.at("b"), "--all");
  const bytes = await readFile(folder.at("b"));
  const head = await git(folder.at("repo"), "rev-parse", "HEAD");
  await writeFile(folder.at("c"), bytes.toString("latin1").replaceAll(head, "1".repeat(40)), "latin1");
  const verdict = await verifyBundle(folder.at("c"), { signal });
  assert.deepEqual([verdict.ok, verdict.unpacked], [false, false]);
});

test("a header of version 3 says which hash the repository uses", () => {
  const id = "a".repeat(64);
  const header = parseBundleHeader(
    Buffer.from(`# v3 git bundle\n@object-format=sha256\n-${id} first\n${id} refs/heads/a b\n\nPACK`),
  );
  assert.deepEqual(header, {
    prerequisites: [id],
    refs: [{ name: "refs/heads/a b", commit: id }],
    objectFormat: "sha256",
    packAt: header?.packAt,
  });
});
