/** When the next base is built on the one before, and when the server is to send everything. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { Failure } from "../../../src/base/errors.ts";
import { LIMITS } from "../../../src/base/limits.ts";
import { type Builder, usableEarlier, whyNotBuilt } from "../../../src/job/continuous/build-on.ts";
import { listContinuous } from "../../../src/job/continuous/list.ts";
import type { BaseFacts } from "../../../src/point/base-facts.ts";
import { createMemoryStore } from "../../../src/store/memory-store.ts";
import { encodeManifest } from "../../harness/incremental.ts";
import { temporaryFolder } from "../../harness/temporary.ts";
import { newRepository, signal } from "../../repo/small-backup.ts";
import { factsOf, putBase } from "./bases.ts";
import { LINE, writerOf } from "./spans.ts";

const CUT = { blockBytes: 8192, segmentBlocks: 131_072 };
const SERVER: Builder = { major: 17, cut: CUT, summarizesWal: true, settings: { data_checksums: "on" } };
const MANIFEST = encodeManifest(new Map([["PG_VERSION", Buffer.from("17\n")]]));

async function decided(
  { major = 17, manifest = MANIFEST, ...facts }: Partial<BaseFacts> & { major?: number; manifest?: Buffer },
  server: Partial<Builder> = {},
): Promise<string> {
  await using folder = await temporaryFolder();
  mkdirSync(folder.at("cluster"));
  writeFileSync(folder.at("cluster", "PG_VERSION"), "17\n");
  const repository = await newRepository(createMemoryStore());
  const whole = { ...factsOf({ major }), settings: { data_checksums: "on" }, ...facts };
  await putBase(repository, folder.at("cluster"), { facts: whole, manifest });
  const { bases } = await listContinuous(repository, LINE.installation, { signal });
  const found = await usableEarlier(writerOf(repository), bases.at(-1), { ...SERVER, ...server });
  return "base" in found ? "built" : (found.whyWhole ?? "nothing else was to be expected");
}

test("a base is built on one of the same major and pages, of a server that notes what changes; after six of them all pages are read", async () => {
  const unexpected = "nothing else was to be expected";
  assert.equal(await decided({}), "built");
  assert.equal(await decided({ builtOn: { id: "a", count: LIMITS.builtBases - 1 } }), "built");
  assert.match(
    await decided({ builtOn: { id: "a", count: LIMITS.builtBases } }),
    /^after 6 bases .* all pages are read/,
  );
  assert.match(await decided({ settings: { data_checksums: "off" } }), /^page checksums were switched on or off/);
  assert.match(await decided({ hasDamagedPages: true }), /^the last one has damaged pages/);
  assert.match(await decided({}, { summarizesWal: false }), /summarize_wal is off/);
  assert.match(await decided({}, { cut: { ...CUT, blockBytes: 0 } }), /pages have another length/);
  assert.match(await decided({}, { cut: { ...CUT, segmentBlocks: 0 } }), /how long a file of a table is/);
  assert.equal(await decided({}, { major: 18 }), unexpected);
  assert.equal(await decided({ major: 16 }, { major: 16 }), unexpected);
  const changed = Buffer.from(MANIFEST.toString().replace('"Size": 3', '"Size": 4'));
  assert.match(await decided({ manifest: changed }), /backup_manifest cannot be used/);
  assert.deepEqual(await usableEarlier(writerOf(await newRepository(createMemoryStore())), undefined, SERVER), {
    whyWhole: undefined,
  });
});

function said(code: string): Error {
  return Object.assign(new Error("the server's words"), { code });
}

function failure(cause: Error): Failure {
  return new Failure("database/failed", "it failed", { cause });
}

test("what a server refuses, or what is kept no longer gives, costs a whole base; what a whole base would meet, too, is told", () => {
  for (const code of ["55000", "XX001"]) assert.equal(whyNotBuilt(failure(said(code))), "it failed", code);
  assert.equal(whyNotBuilt(new Failure("repo/damaged", "a chunk is gone")), "a chunk is gone");
  assert.equal(whyNotBuilt(new Failure("database/failed", "what came is no file")), "what came is no file");
  for (const told of [
    failure(said("53100")),
    failure(said("57P01")),
    failure(said("ECONNRESET")),
    new Failure("database/unreachable", "the connection was lost"),
    new Failure("store/full", "no room"),
    new Failure("repo/locked", "somebody prunes"),
    new Error("of ours"),
  ])
    assert.equal(whyNotBuilt(told), undefined, told.message);
});
