/**
 * What runs in Chatwoot's place, in containers or beside a desk: a web process that answers `/health` and `/api` from the database and Redis, and
 * a worker that goes on receiving files and messages. It is told apart by its command, as Chatwoot's image is.
 */
import { createHash, randomBytes } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "pg";

const { env } = process;

async function openDatabase(): Promise<Client> {
  const client = new Client({
    host: env["POSTGRES_HOST"],
    port: Number(env["POSTGRES_PORT"] ?? 5432),
    user: env["POSTGRES_USERNAME"],
    password: env["POSTGRES_PASSWORD"],
    database: env["POSTGRES_DATABASE"] ?? "chatwoot_production",
  });
  await client.connect();
  return client;
}

/** True when Redis takes the password and answers. */
async function askRedis(): Promise<boolean> {
  const url = new URL(env["REDIS_URL"] ?? "redis://redis:6379");
  const socket = connect(Number(url.port || 6379), url.hostname);
  try {
    socket.write(`AUTH ${env["REDIS_PASSWORD"]}\r\nPING\r\n`);
    for await (const said of socket) if (String(said).includes("+PONG")) return true;
    return false;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

async function askDatabase(): Promise<boolean> {
  try {
    const client = await openDatabase();
    await client.query("select count(*) from accounts");
    await client.end();
    return true;
  } catch {
    return false;
  }
}

function word(isWell: boolean): string {
  return isWell ? "ok" : "failing";
}

function serveWeb(): void {
  createServer((request, response) => {
    void (async () => {
      const [queue, data] = request.url === "/api" ? await Promise.all([askRedis(), askDatabase()]) : [true, true];
      const api = { version: "4.15.1", queue_services: word(queue), data_services: word(data) };
      const answers: Record<string, unknown> = { "/health": { status: "woot" }, "/api": api };
      const answer = answers[request.url ?? ""];
      response.writeHead(answer === undefined ? 404 : 200, { "content-type": "application/json" });
      response.end(JSON.stringify(answer ?? {}));
    })();
  }).listen(Number(env["PORT"] ?? 3000), env["STAND_IN_HOST"] ?? "0.0.0.0");
}

/** A file as Active Storage takes it: first the row, then the bytes. */
async function receiveFile(client: Client): Promise<void> {
  const bytes = randomBytes(2_000);
  const key = randomBytes(14).toString("hex");
  await client.query(
    `insert into active_storage_blobs (key, filename, content_type, metadata, service_name, byte_size, checksum, created_at)
     values ($1, $2, 'application/octet-stream', '{}', 'local', $3, $4, now() at time zone 'UTC')`,
    [key, `${key}.bin`, bytes.length, createHash("md5").update(bytes).digest("base64")],
  );
  const folder = `/app/storage/${key.slice(0, 2)}/${key.slice(2, 4)}`;
  await mkdir(folder, { recursive: true });
  await writeFile(`${folder}/${key}`, bytes);
}

async function work(): Promise<void> {
  const client = await openDatabase();
  const ending = new AbortController();
  process.on("SIGTERM", () => ending.abort());
  // As Sidekiq does: what was begun is finished.
  // One that only stays connected, where what it wrote would be in the way of a comparison.
  if (env["STAND_IN_IS_IDLE"] !== undefined) {
    while (!ending.signal.aborted) await sleep(1_000, undefined, { signal: ending.signal }).catch(() => {});
  }
  while (!ending.signal.aborted) {
    await receiveFile(client);
    await client.query(
      "update messages set updated_at = now() at time zone 'UTC' where id = (select max(id) from messages)",
    );
    await client.query("update conversations set updated_at = now() at time zone 'UTC' where id % 7 = 3");
    await sleep(50);
  }
  await client.end();
}

if (process.argv.includes("sidekiq")) await work();
else serveWeb();
