/** What changed between two restore points, by the command line, held against what the points' own rows say. */
import assert from "node:assert/strict";
import { cp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { parse, stringify } from "yaml";
import { attachFile, beginConversation, purgeFile } from "../../src/demo/change.ts";
import { onDatabase } from "../../src/demo/database.ts";
import { seededRandom } from "../../src/demo/random.ts";
import type { DiffSummary } from "../../src/job/summaries.ts";
import type { PointReader } from "../../src/job/point-reader.ts";
import { jsonLines, callCli, summaryOf } from "../harness/cli.ts";
import type { RunResult } from "../harness/run.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { type Desk, openDesk } from "./desk.ts";
import { assertNoSecret, assertRefused, secretsOf } from "./refusal.ts";
import { savedFiles, savedPoints, type SavedRow, savedRows } from "./saved-point.ts";

const BODY = "canary-body of a message that nobody may read in a terminal";
const NEW_SECRET = "canary-new-value-of-a-secret";
const PERSON = "Ada\tLovelace \u001B[31m";
const { signal } = new AbortController();

let desk: Desk;
let older: PointReader;
let newer: PointReader;
let secrets: string[];

interface Changes {
  solved: { id: string; display_id: number };
  seen: string;
  removedMessages: string[];
  renamed: { id: string; accounts: string[] };
  file: { bytes: number };
  purgedKey: string;
}
let changes: Changes;

before(async () => {
  desk = await openDesk({ isCheckout: true, size: { messages: 120, conversations: 20, files: 10 } });
  const { repository } = await makeCheapToOpen(desk);
  secrets = [...(await secretsOf(desk)), BODY, NEW_SECRET];
  await backup(desk.config);
  changes = await changeEverything();
  await backup(desk.config);
  const points = await savedPoints(repository);
  assert.ok(points[0] && points[1]);
  [older, newer] = [points[0], points[1]];
});

after(async () => await desk[Symbol.asyncDispose]());

/** What worries it (an environment that was edited, say) is no matter here. */
async function backup(config: string): Promise<void> {
  const { status, stderr } = await callCli(["--config", config, "backup"], { cwd: desk.root });
  assert.ok(status === 0 || status === 3, stderr);
}

async function changeEverything(): Promise<Changes> {
  const { installation } = desk;
  const random = seededRandom("diff");
  const made = await onDatabase(installation.database, async (client) => {
    const rowsOf = async <Row extends object>(sql: string, values: unknown[] = []) =>
      (await client.query<Row>(sql, values)).rows;
    const begun = await beginConversation(client, random);
    await client.query(
      `insert into messages (content, account_id, inbox_id, conversation_id, message_type, created_at, updated_at)
       select $1, account_id, inbox_id, id, 0, '2026-11-23 14:02:11', now() from conversations where id = $2`,
      [BODY, begun],
    );
    await client.query(
      `insert into contacts (name, email, account_id, created_at, updated_at) values ($1, 'ada@example.org', 1, now(), now())`,
      [PERSON],
    );
    const [solved] = await rowsOf<Changes["solved"]>(
      "update conversations set status = 1 - status where id = (select min(id) from conversations) returning id::text, display_id",
    );
    const [seen] = await rowsOf<{ id: string }>(
      "update conversations set agent_last_seen_at = now() where id = (select min(id) + 1 from conversations) returning id::text",
    );
    const removed = await rowsOf<{ id: string }>(
      "delete from messages where id in (select id from messages order by id offset 3 limit 2) returning id::text",
    );
    await client.query("update users set sign_in_count = 77, current_sign_in_at = now()");
    const [renamed] = await rowsOf<{ id: string }>(
      "update users set name = 'Grace Hopper' where id = (select min(user_id) from account_users) returning id::text",
    );
    assert.ok(solved && seen && renamed);
    const accounts = await rowsOf<{ id: string }>(
      "select account_id::text as id from account_users where user_id = $1 order by account_id",
      [renamed.id],
    );
    await client.query("insert into tags (name) select 'tag ' || n from generate_series(1, 130) n");
    await client.query("insert into portals_members (portal_id, user_id) values (71, 72), (71, 73)");
    await client.query("alter table labels add column shade text");
    await client.query("create table notes_of_ours (a text, b text)");
    await client.query(String.raw`insert into notes_of_ours values (null, E'\\N'), ('', E'a\tb'), ('', E'a\tb')`);
    const purgedKey = await purgeFile(client, random, installation.storageRoot);
    const file = await attachFile(client, random, installation.storageRoot);
    return {
      solved,
      seen: seen.id,
      removedMessages: removed.map(({ id }) => id).toSorted((a, b) => Number(a) - Number(b)),
      renamed: { id: renamed.id, accounts: accounts.map(({ id }) => id) },
      file: { bytes: file.content.length },
      purgedKey: purgedKey ?? "",
    };
  });
  const env = await readFile(installation.envFile, "utf8");
  const changed = env.replace(/^FB_APP_SECRET=.*$/m, `FB_APP_SECRET=${NEW_SECRET}`);
  assert.notEqual(changed, env);
  await writeFile(installation.envFile, `${changed}\nOUR_OWN_TOKEN=${NEW_SECRET}2\n`);
  await writeFile(join(installation.codeRoot, "our_own_patch.rb"), "# ours\n");
  return made;
}

async function compare(...args: string[]): Promise<DiffSummary> {
  return (await desk.summary(["diff", ...args])) as unknown as DiffSummary;
}

const ids = () => [older.point.id, newer.point.id] as const;

function text(row: SavedRow, names: readonly string[]): string {
  return JSON.stringify(names.map((name) => row[name]));
}

function summed(rows: readonly SavedRow[], key: readonly string[], columns: readonly string[]): Map<string, string[]> {
  const grouped = Map.groupBy(rows, (row) => text(row, key.length === 0 ? columns : key));
  return new Map([...grouped].map(([id, same]) => [id, same.map((row) => text(row, columns))]));
}

/** What differs in a table, with all rows of both points in memory and a reader of the tests' own. */
async function model(table: string): Promise<Record<"added" | "changed" | "removed", number>> {
  const [before, after] = [(await savedRows(older, table)) ?? [], (await savedRows(newer, table)) ?? []];
  const entries = await Promise.all(
    [older, newer].map(async (point) => (await point.manifest()).tables.find(({ name }) => name === table)),
  );
  const [a, b] = entries;
  const columns = (b ?? a)?.columns.filter((column) => (a ?? b)?.columns.includes(column)) ?? [];
  const key = b?.key.columns ?? [];
  const [old, now] = [summed(before, key, columns), summed(after, key, columns)];
  const counts = { added: 0, changed: 0, removed: 0 };
  for (const id of new Set([...old.keys(), ...now.keys()])) {
    const [was, is] = [old.get(id) ?? [], now.get(id) ?? []];
    if (is.length > was.length) counts.added += is.length - was.length;
    else if (was.length > is.length) counts.removed += was.length - is.length;
    else if (was.join() !== is.join()) counts.changed += 1;
  }
  return counts;
}

test("each table's rows are counted as the points' own rows say, and the rest is said to be the same", async () => {
  const summary = await compare(...ids());
  const manifests = await Promise.all([older.manifest(), newer.manifest()]);
  const names = new Set(manifests.flatMap(({ tables }) => tables.map(({ name }) => name)));
  assert.equal(summary.tablesCompared, names.size);
  let differing = 0;
  for (const name of names) {
    const counts = await model(name);
    const told = summary.tables.find((table) => table.name === name);
    const { added = 0, changed = 0, removed = 0 } = told ?? {};
    assert.deepEqual({ added, changed, removed }, counts, name);
    if (counts.added + counts.changed + counts.removed > 0) differing += 1;
  }
  assert.ok(differing >= 8 && differing < names.size / 2, String(differing));
  const labels = summary.tables.find(({ name }) => name === "labels");
  assert.deepEqual([labels?.columnsAdded, labels?.changed], [["shade"], 0]);
  const ours = summary.tables.find(({ name }) => name === "notes_of_ours");
  assert.deepEqual([ours?.rowsBefore, ours?.rowsAfter, ours?.added], [null, 3, 3]);
  assert.deepEqual(summary.damaged, []);
});

test("only ranges that differ are read", async () => {
  const { read, tables } = await compare(...ids());
  const all = (await newer.manifest()).tables.reduce((sum, table) => sum + table.bytes, 0);
  const [before, after] = await Promise.all([older.manifest(), newer.manifest()]);
  const bytes = [...before.tables, ...after.tables]
    .filter(({ name }) => tables.some((table) => table.name === name))
    .reduce((sum, table) => sum + table.bytes, 0);
  assert.ok(read.bytes > 0 && read.bytes <= bytes && bytes < 2 * all, `${read.bytes} of ${bytes}`);
  assert.ok(read.ranges <= 2 * tables.length);
});

test("conversations, messages, contacts and agents are told by account, with what a person knows them by", async () => {
  const { accounts } = await compare(...ids());
  const everything = (accounts ?? []).flatMap(({ account, objects }) =>
    Object.entries(objects).flatMap(([kind, byChange]) =>
      Object.entries(byChange).map(([change, found]) => ({ account, kind, change, ...found })),
    ),
  );
  const of = (kind: string, change: string) => everything.filter((one) => one.kind === kind && one.change === change);
  const count = (kind: string, change: string) => of(kind, change).reduce((sum, one) => sum + one.count, 0);
  const examples = (kind: string, change: string) => of(kind, change).flatMap((one) => one.examples);
  assert.equal(count("conversations", "added"), 1);
  // Another one was only looked at: its row differs, and nobody would say that it changed.
  const changed = examples("conversations", "changed");
  assert.ok(changed.some(({ id, what }) => id === changes.solved.id && what === `#${changes.solved.display_id}`));
  assert.ok(!changed.some(({ id }) => id === changes.seen));
  assert.deepEqual(
    examples("messages", "removed")
      .map(({ id }) => id)
      .toSorted((a, b) => Number(a) - Number(b)),
    changes.removedMessages,
  );
  for (const { what } of examples("messages", "removed"))
    assert.match(what, /^(incoming|outgoing|activity|template) in #\d+$/);
  assert.ok(
    examples("messages", "added").some(
      ({ what, at }) => what.startsWith("incoming in #") && at === "2026-11-23T14:02:11Z",
    ),
  );
  assert.deepEqual(
    examples("contacts", "added").map(({ what }) => what),
    [`${PERSON.trim()} <ada@example.org>`],
  );
  // All users signed in; one has another name.
  assert.deepEqual(
    of("agents", "changed")
      .filter((one) => one.count > 0)
      .map(({ account }) => account),
    changes.renamed.accounts,
  );
  for (const { what } of examples("agents", "changed")) assert.match(what, /^Grace Hopper </);
  assert.ok((accounts ?? []).every(({ name }) => name !== null));
});

test("files, configuration, code and secrets are told by count and name, and no value is", async () => {
  const { storage, config, code, secrets: changed } = await compare(...ids());
  const [old, now] = [await savedFiles(older), await savedFiles(newer)];
  const added = [...now].filter(([key]) => !old.has(key)).map(([, { bytes }]) => bytes);
  assert.deepEqual(added, [changes.file.bytes]);
  assert.deepEqual(storage, [
    {
      service: "local",
      added: { files: 1, bytes: changes.file.bytes },
      changed: { files: 0, bytes: 0 },
      removed: { files: 1, bytes: old.get(changes.purgedKey)?.bytes },
    },
  ]);
  assert.ok(config?.changed.includes("env") === true, JSON.stringify(config));
  assert.ok(
    code?.added.some((name) => name.endsWith("our_own_patch.rb")),
    JSON.stringify(code),
  );
  assert.deepEqual([changed?.changed, changed?.added, changed?.isKnown], [["FB_APP_SECRET"], ["OUR_OWN_TOKEN"], true]);
  for (const args of [["--json"], [], ["--table", "messages"], ["--table", "users"], ["--json", "--table", "users"]]) {
    const result = await desk.chatkeep(["diff", ...ids(), ...args]);
    assert.equal(result.status, 0, result.stderr);
    assertNoSecret(result, secrets);
    assert.ok(!result.stdout.includes("\u001B"), "what a contact is called reached the terminal");
  }
});

test("the report names all of it", async () => {
  const { stdout } = await desk.chatkeep(["diff", ...ids()]);
  for (const text of [
    /^what changed in desk$/m,
    /^account 1, .* added +changed +removed$/m,
    new RegExp(String.raw`^  ~ conversation #${changes.solved.display_id}\b`, "m"),
    /^  \+ contact Ada Lovelace .*<ada@example\.org>$/m,
    /^  ~ agent Grace Hopper </m,
    /^tags +130 +- +- /m,
    /^table labels: columns added: shade$/m,
    /^table notes_of_ours is new$/m,
    /^ {2}\+ 1 file added, /m,
    /^secrets: 1 secret added, 1 secret changed$/m,
  ]) {
    assert.match(stdout, text);
  }
});

test("given the other way round it is the same, and says so", async () => {
  const [a, b] = ids();
  const [given, swapped] = [await compare(a, b), await compare("latest", a)];
  assert.deepEqual({ ...swapped, seconds: 0 }, { ...given, swapped: true, seconds: 0 });
  assert.match((await desk.chatkeep(["diff", b, a])).stdout, /They were given the other way round/);
});

test("of a point and itself nothing differs, and no row is read", async () => {
  const summary = await compare("latest", "latest");
  assert.deepEqual(summary.read, { ranges: 0, bytes: 0 });
  assert.deepEqual([summary.tables, summary.accounts, summary.storage], [[], [], []]);
  assert.match((await desk.chatkeep(["diff", "latest", "latest"])).stdout, /nothing differs: \d+ tables, files, /);
});

test("--table lists ids, the first hundred of each kind, and counts the rest", async () => {
  const conversations = await compare(...ids(), "--table", "conversations");
  assert.ok(
    conversations.rows?.changed.some(({ id, columns }) => id === changes.solved.id && columns.includes("status")),
  );
  assert.ok(conversations.rows?.changed.some(({ id, columns }) => id === changes.seen && columns.length === 1));
  assert.deepEqual((await compare(...ids(), "--table", "public.messages")).rows?.removed, changes.removedMessages);
  const tags = await compare(...ids(), "--table", "tags");
  assert.deepEqual([tags.rows?.added.length, tags.tables[0]?.added, tags.tablesCompared], [100, 130, 1]);
  assert.match((await desk.chatkeep(["diff", ...ids(), "--table", "tags"])).stdout, /^ {2}and 30 more$/m);
  // A table without a key.
  const members = await compare(...ids(), "--table", "portals_members");
  assert.deepEqual([members.rows?.hasIds, members.tables[0]?.added], [false, 2]);
  assert.match(
    (await desk.chatkeep(["diff", ...ids(), "--table", "accounts"])).stdout,
    /nothing differs in table public\.accounts/,
  );
  assertRefused(await desk.chatkeep(["diff", ...ids(), "--table", "nonsense"]), {
    status: 2,
    error: /neither restore point has a table 'nonsense'/,
    hint: /chatkeep ls/,
  });
});

function others({ tables }: DiffSummary): DiffSummary["tables"] {
  return tables.filter(({ name }) => name !== "messages");
}

test("what is damaged is named, the rest is compared, and the status says so", async () => {
  await using copy = await temporaryFolder();
  const repository = copy.at("repository");
  await cp(desk.repository, repository, { recursive: true });
  const [range] = (await newer.folder("database/data/public.messages")) ?? [];
  const id = range?.content?.at(-1);
  assert.ok(id);
  const [location] = (await newer.repository.loadIndex({ signal })).find("data", id);
  assert.ok(location);
  const pack = join(repository, "data", location.pack.slice(0, 2), location.pack);
  const bytes = await readFile(pack);
  const at = location.offset + Math.floor(location.length / 2);
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  await rm(pack);
  await writeFile(pack, bytes);

  const whole = await compare(...ids());
  const chatkeep = async (...args: string[]): Promise<RunResult> =>
    await callCli(["--repository", repository, ...args, "diff", ...ids()], {
      cwd: desk.root,
      env: { CHATKEEP_PASSWORD_FILE: desk.passwordFile },
    });
  const json = await chatkeep("--json");
  assert.equal(json.status, 13, json.stderr);
  const summary = summaryOf(json.stdout) as unknown as DiffSummary;
  assert.equal(jsonLines(json.stdout).at(-1)?.["type"], "summary");
  assert.equal(summary.damaged.length, 1, JSON.stringify(summary.damaged));
  assert.match(summary.damaged[0]?.what ?? "", /^table public\.messages/);
  assert.deepEqual(others(summary), others(whole));
  assert.equal(summary.tables.find(({ name }) => name === "messages")?.isPartial, true);
  assert.deepEqual(summary.storage, whole.storage);

  const { status, stdout, stderr } = await chatkeep();
  assert.equal(status, 13);
  assert.match(stdout, /^messages \(in part\) /m);
  assert.match(stderr, /^error: not compared: table public\.messages.*: /m);
  assert.match(stderr, /Everything else was compared/);
  assert.doesNotMatch(stderr + stdout, /\n\s+at /);
});

test("points of two installations are refused", async () => {
  const settings = parse(await readFile(desk.config, "utf8")) as { installation: Record<string, unknown> };
  settings.installation["id"] = "00000000-0000-4000-8000-000000000001";
  settings.installation["name"] = "other";
  await using folder = await temporaryFolder();
  const config = folder.at("other.yaml");
  await writeFile(config, stringify(settings));
  await backup(config);
  const { stdout } = await callCli(["--config", config, "--json", "list"], { cwd: desk.root });
  const [other] = summaryOf(stdout)["points"] as { point: string }[];
  assert.ok(other);
  for (const points of [
    [older.point.id, other.point],
    [other.point, "latest"],
  ]) {
    const refused = await desk.chatkeep(["diff", ...points]);
    assertRefused(refused, { status: 2, error: /are of two installations/, hint: /list --all/ });
  }
});
