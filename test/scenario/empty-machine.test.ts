/** The machine is gone: what is left is a page of paper, the recovery kit, and the repository. */
import assert from "node:assert/strict";
import { chmod, mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { buildInstallation, type DemoInstallation } from "../../src/demo/installation.ts";
import { CHATKEEP, runCli, summaryOf } from "../harness/cli.ts";
import { assertSameDatabase } from "../harness/pg-dump-diff.ts";
import { run, type RunResult } from "../harness/run.ts";
import { readFolder } from "../harness/tree.ts";
import { longTest } from "../harness/whole.ts";
import { type Desk, openDesk } from "./desk.ts";
import { assertRefused, secretsOf } from "./refusal.ts";

let desk: Desk;
/** Another installation on the same server and in the same repository. */
let second: DemoInstallation;
let secondConfig: string;
let point: string;
let secondPoint: string;
/** All that the person at the empty machine has. */
let paper: { location: string; password: string };
let secrets: string[];

before(async () => {
  desk = await openDesk({
    isCheckout: true,
    size: { messages: 120, conversations: 20, files: 12 },
  });
  point = String((await desk.summary(["backup"]))["point"]);
  const kit = await readFile(join(desk.root, "chatkeep/chatkeep-recovery-kit.txt"), "utf8");
  paper = { location: readFromKit(kit, "Location"), password: readFromKit(kit, "Password") };
  secrets = [...(await secretsOf(desk)), paper.password];
  second = await buildInstallation({
    root: join(desk.root, "second"),
    address: desk.server.address,
    size: { messages: 60, conversations: 10, files: 6 },
    seed: 2,
    role: "second",
    database: "second_production",
    signal: new AbortController().signal,
  });
  secondConfig = join(desk.root, "second-chatkeep/chatkeep.yaml");
});

after(async () => await desk[Symbol.asyncDispose]());

function readFromKit(kit: string, label: string): string {
  const value = new RegExp(`^ *${label} +(\\S.*)$`, "m").exec(kit)?.[1];
  assert.ok(value !== undefined, `the kit says no ${label}`);
  return value;
}

interface Machine {
  folder: string;
  chatkeep(args: readonly string[], env?: Record<string, string>): Promise<RunResult>;
}

let machines = 0;

/** An empty folder and an empty home, and nothing of the desk in the environment. */
async function emptyMachine(): Promise<Machine> {
  machines += 1;
  const folder = join(desk.root, `machine-${machines}`);
  const home = join(folder, "home");
  const work = join(folder, "work");
  for (const path of [folder, home, work]) await mkdir(path);
  return {
    folder: work,
    async chatkeep(args, env = {}) {
      const result = await runCli(args, { cwd: work, env: { HOME: home, XDG_CONFIG_HOME: home, ...env } });
      assert.deepEqual(await readdir(home), [], "something was written into the home folder");
      for (const secret of secrets)
        assert.ok(!(result.stdout + result.stderr).includes(secret), "a secret was printed");
      return result;
    },
  };
}

function succeeded(result: RunResult): Record<string, unknown> {
  assert.equal(result.status, 0, result.stderr);
  return summaryOf(result.stdout);
}

function pointsOf(summary: Record<string, unknown>): string[] {
  return (summary["points"] as { point: string }[]).map((line) => line.point);
}

function shownPoint(summary: Record<string, unknown>): string {
  return (summary["line"] as { point: string }).point;
}

/** The address of a database that does not exist yet. */
function newDatabase(name: string) {
  const address = { ...desk.server.address, database: name };
  return { address, url: `postgresql://${address.user}@${address.host}:${address.port}/${name}` };
}

/**
 * The kit's commands up to those of stock restic, as a person types them; only the places are a test's. No fresh Chatwoot is here
 * to restore onto: test/long/restore-onto.test.ts has one.
 */
function commandsOfKit(kit: string, places: readonly (readonly [string, string])[]): string {
  const block = kit.slice(kit.indexOf("  First: "), kit.indexOf("  The same without Chatkeep"));
  const lines = block.split("\n").filter((line) => line.startsWith("    ") && !line.includes("--onto"));
  return places.reduce((text, [from, to]) => text.replaceAll(from, to), lines.join("\n"));
}

test("the kit's own commands, one after the other: the database and the files are the same", async () => {
  const machine = await emptyMachine();
  const bin = join(machine.folder, "../bin");
  await mkdir(bin);
  await writeFile(join(bin, "chatkeep"), `#!/bin/sh\nexec '${process.execPath}' '${CHATKEEP}' "$@"\n`);
  await chmod(join(bin, "chatkeep"), 0o755);
  const kit = await readFile(join(desk.root, "chatkeep/chatkeep-recovery-kit.txt"), "utf8");
  const { address, url } = newDatabase("restored_by_kit");
  const commands = commandsOfKit(kit, [
    ["/etc/chatkeep", join(machine.folder, "etc")],
    ["/srv/restored", join(machine.folder, "restored")],
    ["postgresql://postgres@localhost/chatwoot_restored", url],
    ["chatkeep init", `export CHATKEEP_CONFIG='${join(machine.folder, "etc/chatkeep.yaml")}'\n    chatkeep init`],
    // Nobody is at a terminal here to type the installation's name.
    ["chatkeep restore", "chatkeep --yes restore"],
  ]);
  assert.match(commands, /; cat > /);
  assert.match(commands, /^ +chatkeep --repository .* show latest$/m);
  const result = await run("bash", ["-ec", commands], {
    cwd: machine.folder,
    input: `${paper.password}\n`,
    env: {
      PATH: `${bin}:${process.env["PATH"] ?? ""}`,
      HOME: join(machine.folder, "../home"),
      NODE_TEST_CONTEXT: undefined,
    },
  });
  assert.equal(result.status, 0, result.stderr);
  for (const secret of secrets) assert.ok(!(result.stdout + result.stderr).includes(secret), "a secret was printed");
  assert.deepEqual((await readdir(join(machine.folder, "etc"))).toSorted(), ["chatkeep.password", "chatkeep.yaml"]);
  for (const name of ["chatkeep.password", "chatkeep.yaml"])
    assert.equal((await stat(join(machine.folder, "etc", name))).mode & 0o777, 0o600, name);
  await assertSameDatabase(desk.installation.database, address);
  assert.deepEqual(
    await readFolder(join(machine.folder, "restored/storage")),
    await readFolder(desk.installation.storageRoot),
  );
});

test("init --from with the password in the environment keeps it in a file, and never writes over a configuration", async () => {
  const machine = await emptyMachine();
  const config = join(machine.folder, "etc/chatkeep.yaml");
  const env = { CHATKEEP_PASSWORD: paper.password, CHATKEEP_CONFIG: config };
  const init = succeeded(await machine.chatkeep(["--json", "init", "--from", paper.location], env));
  assert.deepEqual((await readdir(join(machine.folder, "etc"))).toSorted(), ["chatkeep.password", "chatkeep.yaml"]);
  for (const file of init["files"] as string[]) assert.equal((await stat(file)).mode & 0o777, 0o600, file);
  // The password was typed once: from now on the configuration knows where it lies.
  const known = { CHATKEEP_CONFIG: config };
  assert.deepEqual(pointsOf(succeeded(await machine.chatkeep(["--json", "list"], known))), [point]);
  assert.equal(succeeded(await machine.chatkeep(["--json", "show", "latest"], known))["verb"], "show");
  const again = await machine.chatkeep(["init", "--from", paper.location], env);
  assertRefused(again, { status: 2, error: /chatkeep\.yaml' exists already/ }, secrets);
});

test("init --from with a password file keeps the file where it is, and a wrong password writes nothing", async () => {
  const machine = await emptyMachine();
  const env = { CHATKEEP_CONFIG: join(machine.folder, "chatkeep.yaml") };
  await writeFile(join(machine.folder, "typed"), `  ${paper.password}\n\n`);
  await writeFile(join(machine.folder, "wrong"), "not-the-password\n");
  const from = ["init", "--from", paper.location, "--password-file"];
  const wrong = await machine.chatkeep([...from, "wrong"], env);
  assertRefused(wrong, { status: 12, error: /does not open the repository/ }, secrets);
  assert.deepEqual((await readdir(machine.folder)).toSorted(), ["typed", "wrong"]);
  succeeded(await machine.chatkeep(["--json", ...from, "typed"], env));
  assert.deepEqual((await readdir(machine.folder)).toSorted(), ["chatkeep.yaml", "typed", "wrong"]);
  assert.deepEqual(pointsOf(succeeded(await machine.chatkeep(["--json", "list"], env))), [point]);
});

test("with --repository LOCATION no configuration is needed, wherever the password comes from", async () => {
  const machine = await emptyMachine();
  const file = join(desk.root, "password-of-the-kit");
  await writeFile(file, `${paper.password}\n`);
  const ways: Record<string, string>[] = [
    { CHATKEEP_PASSWORD: paper.password },
    { CHATKEEP_PASSWORD_FILE: file },
    { RESTIC_PASSWORD_FILE: file },
    { RESTIC_PASSWORD: paper.password },
    { CHATKEEP_PASSWORD_COMMAND: `cat '${file}'` },
  ];
  for (const env of ways) {
    const list = await machine.chatkeep(["--json", "list", "--repository", paper.location], env);
    assert.deepEqual(pointsOf(succeeded(list)), [point], Object.keys(env).join(" "));
  }
  const repository = ["--repository", paper.location];
  const restored = await machine.chatkeep(["--json", "restore", "latest", "--to", "restored", "--yes", ...repository], {
    RESTIC_PASSWORD_FILE: file,
  });
  assert.notEqual(succeeded(restored)["storage"], null);
  const none = await machine.chatkeep(["list", ...repository]);
  assertRefused(none, { status: 2, error: /password is not given/, hint: /CHATKEEP_PASSWORD_FILE/ }, secrets);
  assert.deepEqual(await readdir(machine.folder), ["restored"]);
});

longTest("two installations share one repository and are kept apart", async () => {
  const init = ["init", "--yes", "--location", desk.repository, "--root", second.codeRoot];
  const asSecond = async (...args: string[]) =>
    await runCli(["--config", secondConfig, "--json", ...args], { cwd: desk.root });
  await mkdir(join(desk.root, "second-chatkeep"));
  const password = ["--password-file", desk.passwordFile];
  const taken = await asSecond(...init, ...password, "--name", "desk");
  assertRefused(taken, { status: 1, error: /holds another installation named 'desk'/, hint: /--name/ }, secrets);
  assert.deepEqual(await readdir(join(desk.root, "second-chatkeep")), []);
  assert.equal(succeeded(await asSecond(...init, ...password, "--name", "second"))["created"], false);
  await rm(join(desk.root, "second-chatkeep/chatkeep-recovery-kit.txt"));

  const backup = succeeded(await asSecond("backup"));
  assert.equal(backup["parent"], null, "the other installation's point is no parent");
  secondPoint = String(backup["point"]);
  assert.deepEqual(pointsOf(succeeded(await asSecond("list"))), [secondPoint]);
  assert.deepEqual(pointsOf(await desk.summary(["list"])), [point]);
  assert.deepEqual(pointsOf(await desk.summary(["list", "--all"])).toSorted(), [point, secondPoint].toSorted());
  assert.equal(shownPoint(await desk.summary(["show", "latest"])), point);
  assert.equal(shownPoint(succeeded(await asSecond("show", "latest"))), secondPoint);
  const next = await desk.summary(["backup"]);
  assert.equal(next["parent"], point);

  // Without a configuration it is not clear whose latest point is meant; a name is.
  const machine = await emptyMachine();
  const env = { CHATKEEP_PASSWORD: paper.password };
  const unclear = await machine.chatkeep(["show", "latest", "--repository", desk.repository], env);
  assertRefused(
    unclear,
    { status: 2, error: /'latest' is not clear: .* 2 installations/, hint: /list --all/ },
    secrets,
  );
  const named = ["--json", "show", secondPoint.slice(0, 12), "--repository", desk.repository];
  assert.equal(shownPoint(succeeded(await machine.chatkeep(named, env))), secondPoint);
});
