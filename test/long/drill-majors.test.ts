/**
 * Drills where the server is not of this machine's packages, or not of the point's major: npm's embedded server, and a newer
 * server on which a database is made, where the schema is compared by its objects.
 */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { embeddedPostgres } from "../harness/embedded.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";
import { newerPostgres } from "../harness/newer-postgres.ts";
import { makeCheapToOpen } from "../scenario/cheap-key.ts";
import { type Desk, openDesk } from "../scenario/desk.ts";
import { makeHostile } from "../scenario/hostile-installation.ts";

let desk: Desk;
let newer: TestServer;
let embedded: string;
let plain: string;

before(async () => {
  const { programs } = await newerPostgres(17);
  // For the newer server's pg_dump; that of the point's own major is found where Debian puts it.
  process.env["PATH"] = `${process.env["PATH"] ?? ""}:${programs}`;
  newer = await startPostgres({ programs });
  desk = await openDesk({
    isCheckout: true,
    hasProcesses: true,
    size: { messages: 1_000, conversations: 90, files: 12 },
  });
  embedded = (await embeddedPostgres(15)).folder;
  await makeHostile(desk.installation);
  await makeCheapToOpen(desk);
  plain = readFileSync(desk.config, "utf8");
  await desk.chatkeep(["backup"]);
});

after(async () => {
  await desk[Symbol.asyncDispose]();
  await newer.stop();
});

async function drill(configuration: string, status = 0): Promise<Record<string, unknown>> {
  writeFileSync(desk.config, `${plain}\ndrill: ${configuration}\n`);
  return await desk.summary(["drill"], status);
}

function schemaOf(summary: Record<string, unknown>): string {
  assert.equal(summary["proven"], true, JSON.stringify(summary["checks"], null, 1));
  const checks = summary["checks"] as { name: string; detail: string }[];
  return checks.find(({ name }) => name === "schema")?.detail ?? "";
}

test("a point is proven in npm's embedded server of its major, and its schema's text is equal", async () => {
  const summary = await drill(`{ servers: [embedded], embedded: ${embedded} }`);
  assert.match(String(summary["server"]), /^PostgreSQL 15\.\d+ in .*embedded/);
  assert.match(schemaOf(summary), /^[\d,]+ lines of schema equal$/);
});

test("on a newer server it is proven too, and the proof says that the schema was compared by its objects", async () => {
  const { host, port, user } = newer.address;
  const summary = await drill(
    `{ servers: [database-url], database-url: "postgres://${user}@${host}:${port}/postgres" }`,
  );
  assert.match(
    schemaOf(summary),
    /^\d+ tables, \d+ indexes, .* say the same \(saved with PostgreSQL 15 and pg_dump 15, compared with 17 and 17, so by its objects and not by its text\)$/,
  );
});

test("an embedded server of another major, or without an extension that is needed, is not used", async () => {
  const other = await embeddedPostgres(14);
  writeFileSync(desk.config, `${plain}\ndrill: { servers: [embedded], embedded: ${other.folder} }\n`);
  const { status, stderr } = await desk.chatkeep(["drill"]);
  assert.equal(status, 1, stderr);
  assert.match(stderr, /npm's embedded server: PostgreSQL 14\.\d+ in .* is of another major/);
});

test("with client programs that are newer than the server a point is saved, restored and proven", async () => {
  const { folder, programs } = await embeddedPostgres(16);
  await using between = await openDesk({
    isCheckout: true,
    hasProcesses: true,
    size: { messages: 200, conversations: 20, files: 6 },
    server: { programs },
  });
  await makeCheapToOpen(between);
  const own = readFileSync(between.config, "utf8");
  writeFileSync(between.config, `${own}\ndrill: { servers: [embedded], embedded: ${folder} }\n`);
  await between.summary(["backup"]);
  const { host, port, user } = between.server.address;
  const restored = ["--database-url", `postgres://${user}@${host}:${port}/restored`, "--yes"];
  await between.summary(["restore", "latest", ...restored]);
  const summary = await between.summary(["drill"]);
  assert.match(String(summary["server"]), /^PostgreSQL 16\./);
  assert.match(schemaOf(summary), /lines of schema equal$/);
  const manifest = await between.chatkeep(["dump", "latest", "manifest.json"]);
  assert.equal((JSON.parse(manifest.stdout) as { server: { clientMajor: number } }).server.clientMajor, 17);
});
