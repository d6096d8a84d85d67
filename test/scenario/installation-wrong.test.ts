/** What can be wrong with finding an installation, as the command line tells it: one line, one hint, the status, nothing written. */
import assert from "node:assert/strict";
import { chmod, mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { CHATKEEP, runCli } from "../harness/cli.ts";
import { runBoundByModes } from "../harness/namespace.ts";
import { runRestic } from "../harness/restic.ts";
import type { RunResult } from "../harness/run.ts";
import { startStandInEngine, type StandInContainer } from "../harness/stand-in-engine.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import { IMAGES, PASSWORD, postgres, production, redis, SECRET } from "../installation/compose-shapes.ts";
import { assertRefused, type Refusal } from "./refusal.ts";

const SECRETS = [SECRET, PASSWORD];

/** Runs `init` where an engine says that it has these, and makes sure that it left nothing behind. */
async function initRefused(
  containers: readonly StandInContainer[],
  expected: Refusal,
  ...args: string[]
): Promise<void> {
  await using folder = await temporaryFolder();
  await using engine = await startStandInEngine({ containers, images: IMAGES });
  await mkdir(folder.at("empty"));
  const result = await runCli(initArguments(folder, args), {
    cwd: folder.at("empty"),
    env: { DOCKER_HOST: engine.host },
  });
  assertRefused(result, expected, SECRETS);
  assert.deepEqual(await readdir(folder.path), ["empty"]);
  assert.deepEqual(await readdir(folder.at("empty")), []);
}

function initArguments(folder: TestFolder, args: readonly string[]): string[] {
  return ["init", "--yes", "--config", folder.at("chatkeep.yaml"), "--location", folder.at("repository"), ...args];
}

test("no installation: what was looked for is named", async () => {
  await initRefused([redis({ project: "x" })], {
    status: 2,
    error: /no Chatwoot was found on this machine/,
    hint: /Looked for systemd units chatwoot\*\.service .*; for containers of Chatwoot at the Docker Engine .*docker\.sock/,
  });
});

test("two installations: both are named, and how to say which is meant", async () => {
  const two = [...production("/var/one"), ...production("/var/two", { project: "staging" })];
  await initRefused(two, {
    status: 2,
    error: /2 installations .*the Compose project 'chatwoot'; the Compose project 'staging'/,
    hint: /--project chatwoot, .*--project staging/,
  });
  await initRefused(
    two,
    { status: 2, error: /no Chatwoot is in a Compose project 'other'/, hint: /'chatwoot'; .*'staging'/ },
    "--project",
    "other",
  );
});

test("a Docker socket that this user may not use: how to be allowed", async () => {
  await using folder = await temporaryFolder();
  await using engine = await startStandInEngine({ containers: production("/var/one"), images: IMAGES });
  await chmod(engine.socket, 0o000);
  const result = await runBoundByModes(process.execPath, [CHATKEEP, ...initArguments(folder, [])], {
    cwd: folder.path,
    env: { DOCKER_HOST: engine.host, NO_COLOR: "1" },
  });
  const hint = /may not use the Docker Engine's socket .*Run Chatkeep as root, or add the user .* docker/;
  assertRefused(result, { status: 2, error: /no Chatwoot was found/, hint }, SECRETS);
  assert.deepEqual(await readdir(folder.path), []);
});

test("no engine where the configuration says that Chatwoot is in containers", async () => {
  await using folder = await temporaryFolder();
  const result = await backup(folder, `unix://${folder.at("none.sock")}`);
  assertRefused(result, { status: 1, error: /no Docker Engine listens at .*none\.sock/, hint: /./ });
});

/** Backs up what is in containers, into a repository that is there. */
async function backup(folder: TestFolder, DOCKER_HOST: string): Promise<RunResult> {
  const [repo, password, config] = [folder.at("repository"), folder.at("password"), folder.at("chatkeep.yaml")];
  await runRestic(["init"], { repo, password: SECRET });
  await writeFile(password, SECRET, { mode: 0o600 });
  const settings = {
    installation: { id: "6f1c2b7e-0d4f-4c58-9a55-0b8f5b0f7a11", name: "acme", kind: "docker-compose" },
    repositories: [{ name: "primary", location: repo, "password-file": password }],
  };
  await writeFile(config, JSON.stringify(settings), { mode: 0o600 });
  const result = await runCli(["--config", config, "backup"], { cwd: folder.path, env: { DOCKER_HOST } });
  for (const kind of ["snapshots", "locks", "data/00"]) assert.deepEqual(await readdir(join(repo, kind)), [], kind);
  return result;
}

test("a database whose container is stopped: which one, and how to start it", async () => {
  await using folder = await temporaryFolder();
  const containers = [
    ...production("/var/one").filter(({ Name }) => !Name.includes("postgres")),
    postgres({ project: "chatwoot", isStopped: true }),
  ];
  await using engine = await startStandInEngine({ containers, images: IMAGES });
  const expected = {
    status: 1,
    error: /container chatwoot-postgres-1, .* is not running/,
    hint: /Start it: docker start chatwoot-postgres-1/,
  };
  assertRefused(await backup(folder, engine.host), expected, SECRETS);
});
