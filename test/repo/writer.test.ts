import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { Failure } from "../../src/base/errors.ts";
import { ClaimTable } from "../../src/repo/claim-table.ts";
import { Sealer } from "../../src/repo/sealer.ts";
import { IndexWriter } from "../../src/repo/writer.ts";
import { createMemoryStore } from "../../src/store/memory-store.ts";
import { newRepository, signal } from "./small-backup.ts";

test("a run that is stopped names its packs in an index, one that lost its lock does not: they may be pruned by then", async () => {
  const reasons = [
    [new Failure("run/cancelled", "stopped"), 1],
    [new Failure("store/unreachable", "gone"), 1],
    [new Failure("repo/locked", "the lock on the repository was lost"), 0],
  ] as const;
  for (const [reason, written] of reasons) {
    const store = createMemoryStore();
    const repository = await newRepository(store);
    const index = await repository.loadIndex({ signal });
    const run = new AbortController();
    const writer = new IndexWriter(repository, index, { signal: AbortSignal.any([signal, run.signal]) });
    const claims = new ClaimTable(100);
    const onPack = writer.add.bind(writer);
    const { keys } = repository;
    const sealer = new Sealer({ keys, store, known: index, claims, signal, onPack });
    await sealer.add("data", randomBytes(1000));
    await sealer.flush();
    run.abort(reason);
    await writer.lastWords();
    const named = [...store.files.keys()].filter((name) => name.startsWith("index/"));
    assert.equal(named.length, written, reason.code);
    assert.equal(writer.packs, 1);
  }
});
