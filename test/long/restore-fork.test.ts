/**
 * A fork with commits of its own and edits that nobody committed: HEAD moved on and files were edited since. It comes back as it
 * was, killed while the code is brought and gone on with, and a rollback leaves the checkout as it was found, to the byte.
 */
import assert from "node:assert/strict";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { onDatabase } from "../../src/demo/database.ts";
import { type Checkout, commit, git, readCheckout, write } from "../installation/checkout.ts";
import { done, killedAndResumed } from "../scenario/moving-files.ts";
import { assertSameState, type DeskState, openWholeDesk, type WholeDesk } from "../scenario/whole-desk.ts";

let whole: WholeDesk;
let root: string;
let saved: DeskState;
let savedCode: Checkout;
let found: DeskState;
let foundCode: Checkout;

before(async () => {
  whole = await openWholeDesk({ messages: 120, conversations: 20, files: 10 });
  root = whole.desk.installation.codeRoot;
  await git(root, "checkout", "--quiet", "-b", "acme");
  await write(root, "app/models/acme.rb", "class Acme\nend\n");
  await write(root, "logo.bin", Buffer.from([0, 1, 2, 255, 0, 10, 13]));
  await git(root, "add", "app/models/acme.rb", "logo.bin");
  await git(root, "commit", "--quiet", "--message", "acme's own");
  await write(root, "README.md", "staged\n");
  await git(root, "add", "README.md");
  await write(root, "README.md", "staged and edited\n");
  await write(root, "logo.bin", Buffer.from([0, 9, 9, 255, 0, 10]));
  await rm(join(root, "app/models/contact.rb"));
  await write(root, "public/acme.css", "untracked\n");
  await done(whole, ["backup"]);
  saved = await whole.state();
  savedCode = await readCheckout(root);

  await moveOn();
  found = await whole.state();
  foundCode = await readCheckout(root);
  await whole.start();
});
after(async () => {
  await whole[Symbol.asyncDispose]();
});

/** Somebody upgrades, and edits again, also where saved files belong. */
async function moveOn(): Promise<void> {
  await commit(root, "all that lay about");
  await git(root, "checkout", "--quiet", "-b", "upgrade");
  await write(root, "newer.rb", "newer\n");
  await git(root, "mv", "app/models/acme.rb", "app/models/renamed.rb");
  await commit(root, "upgraded");
  await git(root, "rm", "--quiet", "public/acme.css");
  await commit(root, "no more of git's");
  await write(root, "public/acme.css", "another\n");
  await write(root, "app/models/acme.rb", "in the way\n");
  await write(root, "README.md", "edited since, and staged\n");
  await git(root, "add", "README.md");
  await write(root, "app/models/message.rb", "edited since\n");
  await onDatabase(whole.desk.installation.database, async (client) => {
    await client.query("delete from messages where id % 2 = 0");
  });
  const { envFile } = whole.desk.installation;
  const environment = await readFile(envFile, "utf8");
  await writeFile(envFile, environment.replace(/^SECRET_KEY_BASE=.*$/m, `SECRET_KEY_BASE=${"0".repeat(64)}`));
}

test("a fork comes back with its commits and edits, and a rollback leaves what was found", async () => {
  await killedAndResumed(whole, "code", ["restore", "latest", "--yes"]);
  assertSameState(await whole.state(), saved, "restored");
  // Branches that were made since stay.
  const restored = await readCheckout(root);
  assert.deepEqual({ ...restored, branches: savedCode.branches }, savedCode);
  assert.deepEqual(await whole.running(), { web: true, worker: true });
  await done(whole, ["rollback", "--yes"]);
  assertSameState(await whole.state(), found, "rolled back");
  assert.deepEqual(await readCheckout(root), foundCode);
});

test("undone while it stands at the code, the checkout is as it was found", async () => {
  const begun = ["restore", "latest", "--yes", "--outbound", "allow"];
  assert.ok(
    await whole.killWhen(begun, ({ stages }) => stages.some(({ name, state }) => name === "code" && state === "begun")),
  );
  await done(whole, ["rollback", "--yes"]);
  assertSameState(await whole.state(), found, "rolled back");
  assert.deepEqual(await readCheckout(root), foundCode);
  await done(whole, ["restore", "--discard-previous", "--yes"]);
  assert.deepEqual(
    (await readCheckout(root)).branches,
    foundCode.branches,
    "nothing of ours is left in the repository",
  );
});
