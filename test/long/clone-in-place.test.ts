/** A clone of production takes the place of a staging installation: killed on the way, gone on with, looked through and rolled back. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { cannotCount } from "../harness/namespace.ts";
import { dumpLines } from "../harness/pg-dump-diff.ts";
import {
  type CloneDesks,
  assertNothingOf,
  openCloneDesks,
  OWN_CREDENTIALS,
  originalsOf,
  STAGING,
  whatLeaves,
} from "../scenario/clone-desks.ts";
import { assertSameState, stageIs } from "../scenario/whole-desk.ts";

const CLONE = ["restore", "latest", "--as-clone", "--frontend-url", STAGING, "--replace", new URL(STAGING).host];
/** On either server. */
const DATABASE = "chatwoot_production";
let desks: CloneDesks;
/** Why packets cannot be counted here. */
let uncounted: string | undefined;

before(async () => {
  desks = await openCloneDesks({ messages: 200, conversations: 30, files: 8 });
  uncounted = await cannotCount();
});
after(async () => await desks[Symbol.asyncDispose]());

/** The place has its own credentials still: what it was could reach those who gave them, and what it is cannot. */
async function assertReachesNobody(): Promise<void> {
  const { desk } = desks.staging;
  const environment = await readFile(desk.installation.envFile, "utf8");
  for (const [name, value] of Object.entries(OWN_CREDENTIALS))
    assert.ok(environment.includes(`${name}=${value}\n`), name);
  if (uncounted !== undefined) return;
  const clone = await whatLeaves(desk.server, DATABASE, desk.installation.envFile);
  assert.equal(clone.packets, 0, JSON.stringify(clone));
  assert.ok(clone.addresses > 5 && clone.tried.every((way) => way.startsWith("127.0.0.1:")), JSON.stringify(clone));
}

test("staging as it was is heard outside, so that what is counted of its clone means something", async (t) => {
  if (uncounted !== undefined) return t.skip(uncounted);
  const { desk } = desks.staging;
  const { packets, tried } = await whatLeaves(desk.server, DATABASE, desk.installation.envFile);
  assert.ok(packets >= tried.length && tried.length > 8, JSON.stringify({ packets, tried }));
  for (const way of [
    "errors.acme-staging.example:443",
    "llm.acme-staging.example:443",
    "smtp.acme-staging.example:587",
  ])
    assert.ok(tried.includes(way), `${way}: ${tried.join()}`);
});

test("a clone in staging's place reaches nobody, has nothing of production's, and goes again without a trace", async () => {
  const { production, staging } = desks;
  const was = await staging.state();
  await staging.start();
  assert.ok(
    await staging.killWhen([...desks.from, ...CLONE, "--yes"], stageIs("clone", "begun"), { env: desks.env }),
    "killed",
  );
  // Files are put beside what is there.
  assertSameState({ ...(await staging.state()), files: was.files }, was, "killed before the swap");

  const summary = await desks.summary(["restore", "--resume", "--yes"]);

  assert.equal(summary["state"], "done");
  assert.match(JSON.stringify(summary["next"]), /leave the clone's worker off/);
  assert.deepEqual(await staging.running(), { web: true, worker: false });
  await assertNothingOf(desks);
  await assertReachesNobody();
  const [environment, own] = [(await staging.state()).environment, was.environment];
  for (const name of ["SECRET_KEY_BASE", "ACTIVE_RECORD_ENCRYPTION_PRIMARY_KEY", "FRONTEND_URL", "REDIS_URL"]) {
    const line = new RegExp(`^${name}=.*$`, "m");
    assert.equal(line.exec(environment)?.[0], line.exec(own)?.[0], name);
  }
  assert.match(environment, /^SMTP_ADDRESS=127\.0\.0\.1$/m);
  const { files } = await staging.state();
  const saved = await production.server.query("select key from active_storage_blobs", DATABASE);
  for (const { key } of saved)
    assert.ok(
      Object.keys(files).some((path) => path.endsWith(String(key))),
      String(key),
    );
  const said = "select count(*)::int as count, md5(string_agg(content, '' order by id)) as texts from messages";
  assert.deepEqual(await staging.desk.server.query(said, DATABASE), await production.server.query(said, DATABASE));

  const rolled = await desks.summary(["rollback", "--yes"]);
  assert.equal(rolled["isWhole"], true);
  assertSameState(await staging.state(), was, "rolled back");
  assert.deepEqual(await staging.running(), { web: true, worker: true });
});

test("nobody of production is recognised at staging, none of its files is there, and a rollback leaves no trace", async () => {
  const { production, staging } = desks;
  const was = await staging.state();
  await staging.start();
  assert.ok(
    await staging.killWhen([...desks.from, ...CLONE, "--anonymise", "--yes"], stageIs("clone", "begun"), {
      env: desks.env,
    }),
    "killed",
  );

  const summary = await desks.summary(["restore", "--resume", "--yes"]);

  assert.match(JSON.stringify(summary["next"]), /sign in as [^@ ]+@[^ ]+\.invalid/);
  assert.deepEqual(await staging.running(), { web: true, worker: false });
  await assertNothingOf(desks);
  await assertReachesNobody();
  const dump = (await dumpLines(staging.desk.installation.database)).join("\n").toLowerCase();
  const originals = await originalsOf(production);
  assert.ok(originals.length > 100);
  for (const original of originals) assert.ok(!dump.includes(original), original);
  const { files } = await staging.state();
  const saved = await production.server.query("select key from active_storage_blobs", DATABASE);
  for (const { key } of saved) assert.ok(!Object.keys(files).some((path) => path.endsWith(String(key))), String(key));
  const [own] = await staging.desk.server.query("select count(*)::int as count from messages", DATABASE);
  assert.deepEqual([own], await production.server.query("select count(*)::int as count from messages", DATABASE));

  await desks.summary(["rollback", "--yes"]);
  assertSameState(await staging.state(), was, "rolled back");
  assert.deepEqual(await staging.running(), { web: true, worker: true });
});
