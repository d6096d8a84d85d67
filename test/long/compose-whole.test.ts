/** Whole restores into Chatwoot's Compose file on a real engine, from each kind of place: killed on the way, compared, rolled back. */
import assert from "node:assert/strict";
import { chown, cp, lstat, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { DemoAddress } from "../../src/demo/database.ts";
import { buildInstallation } from "../../src/demo/installation.ts";
import type { JournalValue } from "../../src/job/stages/journal.ts";
import { summaryOf } from "../harness/cli.ts";
import { dumpLines } from "../harness/pg-dump-diff.ts";
import { startPostgres } from "../harness/postgres.ts";
import { startRedis } from "../harness/redis.ts";
import { mustRun } from "../harness/run.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { readFolder } from "../harness/tree.ts";
import { openDesk, SMALL } from "../scenario/desk.ts";
import { stageIs } from "../scenario/whole-desk.ts";
import { type ComposeEngine, type ComposeSite, makeComposeSite, openComposeEngine } from "./compose-site.ts";
import { type Machine, machineOf } from "./whole-machine.ts";

const OWNER = 1_000;
const ONBOARDING = "alfred:CHATWOOT_INSTALLATION_ONBOARDING";

let own: ComposeEngine;

before(async () => {
  own = await openComposeEngine();
});
after(async () => await own[Symbol.asyncDispose]());

/** What a restore brings back, so that two moments can be compared. */
interface State {
  database: string[];
  files: Record<string, string>;
  environment: string;
}

/** As it is the same on servers of two versions. */
async function databaseOf(address: DemoAddress, programs = own.programsWithin): Promise<string[]> {
  return (await dumpLines(address, { programs })).filter((line) => !line.startsWith("-- Dumped from"));
}

async function stateOf(site: ComposeSite): Promise<State> {
  return {
    database: await databaseOf(site.seeded.database),
    files: await readFolder(await site.volume("storage_data")),
    environment: await readFile(join(site.path, ".env"), "utf8"),
  };
}

function assertSameDatabase(is: readonly string[], was: readonly string[], what: string): void {
  const at = was.findIndex((line, index) => line !== is[index]);
  assert.deepEqual(at < 0 ? [] : is.slice(at, at + 3), at < 0 ? [] : was.slice(at, at + 3), `${what}: database`);
  assert.equal(is.length, was.length, `${what}: database`);
}

function assertSameState(is: State, was: State, what: string): void {
  assertSameDatabase(is.database, was.database, what);
  assert.deepEqual(is.files, was.files, `${what}: files`);
  assert.equal(is.environment, was.environment, `${what}: environment`);
}

/** Who owns what is in the volume, each once. */
async function ownersOf(folder: string): Promise<string[]> {
  const paths = await readdir(folder, { recursive: true });
  const all = await Promise.all(paths.map(async (path) => await lstat(join(folder, path))));
  return [...new Set(all.map(({ uid, gid }) => `${uid}:${gid}`))];
}

function valueOf(environment: string, name: string): string | undefined {
  return new RegExp(`^${name}=(['"]?)(.*)\\1$`, "m").exec(environment)?.[2];
}

/** Asks Redis from where the application asks it. */
async function askRedis(site: ComposeSite, command: string): Promise<string> {
  const script = `
    const { env } = process;
    const socket = require("node:net").connect(6379, "redis");
    socket.write("AUTH " + env.REDIS_PASSWORD + "\\r\\n${command}\\r\\nQUIT\\r\\n");
    let said = ""; socket.on("data", (data) => said += data).on("close", () => console.log(said.split("\\r\\n").slice(1, -2).join()));`;
  const args = ["exec", "-T", "rails", "node", "--input-type=commonjs", "--eval", script];
  return (await site.compose(args)).stdout.trim();
}

async function isRunning(site: ComposeSite): Promise<{ web: boolean; worker: boolean }> {
  const names = ["rails", "sidekiq"].map((service) => `${site.project}-${service}-1`);
  const { stdout } = await own.engine.docker(["inspect", "--format", "{{.State.Running}}", ...names]);
  const [web, worker] = stdout.trim().split("\n");
  return { web: web === "true", worker: worker === "true" };
}

/** What the web container was made with, and is asked by whoever connects. */
async function inContainer(site: ComposeSite, name: string): Promise<string> {
  return (await site.compose(["exec", "-T", "rails", "printenv", name])).stdout.trim();
}

/** A site with an application that runs, and files that are not root's; gone with all of its volumes at the end. */
async function openSite(
  options: Parameters<typeof makeComposeSite>[1],
  { isEmpty }: { isEmpty: boolean },
): Promise<ComposeSite & AsyncDisposable> {
  const site = await makeComposeSite(own, { ...options, isIdle: true });
  const volume = await site.volume("storage_data");
  if (!isEmpty) await cp(site.seeded.storageRoot, volume, { recursive: true });
  for (const path of ["", ...(await readdir(volume, { recursive: true }))])
    await chown(join(volume, path), OWNER, OWNER);
  await site.up();
  return {
    ...site,
    async [Symbol.asyncDispose]() {
      await site.compose(["down", "--volumes"]);
      await rm(site.path, { recursive: true });
    },
  };
}

/** A rollback to its end: nobody is left with anything to do. */
async function takeBack(machine: Machine): Promise<void> {
  const summary = await machine.summary(["rollback", "--yes"]);
  assert.deepEqual(
    [summary["isWhole"], summary["state"], summary["next"]],
    [true, "undone", []],
    JSON.stringify(summary),
  );
}

/**
 * From a killed run to the end, without a stop: it makes the containers again itself, which have the environment that they were made with.
 * @param options.warns What there is to know at the end.
 */
async function bringBack(
  machine: Machine,
  args: readonly string[],
  { isSo, warns }: { isSo: (journal: JournalValue) => boolean; warns: readonly string[] },
): Promise<void> {
  assert.ok(await machine.killWhen(["restore", "latest", "--yes", ...args], isSo), "it was killed on the way");
  const summary = await machine.summary(["restore", "--resume", "--outbound", "allow"], warns.length === 0 ? 0 : 3);
  assert.deepEqual([summary["state"], summary["held"]], ["done", null]);
  const findings = summary["findings"] as { kind: string; level: string }[];
  assert.deepEqual(
    findings.filter(({ level }) => level !== "note").map(({ kind }) => kind),
    warns,
  );
  assert.match(JSON.stringify(summary["stages"]), /the containers of rails, sidekiq have it, and are not started yet/);
}

/** With the application's role, as a person does who is in a hurry. */
async function sql({ seeded }: ComposeSite, statement: string): Promise<void> {
  const { host, port, user, password = "", database } = seeded.database;
  await mustRun(join(own.programsWithin, "psql"), ["-v", "ON_ERROR_STOP=1", "-c", statement], {
    env: { PGHOST: host, PGPORT: String(port), PGUSER: user, PGPASSWORD: password, PGDATABASE: database },
  });
}

/** The machine's own site, which is saved. */
const SAVED = { passwords: { postgres: "of-the-superuser", redis: "of-redis" }, seed: { size: SMALL } };

/** After Chatwoot's instructions and the first log-in: a few rows, secrets of its own, a name of its own for everything. */
const FRESH = {
  passwords: { postgres: "of-another-superuser", redis: "of-another-redis" },
  seed: { size: { messages: 30, conversations: 5, files: 0 }, seed: 7, role: "support", database: "support_new" },
  environment: { FRONTEND_URL: "https://new.acme.example", INSTALLATION_ENV: "docker" },
};

/** A machine that makes points of the site. */
async function savingMachine(project: string): Promise<{ machine: Machine; repository: string; passwordFile: string }> {
  const [config, repository] = [`${project}.yaml`, `repository-${project}`].map((name) => own.folder.at(name));
  assert(config !== undefined && repository !== undefined);
  const machine = await machineOf(project, { ...own, args: ["--config", config] });
  await machine.summary(["init", "--yes", "--name", "desk", "--location", repository]);
  // The next one's are written to the same place.
  for (const end of ["txt", "html"]) await rm(own.folder.at(`chatkeep-recovery-kit.${end}`), { force: true });
  const passwordFile = /password-file: (\S+)/.exec(await readFile(config, "utf8"))?.[1] ?? "";
  await machine.summary(["backup"]);
  return { machine, repository, passwordFile };
}

interface Saved {
  lost: State;
  repository: string;
  passwordFile: string;
}

/** Onto a fresh site, from whatever place: the point's in all that counts, the site's own in all that is of the place. */
async function takesOver(
  site: ComposeSite,
  { lost, repository, passwordFile }: Saved,
  isSo: (journal: JournalValue) => boolean,
): Promise<void> {
  const env = { ...own.env, CHATKEEP_PASSWORD_FILE: passwordFile };
  const machine = await machineOf(site.project, { ...own, args: ["--repository", repository], env });
  const fresh = await stateOf(site);
  await askRedis(site, `SET ${ONBOARDING} true`);
  // Somebody worked there for an hour: it is asked for by its name.
  const args = ["--onto", "compose", "--replace", "new.acme.example"];
  await bringBack(machine, args, { isSo, warns: ["address-stays"] });
  const restored = await stateOf(site);
  assertSameDatabase(restored.database, lost.database, "restored");
  assert.deepEqual(restored.files, lost.files);
  assert.deepEqual(await ownersOf(await site.volume("storage_data")), [`${OWNER}:${OWNER}`]);
  for (const name of ["SECRET_KEY_BASE", "ACTIVE_RECORD_ENCRYPTION_PRIMARY_KEY", "SMTP_PASSWORD"]) {
    assert.equal(valueOf(restored.environment, name), valueOf(lost.environment, name), name);
    assert.equal(await inContainer(site, name), valueOf(lost.environment, name), `${name} in the container`);
  }
  const ofPlace = ["FRONTEND_URL", "REDIS_PASSWORD", "REDIS_URL", "INSTALLATION_ENV"];
  for (const name of [...ofPlace, "POSTGRES_DATABASE", "POSTGRES_HOST", "POSTGRES_USERNAME", "POSTGRES_PASSWORD"]) {
    assert.equal(valueOf(restored.environment, name), valueOf(fresh.environment, name), name);
  }
  assert.equal(await askRedis(site, `EXISTS ${ONBOARDING}`), ":0");
  assert.deepEqual(await isRunning(site), { web: true, worker: true });

  await takeBack(machine);
  assertSameState(await stateOf(site), fresh, "rolled back");
  assert.equal(await inContainer(site, "SECRET_KEY_BASE"), valueOf(fresh.environment, "SECRET_KEY_BASE"));
  assert.deepEqual(await isRunning(site), { web: true, worker: true });
}

test("a Linux machine that was lost comes back into a fresh Compose project, and goes again", async () => {
  await using desk = await openDesk({ size: SMALL });
  await desk.summary(["backup"]);
  const { envFile, storageRoot, database } = desk.installation;
  const lost = {
    database: await databaseOf(database, own.programs),
    files: await readFolder(storageRoot),
    environment: await readFile(envFile, "utf8"),
  };
  await using site = await openSite({ project: "support", ...FRESH }, { isEmpty: true });
  const { repository, passwordFile } = desk;
  await takesOver(site, { lost, repository, passwordFile }, stageIs("files", "begun"));
});

/** What is left of a project that was lost with its volumes. */
async function loseProject(project: string): Promise<Saved> {
  await using site = await openSite({ project, ...SAVED }, { isEmpty: false });
  return { lost: await stateOf(site), ...(await savingMachine(site.project)) };
}

test("a Compose project that was lost with its volumes comes back into one of another name", async () => {
  const saved = await loseProject("lost");
  await using site = await openSite({ project: "helpdesk", isNamed: true, ...FRESH }, { isEmpty: true });
  await takesOver(site, saved, stageIs("swap", "done"));
});

test("a Compose project that was lost comes back onto a fresh Linux machine, and goes again", async () => {
  const { lost, repository, passwordFile } = await loseProject("moved");
  await using redis = await startRedis();
  await using server = await startPostgres({ programs: own.programs });
  await using machineFolder = await temporaryFolder();
  const fresh = await buildInstallation({
    root: machineFolder.at("home"),
    address: server.address,
    ...FRESH.seed,
    isCheckout: false,
    signal: new AbortController().signal,
  });
  const environment = (await readFile(fresh.envFile, "utf8"))
    .replace(/^REDIS_URL=.*$/m, `REDIS_URL=${redis.url}`)
    .replace(/^FRONTEND_URL=.*$/m, "FRONTEND_URL=https://new.acme.example");
  await writeFile(fresh.envFile, environment);
  const state = async (): Promise<State> => ({
    database: await databaseOf(fresh.database, own.programs),
    files: await readFolder(fresh.storageRoot),
    environment: await readFile(fresh.envFile, "utf8"),
  });
  const before = await state();
  const machine = await machineOf("linux", {
    folder: own.folder,
    programs: own.programs,
    home: fresh.root,
    args: ["--repository", repository],
    env: { CHATKEEP_PASSWORD_FILE: passwordFile },
  });
  const restore = ["restore", "latest", "--onto", "linux-vm", "--replace", "new.acme.example", "--yes"];
  assert.ok(await machine.killWhen(restore, stageIs("files", "begun")), "it was killed on the way");
  const resumed = await machine.chatkeep(["restore", "--resume", "--outbound", "allow"]);
  assert.ok(resumed.status === 0 || resumed.status === 3, `${resumed.stderr}${resumed.stdout}`);
  assert.equal(summaryOf(resumed.stdout)["state"], "done");
  const restored = await state();
  assertSameDatabase(restored.database, lost.database, "restored");
  assert.deepEqual(restored.files, lost.files);
  for (const name of ["SECRET_KEY_BASE", "ACTIVE_RECORD_ENCRYPTION_PRIMARY_KEY", "SMTP_PASSWORD"]) {
    assert.equal(valueOf(restored.environment, name), valueOf(lost.environment, name), name);
  }
  const ofPlace = ["FRONTEND_URL", "REDIS_URL", "INSTALLATION_ENV", "POSTGRES_HOST", "POSTGRES_PORT"];
  for (const name of [...ofPlace, "POSTGRES_DATABASE", "POSTGRES_USERNAME", "POSTGRES_PASSWORD"]) {
    assert.equal(valueOf(restored.environment, name), valueOf(before.environment, name), name);
  }
  assert.equal((await machine.summary(["rollback", "--yes"]))["isWhole"], true);
  assertSameState(await state(), before, "rolled back");
});

test("rows, files and a key that were lost in place come back, and a rollback goes back to the loss", async () => {
  await using site = await openSite({ project: "desk", ...SAVED }, { isEmpty: false });
  const { machine } = await savingMachine(site.project);
  const saved = await stateOf(site);
  await sql(site, "delete from messages where id % 2 = 0; insert into tags (name) values ('after the point')");
  const volume = await site.volume("storage_data");
  const [first = ""] = await readdir(volume);
  await rm(join(volume, first), { recursive: true });
  const envFile = join(site.path, ".env");
  const text = saved.environment.replace(/^SECRET_KEY_BASE=.*$/m, `SECRET_KEY_BASE='${"0".repeat(64)}'`);
  await writeFile(envFile, text, { mode: 0o600 });
  await site.up();
  const damaged = await stateOf(site);

  await bringBack(machine, [], { isSo: stageIs("database", "begun"), warns: [] });
  assertSameState(await stateOf(site), saved, "restored");
  assert.deepEqual(await ownersOf(volume), [`${OWNER}:${OWNER}`]);
  assert.deepEqual(await isRunning(site), { web: true, worker: true });
  await takeBack(machine);
  // Files that its database lists stay.
  assertSameState(await stateOf(site), { ...damaged, files: saved.files }, "rolled back");
  assert.deepEqual(await isRunning(site), { web: true, worker: true });
});
