import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, utimesSync } from "node:fs";
import { rename, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { ErrorCode } from "../../src/base/errors.ts";
import { openStore } from "../../src/store/open-store.ts";
import { RemoteStore } from "../../src/store/remote-store.ts";
import { openSftpBackend } from "../../src/store/sftp-backend.ts";
import type { Store } from "../../src/store/store.ts";
import { isAlive } from "../../src/system/alive.ts";
import { freePort } from "../harness/postgres.ts";
import { run } from "../harness/run.ts";
import { startSshd, type TestSshd } from "../harness/sshd.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import { fillFolder, testStore } from "./conformance.ts";
import { refusal } from "./refusal.ts";

const signal = new AbortController().signal;
const NAME = "ab".repeat(32);
const REF = { kind: "data", name: NAME } as const;
const CONFIG = { kind: "config", name: "" } as const;

let sshd: TestSshd;
let folder: TestFolder;
let count = 0;

before(async () => {
  folder = await temporaryFolder();
  sshd = await startSshd();
});

after(async () => {
  await sshd[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

testStore("sftp store", async () => {
  count += 1;
  const path = `conformance ${count}`;
  const store = await openStore(sshd.location(path), { env: sshd.env });
  return { store, dispose: async () => {}, fill: fillFolder(`${sshd.folder}/${path}`) };
});

async function withStore<T>(
  location: string,
  body: (store: Store) => Promise<T>,
  env: Readonly<Record<string, string>> = sshd.env,
): Promise<T> {
  // Without the retries: each failure is seen as the place gives it.
  const store = new RemoteStore(openSftpBackend({ location, env, settings: {} }), undefined);
  try {
    return await body(store);
  } finally {
    await store.close();
  }
}

test("relative and absolute locations of both forms reach the same folder", async () => {
  await withStore(sshd.location("places"), async (store) => {
    await store.create({ signal });
    await store.put(CONFIG, Buffer.from("here"), { signal });
  });
  const at = join(sshd.folder, "places");
  assert.equal(statSync(join(at, "data", "ff")).mode & 0o777, 0o700);
  assert.equal(statSync(join(at, "config")).mode & 0o777, 0o400);
  for (const location of [
    sshd.location(at),
    `sftp://${sshd.user}@127.0.0.1:${sshd.port}/places`,
    `sftp://127.0.0.1:${sshd.port}/${at}`,
  ]) {
    // The second and third name the user by location, or not at all.
    const env = location.includes("@")
      ? sshd.env
      : { CHATKEEP_SFTP_COMMAND: `${sshd.env.CHATKEEP_SFTP_COMMAND} -l ${sshd.user}` };
    assert.equal(String(await withStore(location, async (store) => await store.get(CONFIG, { signal }), env)), "here");
  }
});

test("an unknown host key and a changed one are refused, and nothing is added to known_hosts", async () => {
  const look = async (knownHosts: string) => {
    const path = folder.at(`known ${randomBytes(4).toString("hex")}`);
    await writeFile(path, knownHosts);
    const env = { CHATKEEP_SFTP_COMMAND: `${sshd.env.CHATKEEP_SFTP_COMMAND} -o "UserKnownHostsFile '${path}'"` };
    const said = await withStore(
      sshd.location("x"),
      async (store) => await refusal(store.stat(CONFIG, { signal }), "store/denied"),
      env,
    );
    assert.equal(readFileSync(path, "utf8"), knownHosts);
    return said;
  };
  assert.match(await look(""), /host key of 'desk-files' is not known.*fingerprint/);
  const other = folder.at("other host key");
  assert.equal(spawnSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", other]).status, 0);
  const changed = `[127.0.0.1]:${sshd.port} ${readFileSync(`${other}.pub`, "utf8")}`;
  assert.match(await look(changed), /is not the one that is known.*between you and the server/);
});

test("a login that is refused, a server that is gone and a program that is missing are told apart", async () => {
  const ssh = sshd.env.CHATKEEP_SFTP_COMMAND;
  const table: [string, ErrorCode, RegExp][] = [
    [`${ssh} -o PubkeyAuthentication=no`, "store/denied", /lets 'this user' not log in: .*Permission denied/],
    [`${ssh} -p ${await freePort()}`, "store/unreachable", /Connection refused/],
    [`${ssh} -o HostName=no-such-host.invalid`, "store/unreachable", /Could not resolve hostname/],
    [`${ssh} -o NoSuchOption=1`, "usage/invalid", /refuses its configuration/],
    [folder.at("no-ssh"), "program/missing", /cannot start/],
    ["echo Welcome to the file server,", "store/unreachable", /is no SFTP.*login scripts/],
    ["true", "store/unreachable", /ended without a word/],
  ];
  for (const [command, code, words] of table) {
    const env = { CHATKEEP_SFTP_COMMAND: command };
    const said = await withStore(
      sshd.location("x"),
      async (store) => await refusal(store.stat(CONFIG, { signal }), code),
      env,
    );
    assert.match(said, words, command);
  }
});

test("a connection that is cut fails what is under way, and the next call opens another", async () => {
  const pids = folder.at("pids");
  const command = `sh -c 'echo $$ >> "${pids}"; exec ${sshd.env.CHATKEEP_SFTP_COMMAND} "$@"' ssh`;
  const lastPid = () => Number(readFileSync(pids, "utf8").trim().split("\n").at(-1));
  await withStore(
    sshd.location("cut"),
    async (store) => {
      await store.create({ signal });
      const bytes = randomBytes(24 << 20);
      const first = lastPid();
      const sending = store.put(REF, bytes, { signal });
      const temporary = join(sshd.folder, "cut", "chatkeep", "tmp");
      while (!existsSync(temporary) || readdirSync(temporary).length === 0) await sleep(5);
      process.kill(first, "SIGKILL");
      await refusal(sending, "store/unreachable");
      assert.equal(existsSync(join(sshd.folder, "cut", "data", "ab", NAME)), false);
      assert.equal(await store.stat(REF, { signal }), undefined);
      assert.notEqual(lastPid(), first);
      await store.put(REF, bytes, { signal });
      assert.ok((await store.get(REF, { signal })).equals(bytes));
      // Two that come at once share the one attempt.
      process.kill(lastPid(), "SIGKILL");
      while (isAlive(lastPid())) await sleep(5);
      await Promise.allSettled([store.stat(REF, { signal }), store.stat(REF, { signal })]);
      await Promise.all([store.stat(REF, { signal }), store.stat(REF, { signal })]);
      assert.equal(readFileSync(pids, "utf8").trim().split("\n").length, 3);
    },
    { CHATKEEP_SFTP_COMMAND: command },
  );
  assert.equal(isAlive(lastPid()), false);
});

test("a program that forgets to close its store ends all the same, and one that is killed takes ssh with it", async () => {
  const pids = folder.at("pids of a program");
  const script = folder.at("program.mjs");
  const env = {
    ...process.env,
    NODE_TEST_CONTEXT: undefined,
    CHATKEEP_SFTP_COMMAND: `sh -c 'echo $$ >> "${pids}"; exec ${sshd.env.CHATKEEP_SFTP_COMMAND} "$@"' ssh`,
  };
  const module = resolve(import.meta.dirname, "../../src/store/open-store.ts");
  const lines = (after: string) => `import { openStore } from ${JSON.stringify(module)};
    const store = await openStore(${JSON.stringify(sshd.location("forgetful"))});
    await store.stat({ kind: "config", name: "" }, { signal: new AbortController().signal });
    ${after}`;
  for (const [after, status] of [
    ["", 0],
    ["process.kill(process.pid, 'SIGKILL');", 137],
  ] as const) {
    await writeFile(script, lines(after));
    assert.equal((await run(process.execPath, [script], { env })).status, status);
    const pid = Number(readFileSync(pids, "utf8").trim().split("\n").at(-1));
    while (isAlive(pid) && !isZombie(pid)) await sleep(10);
  }
});

/** Ended, and waiting for a parent that never asks. */
function isZombie(pid: number): boolean {
  return /^State:\s*Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
}

test("a folder of the server without rights is store/denied", async () => {
  await withStore(sshd.location("rights"), async (store) => {
    await store.create({ signal });
    await store.put(REF, Buffer.from("x"), { signal });
    const at = join(sshd.folder, "rights");
    for (const part of ["chatkeep/tmp", "data/ab", "keys"]) chmodSync(join(at, part), 0o000);
    assert.match(
      await refusal(store.put(CONFIG, Buffer.from("x"), { signal }), "store/denied"),
      /not allowed: writing/,
    );
    await refusal(store.get(REF, { signal }), "store/denied");
    await refusal(store.remove(REF, { signal }), "store/denied");
    await refusal(Array.fromAsync(store.list("keys", { signal })), "store/denied");
    for (const part of ["chatkeep/tmp", "data/ab", "keys"]) chmodSync(join(at, part), 0o700);
  });
});

test("a data folder that is gone is made again, a repository that is gone is not", async () => {
  await withStore(sshd.location("gone"), async (store) => {
    await store.create({ signal });
    const at = join(sshd.folder, "gone");
    await rm(join(at, "data", "ab"), { recursive: true });
    await store.put(REF, Buffer.from("x"), { signal });
    assert.ok(existsSync(join(at, "data", "ab", NAME)));
    await rename(at, `${at} elsewhere`);
    await refusal(store.put(CONFIG, Buffer.from("y"), { signal }), "store/not-found");
    assert.equal(existsSync(at), false);
  });
});

test("a damaged file of another length is written anew, config never", async () => {
  await withStore(sshd.location("torn"), async (store) => {
    await store.create({ signal });
    const at = join(sshd.folder, "torn");
    for (const path of [join(at, "data", "ab", NAME), join(at, "config")]) await writeFile(path, "to", { mode: 0o644 });
    await store.put(REF, Buffer.from("torn"), { signal });
    await store.put(CONFIG, Buffer.from("torn"), { signal });
    assert.equal(String(await store.get(REF, { signal })), "torn");
    assert.equal(String(await store.get(CONFIG, { signal })), "to");
    assert.deepEqual(readdirSync(join(at, "chatkeep", "tmp")), []);
  });
});

function cannotMount(): string | false {
  return process.getuid?.() === 0 &&
    spawnSync("unshare", ["--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).status === 0
    ? false
    : "this machine lets us mount nothing";
}

test("a full disk of the server is store/full, a read-only one store/denied", { skip: cannotMount() }, async () => {
  const at = join(sshd.folder, "small");
  mkdirSync(at);
  assert.equal(spawnSync("mount", ["-t", "tmpfs", "-o", "size=4m", "tmpfs", at]).status, 0);
  try {
    chownSync(at, sshd.uid, sshd.gid);
    await withStore(sshd.location("small"), async (store) => {
      await store.create({ signal });
      const said = await refusal(store.put(REF, randomBytes(8 << 20), { signal }), "store/full");
      assert.match(said, /no space left while writing.*Free space/);
      assert.deepEqual(readdirSync(join(at, "chatkeep", "tmp")), []);
      await store.put(REF, Buffer.from("small"), { signal });
      assert.equal(spawnSync("mount", ["-o", "remount,ro", at]).status, 0);
      await refusal(store.put(CONFIG, Buffer.from("x"), { signal }), "store/denied");
    });
  } finally {
    spawnSync("umount", [at]);
  }
});

test("half-written files of dead processes go, and those of unknown ones after a week by the server's clock", async () => {
  await withStore(sshd.location("left"), async (store) => {
    await store.create({ signal });
    // A run that is cut in the middle leaves its file; its name is what we write.
    const temporary = join(sshd.folder, "left", "chatkeep", "tmp");
    const stop = new AbortController();
    const sending = store.put(REF, randomBytes(32 << 20), { signal: stop.signal });
    let own: string | undefined;
    while (own === undefined) {
      await sleep(2);
      own = existsSync(temporary) ? readdirSync(temporary)[0] : undefined;
    }
    stop.abort(new Error("stopped"));
    await assert.rejects(sending, /stopped/);
    assert.deepEqual(readdirSync(temporary), []);
    const ofDead = own.replace(`-${process.pid}-`, `-${spawnSync(process.execPath, ["-e", ""]).pid}-`);
    const elsewhere = `${"0".repeat(12)}${own.slice(12)}`;
    const longAgo = `${"1".repeat(12)}${own.slice(12)}`;
    for (const name of [own, ofDead, elsewhere, longAgo, "what-is-this"]) {
      await writeFile(join(temporary, name), "x");
    }
    const old = new Date(Date.now() - 8 * 24 * 3_600_000);
    utimesSync(join(temporary, longAgo), old, old);
    assert.equal(await store.removeLeftovers({ signal }), 2);
    assert.deepEqual(readdirSync(temporary).toSorted(), [own, elsewhere, "what-is-this"].toSorted());
  });
});
