import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { RepositoryConfig } from "../../src/app/config.ts";
import { openAt, openPlace } from "../../src/app/repository-place.ts";
import type { Surroundings } from "../../src/app/surroundings.ts";
import { runRepairIndex } from "../../src/app/upkeep.ts";
import { runRestore } from "../../src/app/verbs.ts";
import { systemClock } from "../../src/base/clock.ts";
import { isFailure } from "../../src/base/errors.ts";
import { silent } from "../../src/base/progress.ts";
import { createRepository } from "../../src/repo/repository.ts";
import { openLocalStore } from "../../src/store/local-store.ts";
import { openStore } from "../../src/store/open-store.ts";
import { startRestServer } from "../harness/rclone.ts";
import { startSshd } from "../harness/sshd.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { addPoint } from "../job/kept-points.ts";
import { newRepository, PASSWORD } from "../repo/small-backup.ts";

const { signal } = new AbortController();

function surroundings(env: Surroundings["env"], more: Partial<Surroundings> = {}): Surroundings {
  const nothing = { hide: () => {}, redact: <T>(value: T) => value, person: undefined, progress: silent };
  return { ...nothing, signal, env, cwd: "/", clock: systemClock, ...more };
}

test("what was shown and is there no longer is not restored, nor another point of its name", async () => {
  await using folder = await temporaryFolder("chatkeep-place");
  const original = await newRepository(openLocalStore(folder.at("repository")));
  const shown = await addPoint(original, Date.now());
  const other = await addPoint(original, Date.now(), { original: shown });
  await original.store.remove({ kind: "snapshots", name: shown }, { signal });
  const s = surroundings({ CHATKEEP_PASSWORD: PASSWORD });
  const restoring = runRestore(
    { repository: folder.at("repository") },
    { snapshot: shown },
    { to: folder.at("to") },
    s,
  );
  await assert.rejects(
    restoring,
    (error) => isFailure(error, "point/not-found") && /no longer there/.test(error.message),
  );
  assert.ok(!existsSync(folder.at("to")));
  assert.notEqual(other, shown);
});

test("a remote repository is kept below the cache's home, unless no cache is wanted or there is no home", async () => {
  await using server = await startRestServer();
  await using folder = await temporaryFolder("chatkeep-place");
  const configured: RepositoryConfig = { name: "offsite", location: server.location("kept/"), password: "secret" };
  const store = await openPlace(configured.location, configured, surroundings({ ...server.env }));
  const who = { password: "secret", clock: systemClock, hostname: "here", username: "me", signal };
  const made = await createRepository(store, who);
  const id = await made.putUnpacked("index", '{"packs":[]}', { signal });
  const open = async (env: Record<string, string>, more: Partial<Surroundings> = {}) =>
    await openAt(configured.location, configured, surroundings({ ...server.env, ...env }, more));

  await (await open({ XDG_CACHE_HOME: folder.path }, { isCached: false })).loadIndex({ signal });
  await (await open({})).loadIndex({ signal });
  assert.deepEqual(readdirSync(folder.path), []);
  await (await open({ XDG_CACHE_HOME: folder.path })).loadIndex({ signal });
  const kept = join(folder.path, "chatkeep", made.config.id, "index");
  assert.deepEqual(readdirSync(kept), [id]);
  await (await open({ HOME: folder.path, XDG_CACHE_HOME: "not/absolute" })).loadIndex({ signal });
  assert.deepEqual(readdirSync(join(folder.path, ".cache/chatkeep", made.config.id, "index")), [id]);

  // Damage of the place's own file is seen without the cache, and only there.
  const own = join(server.folder, "kept/index", id);
  const { length } = readFileSync(own);
  rmSync(own);
  // Of the same length: rclone remembers how long its files are.
  writeFileSync(own, Buffer.alloc(length));
  assert.equal(
    await (await open({ XDG_CACHE_HOME: folder.path })).getUnpacked("index", id, { signal }),
    '{"packs":[]}',
  );
  const bare = await open({ XDG_CACHE_HOME: folder.path }, { isCached: false });
  await assert.rejects(bare.getUnpacked("index", id, { signal }), (error) => isFailure(error, "repo/damaged"));

  // Mending is about what the place has.
  const env = { ...server.env, XDG_CACHE_HOME: folder.path, CHATKEEP_PASSWORD: "secret" };
  const flags = { readAllPacks: false, from: undefined };
  const mended = await runRepairIndex({ repository: configured.location }, flags, surroundings(env));
  assert.deepEqual(
    mended.damaged.map(({ name, mended: isMended }) => [name, isMended]),
    [[id, true]],
  );
});

