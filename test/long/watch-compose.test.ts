/**
 * Continuous protection of Chatwoot's Compose file on a real engine, whose PostgreSQL lets replication in from 127.0.0.1 of its own
 * container alone, as its official image does: by root on the machine, and as a service in the database's network.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { appendFile, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { WatchStatus } from "../../src/job/watch-book.ts";
import { parseLsn } from "../../src/wal/lsn.ts";
import { CHATKEEP } from "../harness/cli.ts";
import { addNode, makeImage } from "../harness/docker.ts";
import { debianFolder } from "../harness/newer-postgres.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { type ComposeDesk, openComposeDesk, PROJECT } from "./compose-desk.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const DATABASE = `${PROJECT}-postgres-1`;

let desk: ComposeDesk;
let config: string;

before(async () => {
  desk = await openComposeDesk();
  config = desk.folder.at("chatkeep.yaml");
  await desk.summary(["init", "--yes", "--name", "desk", "--location", desk.folder.at("repository")]);
  await appendFile(config, `\nstate-dir: ${desk.folder.at("state")}\nwatch: { flush-every: 1s, mode: stream }\n`);
  await sql(`alter role "${desk.seeded.database.user}" replication`);
});

after(async () => await desk?.[Symbol.asyncDispose]());

async function sql(statement: string, database = "postgres"): Promise<string> {
  const args = ["exec", "-T", "postgres", "psql", "--username=postgres", "--no-align", "--tuples-only"];
  const asked = [...args, "--dbname", database, "--command", statement];
  return (await desk.engine.compose(desk.site, asked)).stdout.trim();
}

/** Rows that only this test makes, and how far the server was then. */
async function commitRows(name: string, count: number): Promise<string> {
  await sql(`create table if not exists noted (name text, n int)`, "chatwoot_production");
  await sql(`insert into noted select '${name}', n from generate_series(1, ${count}) n`, "chatwoot_production");
  return await sql("select pg_current_wal_flush_lsn()");
}

async function statusNow(folder: string): Promise<WatchStatus | undefined> {
  for (const id of await readdir(folder).catch(() => [])) {
    const text = await readFile(join(folder, id, "watch.json"), "utf8").catch(() => "");
    if (text !== "") return JSON.parse(text) as WatchStatus;
  }
  return undefined;
}

/** Until everything up to a position is in the repository. */
async function untilDurable(
  { folder, since, said }: { folder: string; since: string; said: () => string },
  position: string,
): Promise<WatchStatus> {
  for (let look = 0; look < 2_400; look += 1) {
    const status = await statusNow(folder);
    const log = status?.log ?? undefined;
    const isNew = status !== undefined && status.since > since;
    if (isNew && log !== undefined && parseLsn(log.durable) >= parseLsn(position)) return status;
    await sleep(250);
  }
  return assert.fail(`nothing came: ${JSON.stringify(await statusNow(folder))}\n${said()}`);
}

/** Until the first base and the first restore point are there. */
async function untilBase({ folder, said }: { folder: string; said: () => string }): Promise<void> {
  for (let look = 0; look < 2_400; look += 1) {
    const status = await statusNow(folder);
    const points = (await desk.summary(["list"]))["points"] as unknown[] | undefined;
    if (status?.base && (points?.length ?? 0) > 0) return;
    await sleep(1_000);
  }
  assert.fail(`no base came: ${said()}`);
}

function startWatch(): { child: ChildProcess; said: () => string } {
  const [program = "", ...within] = desk.engine.within;
  const args = [...within, process.execPath, CHATKEEP, "--config", config, "watch"];
  const child = spawn(program, args, { env: desk.env, stdio: ["ignore", "pipe", "pipe"] });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (part: Buffer) => (text += part.toString()));
  return { child, said: () => text };
}

async function end(child: ChildProcess): Promise<number | null> {
  const ended = once(child, "exit");
  child.kill("SIGINT");
  await ended;
  return child.exitCode;
}

/** What a moment has of the rows, by the recovered database's own count. */
async function rowsAt(point: string): Promise<number | undefined> {
  const { status, stdout, stderr } = await desk.chatkeep(["dump", point, "manifest.json"]);
  assert.equal(status, 0, stderr);
  const manifest = JSON.parse(stdout) as { tables: { name: string; rows: number }[] };
  return manifest.tables.find(({ name }) => name === "noted")?.rows;
}

const said = () => "see the service's log";

