/** A desk whose restore point goes into one file: opened by stock restic, taken into another repository, proven there. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { assertSameDatabase } from "../harness/pg-dump-diff.ts";
import { CHATKEEP, jsonLines, startCli } from "../harness/cli.ts";
import { cannotMount, runWithMounts } from "../harness/namespace.ts";
import { judges, runRestic } from "../harness/restic.ts";
import { mustRun, type RunResult } from "../harness/run.ts";
import { firstOf, longTest } from "../harness/whole.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { type Desk, openDesk } from "./desk.ts";
import { assertNoSecret, assertRefused } from "./refusal.ts";

let desk: Desk;
let point: string;
let file: string;
let passwordFile: string;
let exported: RunResult;

before(async () => {
  desk = await openDesk({
    isCheckout: true,
    hasServerForDrills: true,
    size: { messages: 150, conversations: 20, files: 12 },
  });
  await makeCheapToOpen(desk);
  const large = "select lo_from_bytea(4000000000, '\\x00ff'); comment on large object 4000000000 is 'one'";
  await desk.server.query(large, desk.installation.database.database);
  point = String((await desk.summary(["backup"]))["point"]);
  // Proofs stay where they are.
  await desk.summary(["drill"]);
  await desk.summary(["hold", "latest", "--name", "audit"]);
  file = join(desk.root, "acme.tar");
  passwordFile = join(desk.root, "acme.password");
  exported = await desk.chatkeep(["export", "latest", file, "--password-file", passwordFile]);
});
after(async () => await desk[Symbol.asyncDispose]());

function password(): string {
  return readFileSync(passwordFile, "utf8").trim();
}

/** The environment of a person who has the file and its password, and nothing else. */
function holder(): Record<string, string> {
  return { CHATKEEP_PASSWORD_FILE: passwordFile };
}

async function names(args: readonly string[], env?: Record<string, string>): Promise<[string, string | null][]> {
  const { points } = await desk.summary(["list", ...args], 0, env === undefined ? {} : { env });
  return (points as { point: string; provenAt: string | null }[]).map((one) => [one.point, one.provenAt]);
}

test("an export is one file that only its owner reads, with a password of its own, and nothing is left beside it", async () => {
  assert.equal(exported.status, 0, exported.stderr);
  assert.match(exported.stdout, /read back to the last chunk; SHA-256 [0-9a-f]{64}/);
  assert.match(exported.stdout, /its password is in .*acme\.password/);
  assertNoSecret(exported, [password()]);
  for (const path of [file, passwordFile]) assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.deepEqual(
    readdirSync(desk.root).filter((name) => name.startsWith("acme")),
    ["acme.password", "acme.tar"],
  );
  assert.notEqual(password(), readFileSync(desk.passwordFile, "utf8").trim());
  const { stdout } = await mustRun("sha256sum", [file]);
  assert.ok(exported.stdout.includes(stdout.split(" ")[0] ?? "none"));
});

for (const { path: restic, version } of judges()) {
  test(`tar x makes a repository that restic ${version} checks to the last byte and restores`, async () => {
    const folder = join(desk.root, `unpacked-${version}`);
    await mkdir(folder);
    await mustRun("tar", ["-xf", file, "-C", folder]);
    const repo = join(folder, `chatkeep-${point.slice(0, 8)}`);
    assert.match(readFileSync(join(repo, "README.txt"), "utf8"), /restic -r chatkeep-[0-9a-f]{8} restore latest/);
    const options = { repo, password: password(), restic };
    await runRestic(["check", "--read-data"], options);
    const { stdout } = await runRestic(["snapshots", "--json"], options);
    const snapshots = JSON.parse(stdout) as { original?: string; tags: string[] }[];
    assert.deepEqual(
      snapshots.map(({ original }) => original),
      [point],
    );
    const out = join(folder, "out");
    await runRestic(["restore", "latest", "--target", out], options);
    assert.ok(existsSync(join(out, "chatkeep", "restore.sh")));
    const wrong = await runRestic(["snapshots"], {
      ...options,
      password: readFileSync(desk.passwordFile, "utf8").trim(),
      status: "any",
    });
    assert.notEqual(wrong.status, 0);
  });
}

test("the file is listed, verified and restored from where it lies, without a configuration", async () => {
  const at = ["--repository", `export:${file}`];
  assert.deepEqual(await names(at, holder()), [[point, null]]);
  const verified = await desk.summary(["verify", "--read-data", ...at], 0, { env: holder() });
  assert.deepEqual([verified["errors"], verified["points"]], [0, 1]);
  const to = join(desk.root, "straight");
  await desk.summary(["restore", "latest", ...at, "--to", to, "--yes"], 0, { env: holder() });
  const uploads = (await mustRun("find", [join(to, "storage"), "-type", "f"])).stdout.trim().split("\n");
  assert.ok(uploads.length >= 10, String(uploads.length));
  const written = await desk.chatkeep(["drill", "latest", ...at], { env: holder() });
  assertRefused(written, { status: 20, error: /is only read/, hint: /chatkeep import FILE/ });
});