test("what lies in the future is not read as of then", async () => {
  const atMs = systemClock.now() + 60_000;
  const opening = openPlace("s3:http://127.0.0.1:1/bucket", undefined, surroundings({}, { atMs }));
  await assert.rejects(opening, (error) => isFailure(error, "usage/invalid") && /future/.test(error.message));
});

test("an immutable repository's time and mode reach its store, by governance where no mode is named, on Azure by what nobody lifts", async () => {
  const rows: [NonNullable<RepositoryConfig["immutable"]>, number, string, string?][] = [
    ["30d", 30, "governance"],
    ["30d", 30, "compliance", "azure:box:/"],
    [{ for: "1d" }, 1, "governance"],
    [{ for: "365d", mode: "compliance" }, 365, "compliance"],
  ];
  const env = { AZURE_ACCOUNT_NAME: "desk", AZURE_ACCOUNT_KEY: "c2VjcmV0" };
  for (const [immutable, days, mode, location = "s3:http://127.0.0.1:1/bucket"] of rows) {
    const configured: RepositoryConfig = { name: "offsite", location, immutable };
    const store = await openPlace(location, configured, surroundings(env));
    assert.deepEqual(store.retention?.policy, { forMs: days * 24 * 3_600_000, mode });
    assert.equal(store.spec?.kind, "remote");
    assert.deepEqual(store.spec.settings.retention, store.retention.policy);
    await store.close();
  }
});

test("rates and connections come from the repository, rates of the run go before, and another thread shares the account", async () => {
  const configured: RepositoryConfig = {
    name: "offsite",
    location: "rest:http://127.0.0.1:1/",
    "limit-upload": 10,
    "limit-download": 20,
    connections: 3,
  };
  const store = await openPlace(configured.location, configured, surroundings({}, { rates: { upload: 5 * 1024 } }));
  assert.equal(store.spec?.kind, "remote");
  const { account, ...settings } = store.spec.settings;
  assert.deepEqual(settings, { leavesRoom: true, connections: 3, uploadRate: 5 * 1024, downloadRate: 20 * 1024 });
  assert.ok(account !== undefined);
  const elsewhere = await openStore(structuredClone(store.spec));
  assert.equal(elsewhere.spec?.kind, "remote");
  new Uint8Array(account)[0] = 7;
  assert.equal(new Uint8Array(elsewhere.spec.settings.account ?? new SharedArrayBuffer(1))[0], 7);
  await Promise.all([store.close(), elsewhere.close()]);
});

test("a file server's program has ended when what was told to end at the end has ended", async () => {
  await using sshd = await startSshd();
  await using folder = await temporaryFolder("chatkeep-place");
  const ended = folder.at("ended");
  const command = `sh -c '${sshd.env.CHATKEEP_SFTP_COMMAND} "$@"; echo ended >> "${ended}"' ssh`;
  const ends: (() => Promise<void>)[] = [];
  const env = { CHATKEEP_SFTP_COMMAND: command };
  const store = await openPlace(
    sshd.location("x"),
    undefined,
    surroundings(env, { atEnd: (letGo) => ends.push(letGo) }),
  );
  await store.create({ signal });
  assert.equal(existsSync(ended), false);
  assert.equal(ends.length, 1);
  for (const end of ends) await end();
  assert.equal(readFileSync(ended, "utf8"), "ended\n");
});

test("a password that was left out of a location is the configuration's, the environment's, or that of whoever is asked", async () => {
  await using server = await startRestServer();
  const address = (password: string) => server.location("asked/").replace("://", `://${server.user}:${password}@`);
  const kept = address("***");
  const hidden: string[] = [];
  const hide = (secrets: Iterable<string>) => hidden.push(...secrets);
  const opens = async (configured: RepositoryConfig | undefined, s: Surroundings) => {
    const store = await openPlace(kept, configured, s);
    // It answers to nobody else.
    assert.equal(await store.stat({ kind: "config", name: "config" }, { signal }), undefined);
    await store.close();
  };
  const whole = { name: "offsite", location: address(encodeURIComponent(server.password)), password: "secret" };
  await opens(whole, surroundings({}, { hide }));
  await opens(undefined, surroundings({ RESTIC_REST_PASSWORD: server.password }, { hide }));
  const questions: string[] = [];
  const secret = async (question: string) => {
    questions.push(question);
    return await Promise.resolve(server.password);
  };
  const person = { secret, text: secret, confirm: async () => await Promise.resolve(true) };
  await opens(undefined, surroundings({}, { hide, person }));
  assert.deepEqual(questions, [`The password of ${kept}:`]);
  assert.equal(hidden.filter((value) => value === server.password).length, 3, "each time it is hidden from then on");
  await assert.rejects(
    openPlace(kept, undefined, surroundings({})),
    (error) => isFailure(error, "config/invalid") && error.hint?.includes("RESTIC_REST_PASSWORD") === true,
  );
});
