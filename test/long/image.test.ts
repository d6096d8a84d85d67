/**
 * Chatkeep's image beside Chatwoot in its Compose project, on a real engine: built by its Dockerfile, and used by the
 * Compose files of deploy/docker as they are, with the engine's socket and without.
 */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { appendFile, chown, copyFile, mkdir, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { summaryOf } from "../harness/cli.ts";
import { buildChatkeepImage } from "../harness/chatkeep-image.ts";
import { debianFolder } from "../harness/newer-postgres.ts";
import { assertSameDatabase } from "../harness/pg-dump-diff.ts";
import type { RunResult } from "../harness/run.ts";
import { readFolder } from "../harness/tree.ts";
import { type ComposeDesk, openComposeDesk } from "./compose-desk.ts";

const DEPLOY = resolve(import.meta.dirname, "../../deploy/docker");
const IMAGE = "chatkeep:0.1.0";
const OWN_USER = 10_027;
const PLAIN = ["docker-compose.yaml", "compose.chatkeep.yaml"];
const WITH_SOCKET = [...PLAIN, "compose.chatkeep-socket.yaml"];

let desk: ComposeDesk;
let files: readonly string[] = PLAIN;

before(async () => {
  desk = await openComposeDesk();
  await buildChatkeepImage(desk.engine, { name: IMAGE, debian: debianFolder(17), major: 17 });
  for (const name of WITH_SOCKET.slice(1)) await copyFile(join(DEPLOY, name), join(desk.site, name));
  for (const name of ["chatkeep", "restored"]) {
    await mkdir(join(desk.site, name), { mode: 0o700 });
    await chown(join(desk.site, name), OWN_USER, OWN_USER);
  }
});

after(async () => await desk[Symbol.asyncDispose]());

async function compose(...args: string[]): Promise<RunResult> {
  return await desk.engine.compose(desk.site, [...files.flatMap((file) => ["--file", file]), ...args]);
}

/** Runs a command as the document says, and returns its summary. @param status What it has to end with. */
async function chatkeep(
  args: readonly string[],
  { status = 0, run = [] as string[] } = {},
): Promise<Record<string, unknown>> {
  const call = [
    ...files.flatMap((file) => ["--file", file]),
    "run",
    "--rm",
    "-T",
    ...run,
    "chatkeep",
    "--json",
    ...args,
  ];
  const result = await desk.engine.compose(desk.site, call, { mayFail: true });
  assert.equal(result.status, status, `${args.join(" ")}: ${result.stderr}${result.stdout}`);
  return summaryOf(result.stdout);
}

/** What a person is told; that there is no point yet makes it end with 3. */
async function doctor(): Promise<string> {
  const call = [...files.flatMap((file) => ["--file", file]), "run", "--rm", "-T", "chatkeep", "doctor"];
  const { status, stdout, stderr } = await desk.engine.compose(desk.site, call, { mayFail: true });
  assert.equal(status, 3, stderr);
  return stdout;
}

function worriesOf(summary: Record<string, unknown>): string[] {
  const findings = summary["findings"] as { kind: string; level: string }[];
  return findings
    .filter(({ level }) => level !== "note")
    .map(({ kind }) => kind)
    .toSorted();
}

/** Within the image, without Chatkeep. */
async function inImage(script: string, ...options: string[]): Promise<string> {
  const { stdout } = await desk.engine.docker(["run", "--rm", "--entrypoint=/bin/sh", ...options, IMAGE, "-c", script]);
  return stdout.trim();
}

/** The database as it is now, and what is restored of the newest point, are the same; so are the files. */
async function restoreAndCompare(name: string): Promise<string> {
  const { user, password = "", port } = desk.seeded.database;
  const to = join(desk.site, "restored", name);
  const run = ["--env", `PGPASSWORD=${password}`, "--volume", `${desk.site}/restored:/restored`];
  const url = `postgresql://${user}@postgres/${name}`;
  await chatkeep(["restore", "latest", "--to", `/restored/${name}`, "--database-url", url, "--yes"], { run });
  const source = { host: "127.0.0.1", port, user, password, database: "chatwoot_production" };
  await assertSameDatabase(source, { ...source, database: name }, { programs: desk.programs });
  assert.deepEqual(await readFolder(join(to, "storage")), await readFolder(await desk.volume("storage_data")));
  return to;
}

test("the image runs as a user without rights, and has the programs, no development and no secret", async () => {
  const { stdout } = await desk.engine.docker(["image", "inspect", IMAGE]);
  const [{ Config }] = JSON.parse(stdout) as [
    { Config: { User: string; StopSignal: string; Healthcheck?: object; Labels: Record<string, string> } },
  ];
  assert.equal(Config.User, "chatkeep");
  assert.equal(Config.StopSignal, "SIGTERM");
  assert.equal(Config.Healthcheck, undefined);
  assert.equal(Config.Labels["org.opencontainers.image.version"], "0.1.0");
  assert.equal(await inImage("id --user"), `${OWN_USER}`);
  const { stdout: version } = await desk.engine.docker(["run", "--rm", IMAGE, "--version"]);
  assert.equal(version, "chatkeep 0.1.0\n");
  const bin = "/usr/lib/postgresql/17/bin";
  const said = await inImage(
    `${bin}/pg_dump -V; ${bin}/postgres -V; git --version; ssh -V 2>&1; sftp 2>&1; tini --version`,
  );
  for (const part of [/^pg_dump .* 17\./, /postgres .* 17\./, /git version/, /OpenSSH/, /usage: sftp/, /tini version/])
    assert.match(said, part);
  const modules = (await inImage("ls /opt/chatkeep /opt/chatkeep/node_modules")).split("\n");
  for (const wanted of ["bin", "dist", "assets", "pg", "zod"]) assert.ok(modules.includes(wanted), wanted);
  for (const unwanted of ["src", "test", "typescript", "oxlint", "azurite", "node"])
    assert.equal(modules.includes(unwanted), false, unwanted);
  assert.equal(await inImage("ls -A /var/lib/apt/lists /build 2>/dev/null || true"), "/var/lib/apt/lists:");
  const { stdout: history } = await desk.engine.docker(["history", "--no-trunc", "--format", "{{.CreatedBy}}", IMAGE]);
  assert.doesNotMatch(history, /proxy|PASSWORD=|TOKEN|SECRET/);
});

test("without the socket, init finds Chatwoot by the environment that Compose gives it, and writes the kit outside", async () => {
  const { stdout } = await compose("run", "--rm", "-T", "chatkeep", "init", "--yes", "--name", "desk");
  assert.match(stdout, /environment: \d+ variables from Chatkeep's own environment/);
  assert.match(stdout, /storage 'local' is the folder \/app\/storage/);
  const own = readdirSync(join(desk.site, "chatkeep")).toSorted();
  assert.deepEqual(own, [
    "chatkeep-recovery-kit.html",
    "chatkeep-recovery-kit.txt",
    "chatkeep.password",
    "chatkeep.yaml",
  ]);
  assert.match(readFileSync(join(desk.site, "chatkeep/chatkeep.yaml"), "utf8"), /kind: environment\n/);
  assert.match(await doctor(), /database +PostgreSQL 17\..*@postgres:5432/);
});

test("it backs up, proves it with the image's own server, does a day's work, and restores the same", async () => {
  const summary = await chatkeep(["backup"]);
  assert.deepEqual(worriesOf(summary), []);
  assert.equal((summary["storage"] as { missing: number }).missing, 0);
  const drill = await chatkeep(["drill"]);
  assert.equal(drill["proven"], true, JSON.stringify(drill["checks"]));
  assert.match(String(drill["server"]), /\/usr\/lib\/postgresql\/17\/bin/);
  await compose("stop", "sidekiq");
  const day = await chatkeep(["run"]);
  assert.equal(day["outcome"], "success");
  const to = await restoreAndCompare("without_socket");
  const saved = JSON.parse(readFileSync(join(to, "config/chatkeep/environment.json"), "utf8")) as Record<
    string,
    string
  >;
  assert.equal(saved["SECRET_KEY_BASE"], desk.seeded.environment.get("SECRET_KEY_BASE"));
  assert.equal(JSON.stringify(saved).includes("HOSTNAME"), false);
  assert.ok(existsSync(join(to, "config/files/chatwoot/docker-compose.yaml")));
  await compose("start", "sidekiq");
});

test("stopped in the middle of a backup it ends cleanly, and the next one goes on", async () => {
  const config = join(desk.site, "chatkeep/chatkeep.yaml");
  const before = readFileSync(config, "utf8");
  const points = async () => ((await chatkeep(["list"]))["points"] as unknown[]).length;
  const had = await points();
  await appendFile(config, "database: { max-rate: 8 }\n");
  await compose("run", "--detach", "--name", "stopped", "chatkeep", "--json", "backup", "--full");
  const locks = join(await desk.volume("chatkeep_backups"), "locks");
  while (readdirSync(locks).length === 0) await sleep(50);
  await desk.engine.docker(["stop", "--time", "60", "stopped"]);
  const { stdout: exit } = await desk.engine.docker(["inspect", "--format", "{{.State.ExitCode}}", "stopped"]);
  const { stderr } = await desk.engine.docker(["logs", "stopped"]);
  assert.equal(exit.trim(), "130", stderr);
  assert.match(stderr, /stopping cleanly/);
  assert.deepEqual(readdirSync(locks), []);
  await desk.engine.docker(["rm", "stopped"]);
  await writeFile(config, before);
  assert.equal(await points(), had);
  await chatkeep(["backup"]);
  assert.equal(await points(), had + 1);
});

test("the service waits for its time, does the day's work, and is started again to wait for the next day", async () => {
  const config = join(desk.site, "chatkeep/chatkeep.yaml");
  const before = readFileSync(config, "utf8");
  await appendFile(config, 'schedule: { backup: "* * * * *" }\n');
  // As the file has it, but for the wait by chance.
  const command = '["--json", "--quiet", "run", "--when-due", "--delay", "0"]';
  await writeFile(join(desk.site, "at-once.yaml"), `services: { chatkeep: { command: ${command} } }\n`);
  files = [...PLAIN, "at-once.yaml"];
  await compose("up", "--detach", "chatkeep");
  const { stdout: id } = await compose("ps", "--quiet", "chatkeep");
  const restarts = async () =>
    Number((await desk.engine.docker(["inspect", "--format", "{{.RestartCount}}", id.trim()])).stdout);
  while ((await restarts()) < 1) await sleep(500);
  const { stdout: printed } = await desk.engine.docker(["logs", id.trim()]);
  const summary = summaryOf(printed.slice(0, printed.lastIndexOf("}") + 1));
  assert.equal(summary["verb"], "run");
  assert.equal(summary["outcome"], "success", printed);
  await compose("stop", "chatkeep");
  await compose("rm", "--force", "chatkeep");
  files = PLAIN;
  await writeFile(config, before);
});

/** A file that the restored one is made of, with what a second installation on the same machine needs another of. */
async function putBack(from: string, to: string, changes: readonly [string, string][]): Promise<void> {
  let text = readFileSync(from, "utf8");
  for (const [was, is] of changes) text = text.replace(was, is);
  await writeFile(to, text, { mode: 0o600 });
}

test("what the document says of a new machine brings everything back there", async () => {
  await compose("stop", "sidekiq");
  await chatkeep(["backup"]);
  const backups = await desk.volume("chatkeep_backups");
  const folder = desk.folder.at("moved");
  for (const name of ["", "chatkeep", "restored"]) {
    await mkdir(join(folder, name), { mode: 0o700 });
    await chown(join(folder, name), OWN_USER, OWN_USER);
  }
  const password = join(folder, "chatkeep/kit.password");
  await copyFile(join(desk.site, "chatkeep/chatkeep.password"), password);
  await chown(password, OWN_USER, OWN_USER);
  const mounts = [
    `${folder}/chatkeep:/etc/chatkeep`,
    `${folder}/restored:/restored`,
    `${backups}:/var/backups/chatkeep`,
  ];
  const once = ["run", "--rm", ...mounts.flatMap((mount) => ["--volume", mount]), IMAGE];
  const given = ["--from", "/var/backups/chatkeep", "--password-file", "/etc/chatkeep/kit.password"];
  await desk.engine.docker([...once, "init", ...given]);
  await desk.engine.docker([
    ...once,
    "restore",
    "latest",
    "--to",
    "/restored/files",
    "--only",
    "storage,config",
    "--yes",
  ]);
  const saved = join(folder, "restored/files/config/files/chatwoot");
  const ports: [string, string][] = ["5432", "3000"].map((port) => [`127.0.0.1:${port}`, `127.0.0.1:1${port}`]);
  await putBack(join(saved, "docker-compose.yaml"), join(folder, "docker-compose.yaml"), ports);
  await putBack(join(saved, "compose.chatkeep.yaml"), join(folder, "compose.chatkeep.yaml"), [
    ["- chatkeep_backups:", `- ${backups}:`],
  ]);
  // Its mode keeps it from the image's user, so it is not among the files; what it said is.
  const variables = JSON.parse(
    readFileSync(join(folder, "restored/files/config/chatkeep/environment.json"), "utf8"),
  ) as {
    [name: string]: string;
  };
  const lines = Object.entries(variables).map(([name, value]) => `${name}='${value}'`);
  await writeFile(join(folder, ".env"), `${lines.join("\n")}\n`, { mode: 0o600 });
  const moved = async (...args: string[]) =>
    await desk.engine.compose(folder, [...PLAIN.flatMap((file) => ["--file", file]), ...args]);
  try {
    await moved("up", "--detach", "postgres", "redis");
    const ready = async () =>
      await moved("exec", "-T", "postgres", "pg_isready", "--host=127.0.0.1").then(
        () => true,
        () => false,
      );
    while (!(await ready())) await sleep(200);
    const { user, password: secret = "", port } = desk.seeded.database;
    const role = `create role ${user} superuser login password '${secret}'`;
    await moved("exec", "-T", "postgres", "psql", "--username=postgres", "--command", role);
    const url = `postgresql://${user}@postgres/chatwoot_production`;
    const restore = ["restore", "latest", "--only", "database", "--database-url", url, "--yes"];
    await moved("run", "--rm", "-T", "--env", `PGPASSWORD=${secret}`, "chatkeep", ...restore);
    const source = { host: "127.0.0.1", port, user, password: secret, database: "chatwoot_production" };
    await assertSameDatabase(source, { ...source, port: Number(`1${port}`) }, { programs: desk.programs });
    await moved("create", "rails");
    await moved("cp", "restored/files/storage/.", "rails:/app/storage");
    await moved("up", "--detach", "rails");
    const { stdout } = await desk.engine.docker([
      "volume",
      "inspect",
      "--format",
      "{{.Mountpoint}}",
      "moved_storage_data",
    ]);
    assert.deepEqual(await readFolder(stdout.trim()), await readFolder(await desk.volume("storage_data")));
  } finally {
    await moved("down", "--volumes", "--timeout", "5");
    await compose("start", "sidekiq");
  }
});

test("with the socket it finds what the engine knows, by the network that it shares with the others", async () => {
  files = WITH_SOCKET;
  await rm(join(desk.site, "chatkeep"), { recursive: true });
  await mkdir(join(desk.site, "chatkeep"), { mode: 0o700 });
  // The engine of a test listens elsewhere than the usual one.
  const socket = desk.engine.host.replace("unix://", "");
  const usual = "/var/run/docker.sock";
  const path = join(desk.site, "compose.chatkeep-socket.yaml");
  await writeFile(path, readFileSync(path, "utf8").replace(`${usual}:${usual}`, `${socket}:${usual}`));
  const init = ["init", "--yes", "--location", "/var/backups/chatkeep/second"];
  const { stdout } = await compose("run", "--rm", "-T", "chatkeep", ...init);
  assert.match(stdout, /the Compose project 'desk' at \/var\/run\/docker\.sock, made by Compose 2\.\d+/);
  assert.match(stdout, /storage 'local' is the folder \/app\/storage/);
  const config = readFileSync(join(desk.site, "chatkeep/chatkeep.yaml"), "utf8");
  assert.match(config, / name: desk\n {2}kind: docker-compose\n {2}compose-project: desk\n/);
  const said = await doctor();
  assert.match(said, /database +PostgreSQL 17\..*@172\.\d+\.\d+\.\d+:5432/);
  assert.match(said, /web +answers, Chatwoot 4\.15\.1/);
  assert.deepEqual(worriesOf(await chatkeep(["backup"])), []);
  const drill = await chatkeep(["drill"]);
  assert.equal(drill["proven"], true, JSON.stringify(drill["checks"]));
  await compose("stop", "sidekiq");
  assert.deepEqual(worriesOf(await chatkeep(["backup"], { status: 3 })), ["container-stopped"]);
  const to = await restoreAndCompare("with_socket");
  const containers = JSON.parse(readFileSync(join(to, "config/containers.json"), "utf8")) as { service: string }[];
  assert.deepEqual(
    containers.map(({ service }) => service),
    ["postgres", "rails", "redis", "sidekiq"],
  );
  assert.ok(existsSync(join(to, "config/files", desk.site, "docker-compose.yaml")), "by its name on the machine");
});

test("a volume that is not mounted into Chatkeep's own service is an alarm that names it", async () => {
  const without =
    'services: { chatkeep: { volumes: !override ["./chatkeep:/etc/chatkeep", "chatkeep_state:/var/lib/chatkeep", "chatkeep_backups:/var/backups/chatkeep", "SOCKET:/var/run/docker.sock:ro"] } }\n';
  await writeFile(
    join(desk.site, "unmounted.yaml"),
    without.replace("SOCKET", desk.engine.host.replace("unix://", "")),
  );
  files = [...WITH_SOCKET, "unmounted.yaml"];
  const findings = (await chatkeep(["doctor"], { status: 3 }))["findings"] as { kind: string; message: string }[];
  const said = findings.find(({ kind }) => kind === "storage-not-mounted")?.message ?? "";
  assert.match(said, /lie in desk_storage_data, which Chatkeep's own container desk-chatkeep-run-/);
});