longTest("imported into an empty repository the point has its name, is proven by a drill, and comes once", async () => {
  const location = join(desk.root, "second");
  await desk.summary(["init", "--add", "second", "--location", location]);
  const args = ["import", file, "--password-file", passwordFile, "--to", "second"];
  const first = await desk.summary(args);
  assert.deepEqual(
    (first["imported"] as { point: string }[]).map((one) => one.point),
    [point],
  );
  assert.deepEqual([first["skipped"], first["failed"], first["others"]], [0, [], 0]);
  // Neither the proof nor the hold came along.
  assert.deepEqual(await names(["--repository", "second"]), [[point, null]]);
  const filesOf = () => readdirSync(location, { recursive: true, encoding: "utf8" }).toSorted();
  const before = filesOf();
  const again = await desk.summary(args);
  assert.deepEqual([again["imported"], again["skipped"], again["added"]], [[], 1, { bytes: 0, packs: 0 }]);
  assert.deepEqual(filesOf(), before);
  assert.equal((await desk.summary(["drill", "--repository", "second"]))["proven"], true);
  const same = await desk.summary(["import", file, "--password-file", passwordFile]);
  assert.deepEqual([same["imported"], same["skipped"]], [[], 1]);
});

test("what an export or an import cannot do is one line, one hint and its status, and changes nothing", async () => {
  const before = readFileSync(file);
  const wrong = join(desk.root, "wrong.password");
  writeFileSync(wrong, "not the password\n");
  const cut = join(desk.root, "cut.tar");
  writeFileSync(cut, before.subarray(0, before.length - 5_000));
  const other = join(desk.root, "other.tar");
  const refuse = async (args: readonly string[], status: number, error: RegExp, hint: RegExp) => {
    assertRefused(await desk.chatkeep(args), { status, error, hint }, [password()]);
  };
  await refuse(["export", "latest", file, "--password-file", passwordFile], 1, /exists already/, /ever written over/);
  await refuse(["export", "latest", other], 2, /needs a password of its own/, /--password-file/);
  const own = ["export", "latest", other, "--password-file", desk.passwordFile];
  await refuse(own, 2, /opens repository 'primary' too/, /whole repository/);
  await refuse(["import", file], 2, /the password of '.*' is not given/, /--password-file FILE/);
  await refuse(["import", file, "--password-file", wrong], 12, /does not open/, /password/);
  await refuse(["import", cut, "--password-file", passwordFile], 13, /is cut off/, /once more/);
  await refuse(["import", desk.config], 10, /no tar file/, /export/);
  const config = join(desk.root, "from-file.yaml");
  const from = ["--config", config, "init", "--from", `export:${file}`, "--password-file", passwordFile];
  await refuse(from, 2, /cannot be a machine's repository/, /chatkeep import/);
  assert.ok(!existsSync(config));
  await mkdir(`${other}.part`);
  writeFileSync(join(`${other}.part`, "mine"), "");
  await refuse(["export", "latest", other, "--password-file", passwordFile], 1, /no export made it/, /Move it away/);
  assert.ok(existsSync(join(`${other}.part`, "mine")));
  assert.ok(!existsSync(other));
  assert.ok(readFileSync(file).equals(before));
});

const FORMATS = { custom: "desk.dump", plain: "desk.sql", directory: "desk.folder" } as const;

for (const [format, name] of firstOf(Object.entries(FORMATS), 1)) {
  test(`the database of a point, exported as ${format}, is what PostgreSQL's own programs bring back`, async () => {
    const path = join(desk.root, name);
    const result = await desk.chatkeep(["export", "latest", path, "--only", "database", "--format", format]);
    assert.equal(result.status, 0, result.stderr);
    assert.match(result.stdout, /It is not encrypted/);
    assert.equal(statSync(path).mode & 0o077, 0);
    assert.ok(!existsSync(`${path}.part`));
    const { server, installation } = desk;
    const target = await server.createDatabase(`from_${format}`);
    const at = ["-h", target.host, "-p", String(target.port), "-U", target.user, "-d", target.database];
    if (format === "plain") {
      await mustRun(join(server.programs, "psql"), ["-X", "-q", "-v", "ON_ERROR_STOP=1", ...at, "-f", path]);
    } else {
      await mustRun(join(server.programs, "pg_restore"), ["--no-owner", "--no-acl", "-e", "-j", "2", ...at, path]);
    }
    await assertSameDatabase(installation.database, target);
  });
}

test("an export of the database that cannot be is refused, and leaves what is there", async () => {
  const target = join(desk.root, "refused.dump");
  const args = ["export", "latest", target];
  const only = ["--only", "database"];
  const refuse = async (more: readonly string[], status: number, error: RegExp, hint: RegExp) => {
    assertRefused(await desk.chatkeep([...args, ...more]), { status, error, hint });
    assert.ok(!existsSync(target));
  };
  await refuse(["--format", "custom"], 2, /--format needs --only database/, /pg_restore/);
  await refuse(only, 2, /--only needs --format/, /pg_restore/);
  await refuse([...only, "--format", "tar"], 2, /--format cannot be 'tar'/, /custom, plain or directory/);
  await refuse(["--only", "storage", "--format", "custom"], 2, /--only cannot be 'storage'/, /database/);
  const withPassword = [...only, "--format", "custom", "--password-file", desk.passwordFile];
  await refuse(withPassword, 2, /not encrypted, and takes no password/, /--password-file/);
  writeFileSync(`${target}.part`, "mine");
  await refuse([...only, "--format", "custom"], 1, /refused\.dump\.part' exists already/, /remove it/);
  assert.equal(readFileSync(`${target}.part`, "utf8"), "mine");
  const mine = join(desk.root, "mine.dump");
  writeFileSync(mine, "mine");
  const again = ["export", "latest", mine, ...only, "--format", "custom"];
  assertRefused(await desk.chatkeep(again), { status: 1, error: /exists already/, hint: /ever written over/ });
  const nowhere = ["export", "latest", join(desk.root, "no", "x.dump"), ...only, "--format", "custom"];
  assertRefused(await desk.chatkeep(nowhere), { status: 1, error: /cannot write/, hint: /a folder that exists/ });
});

const skip = await cannotMount();

test("a disk that is too small is told before anything is written to it", { skip: skip ?? false }, async () => {
  const folder = join(desk.root, "small-disk");
  await mkdir(folder);
  const script =
    'mount -t tmpfs -o size=64k tmpfs "$1"; folder=$1; shift; status=0; "$@" || status=$?; ls -A "$folder"; exit $status';
  const args = ["--config", desk.config, "export", "latest", join(folder, "x.tar"), "--password-file", passwordFile];
  const result = await runWithMounts(script, [folder, process.execPath, CHATKEEP, ...args]);
  assertRefused(result, { status: 1, error: /KiB free, the export needs/, hint: /larger disk/ }, [password()]);
  assert.equal(result.stdout, "");
  for (const [format, error] of [
    ["plain", /free, the export needs/],
    ["custom", /no space left/],
  ] as const) {
    const dump = ["--config", desk.config, "export", "latest", join(folder, "x.dump")];
    const whole = await runWithMounts(script, [
      folder,
      process.execPath,
      CHATKEEP,
      ...dump,
      "--only",
      "database",
      "--format",
      format,
    ]);
    assertRefused(whole, { status: format === "plain" ? 1 : 20, error, hint: /larger disk/ });
    assert.equal(whole.stdout, "");
  }
});

longTest("killed at any stage, nothing has the file's name, and the same command goes on", async () => {
  const target = join(desk.root, "killed.tar");
  const args = ["export", "latest", target, "--password-file", passwordFile];
  for (const stage of [/^copying/, /^writing/, /^reading/]) {
    const child = startCli(["--config", desk.config, "--json", ...args], { cwd: desk.root });
    const died = await killedAt(child, stage);
    assert.equal(died, "SIGKILL", String(stage));
    assert.ok(!existsSync(target), String(stage));
  }
  const other = join(desk.root, "other.password");
  writeFileSync(other, "of something else\n");
  const refused = await desk.chatkeep(["export", "latest", target, "--password-file", other]);
  assertRefused(refused, { status: 12, error: /begun with another password/, hint: /it begins anew/ });
  const summary = await desk.summary(args);
  assert.equal(summary["wasBegun"], true);
  assert.ok(!existsSync(`${target}.part`));
  const unpacked = join(desk.root, "resumed");
  await mkdir(unpacked);
  await mustRun("tar", ["-xf", target, "-C", unpacked]);
  const repo = join(unpacked, String(summary["folder"]));
  await runRestic(["check", "--read-data"], { repo, password: password() });
});

longTest("what was begun for another point does not get into the file", async () => {
  const target = join(desk.root, "changed.tar");
  const args = (which: string) => ["export", which, target, "--password-file", passwordFile];
  const child = startCli(["--config", desk.config, "--json", ...args("latest")], { cwd: desk.root });
  assert.equal(await killedAt(child, /^checking/), "SIGKILL");
  const second = String((await desk.summary(["backup"]))["point"]);
  const summary = await desk.summary(args("latest"));
  assert.deepEqual([summary["point"], summary["wasBegun"]], [second, false]);
  const listed = await names(["--repository", `export:${target}`], holder());
  assert.deepEqual(
    listed.map(([name]) => name),
    [second],
  );
  await rm(target);
});

/** Kills the process when it tells of a stage; how it ended. */
async function killedAt(child: ReturnType<typeof startCli>, stage: RegExp): Promise<string> {
  const ended = new Promise<string>((resolve) => child.on("close", (code, signal) => resolve(signal ?? String(code))));
  let text = "";
  child.stdout?.setEncoding("utf8").on("data", (data: string) => {
    text += data;
    const whole = text.slice(0, text.lastIndexOf("\n") + 1);
    if (jsonLines(whole).some(({ type, name }) => type === "stage" && stage.test(name as string)))
      child.kill("SIGKILL");
  });
  child.stderr?.resume();
  return await ended;
}
