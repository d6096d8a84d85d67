/** Who can open a repository: several keys, changed safely, and as restic has them. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { before, test } from "node:test";
import { systemClock } from "../../src/base/clock.ts";
import { Failure, isFailure } from "../../src/base/errors.ts";
import { parseFileId, type FileId } from "../../src/base/ids.ts";
import { LIMITS } from "../../src/base/limits.ts";
import { createKeyFile } from "../../src/format/key-file.ts";
import { addKey, changePassword, findKey, findKeyOf, listKeys, removeKey } from "../../src/repo/keys.ts";
import { lockExclusive, type ExclusiveLock } from "../../src/repo/lock.ts";
import { openRepository, Repository } from "../../src/repo/repository.ts";
import { openLocalStore } from "../../src/store/local-store.ts";
import { createMemoryStore, type MemoryStore } from "../../src/store/memory-store.ts";
import type { Store } from "../../src/store/store.ts";
import { resticPaths, runRestic } from "../harness/restic.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { denyRemovals } from "../job/kept-points.ts";
import { copyStore, newRepository, PASSWORD, reopen, signal } from "./small-backup.ts";

/** Cheap, so that a test can make many. */
const COST = { N: 2, r: 1, p: 1 };
const MARIA = { username: "maria", hostname: "laptop", clock: systemClock, signal, cost: COST };

class Crash extends Error {}

let made: MemoryStore;
let repository: Repository;

/** The one key that it begins with is made cheap. */
before(async () => {
  made = createMemoryStore();
  const { keys, config, keyId } = await newRepository(made);
  const labels = { username: "tester", hostname: "test-host", created: "2026-01-01T00:00:00Z" };
  const bytes = await createKeyFile(PASSWORD, keys, labels, COST);
  const cheap = parseFileId(createHash("sha256").update(bytes).digest("hex"));
  made.files.delete(`keys/${keyId}`);
  made.files.set(`keys/${cheap}`, bytes);
  repository = new Repository({ store: made, keys, config, keyId: cheap });
});

function fresh(): { store: MemoryStore; repository: Repository } {
  const store = copyStore(made);
  return { store, repository: reopen(repository, store) };
}

async function alone(of: Repository): Promise<ExclusiveLock> {
  return await lockExclusive(of, { clock: systemClock, signal, hostname: "test-host", pid: process.pid });
}

async function opens(store: Store, password: string): Promise<boolean> {
  try {
    await openRepository(store, { password, signal });
    return true;
  } catch (error) {
    assert.ok(isFailure(error, "repo/wrong-password"), String(error));
    return false;
  }
}

async function idsOf(of: Repository): Promise<FileId[]> {
  return (await listKeys(of, { signal })).keys.map(({ id }) => id);
}

test("a key that is added opens the repository, and the list says whose it is and which one is in use", async () => {
  const { store, repository: own } = fresh();
  const id = await addKey(own, { ...MARIA, password: "another one" });
  assert.ok(await opens(store, "another one"));
  assert.ok(await opens(store, PASSWORD));
  const { keys, damaged } = await listKeys(own, { signal });
  assert.deepEqual(
    keys.map(({ username, hostname, isCurrent }) => [username, hostname, isCurrent]),
    [
      ["tester", "test-host", true],
      ["maria", "laptop", false],
    ],
  );
  assert.deepEqual(damaged, []);
  assert.equal((await findKeyOf(own, "another one", { signal }))?.id, id);
  assert.equal((await findKeyOf(own, PASSWORD, { signal }))?.isCurrent, true);
  assert.equal(await findKeyOf(own, "nobody's", { signal }), undefined);
});

test("a password that nobody could give again is refused, and no key is written", async () => {
  const { store, repository: own } = fresh();
  const refused = ["", " ", "\n", "\t  ", " before", "behind ", "two\nlines", "a\u0000b", "\u007F", "\u00A0"];
  for (const password of refused) {
    await assert.rejects(addKey(own, { ...MARIA, password }), (error) => isFailure(error, "usage/invalid"), password);
  }
  assert.equal((await idsOf(own)).length, 1);
  assert.ok(await opens(store, PASSWORD));
});

test("a key beyond those that a password is tried on is refused: it might open nothing", async () => {
  const { store, repository: own } = fresh();
  for (let n = 1; n < LIMITS.keysTried; n += 1) await addKey(own, { ...MARIA, password: `password ${n}` });
  for (let n = 1; n < LIMITS.keysTried; n += 1) assert.ok(await opens(store, `password ${n}`));
  await assert.rejects(addKey(own, { ...MARIA, password: "one too many" }), (error) => {
    assert.ok(isFailure(error, "usage/invalid") && error.message.includes(`has ${LIMITS.keysTried} keys`));
    return true;
  });
  assert.equal((await idsOf(own)).length, LIMITS.keysTried);
});

