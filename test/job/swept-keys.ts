/** Changes of keys, and unlocking, under the fault sweep: who must still get in, and who must not. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { formatInstant } from "../../src/base/clock.ts";
import { isFailure } from "../../src/base/errors.ts";
import { parseFileId, type FileId } from "../../src/base/ids.ts";
import { createKeyFile, openKeyFile } from "../../src/format/key-file.ts";
import { encodeLock } from "../../src/format/lock-file.ts";
import { addKeyVerb, changePasswordVerb, removeKeyVerb } from "../../src/job/keys.ts";
import { unlock } from "../../src/job/unlock.ts";
import { addKey, listKeys } from "../../src/repo/keys.ts";
import { LOCK_TIMES } from "../../src/repo/lock.ts";
import { openRepository, Repository } from "../../src/repo/repository.ts";
import type { MemoryStore } from "../../src/store/memory-store.ts";
import type { Store } from "../../src/store/store.ts";
import { copyStore, hasty, PASSWORD, reopen, signal as never } from "../repo/small-backup.ts";
import type { Outcome, SweptVerb } from "./fault-sweep.ts";
import { clockAt, NOW } from "./kept-points.ts";
import { assertDays, makeBase, once, sound, unlessGone } from "./swept-days.ts";

/** Cheap, so that a password can be tried often. */
const COST = { N: 2, r: 1, p: 1 };

/** One lock in use, two that nobody holds. */
const unlocking: SweptVerb = {
  name: "unlock",
  async begin() {
    const base = await sound();
    const store = copyStore(base.store);
    const put = async (lock: { time: string; exclusive: boolean }) => {
      const text = encodeLock({ ...lock, hostname: "elsewhere", username: "you", pid: 1 });
      return `locks/${await reopen(base.repository, store).putUnpacked("locks", text, { signal: never })}`;
    };
    const used = await put({ time: formatInstant(NOW), exclusive: false });
    const old = formatInstant(NOW - LOCK_TIMES.stale - 1);
    for (const exclusive of [true, false]) await put({ time: old, exclusive });
    return {
      store,
      async run(faulty, signal) {
        const repository = reopen(base.repository, faulty);
        const options = { repository, repositoryName: "primary", which: "stale", clock: clockAt(), signal } as const;
        return (await unlock(options)).left.some(({ damage }) => damage !== null) ? "told" : "done";
      },
      async assertKept() {
        assert.ok(store.files.has(used), "a lock that is in use was removed");
        await assertDays(base, store, base.days);
      },
      async assertDone() {
        assert.deepEqual(
          [...store.files.keys()].filter((name) => name.startsWith("locks/")),
          [used],
        );
      },
    };
  },
};

const keyed = once(async () => {
  const { repository, store } = await makeBase([1]);
  const labels = { username: "tester", hostname: "test-host", created: "2026-01-01T00:00:00Z" };
  const bytes = await createKeyFile(PASSWORD, repository.keys, labels, COST);
  const own = parseFileId(createHash("sha256").update(bytes).digest("hex"));
  store.files.delete(`keys/${repository.keyId}`);
  store.files.set(`keys/${own}`, bytes);
  const { keys, config } = repository;
  const opened = new Repository({ store, keys, config, keyId: own });
  const who = { username: "maria", hostname: "laptop", clock: hasty, signal: never, cost: COST };
  const maria = await addKey(opened, { ...who, password: "maria's" });
  return { base: { repository: opened, store, days: [1] }, maria };
});

/** Which of the passwords open the repository. */
async function opening(store: MemoryStore, passwords: readonly string[]): Promise<string[]> {
  const files = [...store.files].filter(([name]) => name.startsWith("keys/"));
  const found: string[] = [];
  for (const password of passwords) {
    const keys = await Promise.all(files.map(async ([, bytes]) => await openKeyFile(bytes, password)));
    if (keys.some((each) => each !== undefined)) found.push(password);
  }
  return found;
}

