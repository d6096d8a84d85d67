/** What is asked of a place that keeps files locked, and that a record which is lost, made up or outdated is never believed. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile, rm, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { systemClock } from "../../src/base/clock.ts";
import { Failure } from "../../src/base/errors.ts";
import { LIMITS } from "../../src/base/limits.ts";
import { silent } from "../../src/base/progress.ts";
import { randomKeys, seal } from "../../src/format/crypto.ts";
import { extendRetention } from "../../src/job/retention.ts";
import { sealRecord, unsealRecord } from "../../src/job/retention-record.ts";
import { createRepository, type Repository } from "../../src/repo/repository.ts";
import type { ListedKey } from "../../src/store/backend.ts";
import { caching } from "../../src/store/caching.ts";
import { RemoteStore } from "../../src/store/remote-store.ts";
import { extended, type Retained, type Retention } from "../../src/store/retention.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { MemoryBackend } from "../store/memory-backend.ts";

const { signal } = new AbortController();
const DAY = 24 * 3_600_000;
const POLICY = { forMs: 30 * DAY, mode: "governance" } as const;
const FILES = 500;

/** Tells when files were written, and how often it was asked for their locks. */
class LockingBackend extends MemoryBackend {
  readonly locks = new Map<string, Retained>();
  readonly written = new Map<string, number>();
  asked = 0;
  #time = Date.UTC(2026, 0, 1);

  override async put(...args: Parameters<MemoryBackend["put"]>): Promise<void> {
    await super.put(...args);
    this.#time += 1000;
    this.written.set(args[0], this.#time);
    this.locks.delete(args[0]);
  }

  override async *list(...args: Parameters<MemoryBackend["list"]>): AsyncGenerator<ListedKey> {
    for await (const file of super.list(...args)) yield { ...file, writtenAtMs: this.written.get(file.key) };
  }

  readonly retention: Retention<string> = {
    policy: POLICY,
    isListed: false,
    check: async () => {},
    until: async (key) => this.locks.get(key)?.untilMs,
    keep: async (key, { nowMs }) => {
      this.asked += 1;
      if (!this.files.has(key)) throw new Failure("store/not-found", "not there");
      const current = this.locks.get(key);
      const wanted = extended(current, POLICY, nowMs);
      if (wanted !== undefined) this.locks.set(key, wanted);
      return { untilMs: (wanted ?? current)?.untilMs ?? 0, wasExtended: wanted !== undefined };
    },
  };
}

interface Place extends AsyncDisposable {
  readonly backend: LockingBackend;
  readonly repository: Repository;
  readonly note: string;
  /** What a run after so many days asks and extends. */
  keep(afterDays?: number): Promise<{ asked: number; extended: number; files: number }>;
  add(count: number): Promise<string[]>;
}

async function openPlace(): Promise<Place> {
  const folder = await temporaryFolder();
  const backend = new LockingBackend();
  const store = caching(new RemoteStore(backend, undefined), { folder: folder.path, clock: systemClock });
  const parts = { password: "x", clock: systemClock, hostname: "desk", username: "root", signal };
  const repository = await createRepository(store, parts);
  let count = 0;
  const begun = Date.now();
  return {
    backend,
    repository,
    note: folder.at("notes", "retention"),
    async keep(afterDays = 0) {
      backend.asked = 0;
      const clock = { ...systemClock, now: () => begun + afterDays * DAY };
      const outcome = await extendRetention(repository, { clock, progress: silent, signal });
      assert.ok(outcome !== undefined);
      // Whatever was asked: in the end nothing runs out within half the time.
      for (const key of backend.files.keys()) {
        assert.ok((backend.locks.get(key)?.untilMs ?? 0) >= clock.now() + POLICY.forMs / 2 - 1000, key);
      }
      return { asked: backend.asked, extended: outcome.extended, files: outcome.files };
    },
    async add(more) {
      const names: string[] = [];
      for (let at = 0; at < more; at += 1) {
        count += 1;
        const bytes = Buffer.from(`snapshot ${count}`);
        const name = createHash("sha256").update(bytes).digest("hex");
        await backend.put(`snapshots/${name}`, bytes, { signal, mustBeNew: false });
        names.push(name);
      }
      return names;
    },
    [Symbol.asyncDispose]: async () => await folder[Symbol.asyncDispose](),
  };
}

test("what was locked at the last look is not asked for again, but for some; what is new is", async () => {
  await using place = await openPlace();
  await place.add(FILES);
  const first = await place.keep();
  assert.deepEqual([first.asked, first.extended, first.files], [FILES + 2, FILES + 2, FILES + 2]);
  const next = await place.keep(1);
  assert.deepEqual([next.extended, next.files], [0, FILES + 2]);
  assert.ok(next.asked < 3 * LIMITS.retentionSample, `${next.asked}`);
  await place.add(7);
  const later = await place.keep(2);
  assert.ok(later.extended === 7 && later.asked < 3 * LIMITS.retentionSample + 7);
  assert.equal((await place.keep(16)).extended, FILES + 2);
  assert.equal((await place.keep(18)).extended, 7);
});

test("a record that is lost, damaged, cut, made up or another repository's is no record", async () => {
  await using place = await openPlace();
  const names = await place.add(FILES);
  await place.keep();
  const good = await readFile(place.note);
  const lie = new Map(
    names.map((name) => [
      name,
      { writtenAtMs: place.backend.written.get(`snapshots/${name}`) ?? 0, untilMs: Date.now() + 900 * DAY },
    ]),
  );
  const flipped = Buffer.from(good);
  flipped.writeUInt8(flipped.readUInt8(100) ^ 1, 100);
  const notes = [
    undefined,
    flipped,
    good.subarray(0, -44),
    Buffer.alloc(0),
    sealRecord(randomKeys(), lie),
    seal(place.repository.keys, Buffer.from("{}")),
  ];
  for (const note of notes) {
    if (note === undefined) await rm(place.note);
    else await writeFile(place.note, note);
    place.backend.locks.clear();
    const { asked, extended: count } = await place.keep();
    assert.deepEqual([asked, count], [FILES + 2, FILES + 2]);
  }
});

test("an older record, and files that were written anew, are seen through", async () => {
  await using place = await openPlace();
  const names = await place.add(FILES);
  await place.keep();
  const old = await readFile(place.note);
  await place.keep(16);
  await writeFile(place.note, old);
  assert.equal((await place.keep(17)).extended, 0);
  for (const name of names.slice(0, 5)) {
    await place.backend.put(`snapshots/${name}`, Buffer.from("other bytes"), { signal, mustBeNew: false });
  }
  assert.equal((await place.keep(17)).extended, 5);
});

test("locks that somebody lifted are noticed by those that are asked for, and then all are asked for", async () => {
  await using place = await openPlace();
  await place.add(FILES);
  await place.keep();
  place.backend.locks.clear();
  const { asked, extended: count } = await place.keep(1);
  assert.equal(count, FILES + 2);
  assert.ok(asked >= FILES + 2);
});

test("a record comes back as it was, in whole seconds", () => {
  const keys = randomKeys();
  const name = "ab".repeat(32);
  const record = new Map([[name, { writtenAtMs: 1_732_000_000_123, untilMs: 1_735_000_000_999 }]]);
  assert.deepEqual(
    [...unsealRecord(keys, sealRecord(keys, record))],
    [[name, { writtenAtMs: 1_732_000_000_123, untilMs: 1_735_000_000_000 }]],
  );
});
