/** A restore that makes a copy for staging: with everything that people need, and nothing by which it reaches anybody. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdir, readFile, stat } from "node:fs/promises";
import { once } from "node:events";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { blobPath } from "../../src/chatwoot/blobs.ts";
import { readEnvFile } from "../../src/chatwoot/environment.ts";
import { findSignedBlobIds, verifySignedBlobId } from "../../src/chatwoot/signed-id.ts";
import { startCli } from "../harness/cli.ts";
import { dumpLines } from "../harness/pg-dump-diff.ts";
import { cannotCount } from "../harness/namespace.ts";
import { whatLeaves } from "../scenario/clone-desks.ts";
import { type Desk, openDesk } from "../scenario/desk.ts";

let desk: Desk;
const STAGING = "https://staging.acme.example";
const ENVIRONMENT = "config/clone.env";

before(async () => {
  desk = await openDesk({ size: { messages: 300, conversations: 40, files: 16 } });
  await desk.summary(["backup"]);
});

after(async () => await desk[Symbol.asyncDispose]());

async function makeClone(name: string, more: readonly string[] = []): Promise<Record<string, unknown>> {
  const { host, port } = desk.server.address;
  const url = `postgres://postgres@${host}:${port}/${name}`;
  const where = ["--database-url", url, "--to", join(desk.root, name), "--as-clone", "--frontend-url", STAGING];
  return await desk.summary(["restore", "latest", "--yes", ...where, ...more]);
}

async function environmentOf(name: string): Promise<Map<string, string>> {
  return readEnvFile(await readFile(join(desk.root, name, ENVIRONMENT), "utf8")).values;
}

async function assertFiles(name: string): Promise<void> {
  const rows = await desk.server.query("select key, checksum, service_name as service from active_storage_blobs", name);
  assert.ok(rows.length > 10);
  for (const { key, checksum, service } of rows) {
    assert.equal(service, "local");
    const bytes = await readFile(blobPath(join(desk.root, name, "storage"), String(key)));
    assert.equal(createHash("md5").update(bytes).digest("base64"), checksum);
  }
}

test("a clone has the conversations, the files and the people, an address of its own, and no credential of production", async () => {
  const summary = await makeClone("staging");
  const environment = await environmentOf("staging");
  const { environment: production, secrets } = desk.installation;
  assert.equal(environment.get("FRONTEND_URL"), STAGING);
  assert.equal(environment.get("POSTGRES_DATABASE"), "staging");
  assert.equal((await stat(join(desk.root, "staging", ENVIRONMENT))).mode & 0o777, 0o600);
  assert.deepEqual(await readdir(join(desk.root, "staging", "config")), ["clone.env"]);
  const text = [...environment.values(), ...(await dumpLines({ ...desk.server.address, database: "staging" }))].join(
    "\n",
  );
  for (const secret of secrets) assert.ok(!text.includes(secret), "a secret of production is in the clone");
  assert.ok(
    !text.includes("smtp.acme.example") && !text.includes("shop.acme.example/hook"),
    "an address of production is in the clone",
  );
  await assertFiles("staging");
  const compared =
    "select (select count(*) from messages)::int as messages, (select md5(string_agg(content, '' order by id)) from messages) as said, (select md5(string_agg(email || encrypted_password, '' order by id)) from users) as people";
  assert.deepEqual(
    await desk.server.query(compared, "staging"),
    await desk.server.query(compared, "chatwoot_production"),
  );
  const articles = await desk.server.query(
    "select content from articles where content like '%active_storage%'",
    "staging",
  );
  assert.ok(articles.length > 0);
  for (const { content } of articles) {
    assert.ok(
      String(content).includes(`${STAGING}/rails/active_storage/`) &&
        !String(content).includes(String(production.get("FRONTEND_URL"))),
    );
    for (const { token } of findSignedBlobIds(String(content)))
      assert.ok(verifySignedBlobId(token, environment.get("SECRET_KEY_BASE") ?? ""));
  }
  assert.match(String(summary["next"]), /give it a Redis of its own.*worker stays off/);
});

test("an anonymised clone holds nobody, and somebody can sign in", async () => {
  const summary = await makeClone("nobody", ["--anonymise"]);
  await assertFiles("nobody");
  const dump = (await dumpLines({ ...desk.server.address, database: "nobody" })).join("\n").toLowerCase();
  const people = await desk.server.query(
    "select email from contacts where email is not null union select email from users",
    "chatwoot_production",
  );
  for (const { email } of people) assert.ok(!dump.includes(String(email)), String(email));
  assert.ok(
    !/acme|example\.org/.test(dump.replaceAll(/acme_support/g, "")),
    /.{40}(?:acme|example\.org).{40}/.exec(dump)?.[0] ?? "",
  );
  assert.match(String(summary["next"]), /sign in as [^@ ]+@[^ ]+\.invalid/);
});

test("a clone with the address of what it copies is refused, and so is a part of a database", async () => {
  const { host, port } = desk.server.address;
  const to = [
    "restore",
    "latest",
    "--yes",
    "--as-clone",
    "--database-url",
    `postgres://postgres@${host}:${port}/refused`,
  ];
  const same = await desk.chatkeep([...to, "--frontend-url", "https://support.acme.example/"]);
  assert.equal(same.status, 1);
  assert.match(same.stderr, /the address \(FRONTEND_URL\) is the one of what is copied/);
  const part = await desk.chatkeep([...to, "--frontend-url", STAGING, "--table", "messages"]);
  assert.match(part.stderr, /--as-clone is for a whole database/);
  const none = await desk.chatkeep([
    "restore",
    "latest",
    "--yes",
    "--as-clone",
    "--frontend-url",
    STAGING,
    "--to",
    join(desk.root, "none"),
  ]);
  assert.match(none.stderr, /--as-clone is for a whole database/);
  assert.deepEqual(await desk.server.query("select 1 from pg_database where datname = 'refused'"), []);
});

test("killed before it is neutralised, it does not have the name that was asked for, and the next run takes it away", async () => {
  const { host, port } = desk.server.address;
  const url = `postgres://postgres@${host}:${port}/half`;
  const to = (folder: string) => ["--database-url", url, "--to", join(desk.root, folder)];
  const clone = ["restore", "latest", "--yes", "--as-clone", "--frontend-url", STAGING];
  const child = startCli(["--config", desk.config, ...clone, ...to("half")], {
    cwd: desk.root,
    env: { TMPDIR: desk.root },
  });
  child.stdout?.resume();
  child.stderr?.resume();
  const closed = once(child, "close");
  const left = async () => {
    const rows = await desk.server.query("select datname as name from pg_database where datname like 'half%'");
    return rows.map(({ name }) => String(name));
  };
  const hasRows = async () => {
    const [name] = await left();
    if (name === undefined) return false;
    const [table] = await desk.server.query("select to_regclass('public.webhooks')::text as name", name);
    if (typeof table?.["name"] !== "string") return false;
    const [webhooks] = await desk.server.query("select count(*)::int as count from webhooks", name);
    return webhooks?.["count"] !== 0;
  };
  while (child.exitCode === null && !(await hasRows().catch(() => false))) await Promise.race([sleep(5), closed]);
  child.kill("SIGKILL");
  assert.deepEqual(await closed, [null, "SIGKILL"]);
  const [name = "", ...others] = await left();
  assert.match(name, /^half_restoring_\d{8}T\d{6}$/);
  assert.deepEqual(others, []);
  assert.match(await readFile(join(desk.root, "half", "NOT-FINISHED.txt"), "utf8"), /may be production's/);
  const again = await desk.chatkeep([...clone, ...to("half")]);
  assert.match(again.stderr, /is not empty\nhint: It holds a clone that was not finished/);

  const summary = await desk.summary([...clone, ...to("whole")]);

  assert.equal((summary["database"] as { name: string }).name, "half");
  assert.deepEqual(await left(), ["half"], "what was left is removed");
  assert.ok(!(await readdir(join(desk.root, "whole"))).includes("NOT-FINISHED.txt"));
  assert.equal((await environmentOf("whole")).get("POSTGRES_DATABASE"), "half");
});

test("a clone that is asked to send cannot: no packet leaves its network, where production's do", async (t) => {
  const reason = await cannotCount();
  if (reason !== undefined) return t.skip(reason);
  const production = await whatLeaves(desk.server, "chatwoot_production", desk.installation.envFile);
  assert.ok(production.packets >= production.tried.length && production.tried.length > 8, JSON.stringify(production));
  const clone = await whatLeaves(desk.server, "staging", join(desk.root, "staging", ENVIRONMENT));
  assert.equal(clone.packets, 0, JSON.stringify(clone));
  assert.ok(clone.addresses > 5 && clone.tried.every((way) => way.startsWith("127.0.0.1:")), JSON.stringify(clone));
});