interface KeyRound {
  /** What a password file would hold. */
  kept: string;
  maria: FileId;
  store: MemoryStore;
}

function onKeys(
  name: string,
  run: (repository: Repository, signal: AbortSignal, round: KeyRound) => Promise<void>,
  expected: { kept: readonly string[]; done: readonly string[]; labels: readonly string[] },
  finish: (repository: Repository, signal: AbortSignal, round: KeyRound) => Promise<void> = run,
): SweptVerb {
  return {
    name,
    async begin() {
      const { base, maria } = await keyed();
      const store = copyStore(base.store);
      const round: KeyRound = { kept: PASSWORD, maria, store };
      const open = async (at: Store) => {
        if (round.kept === PASSWORD) return reopen(base.repository, at);
        return await openRepository(at, { password: round.kept, signal: never });
      };
      const attempt =
        (work: typeof run) =>
        async (at: Store, signal: AbortSignal): Promise<Outcome> => {
          await work(await open(at), signal, round);
          return "done";
        };
      return {
        store,
        run: attempt(run),
        finish: attempt(finish),
        async assertKept() {
          const must = [round.kept, ...expected.kept];
          assert.deepEqual(await opening(store, must), must);
          await assertDays(base, store, base.days);
        },
        async assertDone() {
          const all = [PASSWORD, "maria's", "the new one"];
          assert.deepEqual(
            await opening(store, all),
            all.filter((each) => expected.done.includes(each)),
          );
          const { keys, damaged } = await listKeys(reopen(base.repository, store), { signal: never });
          assert.deepEqual(damaged, []);
          assert.deepEqual(
            keys.map(({ username, hostname: host }) => `${username}@${host}`).toSorted(),
            expected.labels,
          );
        },
      };
    },
  };
}

const NEW_KEY = {
  repositoryName: "primary",
  clock: hasty,
  password: "the new one",
  cost: COST,
  beforeWriting: async () => {},
};

const addingKey = onKeys(
  "key add",
  async (repository, signal) => {
    try {
      await addKeyVerb({ ...NEW_KEY, repository, signal, username: "eve", hostname: "desk" });
    } catch (error) {
      // It was written by a run that was told otherwise.
      if (!isFailure(error, "usage/invalid") || !/opens the repository already/.test(error.message)) throw error;
    }
  },
  {
    kept: ["maria's"],
    done: [PASSWORD, "maria's", "the new one"],
    labels: ["eve@desk", "maria@laptop", "tester@test-host"],
  },
);

async function changeKey(repository: Repository, signal: AbortSignal, round: KeyRound): Promise<void> {
  // With the new password kept, the change was made but for the old key.
  if (round.kept !== PASSWORD) {
    const { keys } = await listKeys(repository, { signal });
    const old = keys.find(({ username, isCurrent }) => username === "tester" && !isCurrent);
    if (old !== undefined) {
      await removeKeyVerb({ repository, repositoryName: "primary", clock: hasty, signal, key: old.id });
    }
    return;
  }
  const onBoth = async () => {
    assert.deepEqual(await opening(round.store, [round.kept, "the new one"]), [round.kept, "the new one"]);
    round.kept = "the new one";
  };
  await changePasswordVerb({ ...NEW_KEY, repository, signal, username: undefined, hostname: undefined, onBoth });
}

const changingKey = onKeys("key passwd", changeKey, {
  kept: ["maria's"],
  done: ["maria's", "the new one"],
  labels: ["maria@laptop", "tester@test-host"],
});

const removingKey = onKeys(
  "key remove",
  async (repository, signal, { maria }) => {
    const remove = unlessGone(async () => {
      await removeKeyVerb({ repository, repositoryName: "primary", clock: hasty, signal, key: maria });
      return "done";
    }, /there is no key/);
    await remove();
  },
  { kept: [], done: [PASSWORD], labels: ["tester@test-host"] },
);

export const SWEPT_ON_KEYS: readonly SweptVerb[] = [unlocking, addingKey, changingKey, removingKey];