test("a key that was written badly is taken away, and said to be", async () => {
  const { store, repository: own } = fresh();
  const before = new Set(store.files.keys());
  const get = store.get.bind(store);
  store.get = async (ref, options) => {
    const bytes = await get(ref, options);
    if (ref.kind === "keys" && !before.has(`keys/${ref.name}`)) bytes[100] = (bytes[100] ?? 0) ^ 1;
    return bytes;
  };
  await assert.rejects(addKey(own, { ...MARIA, password: "new" }), (error) => isFailure(error, "store/unreachable"));
  assert.deepEqual(new Set(store.files.keys()), before);
});

test("a key that is removed opens nothing; the one in use, and so the last, is never removed", async () => {
  const { store, repository: own } = fresh();
  const maria = await addKey(own, { ...MARIA, password: "maria's" });
  await using lock = await alone(own);
  await assert.rejects(removeKey(own, own.keyId, { signal, lock }), (error) => {
    assert.ok(isFailure(error, "usage/invalid") && /is the one in use/.test(error.message));
    return true;
  });
  await removeKey(own, maria, { signal, lock });
  assert.ok(!(await opens(store, "maria's")));
  assert.ok(await opens(store, PASSWORD));
  assert.deepEqual(await idsOf(own), [own.keyId]);
});

test("two who remove each other's key leave one: whoever comes second is refused", async () => {
  const { store, repository: own } = fresh();
  const maria = await addKey(own, { ...MARIA, password: "maria's" });
  const hers = await openRepository(store, { password: "maria's", signal });
  {
    await using lock = await alone(own);
    await removeKey(own, maria, { signal, lock });
  }
  await using lock = await alone(hers);
  await assert.rejects(removeKey(hers, own.keyId, { signal, lock }), (error) =>
    isFailure(error, "repo/wrong-password"),
  );
  assert.ok(await opens(store, PASSWORD));
});

test("a key is named by its beginning, and only where that is clear", () => {
  const ids = ["abcd1".padEnd(64, "0"), "abcd2".padEnd(64, "0"), "1".repeat(64)].map(parseFileId);
  assert.equal(findKey(ids, "1111"), ids[2]);
  assert.equal(findKey(ids, "abcd2"), ids[1]);
  for (const word of ["abcd", "abc", "", "ffff", "ABCD1", "1111 ", "../config"])
    assert.throws(
      () => findKey(ids, word),
      (error) => isFailure(error, "usage/invalid"),
      word,
    );
});

test("a key file that is damaged is named, and may be removed", async () => {
  const { store, repository: own } = fresh();
  const maria = await addKey(own, { ...MARIA, password: "maria's" });
  store.files.set(`keys/${maria}`, Buffer.from("{}"));
  const { keys, damaged } = await listKeys(own, { signal });
  assert.deepEqual([keys.length, damaged.map(({ id }) => id)], [1, [maria]]);
  await using lock = await alone(own);
  await removeKey(own, maria, { signal, lock });
  assert.deepEqual((await listKeys(own, { signal })).damaged, []);
});

const CHANGE = { username: "tester", hostname: "test-host", clock: systemClock, signal, cost: COST };

test("a change of the password that is stopped after any of its writes locks nobody out, and the next one ends it", async () => {
  let stopped = 0;
  for (let n = 0; ; n += 1) {
    const { store, repository: own } = fresh();
    await addKey(own, { ...MARIA, password: "maria's" });
    // What a password file would hold.
    let kept = PASSWORD;
    const change = async (of: Repository) => {
      await using lock = await alone(of);
      let writes = 0;
      store.beforeWrite = ({ ref }) => {
        if (ref?.kind !== "keys") return;
        if (writes >= n) throw new Crash();
        writes += 1;
      };
      const onBoth = async () => {
        assert.ok(await opens(store, kept));
        assert.ok(await opens(store, "the new one"));
        kept = "the new one";
      };
      await changePassword(of, { ...CHANGE, password: "the new one", lock, onBoth });
    };
    const crashed = await change(own).then(
      () => false,
      (error: unknown) => {
        assert.ok(error instanceof Crash, String(error));
        return true;
      },
    );
    store.beforeWrite = undefined;
    assert.ok(await opens(store, "maria's"));
    assert.ok(await opens(store, kept), `stopped after ${n} writes: the kept password opens nothing`);
    if (!crashed) {
      assert.deepEqual([await opens(store, PASSWORD), (await idsOf(own)).length], [false, 2]);
      break;
    }
    stopped += 1;
    assert.ok(await opens(store, PASSWORD));
    // Again: with the password that is still kept where that was not changed yet, by hand where it was.
    if (kept === PASSWORD) {
      const lock = await alone(own);
      await changePassword(own, { ...CHANGE, password: "the new one", lock, onBoth: async () => {} });
      await lock[Symbol.asyncDispose]();
    } else {
      const renewed = await openRepository(store, { password: kept, signal });
      await using lock = await alone(renewed);
      await removeKey(renewed, own.keyId, { signal, lock });
    }
    assert.deepEqual(
      [await opens(store, PASSWORD), await opens(store, "the new one"), (await idsOf(own)).length],
      [false, true, 2],
    );
  }
  assert.equal(stopped, 2);
});