test("on the machine, root follows the log through the network of the database's container, and a moment comes back", async () => {
  const rules = await sql(
    "select string_agg(type || ' ' || database::text || ' ' || coalesce(address, ''), '; ') from pg_hba_file_rules",
  );
  assert.match(rules, /host \{replication\} 127\.0\.0\.1/);
  const { child, said: told } = startWatch();
  const own = { folder: desk.folder.at("state"), since: "", said: told };
  await untilBase(own);
  let position = await commitRows("host", 1_000);
  const status = await untilDurable(own, position);
  assert.deepEqual([status.mode, status.why], ["stream", null], told());
  const [from] = (
    await sql("select client_addr from pg_stat_replication where application_name like 'chatkeep%'")
  ).split("\n");
  assert.equal(from, "127.0.0.1");
  // As after a change of the Compose file: another container, network and process, and maybe another address.
  await desk.engine.compose(desk.site, ["up", "--detach", "--force-recreate", "--no-deps", "postgres"]);
  await desk.databaseReady();
  position = await commitRows("host", 500);
  await untilDurable(own, position);
  assert.equal(await end(child), 130, told());
  assert.equal(await rowsAt(`lsn:${position}`), 1_500);
});

test("a machine without the server's programs recovers in a container of its image", async () => {
  const since = (await statusNow(desk.folder.at("state")))?.since ?? "";
  const { child, said: told } = startWatch();
  const position = await commitRows("bare", 10);
  await untilDurable({ folder: desk.folder.at("state"), since, said: told }, position);
  assert.equal(await end(child), 130, told());
  const result = await desk.chatkeep(["dump", `lsn:${position}`, "manifest.json"], { isBare: true });
  assert.equal(result.status, 0, result.stderr);
  assert.match(result.stdout, /"noted"/);
});

test("the printed service follows the log in the network of the database's service", async () => {
  const printed = (await desk.chatkeep(["watch", "--print", "compose", "--image", "chatkeep:here"])).stdout;
  assert.match(printed, /^ {4}network_mode: service:postgres$/m);
  await using extra = await temporaryFolder();
  await addNode(extra);
  const changes = [
    `ENTRYPOINT ["/usr/local/bin/node", "${join(ROOT, "bin/chatkeep.js")}"]`,
    "ENV LD_LIBRARY_PATH=/usr/local/lib",
  ];
  await makeImage(desk.engine, { name: "chatkeep:here", folder: debianFolder(17), extra: extra.path, changes });
  assert.match(printed, /^# .* must be there when the service starts: install -d -m 700 .*state'?$/m);
  await mkdir(desk.folder.at("state"), { recursive: true });
  await writeFile(join(desk.site, "watch.yaml"), printed);
  // The code that is tested, the libraries that it uses, and Chatwoot's own volume, which a person mounts as the text says.
  const more = `
services:
  chatkeep-watch:
    pull_policy: never
    environment: { DOCKER_HOST: "" }
    volumes:
      - { type: bind, source: ${ROOT}, target: ${ROOT}, read_only: true }
      - "storage_data:/app/storage:ro"
`;
  await writeFile(join(desk.site, "more.yaml"), more);
  const files = ["-f", "docker-compose.yaml", "-f", "watch.yaml", "-f", "more.yaml"];
  const since = new Date().toISOString();
  await desk.engine.compose(desk.site, [...files, "up", "--detach", "chatkeep-watch"]);
  const state = await desk.volume("chatkeep-state");
  await untilBase({ folder: state, said });
  const position = await commitRows("service", 250);
  try {
    const status = await untilDurable({ folder: state, since, said }, position);
    assert.deepEqual([status.mode, status.why], ["stream", null]);
  } catch (cause) {
    const { stdout } = await desk.engine.compose(desk.site, [...files, "logs", "chatkeep-watch"]);
    throw new Error(stdout, { cause });
  }
  // Its network goes with the container; it ends by itself, and is started into the new one.
  await desk.engine.docker(["restart", DATABASE]);
  await desk.databaseReady();
  const further = await commitRows("service", 250);
  try {
    await untilDurable({ folder: state, since, said }, further);
  } catch (cause) {
    const { stdout } = await desk.engine.compose(desk.site, [...files, "logs", "chatkeep-watch"]);
    throw new Error(stdout, { cause });
  }
  await desk.engine.compose(desk.site, [...files, "stop", "chatkeep-watch"]);
  const there = Number(await sql("select count(*) from noted", "chatwoot_production"));
  assert.equal(await rowsAt(`lsn:${further}`), there);
});
