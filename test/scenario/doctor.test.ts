/** `doctor` on a desk that is well, on one that is known not to be, and on one of which half is gone. */
import assert from "node:assert/strict";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { parse, stringify } from "yaml";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import type { Finding } from "../../src/base/findings.ts";
import { askDatabase } from "../../src/job/doctor-database.ts";
import { emptyReport } from "../../src/job/doctor-report.ts";
import type { Installation } from "../../src/installation/installation.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { type Desk, openDesk } from "./desk.ts";

let desk: Desk;

before(async () => {
  desk = await openDesk({ size: { messages: 60, conversations: 10, files: 6 } });
  await makeCheapToOpen(desk);
  await desk.summary(["backup"]);
});

after(async () => await desk[Symbol.asyncDispose]());

async function findingsOf(status: number): Promise<Finding[]> {
  return (await desk.summary(["doctor"], status))["findings"] as Finding[];
}

function loud(findings: readonly Finding[]): string[] {
  return findings.filter(({ level }) => level !== "note").map(({ kind, level }) => `${level} ${kind}`);
}

const USUAL = ["same-disk", "kit-not-kept", "never-proven"];

test("what a desk is not to blame for is acknowledged once, and rings again when it is another", async () => {
  const shown = await desk.chatkeep(["doctor"]);
  assert.match(shown.stdout, /becomes a note with 'chatkeep ack KIND': same-disk, kit-not-kept, never-proven\n/);
  assert.equal(shown.status, 3);
  for (const kind of USUAL) {
    const { stdout } = await desk.chatkeep(["ack", kind, "--reason", "a test"]);
    assert.match(stdout, new RegExp(`^'${kind}' is acknowledged`));
  }
  const quiet = await findingsOf(0);
  assert.deepEqual(loud(quiet), []);
  const known = quiet.filter(({ message }) => message.endsWith("(acknowledged)")).map(({ kind }) => kind);
  assert.deepEqual(known, USUAL);
  // Another key is on no paper yet.
  await makeCheapToOpen(desk);
  assert.deepEqual(loud(await findingsOf(3)), ["warning kit-not-kept"]);
});

test("an upgrade that did not end is a warning, and files that were lost say since when", async () => {
  const database = "chatwoot_production";
  const last = "(select max(version) from schema_migrations)";
  const [taken] = await desk.server.query(`select ${last} as version`, database);
  await desk.server.query(`delete from schema_migrations where version = ${last}`, database);
  await desk.server.query(
    `insert into active_storage_blobs (key, filename, content_type, metadata, byte_size, checksum, created_at, service_name)
     values ('neverwasthere000000000000001', 'gone.pdf', 'application/pdf', null, 9, null, now() - interval '1 day', 'local')`,
    database,
  );
  const storage = desk.installation.storageRoot;
  await rename(storage, `${storage}.away`);
  await mkdir(storage);
  try {
    await desk.summary(["backup", "--full"], 3);
    const found = await findingsOf(3);
    const pending = found.find(({ kind }) => kind === "migrations-pending");
    assert.match(pending?.message ?? "", /^the database lacks 1 migration that Chatwoot 4\.15\.1 has/);
    // Of the others an earlier, right copy was kept: the sample says that they are not there now.
    const [lost] = found.filter(({ kind }) => kind === "files-lost");
    assert.equal(lost?.level, "alarm");
    assert.match(
      lost?.message ?? "",
      /lacks 1 uploaded file of storage 'local', .*: since \d{4}-\d\d-\d\d, 1 of them new/,
    );
    assert.ok(found.some(({ kind }) => kind === "storage-files-lost"));
  } finally {
    await rm(storage, { recursive: true });
    await rename(`${storage}.away`, storage);
    await desk.server.query(`insert into schema_migrations values ('${String(taken?.["version"])}')`, database);
  }
});

test("a file that the newest point tells to be lost is no alarm for ever; one that is lost since is", async () => {
  const database = "chatwoot_production";
  try {
    // The first point that says so was made when every file was away; this one knew it.
    await desk.summary(["backup"]);
    const known = await findingsOf(3);
    assert.ok(known.some(({ kind, level }) => kind === "files-lost" && level === "note"));
    assert.ok(!known.some(({ kind }) => kind === "storage-files-lost"));
    await desk.server.query(
      `insert into active_storage_blobs (key, filename, content_type, metadata, byte_size, checksum, created_at, service_name)
       values ('neverwasthere000000000000002', 'later.pdf', 'application/pdf', null, 9, null, now() - interval '1 day', 'local')`,
      database,
    );
    const lost = (await findingsOf(3)).find(({ kind }) => kind === "storage-files-lost");
    assert.match(lost?.message ?? "", /that were looked at, 1 is not there or not whole: later\.pdf \(blob \d+\)$/);
  } finally {
    await desk.server.query("delete from active_storage_blobs where filename in ('gone.pdf', 'later.pdf')", database);
  }
});

async function clocksToldBy(clock: Clock): Promise<string[]> {
  const report = emptyReport();
  const installation = { kind: "manual", environment: new Map(), version: "4.15.1" } as unknown as Installation;
  const { signal } = new AbortController();
  await askDatabase({ clock, signal }, report, installation, desk.installation.database);
  return report.findings.filter(({ kind }) => kind === "clock-differs").map(({ message }) => message);
}

test("a clock that differs from the database's server is told", async () => {
  const ahead: Clock = { ...systemClock, now: () => systemClock.now() + 10 * 60_000 };
  assert.deepEqual(await clocksToldBy(systemClock), []);
  assert.match(
    (await clocksToldBy(ahead)).join("\n"),
    /^this machine's clock is \d+ min \d+ s ahead of that of the database's server$/,
  );
});

test("with the database down, one repository gone and another refused, all the rest is still told, the worst first", async () => {
  const text = await readFile(desk.config, "utf8");
  const config = parse(text) as { repositories: object[] };
  const [primary] = config.repositories;
  const password = { "password-file": join(desk.root, "none.password") };
  await writeFile(
    desk.config,
    stringify({
      ...config,
      schedule: { backup: "61 2 * * *" },
      repositories: [
        { name: "gone", location: join(desk.root, "nowhere"), "password-file": desk.passwordFile },
        primary,
        { name: "unread", location: join(desk.root, "elsewhere"), ...password },
      ],
    }),
    { mode: 0o600 },
  );
  const address = `${desk.server.address.host}:${desk.server.address.port}`;
  await desk.server.stop();
  const found = await findingsOf(3);
  const rank = found.map(({ level }) => ["alarm", "warning", "note"].indexOf(level));
  assert.deepEqual(
    rank,
    rank.toSorted((a, b) => a - b),
  );
  const kinds = found.map(({ kind }) => kind);
  for (const kind of ["database-unreachable", "repo-missing", "config-invalid", "schedule-invalid"])
    assert.ok(kinds.includes(kind), `${kind} is not among ${kinds.join(", ")}`);
  assert.ok(found.some(({ message }) => message.includes(address)));
  // The one that is well was looked at all the same.
  assert.ok(kinds.includes("never-proven") || kinds.includes("kit-not-kept"));
});
