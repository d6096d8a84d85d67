/**
 * A drill in a container of the database's own image, where this machine has no server of that major: a real Docker
 * Engine, an image as the official one is, and real vector columns.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { isFailure } from "../../src/base/errors.ts";
import { findScratchServer } from "../../src/postgres/scratch.ts";
import { ownMark } from "../../src/system/leftovers.ts";
import { type Docker, makeDatabaseImage, startDocker } from "../harness/docker.ts";
import { debianFolder, newerPostgres } from "../harness/newer-postgres.ts";
import { makeCheapToOpen } from "../scenario/cheap-key.ts";
import { type Desk, openDesk } from "../scenario/desk.ts";
import { onDatabase } from "../scenario/hostile-installation.ts";

const IMAGE = "pgvector/pgvector:pg17";
const VECTORS = `
create table vectors (id bigserial primary key, v vector(3), half halfvec(2), sparse sparsevec(1000));
insert into vectors (v, half, sparse) select array[i, -i, 1.0 / i]::vector(3), '[0.1,-0]', '{1:1e-45,1000:-3}/1000' from generate_series(1, 500) i;
create index on vectors using hnsw (v vector_l2_ops);`;

let engine: Docker;
let desk: Desk;
let plain: string;
const signal = new AbortController().signal;
const ADDRESS = { host: "localhost", port: 5999, user: "chatwoot", database: "chatwoot" };
const needs = { kinds: ["container"], major: 17, extensions: ["vector"], signal } as const;

before(async () => {
  const { programs, major } = await newerPostgres(17);
  // For pg_dump and pg_restore: the machine needs the client programs of the major, and no server.
  process.env["PATH"] = `${programs}:${process.env["PATH"] ?? ""}`;
  engine = await startDocker();
  process.env["DOCKER_HOST"] = engine.host;
  await makeDatabaseImage(engine, { folder: debianFolder(17), major, name: IMAGE });
  desk = await openDesk({
    isCheckout: true,
    hasProcesses: true,
    size: { messages: 2_000, conversations: 150, files: 30 },
    server: { programs },
  });
  await onDatabase(desk.installation, async (client) => await client.query(VECTORS));
  await makeCheapToOpen(desk);
  plain = readFileSync(desk.config, "utf8");
  writeFileSync(desk.config, `${plain}\ndrill: { servers: [container], image: "${IMAGE}" }\n`);
  await desk.summary(["backup"]);
});

after(async () => {
  await desk[Symbol.asyncDispose]();
  await engine[Symbol.asyncDispose]();
});

async function containers(): Promise<string[]> {
  const { stdout } = await engine.docker(["ps", "--all", "--quiet", "--no-trunc"]);
  return stdout.split("\n").filter(Boolean);
}

test("a point with real vectors is proven in a container, and nothing of it stays", async () => {
  const summary = await desk.summary(["drill"]);
  assert.equal(summary["proven"], true, JSON.stringify(summary["checks"]));
  assert.match(
    String(summary["server"]),
    /^PostgreSQL 17\.\d+ in a container of pgvector\/pgvector:pg17 \(sha256:[0-9a-f]{12}\)$/,
  );
  assert.deepEqual(await containers(), []);
  const { stdout } = await engine.docker(["volume", "ls", "--quiet"]);
  assert.equal(stdout, "");
});

test("doctor says that a container would be drilled in", async () => {
  const { stdout } = await desk.chatkeep(["doctor"]);
  assert.match(stdout, /scratch server for drills\s+PostgreSQL 17/);
  assert.match(stdout, /in a container of pgvector\/pgvector:pg17/);
});

test("what does not fit is told: an image that is not here, another major, an extension that it lacks", async () => {
  for (const [options, why] of [
    [{ ...needs, image: "postgres:16" }, /'postgres:16' is not on this machine\. Fetch it: docker pull postgres:16/],
    [{ ...needs, image: IMAGE, major: 16 }, /is of another major/],
    [{ ...needs, image: IMAGE, extensions: ["vector", "postgis"] }, /lacks the extension postgis/],
    [needs, /no container of this machine is known to be Chatwoot's database/],
  ] as const) {
    await assert.rejects(
      findScratchServer(options),
      (error) => isFailure(error, "program/missing") && why.test(error.hint ?? ""),
    );
  }
});

test("without an image that is named, that of the container which answers at the database's address is taken", async () => {
  const server = ["--env", "POSTGRES_HOST_AUTH_METHOD=trust", "--publish", "127.0.0.1:5999:5432"];
  const { stdout } = await engine.docker(["run", "--detach", ...server, IMAGE]);
  try {
    assert.match(
      await findScratchServer({ ...needs, installation: async () => ADDRESS }),
      /in a container of pgvector\/pgvector:pg17 \(sha256:/,
    );
  } finally {
    await engine.docker(["rm", "--force", "--volumes", stdout.trim()]);
  }
});

test("a container does not outlive a drill that is killed, and one that does is removed by the next", async () => {
  const script = `
    import { openScratchServer } from ${JSON.stringify(resolve(import.meta.dirname, "../../src/postgres/scratch.ts"))};
    const needs = { kinds: ["container"], image: "${IMAGE}", major: 17, extensions: [] };
    const server = await openScratchServer({ ...needs, signal: new AbortController().signal });
    console.log(server.address.host);
    setInterval(() => {}, 1000);`;
  const owner = spawn(process.execPath, ["--input-type=module", "--eval", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let socket = "";
  for await (const text of owner.stdout) {
    socket = String(text).trim();
    break;
  }
  assert(existsSync(socket), "the server is there");
  assert.equal((await containers()).length, 1);
  owner.kill("SIGKILL");
  while ((await containers()).length > 0) await sleep(100);
  assert(!existsSync(dirname(socket)) || !existsSync(socket), "its data is gone");
  const dead = ownMark().replace(/\d+$/, String(owner.pid));
  const anotherMachines = "0f0f0f.0f0f0f.0f0f0f.1";
  for (const mark of [dead, anotherMachines]) {
    const label = ["--label", `chatkeep.owner=${mark}`, "--name", mark];
    await engine.docker(["run", "--detach", ...label, "--entrypoint", "sleep", IMAGE, "600"]);
  }
  assert.equal((await containers()).length, 2);
  await desk.summary(["drill"]);
  // Another machine's may be in use: nobody can tell from here.
  const { stdout } = await engine.docker(["ps", "--all", "--format", "{{.Names}}"]);
  assert.equal(stdout, `${anotherMachines}\n`);
  await engine.docker(["rm", "--force", anotherMachines]);
});