test("a run that died after the new key was written is taken up: no second key with that password", async () => {
  const { store, repository: own } = fresh();
  const left = await addKey(own, { ...CHANGE, password: "the new one" });
  await using lock = await alone(own);
  const added = await changePassword(own, { ...CHANGE, password: "the new one", lock, onBoth: async () => {} });
  assert.equal(added, left);
  assert.deepEqual(await idsOf(own), [left]);
  assert.ok(await opens(store, "the new one"));
});

test("where keys cannot be removed, a change of the password says that both passwords open the repository", async () => {
  const { store, repository: own } = fresh();
  const lock = await alone(own);
  denyRemovals(store, (kind) => kind === "keys");
  const told: string[] = [];
  const onBoth = async () => void told.push("both");
  const changing = changePassword(own, { ...MARIA, password: "new one", lock, onBoth });
  await assert.rejects(changing, (error) => {
    assert.ok(isFailure(error, "store/denied") && error instanceof Failure, String(error));
    assert.match(error.message, /^the new password is in use, but the old one still opens/);
    assert.ok(error.hint?.includes(`chatkeep key remove ${own.keyId.slice(0, 8)}`), String(error.hint));
    return true;
  });
  assert.deepEqual([told, await opens(store, PASSWORD), await opens(store, "new one")], [["both"], true, true]);
  store.beforeWrite = undefined;
  await lock[Symbol.asyncDispose]();
});

test("a password that is in use, or is another person's, is no new password", async () => {
  const { repository: own } = fresh();
  await addKey(own, { ...MARIA, password: "maria's" });
  await using lock = await alone(own);
  for (const password of [PASSWORD, "maria's"]) {
    const changing = changePassword(own, { ...CHANGE, password, lock, onBoth: async () => assert.fail("not reached") });
    await assert.rejects(changing, (error) => {
      assert.ok(isFailure(error, "usage/invalid") && /opens the repository already/.test(error.message));
      return true;
    });
  }
  assert.equal((await idsOf(own)).length, 2);
});

for (const restic of resticPaths()) {
  test(`restic ${restic.version} opens with our keys, and keys that it adds are listed and open`, async () => {
    await using folder = await temporaryFolder();
    const store = openLocalStore(folder.at("repository"));
    const { keys, config } = repository;
    await store.create({ signal });
    await store.put({ kind: "config", name: "" }, made.files.get("config") ?? Buffer.alloc(0), { signal });
    const first = made.files.get(`keys/${repository.keyId}`) ?? Buffer.alloc(0);
    await store.put({ kind: "keys", name: repository.keyId }, first, { signal });
    const own = new Repository({ store, keys, config, keyId: repository.keyId });
    const added = await addKey(own, { ...MARIA, password: "päss wörd \u{1F511}" });
    const stock = { repo: folder.at("repository"), restic: restic.path };

    const listed = await runRestic(["key", "list", "--json"], { ...stock, password: "päss wörd \u{1F511}" });
    const theirs = JSON.parse(listed.stdout) as { current: boolean; id: string; userName: string; hostName: string }[];
    const hers = theirs.find(({ current }) => current);
    assert.ok(hers !== undefined && added.startsWith(hers.id));
    assert.deepEqual([hers.userName, hers.hostName], ["maria", "laptop"]);

    await writeFile(folder.at("new"), "made by restic\n");
    const options = ["--new-password-file", folder.at("new"), "--user", "stock", "--host", "elsewhere"];
    await runRestic(["key", "add", ...options], { ...stock, password: PASSWORD });
    const ours = (await listKeys(own, { signal })).keys;
    const stockKey = ours.find(({ username }) => username === "stock");
    assert.equal(stockKey?.hostname, "elsewhere");
    assert.ok(await opens(store, "made by restic"));

    await using lock = await alone(own);
    await removeKey(own, added, { signal, lock });
    await lock[Symbol.asyncDispose]();
    const gone = await runRestic(["cat", "config"], { ...stock, password: "päss wörd \u{1F511}", status: "any" });
    assert.notEqual(gone.status, 0);
  });
}
