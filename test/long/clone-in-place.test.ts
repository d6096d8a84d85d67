/** A clone of production takes the place of a staging installation: killed on the way, gone on with, looked through and rolled back. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { dumpLines } from "../harness/pg-dump-diff.ts";
import { type CloneDesks, assertNothingOf, openCloneDesks, STAGING } from "../scenario/clone-desks.ts";
import { assertSameState, stageIs } from "../scenario/whole-desk.ts";

const CLONE = ["restore", "latest", "--as-clone", "--frontend-url", STAGING, "--replace", new URL(STAGING).host];
/** On either server. */
const DATABASE = "chatwoot_production";
let desks: CloneDesks;

before(async () => (desks = await openCloneDesks({ messages: 200, conversations: 30, files: 8 })));
after(async () => await desks[Symbol.asyncDispose]());

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
  const dump = (await dumpLines(staging.desk.installation.database)).join("\n").toLowerCase();
  const people = await production.server.query(
    "select email from contacts where email is not null union select email from users",
    DATABASE,
  );
  assert.ok(people.length > 10);
  for (const { email } of people) assert.ok(!dump.includes(String(email).toLowerCase()), String(email));
  const { files } = await staging.state();
  const saved = await production.server.query("select key from active_storage_blobs", DATABASE);
  for (const { key } of saved) assert.ok(!Object.keys(files).some((path) => path.endsWith(String(key))), String(key));
  const [own] = await staging.desk.server.query("select count(*)::int as count from messages", DATABASE);
  assert.deepEqual([own], await production.server.query("select count(*)::int as count from messages", DATABASE));

  await desks.summary(["rollback", "--yes"]);
  assertSameState(await staging.state(), was, "rolled back");
  assert.deepEqual(await staging.running(), { web: true, worker: true });
});
