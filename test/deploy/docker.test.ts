/** The image's recipe and the Compose files say what the code says, without building or running any of it. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { parseCall } from "../../src/cli/parse.ts";
import { findInstallation } from "../../src/installation/find.ts";
import { MEMORY } from "../../src/schedule/job.ts";
import { formatCompose, RUN_WHEN_DUE } from "../../src/schedule/manifests.ts";
import { parseCron } from "../../src/schedule/cron.ts";
import { mustRun } from "../harness/run.ts";
import { temporaryFolder } from "../harness/temporary.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const OWN_USER = "10027";

interface Service {
  image: string;
  user?: string;
  command: string[];
  restart: string;
  stop_grace_period: string;
  shm_size: string;
  environment: Record<string, string>;
  env_file: string;
  volumes: string[];
}

function read(path: string): string {
  return readFileSync(join(ROOT, path), "utf8");
}

function serviceOf(path: string): Service {
  return (parse(read(path)) as { services: { chatkeep: Service } }).services.chatkeep;
}

const dockerfile = read("deploy/docker/Dockerfile").replaceAll("\\\n", " ");
const beside = serviceOf("deploy/docker/compose.chatkeep.yaml");
const { version } = JSON.parse(read("package.json")) as { version: string };

function instructions(name: string): string[] {
  return dockerfile.split("\n").filter((line) => line.startsWith(`${name} `));
}

test("the service runs what 'schedule --print compose' prints, in a way that the command line understands", () => {
  assert.deepEqual(beside.command, [...RUN_WHEN_DUE]);
  assert.doesNotThrow(() => parseCall(beside.command));
  const job = {
    installation: { id: "", name: "acme" },
    command: [],
    config: "/etc/chatkeep/chatkeep.yaml",
    times: parseCron("30 2 * * *", "UTC"),
    writes: [],
  };
  const printed = parse(
    formatCompose(job, {
      image: "",
      reads: [],
      stateDir: "/var/lib/chatkeep",
      owner: { uid: Number(OWN_USER), gid: Number(OWN_USER) },
    }),
  ) as {
    services: { chatkeep: Service };
  };
  for (const key of ["restart", "stop_grace_period", "shm_size"] as const)
    assert.equal(beside[key], printed.services.chatkeep[key], key);
  assert.deepEqual([beside.user, printed.services.chatkeep.user], [undefined, undefined]);
});

test("what the service is given and what it mounts are where the code looks", async () => {
  await using machine = await temporaryFolder();
  const targets = beside.volumes.map((line) => line.split(":")[1] ?? "");
  for (const folder of ["chatwoot", "app/storage"]) {
    assert.ok(targets.includes(`/${folder}`), folder);
    await mkdir(machine.at(folder), { recursive: true });
  }
  await writeFile(machine.at("chatwoot/docker-compose.yaml"), "services: {}\n");
  const env = {
    ...beside.environment,
    ...MEMORY,
    DOCKER_HOST: `unix://${machine.at("none.sock")}`,
    SECRET_KEY_BASE: "0123456789abcdef",
    POSTGRES_HOST: "postgres",
    ACTIVE_STORAGE_SERVICE: "local",
  };
  const options = { signal: new AbortController().signal, env, filesystemRoot: machine.path };
  const { installation, findings } = await findInstallation({}, options);
  assert.equal(installation.kind, "environment");
  assert.deepEqual(
    Object.keys(MEMORY).filter((name) => installation.environment.has(name)),
    [],
  );
  assert.equal(installation.database.url ?? installation.database.database, "chatwoot_production");
  assert.deepEqual(installation.systemFiles, [machine.at("chatwoot/docker-compose.yaml")]);
  assert.deepEqual(
    findings.filter(({ level }) => level !== "note"),
    [],
  );
});

test("user, folders and version are the same in the image, in the Compose file and in the document", () => {
  const [created = ""] = instructions("RUN").filter((line) => line.includes("useradd"));
  assert.ok(created.includes(`--uid ${OWN_USER} `));
  for (const folder of beside.volumes.map((line) => line.split(":")[1] ?? "").filter((path) => /chatkeep/.test(path)))
    assert.ok(created.includes(folder), folder);
  const [env = ""] = instructions("ENV");
  assert.ok(env.includes("CHATKEEP_CONFIG=/etc/chatkeep/chatkeep.yaml"));
  for (const [name, value] of Object.entries(MEMORY)) assert.match(env, new RegExp(`\\b${name}=${value}\\b`));
  const documented = read("docs/docker.md");
  for (const text of [documented, read("deploy/docker/compose.chatkeep.yaml")]) {
    const made = /install -d -o (\d+) -g (\d+)/.exec(text);
    assert.deepEqual(made?.slice(1), [OWN_USER, OWN_USER]);
    for (const [, tag] of text.matchAll(/chatkeep:(\d+\.\d+\.\d+)/g)) assert.equal(tag, version);
  }
  assert.ok(instructions("ARG").includes(`ARG VERSION=${version}`));
});

test("the Dockerfile needs nothing that only a newer builder has, and ends as a user who is not root", () => {
  assert.doesNotMatch(dockerfile, /^RUN --|<<|^COPY --(?!from=)/m);
  const last = dockerfile.slice(dockerfile.lastIndexOf("\nFROM "));
  assert.match(last, /^USER chatkeep$/m);
  assert.match(dockerfile, /^ARG BASE=node:\d+-trixie-slim$/m);
});

test("what the image is built of is let through, and everything else stays out of it", () => {
  const [first, ...let_through] = read(".dockerignore")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"));
  assert.equal(first, "*");
  const { files } = JSON.parse(read("package.json")) as { files: string[] };
  const needed = [...files.filter((name) => name !== "dist"), "src", "scripts", "package.json", "package-lock.json"];
  for (const name of [...needed, "tsconfig.json", "tsconfig.build.json", "deploy/docker/install-packages.sh"])
    assert.ok(let_through.includes(`!${name}`), name);
  for (const line of let_through) assert.doesNotMatch(line, /node_modules|\.cache|test|\.git|docs/);
});

test("the script that installs packages is one that a plain shell reads", async () => {
  await mustRun("sh", ["-n", join(ROOT, "deploy/docker/install-packages.sh")]);
});

test("with the socket, the service is root and says what that means", () => {
  const text = read("deploy/docker/compose.chatkeep-socket.yaml");
  const { user, volumes } = serviceOf("deploy/docker/compose.chatkeep-socket.yaml");
  assert.equal(user, "root");
  assert.deepEqual(volumes, ["/var/run/docker.sock:/var/run/docker.sock:ro"]);
  assert.match(text, /Whoever may use the socket is root on the machine/);
});

test("every command of the document that runs in the container is understood", () => {
  const calls = [...read("docs/docker.md").matchAll(/^ *(?:docker compose run .*?\bchatkeep|once) (.+)$/gm)];
  assert.ok(calls.length >= 7);
  for (const [, call = ""] of calls) assert.doesNotThrow(() => parseCall(call.trim().split(/\s+/)), call);
});
