/**
 * Who can open a desk's repository: keys for several people and machines, the configured password that follows a
 * change, recovery kits that fit or do not, and the sizes of it all, told as stock restic counts them.
 */
import assert from "node:assert/strict";
import { chmod, mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { parse, stringify } from "yaml";
import { dayOfWork } from "../../src/demo/day-of-work.ts";
import type { StatsSummary } from "../../src/job/stats-summary.ts";
import type { KeySummary } from "../../src/job/summaries.ts";
import { lockShared } from "../../src/repo/lock.ts";
import { systemClock } from "../../src/base/clock.ts";
import { callCli } from "../harness/cli.ts";
import { judges, runRestic } from "../harness/restic.ts";
import { readQr } from "../app/qr-reader.ts";
import { makeCheapToOpen, type OpenedDesk } from "./cheap-key.ts";
import { type Desk, openDesk } from "./desk.ts";
import { assertRefused } from "./refusal.ts";

let desk: Desk;
let opened: OpenedDesk;
const secrets: string[] = [];

before(async () => {
  desk = await openDesk({ size: { messages: 120, conversations: 20, files: 12 } });
  opened = await makeCheapToOpen(desk);
  secrets.push(opened.password);
});

after(async () => await desk[Symbol.asyncDispose]());

async function key(args: readonly string[], status = 0): Promise<KeySummary> {
  return (await desk.summary(["key", ...args], status)) as unknown as KeySummary;
}

async function secretIn(file: string): Promise<string> {
  const value = (await readFile(file, "utf8")).trim();
  secrets.push(value);
  return value;
}

/** Runs a command with another password than the configured one. */
async function withPassword(password: string, args: readonly string[]) {
  const env = { CHATKEEP_PASSWORD: password, CHATKEEP_CONFIG: join(desk.root, "none.yaml") };
  await writeFile(env.CHATKEEP_CONFIG, (await readFile(desk.config, "utf8")).replace(/^ *password-file: .*$/m, ""));
  return await callCli([...args], { cwd: desk.root, env });
}

function printedPassword(page: string): string | undefined {
  return /<dd class="password">(.*?)<\/dd>/.exec(page)?.[1];
}

/** The modules in the page's SVG, as a scanner would see them. */
function printedCode(page: string): boolean[][] {
  const size = Number(/viewBox="0 0 (\d+) /.exec(page)?.[1]);
  const dark = new Set([...page.matchAll(/M(\d+) (\d+)h1v1h-1z/g)].map(([, x, y]) => `${x} ${y}`));
  return Array.from({ length: size - 8 }, (_row, row) =>
    Array.from({ length: size - 8 }, (_cell, column) => dark.has(`${column + 4} ${row + 4}`)),
  );
}

test("init wrote the kit as text and as a page, for its owner only; the code on the page is the password", async () => {
  const folder = join(desk.root, "chatkeep");
  const names = (await readdir(folder)).toSorted();
  assert.deepEqual(names, [
    "chatkeep-recovery-kit.html",
    "chatkeep-recovery-kit.txt",
    "chatkeep.password",
    "chatkeep.yaml",
  ]);
  for (const name of names) assert.equal((await stat(join(folder, name))).mode & 0o777, 0o600, name);
  const page = await readFile(join(folder, "chatkeep-recovery-kit.html"), "utf8");
  assert.equal(printedPassword(page), opened.password);
  assert.equal(readQr(printedCode(page)), opened.password);
});

test("a colleague's key: made, kept in a file, listed, used with both restics, and taken away", async () => {
  const added = await key(["add", "--generate", "maria.password", "--user", "maria", "--host", "laptop"]);
  const file = join(desk.root, "maria.password");
  assert.deepEqual(added.files, [file]);
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  const hers = await secretIn(file);
  const listed = await key(["list"]);
  assert.deepEqual(
    listed.keys.map(({ user, host, current }) => [user, host, current]),
    [
      ["tester", "test-host", true],
      ["maria", "laptop", false],
    ],
  );
  for (const restic of judges())
    await runRestic(["cat", "config"], { repo: desk.repository, password: hers, restic: restic.path });
  const asHer = await withPassword(hers, ["key", "list", "--json"]);
  assert.equal(asHer.status, 0, asHer.stderr);
  const again = await desk.chatkeep(["key", "add", "--generate", "maria.password"]);
  assertRefused(again, { status: 2, error: /maria\.password' exists already/ }, secrets);
  assert.equal(await secretIn(file), hers);

  const removed = await key(["remove", String(added.added).slice(0, 8)]);
  assert.deepEqual([removed.removed, removed.keys.length], [added.added, 1]);
  assert.equal(removed.staleKit, added.keys.find(({ user }) => user === "maria")?.fingerprint);
  assert.match(removed.findings[0]?.message ?? "", /open this repository no more/);
  const shut = await withPassword(hers, ["key", "list"]);
  assertRefused(shut, { status: 12, error: /does not open the repository/ }, secrets);
});

test("what makes no sense is refused, and changes no key", async () => {
  const before = (await key(["list"])).keys;
  await writeFile(join(desk.root, "empty"), " \n\t\n");
  await writeFile(join(desk.root, "two-lines"), "one\ntwo\n");
  await writeFile(join(desk.root, "same"), `${opened.password}\n`);
  const own = before[0]?.key.slice(0, 8) ?? "";
  const cases: [readonly string[], RegExp][] = [
    [["add", "--new-password-file", "empty"], /the new password is empty/],
    [["add", "--new-password-file", "two-lines"], /has a line break/],
    [["add", "--new-password-command", "true"], /the new password is empty/],
    [["add", "--new-password-file", "same"], /opens the repository already, with key .*, the one in use/],
    [["passwd", "--new-password-file", "same"], /opens the repository already/],
    [["add"], /nobody is at a terminal to type the new password/],
    [["add", "--generate", "a", "--new-password-file", "same"], /from one place only/],
    [["remove"], /which key is to be removed/],
    [["remove", own], /is the one in use, and cannot be removed/],
    [["remove", "ffffffff"], /there is no key 'ffffffff'/],
    [["list", own], /'key list' takes no KEY/],
    [["list", "--user", "me"], /makes no new key/],
    [["rename"], /ACTION cannot be 'rename'/],
  ];
  for (const [args, error] of cases)
    assertRefused(await desk.chatkeep(["key", ...args]), { status: 2, error }, secrets);
  assert.deepEqual((await key(["list"])).keys, before);
  await assert.rejects(stat(join(desk.root, "a")), /ENOENT/);
});

test("while a backup runs keys can be listed and added; removing and changing wait", async () => {
  const { repository } = opened;
  const { signal } = new AbortController();
  await using _lock = await lockShared(repository, { clock: systemClock, signal, hostname: "elsewhere", pid: 1 });
  await key(["list"]);
  const added = await key(["add", "--new-password-command", "echo during-a-backup", "--user", "during"]);
  secrets.push("during-a-backup");
  for (const args of [
    ["remove", String(added.added)],
    ["passwd", "--new-password-command", "echo changed-then"],
  ]) {
    const refused = await desk.chatkeep(["key", ...args]);
    assertRefused(refused, { status: 11, error: /the repository is being used by/ }, secrets);
  }
});

function kitFiles(): string[] {
  return ["txt", "html"].map((ending) => join(desk.root, "chatkeep", `chatkeep-recovery-kit.${ending}`));
}

test("passwd: the configured password file follows, with its mode, and so does the kit that lies beside it", async () => {
  // One that fits the key in use.
  for (const file of kitFiles()) await rm(file);
  await desk.summary(["kit", "--with-password"]);
  const before = await key(["list"]);
  const old = before.keys.find(({ current }) => current);
  await chmod(desk.passwordFile, 0o640);
  const changed = await key(["passwd", "--generate", desk.passwordFile]);
  assert.deepEqual(changed.files, [desk.passwordFile]);
  assert.equal((await stat(desk.passwordFile)).mode & 0o777, 0o640);
  await chmod(desk.passwordFile, 0o600);
  const renewed = await secretIn(desk.passwordFile);
  assert.notEqual(renewed, opened.password);
  assert.equal(changed.staleKit, old?.fingerprint);
  assert.equal(changed.keys.length, before.keys.length);
  const current = changed.keys.find((line) => line.current);
  assert.deepEqual(changed.renewedKits, kitFiles());
  const [text = "", page = ""] = await Promise.all(kitFiles().map(async (file) => await readFile(file, "utf8")));
  for (const kit of [text, page]) {
    assert.ok(current !== undefined && kit.includes(current.fingerprint) && kit.includes(renewed));
    assert.ok(!kit.includes(opened.password) && !kit.includes(String(old?.fingerprint)));
  }
  assert.equal(readQr(printedCode(page)), renewed);
  for (const file of kitFiles()) assert.equal((await stat(file)).mode & 0o777, 0o600, file);
  assert.match(changed.findings[0]?.hint ?? "", /The new one lies in .*chatkeep: print it/);
  assert.deepEqual([current?.user, current?.host, current?.key], [old?.user, old?.host, changed.added]);
  assert.deepEqual(
    (await readdir(join(desk.root, "chatkeep"))).filter((name) => name.endsWith(".new")),
    [],
  );
  // The configuration opens it, restic does, and the old password does not.
  assert.equal((await desk.summary(["list"]))["verb"], "list");
  for (const restic of judges())
    await runRestic(["cat", "config"], { repo: desk.repository, password: renewed, restic: restic.path });
  const shut = await withPassword(opened.password, ["list"]);
  assertRefused(shut, { status: 12, error: /does not open/ }, secrets);
});

test("a kit whose key is removed is written anew, without a password where it had none; of none, the command is named", async () => {
  const { added } = await key(["add", "--generate", "other.password", "--user", "other"]);
  const other = await secretIn(join(desk.root, "other.password"));
  for (const file of kitFiles()) await rm(file);
  const config = await readFile(desk.config, "utf8");
  await writeFile(desk.config, config.replace(desk.passwordFile, join(desk.root, "other.password")));
  await desk.summary(["kit"]);
  await writeFile(desk.config, config);
  const removed = await key(["remove", String(added)]);
  assert.deepEqual(removed.renewedKits, kitFiles());
  const password = await secretIn(desk.passwordFile);
  for (const file of kitFiles()) {
    const kit = await readFile(file, "utf8");
    assert.ok(!kit.includes(String(removed.staleKit)) && !kit.includes(password) && !kit.includes(other), file);
    assert.ok(kit.includes(String(removed.keys.find(({ current }) => current)?.fingerprint)), file);
  }

  const again = await key(["add", "--new-password-command", "echo gone-soon", "--user", "gone"]);
  secrets.push("gone-soon");
  const gone = await key(["remove", String(again.added)]);
  assert.deepEqual(gone.renewedKits, []);
  assert.match(gone.findings[0]?.hint ?? "", /'chatkeep kit --with-password --out kit'/);
});

test("the kit is written anew where one says, never over another, and fits the key in use", async () => {
  const refused = await desk.chatkeep(["kit", "--with-password"]);
  assertRefused(refused, { status: 2, error: /chatkeep-recovery-kit\.txt' exists already/ }, secrets);
  await mkdir(join(desk.root, "paper"));
  const kit = await desk.summary(["kit", "--out", "paper"]);
  const fingerprint = (await key(["list"])).keys.find(({ current }) => current)?.fingerprint;
  assert.deepEqual(kit["repositories"], [{ name: "primary", location: desk.repository, fingerprint }]);
  const bare = await readFile(String(kit["text"]), "utf8");
  assert.ok(fingerprint !== undefined && bare.includes(fingerprint));
  const password = await secretIn(desk.passwordFile);
  assert.ok(!bare.includes(password) && !(await readFile(String(kit["page"]), "utf8")).includes(password));

  const full = await desk.chatkeep(["kit", "--with-password", "--out", "new/folder"]);
  assert.equal(full.status, 0, full.stderr);
  assert.ok(!(full.stdout + full.stderr).includes(password));
  const page = join(desk.root, "new/folder/chatkeep-recovery-kit.html");
  assert.equal((await stat(page)).mode & 0o777, 0o600);
  assert.equal(readQr(printedCode(await readFile(page, "utf8"))), password);
});

test("a repository that cannot be opened is on the kit, and is a warning", async () => {
  const config = join(desk.root, "two.yaml");
  const settings = parse(await readFile(desk.config, "utf8")) as { repositories: object[] };
  settings.repositories.push({
    name: "offsite",
    location: join(desk.root, "gone"),
    "password-file": desk.passwordFile,
  });
  await writeFile(config, stringify(settings));
  const kit = await callCli(["--config", config, "kit", "--out", "two"], { cwd: desk.root });
  assert.equal(kit.status, 3, kit.stderr);
  assert.match(kit.stderr, /^warning: repository 'offsite' could not be opened/m);
  const text = await readFile(join(desk.root, "two/chatkeep-recovery-kit.txt"), "utf8");
  assert.match(text, /Repository {5}offsite[^]*could not be opened when this was written/);
});

test("stats has restic's numbers, each point's size, and what each run added", async () => {
  await makeCheapToOpen(desk);
  const first = String((await desk.summary(["backup"]))["point"]);
  await dayOfWork(desk.installation, { seed: 1, load: 0.2, signal: new AbortController().signal });
  const backup = await desk.summary(["backup"]);
  const second = String(backup["point"]);
  const stats = (await desk.summary(["stats"])) as unknown as StatsSummary;
  const password = await secretIn(desk.passwordFile);
  const count = async (restic: string, args: readonly string[]) =>
    JSON.parse((await runRestic(["stats", "--json", ...args], { repo: desk.repository, password, restic })).stdout) as {
      total_size: number;
      total_blob_count: number;
    };
  for (const { path, version } of judges()) {
    const raw = await count(path, ["--mode", "raw-data"]);
    assert.equal(stats.used.bytes, raw.total_size, version);
    assert.equal(stats.used.chunks, raw.total_blob_count, version);
    const last = await count(path, ["--mode", "restore-size", second]);
    assert.equal(stats.points[1]?.bytes, last.total_size, version);
  }
  assert.deepEqual(
    stats.points.map(({ point }) => point),
    [first, second],
  );
  const [one, two] = stats.points;
  assert.equal((one?.addedBytes ?? 0) + (two?.addedBytes ?? 0), stats.used.bytes);
  assert.ok((two?.addedBytes ?? 0) < (one?.addedBytes ?? 0) && (two?.uniqueBytes ?? 0) === (two?.addedBytes ?? 0));
  assert.ok(stats.unusedBytes > 0 && stats.stored.bytes === stats.used.bytes + stats.unusedBytes);
  assert.equal(stats.newest?.point, second);
  assert.equal(stats.newest?.database.tables.length, 90);
  const shown = await desk.chatkeep(["stats"]);
  assert.equal(shown.status, 0, shown.stderr);
  assert.match(shown.stdout, /█{20}/);
  await rm(join(desk.root, "same"), { force: true });
});
