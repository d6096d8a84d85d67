/** A desk of Chatwoot 3.16 is proven and brought back as a whole; where the code or the server does not fit its database, nothing is begun. */
import assert from "node:assert/strict";
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { onDatabase } from "../../src/demo/database.ts";
import { jsonLines } from "../harness/cli.ts";
import { commit, git } from "../installation/checkout.ts";
import { done, killedAndResumed } from "../scenario/moving-files.ts";
import { assertSameState, type DeskState, openWholeDesk, rolledBack, type WholeDesk } from "../scenario/whole-desk.ts";
import { installCode, makeOlder } from "./older-desk.ts";

let whole: WholeDesk;
let saved: DeskState;
let lost: DeskState;

before(async () => {
  whole = await openWholeDesk({ messages: 200, conversations: 20, files: 20 }, { version: "3.16.0" });
  await makeOlder(whole.desk);
  await done(whole, ["backup"]);
  saved = await whole.state();
  const { database, storageRoot, envFile } = whole.desk.installation;
  await onDatabase(database, async (client) => {
    await client.query("delete from messages where id % 2 = 0; drop table telegram_bots; delete from portal_members");
  });
  for (const name of await readdir(storageRoot)) await rm(join(storageRoot, name), { recursive: true });
  const environment = await readFile(envFile, "utf8");
  await writeFile(envFile, environment.replace(/^SECRET_KEY_BASE=.*$/m, `SECRET_KEY_BASE=${"0".repeat(64)}`));
  await whole.start();
});
after(async () => {
  await whole[Symbol.asyncDispose]();
});

async function databases(): Promise<unknown[]> {
  return await whole.desk.server.query("select datname from pg_database order by 1");
}

test("a database of 3.16's shape restores in a drill", async () => {
  const { points } = (await done(whole, ["list"])) as { points: { chatwoot: string | null }[] };
  assert.deepEqual(
    points.map(({ chatwoot }) => chatwoot),
    ["3.16.0"],
  );
  assert.equal((await done(whole, ["drill"]))["proven"], true);
});

test("a desk of 3.16 whose code was taken to 4.15 comes back with its code, killed at the swap, and is rolled back", async () => {
  const { codeRoot } = whole.desk.installation;
  await git(codeRoot, "stash", "--quiet", "--include-untracked");
  await installCode(codeRoot, "4.15.1");
  await commit(codeRoot, "upgraded");
  lost = await whole.state();
  await killedAndResumed(whole, "swap", ["restore", "latest", "--yes"]);
  assertSameState(await whole.state(), saved, "restored");
  assert.deepEqual(await whole.running(), { web: true, worker: true });
  await done(whole, ["rollback", "--yes"]);
  lost = rolledBack(lost, saved);
  assertSameState(await whole.state(), lost, "rolled back");
  await done(whole, ["restore", "--discard-previous", "--yes"]);
});

interface Refusal {
  /** What is installed in the place. */
  code: string;
  args?: string[];
  kind: string;
  message: RegExp;
  hint: RegExp;
}

const REFUSALS: Refusal[] = [
  {
    code: "4.15.1",
    args: ["--migrate"],
    kind: "upgrade-in-steps",
    message: /Chatwoot 4\.15\.1 that is installed here cannot migrate .*3\.16\.0, which is older than 4\.1\.0/,
    hint: /Install Chatwoot 4\.1\.0, restore with --migrate/,
  },
  {
    code: "4.0.4",
    args: ["--migrate"],
    kind: "pgvector-needed",
    message: /needs pgvector, and the database's server does not have it/,
    hint: /postgresql-16-pgvector/,
  },
  {
    code: "3.10.2",
    kind: "code-too-old",
    message: /has \d+ migrations that Chatwoot 3\.10\.2 that is installed here does not have .*Chatwoot cannot go back/,
    hint: /Install Chatwoot 3\.16\.0/,
  },
];

test("a database that the code cannot run is refused before the first change, and what is lacking is said", async (t) => {
  const { desk } = whole;
  const { codeRoot } = desk.installation;
  const [vector] = await desk.server.query("select from pg_available_extensions where name = 'vector'");
  for (const { code, args = [], kind, message, hint } of REFUSALS) {
    await t.test(`${kind}: code of ${code}`, async (t) => {
      if (kind === "pgvector-needed" && vector !== undefined) return t.skip("this server has pgvector");
      await installCode(codeRoot, code);
      const [state, there] = [await whole.state(), await databases()];
      const restore = ["restore", "latest", "--only", "database,storage,config", ...args];
      const planned = await desk.chatkeep(["--json", ...restore, "--plan"]);
      const plan = jsonLines(planned.stdout).find(({ type }) => type === "plan") as { blockers?: { kind: string }[] };
      assert.ok(
        plan.blockers?.some((blocker) => blocker.kind === kind),
        planned.stdout,
      );
      const refused = await desk.chatkeep([...restore, "--yes"]);
      assert.equal(refused.status, 1);
      assert.match(refused.stderr, message);
      assert.match(refused.stderr.replaceAll(/\s+/g, " "), hint);
      assertSameState(await whole.state(), state, kind);
      assert.deepEqual(await databases(), there);
      assert.equal(await whole.journal(), undefined);
      assert.deepEqual(await whole.running(), { web: true, worker: true });
    });
  }
});
