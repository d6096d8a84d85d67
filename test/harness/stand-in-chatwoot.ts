/**
 * What runs in Chatwoot's place, in containers or beside a desk: a web process that answers `/health` and `/api` from the database and Redis and gives uploaded
 * files out, a worker that goes on receiving files and messages, and migrations. It is told apart by its command, as
 * Chatwoot's image is.
 */
import { createHash, createHmac, pbkdf2Sync, randomBytes } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createServer, type ServerResponse } from "node:http";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "pg";

const { env } = process;
const STORAGE = env["STORAGE_ROOT"] ?? "/app/storage";
const PORT = Number(env["PORT"] ?? 3000);
/** Where the files of a service that is no folder are open to everybody. */
const BUCKETS = JSON.parse(env["STAND_IN_BUCKETS"] ?? "{}") as Record<string, string>;

async function openDatabase(): Promise<Client> {
  const client = new Client({
    host: env["POSTGRES_HOST"],
    port: Number(env["POSTGRES_PORT"] ?? 5432),
    user: env["POSTGRES_USERNAME"],
    password: env["POSTGRES_PASSWORD"],
    database: env["POSTGRES_DATABASE"] ?? "chatwoot_production",
    // As Ruby's library has it: the program's own name.
    application_name: process.argv.includes("sidekiq")
      ? "sidekiq 7.3.1 app [0 of 10 busy]"
      : "puma 6.4.3 (tcp://0.0.0.0:3000) [app]",
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

const SIGNING_KEY = pbkdf2Sync(env["SECRET_KEY_BASE"] ?? "", "ActiveStorage", 1_000, 64, "sha256");

function signatureOf(data: string): string {
  return createHmac("sha1", SIGNING_KEY).update(data).digest("hex");
}

/** What a signed id holds; undefined where it is not ours. Active Storage signs what it redirects to likewise. */
function verified(token = ""): unknown {
  const [data = "", signature] = token.split("--");
  if (signature !== signatureOf(data)) return undefined;
  return JSON.parse(Buffer.from(data, "base64").toString()) as unknown;
}

/** The id in a signed id: a Marshal of a small integer, or of one to three bytes. */
function blobIdIn(token: string): number | undefined {
  const said = verified(token) as { _rails: { message: string } } | undefined;
  if (said === undefined) return undefined;
  const bytes = Buffer.from(said._rails.message, "base64");
  const first = bytes.readInt8(3);
  return first > 4 ? first - 5 : bytes.readUIntLE(4, first);
}

async function redirectToFile(signed: string, filename: string, response: ServerResponse): Promise<void> {
  const client = await openDatabase();
  const { rows } = await client.query("select key, service_name as service from active_storage_blobs where id = $1", [
    blobIdIn(signed) ?? 0,
  ]);
  await client.end();
  const [blob] = rows as { key: string; service: string }[];
  if (blob === undefined) return void response.writeHead(404).end();
  const bucket = BUCKETS[blob.service];
  if (bucket !== undefined) return void response.writeHead(302, { location: `${bucket}/${blob.key}` }).end();
  const data = Buffer.from(JSON.stringify({ key: blob.key })).toString("base64");
  const location = `${env["FRONTEND_URL"]}/rails/active_storage/disk/${encodeURIComponent(`${data}--${signatureOf(data)}`)}/${filename}`;
  return void response.writeHead(302, { location }).end();
}

async function giveFile(token: string, response: ServerResponse): Promise<void> {
  const { key } = verified(token) as { key: string };
  const bytes = await readFile(`${STORAGE}/${key.slice(0, 2)}/${key.slice(2, 4)}/${key}`);
  response.writeHead(200, { "content-type": "application/octet-stream" }).end(bytes);
}

/** True where the path is one of Active Storage's. */
async function answerFile(path: string, response: ServerResponse): Promise<boolean> {
  const [, rails, storage, kind, ...rest] = path.split("/").map(decodeURIComponent);
  if (rails !== "rails" || storage !== "active_storage") return false;
  try {
    if (kind === "disk") await giveFile(rest[0] ?? "", response);
    else await redirectToFile(rest[1] ?? "", encodeURIComponent(rest[2] ?? ""), response);
  } catch {
    response.writeHead(500).end();
  }
  return true;
}

function serveWeb(): void {
  // The first process of a container has no way of its own to end on a signal.
  process.on("SIGTERM", () => process.exit(0));
  createServer((request, response) => {
    void (async () => {
      if (await answerFile(request.url ?? "", response)) return;
      const [queue, data] = request.url === "/api" ? await Promise.all([askRedis(), askDatabase()]) : [true, true];
      const api = {
        version: env["STAND_IN_VERSION"] ?? "4.15.1",
        queue_services: word(queue),
        data_services: word(data),
      };
      const answers: Record<string, unknown> = { "/health": { status: "woot" }, "/api": api };
      const answer = answers[request.url ?? ""];
      response.writeHead(answer === undefined ? 404 : 200, { "content-type": "application/json" });
      response.end(JSON.stringify(answer ?? {}));
    })();
  }).listen(PORT, env["STAND_IN_HOST"] ?? "0.0.0.0");
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
  const folder = `${STORAGE}/${key.slice(0, 2)}/${key.slice(2, 4)}`;
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

/** As `rails db:chatwoot_prepare` on a database that lacks one migration. */
async function migrate(): Promise<void> {
  const client = await openDatabase();
  console.log(`statements may take ${env["POSTGRES_STATEMENT_TIMEOUT"]}`);
  await client.query("insert into schema_migrations (version) values ('20991231235959') on conflict do nothing");
  await client.end();
}

if (process.argv.includes("sidekiq")) await work();
else if (process.argv.includes("db:chatwoot_prepare")) await migrate();
else serveWeb();
