/** A change of domain that only the files know of: processes that were not started again are named (F14). */
import assert from "node:assert/strict";
import { utimes } from "node:fs/promises";
import { test } from "node:test";
import type { Finding } from "../../src/base/findings.ts";
import { findInstallation } from "../../src/installation/find.ts";
import { startStandInEngine } from "../harness/stand-in-engine.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import { write } from "./checkout.ts";
import { ENVIRONMENT, IMAGES, production } from "./compose-shapes.ts";

const { signal } = new AbortController();

const APP = "home/chatwoot/chatwoot";
const OLD = "https://chat.old.example";
const NEW = "https://chat.new.example";
/** 2025-06-01T00:00:00Z, and 100 s later as ticks. */
const BOOT_SECONDS = 1_748_736_000;
const STARTED_TICKS = 10_000;

function told(findings: readonly Finding[], kind: string): string[] {
  return findings.filter((finding) => finding.kind === kind).map(({ level, message }) => `${level}: ${message}`);
}

/** What a process was given, as the kernel shows it. */
async function runningProcess(machine: TestFolder, pid: number, environment: Record<string, string>): Promise<void> {
  const entries = Object.entries(environment).map(([name, value]) => `${name}=${value}\0`);
  await write(machine.path, `proc/${pid}/environ`, entries.join(""));
  const fields = ["S", ...Array.from({ length: 18 }, () => "0"), String(STARTED_TICKS), "0"];
  await write(machine.path, `proc/${pid}/stat`, `${pid} (bundle) exec)) ${fields.join(" ")}\n`);
}

/** A machine as cwctl leaves it: the web process reads the file itself, the worker is started through dotenv. */
async function makeMachine(machine: TestFolder, workerUrl: string): Promise<void> {
  await write(
    machine.path,
    `${APP}/.env`,
    `RAILS_ENV=production\nSECRET_KEY_BASE=${"s".repeat(64)}\nFRONTEND_URL='${NEW}'\n`,
  );
  const unit = "[Service]\nWorkingDirectory=/home/chatwoot/chatwoot\nEnvironment=RAILS_ENV=production\n";
  await write(machine.path, "proc/stat", `cpu 1 2 3\nbtime ${BOOT_SECONDS}\n`);
  const processes = {
    "chatwoot-web.1.service": { pid: 4242, environment: { RAILS_ENV: "production" } },
    "chatwoot-worker.1.service": {
      pid: 4243,
      environment: { RAILS_ENV: "production", SECRET_KEY_BASE: "s".repeat(64), FRONTEND_URL: workerUrl },
    },
  };
  for (const [name, { pid, environment }] of Object.entries(processes)) {
    await write(machine.path, `etc/systemd/system/${name}`, unit);
    await write(machine.path, `sys/fs/cgroup/system.slice/${name}/cgroup.procs`, `${pid}\n`);
    await runningProcess(machine, pid, environment);
  }
}

async function findingsOf(machine: TestFolder): Promise<Finding[]> {
  return (await findInstallation({}, { signal, filesystemRoot: machine.path })).findings;
}

test("a worker that still has the old address is named, with what differs and never its value", async () => {
  await using machine = await temporaryFolder();
  await makeMachine(machine, OLD);
  const findings = await findingsOf(machine);
  assert.deepEqual(told(findings, "environment-not-in-force"), [
    `warning: chatwoot-worker.1.service runs with another FRONTEND_URL than ${machine.at(APP, ".env")} has`,
  ]);
  const { hint = "" } = findings.find(({ kind }) => kind === "environment-not-in-force") ?? {};
  assert.match(hint, /both: systemctl restart chatwoot\.target/);
  assert.equal(JSON.stringify(findings).includes(OLD), false);
});

test("a web process that reads the file itself is told by the times, and nothing once it was started again", async () => {
  await using machine = await temporaryFolder();
  await makeMachine(machine, NEW);
  const env = machine.at(APP, ".env");
  const started = new Date((BOOT_SECONDS + STARTED_TICKS / 100) * 1000);
  const changed = (seconds: number) => new Date(started.getTime() + seconds * 1000);
  await utimes(env, changed(1), changed(1));
  const later = await findingsOf(machine);
  assert.deepEqual(told(later, "environment-not-in-force"), []);
  assert.deepEqual(told(later, "environment-file-newer"), [
    `note: ${env} was changed after chatwoot-web.1.service was started`,
  ]);
  await utimes(env, changed(-1), changed(-1));
  assert.deepEqual(told(await findingsOf(machine), "environment-file-newer"), []);
});

async function inContainers(compose: string, env: string, environment: Record<string, string>): Promise<Finding[]> {
  await using machine = await temporaryFolder();
  await write(machine.path, "opt/chatwoot/docker-compose.yaml", compose);
  await write(machine.path, "opt/chatwoot/.env", env);
  const containers = production("/var/storage", { environment: { ...ENVIRONMENT, ...environment } });
  await using engine = await startStandInEngine({ containers, images: IMAGES });
  const found = await findInstallation({}, { signal, env: { DOCKER_HOST: engine.host }, filesystemRoot: machine.path });
  return found.findings;
}

const SERVICES = "services:\n  rails:\n    env_file: .env\n  sidekiq:\n    env_file: [{ path: .env }]\n";

test("containers that were made before their environment file was changed are named", async () => {
  const findings = await inContainers(SERVICES, `FRONTEND_URL=${NEW}\n`, { FRONTEND_URL: OLD });
  const [message = ""] = told(findings, "environment-not-in-force");
  assert.match(
    message,
    /^warning: chatwoot-rails-1, chatwoot-sidekiq-1 run with another FRONTEND_URL than .*\/opt\/chatwoot\/\.env has$/,
  );
  const { hint = "" } = findings.find(({ kind }) => kind === "environment-not-in-force") ?? {};
  assert.match(hint, /docker compose up --detach rails sidekiq/);
});

for (const [what, compose, env, has = OLD] of [
  [
    "what the Compose file sets itself counts before the file",
    SERVICES.replace("rails:\n", `rails:\n    environment: { FRONTEND_URL: "${OLD}" }\n`).replace(
      "sidekiq:\n",
      `sidekiq:\n    environment: ["FRONTEND_URL=${OLD}"]\n`,
    ),
    `FRONTEND_URL=${NEW}\n`,
  ],
  ["quotes make no difference", SERVICES, `FRONTEND_URL="${OLD}"\n`],
  ["what Compose fills in is not judged", SERVICES, "FRONTEND_URL=https://${DOMAIN}\n"],
  ["what Compose takes for a part of the value is one", SERVICES, `FRONTEND_URL=${OLD}/#desk\n`, `${OLD}/#desk`],
  ["a comment behind a value is none of it", SERVICES, `FRONTEND_URL=${OLD} # ours\n`],
  ["of two lines the last counts", SERVICES, `FRONTEND_URL=${NEW}\nFRONTEND_URL=${OLD}\n`],
] as readonly [string, string, string, string?][]) {
  test(`${what}: no container is said to be stale`, async () => {
    assert.deepEqual(told(await inContainers(compose, env, { FRONTEND_URL: has }), "environment-not-in-force"), []);
  });
}
