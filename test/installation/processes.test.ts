/** How Chatwoot's processes are stopped and started, and whether they are well: what each kind says, and that it does so. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { findInstallation } from "../../src/installation/find.ts";
import { checkHealth, describeStep, runStep } from "../../src/installation/processes.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { write } from "./checkout.ts";

const { signal } = new AbortController();

/** What a web process answers: status and body by path. */
let answers: Record<string, { status: number; body: unknown }> = {};
let url = "";
const server = createServer((request, response) => {
  const { status, body } = answers[request.url ?? ""] ?? { status: 404, body: {} };
  response.writeHead(status).end(JSON.stringify(body));
});

before(async () => {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

after(() => {
  server.closeAllConnections();
  server.close();
});

const WELL = {
  "/health": { status: 200, body: { status: "woot" } },
  "/api": { status: 200, body: { version: "4.15.1", queue_services: "ok", data_services: "ok" } },
};

test("a web process is well when /health and /api say so, and its version is told", async () => {
  answers = WELL;
  assert.deepEqual(await checkHealth({ how: "http", url: `${url}/` }, { signal }), {
    isWell: true,
    detail: url,
    version: "4.15.1",
  });
});

test("a web process with FORCE_SSL, which sends whoever does not come by https away, is well", async () => {
  const strict = createServer((request, response) => {
    const isSecure = request.headers["x-forwarded-proto"] === "https";
    const { status, body } = WELL[request.url as keyof typeof WELL];
    if (isSecure) response.writeHead(status).end(JSON.stringify(body));
    else response.writeHead(301, { location: `https://${request.headers.host}${request.url}` }).end();
  }).listen(0, "127.0.0.1");
  await once(strict, "listening");
  const { port } = strict.address() as AddressInfo;
  const health = await checkHealth({ how: "http", url: `http://127.0.0.1:${port}` }, { signal });
  strict.closeAllConnections();
  strict.close();
  assert.deepEqual(health, { isWell: true, detail: `http://127.0.0.1:${port}`, version: "4.15.1" });
});

test("what is not well says what: a status, the database, Redis, another program, nobody", async () => {
  const detailOf = async (given: typeof answers) => {
    answers = given;
    const { isWell, detail } = await checkHealth({ how: "http", url }, { signal });
    assert.equal(isWell, false);
    return detail;
  };
  const failing = { status: 200, body: { version: "4.15.1", queue_services: "failing", data_services: "failing" } };
  assert.match(await detailOf({ "/health": { status: 503, body: {} } }), /\/health answers with status 503$/);
  assert.match(await detailOf({ ...WELL, "/api": { status: 500, body: {} } }), /\/api answers with status 500$/);
  assert.match(await detailOf({ ...WELL, "/api": failing }), /cannot reach the database and Redis$/);
  assert.match(await detailOf({ ...WELL, "/api": { status: 200, body: null } }), /is no Chatwoot's$/);
  const gone = createServer().listen(0, "127.0.0.1");
  await once(gone, "listening");
  const { port } = gone.address() as AddressInfo;
  await new Promise((resolve) => gone.close(resolve));
  const nobody = await checkHealth({ how: "http", url: `http://127.0.0.1:${port}` }, { signal });
  assert.match(nobody.detail, /^http:\/\/127\.0\.0\.1:\d+ does not answer: .*ECONNREFUSED/);
});

test("the configuration's commands are run as they stand, and what fails says what it said", async () => {
  await using folder = await temporaryFolder();
  await write(folder.path, ".env", "RAILS_ENV=production\n");
  await chmod(folder.at(".env"), 0o600);
  const { installation } = await findInstallation(
    {
      kind: "manual",
      root: folder.path,
      stop: { web: `touch '${folder.at("web stopped")}'`, worker: "echo no such unit >&2; exit 5" },
      start: { web: "true" },
      health: "exit 1",
    },
    { signal },
  );
  const { web, worker, health } = installation.processes;
  for (const step of web?.stop ?? []) await runStep(step, { signal });
  assert.ok(existsSync(folder.at("web stopped")));
  assert.deepEqual(worker?.start, []);
  const [failing] = worker?.stop ?? [];
  assert(failing !== undefined && health !== undefined);
  await assert.rejects(
    runStep(failing, { signal }),
    (error) => isFailure(error, "program/failed") && /no such unit/.test(error.hint ?? ""),
  );
  assert.match((await checkHealth(health, { signal })).detail, /the command 'health' of the configuration failed/);
  assert.equal((await checkHealth({ how: "shell", command: "true" }, { signal })).isWell, true);
});

test("an address as 'health' is asked, and counts more than what was found", async () => {
  const settings = { kind: "manual", databaseUrl: "postgres://u@h/d", health: "https://chat.example.com" } as const;
  const { processes } = (await findInstallation(settings, { signal })).installation;
  assert.deepEqual(processes.health, { how: "http", url: "https://chat.example.com" });
});

function systemctl(folder: string, action: string, ...units: string[]) {
  return units.map((unit) => ({ how: "unit", unit, action, folder }));
}

test("on a Linux machine web and worker are the units of their names, each by itself", async () => {
  await using machine = await temporaryFolder();
  const app = "home/chatwoot/chatwoot";
  await write(machine.path, `${app}/.env`, "RAILS_ENV=production\n");
  await mkdir(machine.at("etc/systemd/system"), { recursive: true });
  const unit = "[Service]\nWorkingDirectory=/home/chatwoot/chatwoot\nEnvironment=PORT=3100\n";
  for (const name of ["chatwoot-web.1", "chatwoot-worker.1", "chatwoot-worker.2"])
    await writeFile(machine.at(`etc/systemd/system/${name}.service`), unit);
  const options = { signal, filesystemRoot: machine.path };
  const { web, worker, health } = (await findInstallation({ kind: "linux-vm" }, options)).installation.processes;
  assert.deepEqual(web?.stop, systemctl(machine.at("etc/systemd/system"), "stop", "chatwoot-web.1.service"));
  assert.deepEqual(
    worker?.start,
    systemctl(machine.at("etc/systemd/system"), "start", "chatwoot-worker.1.service", "chatwoot-worker.2.service"),
  );
  assert.deepEqual(health, { how: "http", url: "http://127.0.0.1:3100" });
});

test("a person's own command is told by its name in the configuration, for it may hold a secret", () => {
  const step = {
    how: "shell",
    name: "stop.web",
    command: "curl -u admin:canary-of-a-command https://host/stop",
  } as const;
  assert.equal(describeStep(step), "command 'stop.web' of the configuration");
  assert.equal(describeStep({ how: "unit", unit: "desk.service", action: "stop" }), "desk.service");
});
