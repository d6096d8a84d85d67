/** Rights that are lacking, on a bucket, a server and a folder: what works goes on, what does not says which right it wants. */
import assert from "node:assert/strict";
import { cpSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { openStore } from "../../src/store/open-store.ts";
import { CHATKEEP, runCli, summaryOf } from "../harness/cli.ts";
import { type Guard, startGuard } from "../harness/guard.ts";
import { runBoundByModes } from "../harness/namespace.ts";
import { startRestServer, type TestRestServer } from "../harness/rclone.ts";
import { mustRun, type RunResult } from "../harness/run.ts";
import { startS3, type TestS3 } from "../harness/s3.ts";
import { readFolder } from "../harness/tree.ts";
import { makeCheapToOpen } from "../scenario/cheap-key.ts";
import { type Desk, openDesk } from "../scenario/desk.ts";
import { assertRefused, secretsOf } from "../scenario/refusal.ts";

const { signal } = new AbortController();
const KINDS = ["keys", "snapshots", "index", "data"] as const;

type Env = Readonly<Record<string, string>>;
type Chatkeep = (...args: string[]) => Promise<RunResult>;

let desk: Desk;
let password: string;
let s3: TestS3;
let s3Guard: Guard;
let rest: TestRestServer;
let restGuard: Guard;

before(async () => {
  desk = await openDesk({ isCheckout: true, hasProcesses: true, size: { messages: 60, conversations: 10, files: 6 } });
  ({ password } = await makeCheapToOpen(desk));
  await desk.summary(["backup"]);
  await desk.summary(["backup"]);
  s3 = await startS3();
  s3Guard = await startGuard(s3.endpoint);
  rest = await startRestServer();
  restGuard = await startGuard(`http://127.0.0.1:${rest.port}`);
});
after(async () => {
  for (const one of [restGuard, rest, s3Guard, s3, desk]) await one[Symbol.asyncDispose]();
});

/** Brings the desk's repository to a place as it is. */
async function bringTo(location: string, env: Env): Promise<void> {
  const [from, to] = [await openStore(desk.repository), await openStore(location, { env })];
  await to.create({ signal });
  const bring = async (ref: { kind: (typeof KINDS)[number] | "config"; name: string }) =>
    await to.put(ref, await from.get(ref, { signal }), { signal });
  for (const kind of KINDS) for await (const { name } of from.list(kind, { signal })) await bring({ kind, name });
  await bring({ kind: "config", name: "" });
  await to.close();
}

function onPlace(location: string, env: Env): Chatkeep {
  return async (...args) =>
    await runCli(["--config", desk.config, "--repository", location, ...args], {
      cwd: desk.root,
      env: { ...env, XDG_CACHE_HOME: join(desk.root, "cache"), CHATKEEP_PASSWORD: password },
    });
}

async function succeeds(chatkeep: Chatkeep, ...args: string[]): Promise<Record<string, unknown>> {
  const result = await chatkeep("--json", ...args);
  assert.equal(result.status, 0, `${args.join(" ")}: ${result.stderr}${result.stdout}`);
  return summaryOf(result.stdout);
}

let restored = 0;

async function assertReadable(chatkeep: Chatkeep): Promise<void> {
  for (const args of [["list"], ["stats"]]) await succeeds(chatkeep, ...args);
  assert.equal((await succeeds(chatkeep, "verify", "--read-data"))["errors"], 0);
  for (const args of [
    ["show", "latest"],
    ["ls", "latest"],
  ]) {
    const { status, stderr } = await chatkeep(...args);
    assert.equal(status, 0, `${args.join(" ")}: ${stderr}`);
  }
  restored += 1;
  const to = join(desk.root, `restored${restored}`);
  await succeeds(chatkeep, "restore", "latest", "--to", to, "--only", "storage", "--yes");
  assert.ok(Object.keys(await readFolder(to)).length > 0);
}

const FORGET = ["forget", "--all", "--keep-last", "1"];

async function assertNotWritable(chatkeep: Chatkeep, error: RegExp, hint: RegExp): Promise<void> {
  const secrets = [...(await secretsOf(desk)), password];
  for (const args of [["backup"], FORGET, ["prune"], ["hold", "latest", "--name", "audit"]]) {
    assertRefused(await chatkeep(...args), { status: 20, error, hint }, secrets);
  }
}

const isWriting = ({ method }: { method: string }) => method !== "GET" && method !== "HEAD";

test("s3: credentials that may read and not write", async () => {
  const location = `s3:${s3Guard.endpoint}/box/read`;
  await bringTo(location, s3.env);
  s3Guard.denies = isWriting;
  const chatkeep = onPlace(location, s3.env);
  await assertNotWritable(chatkeep, /cannot write 'locks.*AccessDenied/, /least rights/);
  await assertReadable(chatkeep);
});

test("rest: a user who may read and not write", async () => {
  const location = `rest:${restGuard.endpoint}/read/`;
  await bringTo(location, rest.env);
  restGuard.denies = isWriting;
  const chatkeep = onPlace(location, rest.env);
  await assertNotWritable(
    chatkeep,
    /does not allow it: writing 'locks/,
    /which repositories this user may read and write/,
  );
  await assertReadable(chatkeep);
});

test("a folder that may be read and not written to", async () => {
  const folder = join(desk.root, "read-only");
  cpSync(desk.repository, folder, { recursive: true });
  const before = await readFolder(folder);
  await mustRun("chmod", ["-R", "a-w", folder], {});
  try {
    const chatkeep: Chatkeep = async (...args) => {
      const all = [CHATKEEP, "--config", desk.config, "--repository", folder, ...args];
      return await runBoundByModes(process.execPath, all, {
        cwd: desk.root,
        env: { CHATKEEP_CONFIG: undefined, NODE_TEST_CONTEXT: undefined, NO_COLOR: "1", CHATKEEP_PASSWORD: password },
      });
    };
    await assertNotWritable(chatkeep, /not allowed|may not|denied|permission/i, /\.$/);
    await assertReadable(chatkeep);
    assert.deepEqual(await readFolder(folder), before);
  } finally {
    await mustRun("chmod", ["-R", "u+w", folder], {});
  }
});

/** All that only adds or reads works; all that takes something away says so, and takes nothing. */
async function assertAppendOnly(
  chatkeep: Chatkeep,
  listed: () => Promise<string[]>,
  passwdError: RegExp,
): Promise<void> {
  const secrets = [...(await secretsOf(desk)), password];
  await succeeds(chatkeep, "backup");
  await assertReadable(chatkeep);
  assert.equal((await succeeds(chatkeep, "drill", "latest"))["proven"], true);
  await succeeds(chatkeep, "hold", "latest", "--name", "audit");
  const added = join(desk.root, `added${restored}.password`);
  await succeeds(chatkeep, "key", "add", "--generate", added);
  const other = ((await succeeds(chatkeep, "key", "list"))["keys"] as { key: string; current: boolean }[]).find(
    ({ current }) => !current,
  );
  const before = await listed();
  for (const args of [
    FORGET,
    ["prune"],
    ["hold", "--release", "latest", "audit"],
    ["key", "remove", other?.key ?? ""],
  ]) {
    const result = await chatkeep(...args);
    assertRefused(
      result,
      { status: 20, error: /delete|remov/, hint: /delete|remove|append-only|DeleteObject/ },
      secrets,
    );
  }
  assert.deepEqual(await listed(), before);
  await succeeds(chatkeep, "backup");
  const passwd = ["key", "passwd", "--generate", join(desk.root, `new${restored}.password`)];
  assertRefused(await chatkeep(...passwd), { status: 20, error: passwdError, hint: /delet/ }, secrets);
}

/** What lies there but locks, which come and go. */
async function namesIn(location: string, env: Env): Promise<string[]> {
  const store = await openStore(location, { env });
  const names: string[] = [];
  for (const kind of KINDS) for await (const { name } of store.list(kind, { signal })) names.push(`${kind}/${name}`);
  await store.close();
  return names.toSorted();
}

test("s3: credentials that may not delete, not even a lock", async () => {
  s3Guard.denies = () => false;
  const location = `s3:${s3Guard.endpoint}/box/append`;
  await bringTo(location, s3.env);
  s3Guard.denies = ({ method, url }) => method === "DELETE" || (method === "POST" && url.includes("delete"));
  await assertAppendOnly(
    onPlace(location, s3.env),
    async () => await namesIn(location, s3.env),
    /nothing may be deleted/,
  );
});

test("rest: a server that is append-only, and lets locks go", async () => {
  await using server = await startRestServer({ appendOnly: true });
  const location = server.location("append/");
  await bringTo(location, server.env);
  await assertAppendOnly(
    onPlace(location, server.env),
    async () => await namesIn(location, server.env),
    /the new password is in use, but the old one still opens the repository/,
  );
});
