import assert from "node:assert/strict";
import { chmod, link, mkdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { readEnvFile } from "../../../src/chatwoot/environment.ts";
import { findInstallation } from "../../../src/installation/find.ts";
import type { EnvironmentSource, Installation } from "../../../src/installation/installation.ts";
import { PointReader } from "../../../src/job/point-reader.ts";
import { listPoints } from "../../../src/job/points.ts";
import { environmentStage, type EnvironmentRecord } from "../../../src/job/stages/environment-stage.ts";
import type { StageContext, StageOptions } from "../../../src/job/stages/stage.ts";
import { temporaryFolder, type TestFolder } from "../../harness/temporary.ts";
import { readFolder } from "../../harness/tree.ts";
import { backUpInto, type MemoryDesk, openMemoryDesk } from "../memory-desk.ts";
import { contextFor, type MemoryRecord, memoryRecord } from "./stage-context.ts";

const signal = new AbortController().signal;

let desk: MemoryDesk;
let reader: PointReader;
/** As it was when the point was taken. */
let saved: string;
let nginx: string;

before(async () => {
  desk = await openMemoryDesk();
  saved = await readFile(desk.demo.envFile, "utf8");
  nginx = desk.folder.at("nginx.conf");
  await writeFile(nginx, "server { listen 443; }\n");
  const installation = { ...desk.installation, configFiles: [...desk.installation.configFiles, nginx] };
  await backUpInto(desk.repository, { ...desk, installation });
  await desk.repository.loadIndex({ signal });
  const [point] = (await listPoints(desk.repository, { signal })).points;
  assert(point);
  reader = new PointReader(desk.repository, point, { signal });
});

after(async () => await desk[Symbol.asyncDispose]());

/** A machine with this environment file, and what is found there. */
async function placeWith(folder: TestFolder, text: string | undefined): Promise<Installation> {
  const root = folder.at("chatwoot");
  await mkdir(`${root}/config`, { recursive: true });
  await writeFile(`${root}/config/app.yml`, "shared: &shared\n  version: '4.15.1'\n");
  if (text !== undefined) await writeFile(`${root}/.env`, text, { mode: 0o640 });
  const { installation } = await findInstallation({ root }, { signal });
  return { ...installation, configFiles: [...installation.configFiles, nginx] };
}

async function contextOf(
  folder: TestFolder,
  installation: Installation,
  options: Partial<StageOptions> = {},
): Promise<StageContext> {
  await mkdir(folder.at("restore"), { recursive: true });
  return await contextFor(reader, installation, { folder: folder.at("restore"), options });
}

const FRESH = `# made by cwctl
SECRET_KEY_BASE=fresh # new
FRONTEND_URL="http://203.0.113.7:3000"
POSTGRES_HOST=localhost
POSTGRES_PASSWORD='here'
REDIS_URL=redis://localhost:6379
SMTP_PASSWORD=
OWN=mine
`;

test("the point's keys and settings are merged into the file, this place's servers stay, and an undo leaves no trace", async () => {
  await using folder = await temporaryFolder();
  const installation = await placeWith(folder, FRESH);
  const context = await contextOf(folder, installation);
  const { lines, blockers, findings, environment } = await environmentStage.plan(context);
  assert.deepEqual(blockers, []);
  assert.deepEqual(
    findings.map(({ kind, level }) => `${level} ${kind}`),
    ["warning address-comes-back"],
  );
  assert.match(lines.join("\n"), /SECRET_KEY_BASE becomes the point's: with another one images/);
  assert.match(lines.join("\n"), /this place's own stay: .*POSTGRES_HOST, POSTGRES_PASSWORD/);
  assert.match(lines.join("\n"), /\.env is changed, and kept as it is now/);
  const secrets = [...readEnvFile(saved).values].filter(([name]) => /SECRET|PASSWORD|KEY/.test(name));
  for (const [name, value] of secrets) {
    if (value !== "") assert.equal(JSON.stringify({ lines, findings, environment }).includes(value), false, name);
  }
  assert.equal(await readFile(folder.at("chatwoot/.env"), "utf8"), FRESH, "a plan changes nothing");
  const record = memoryRecord<EnvironmentRecord>();
  await environmentStage.apply(context, record);
  const text = await readFile(folder.at("chatwoot/.env"), "utf8");
  const now = readEnvFile(text).values;
  const was = readEnvFile(saved).values;
  for (const name of ["SECRET_KEY_BASE", "ACTIVE_RECORD_ENCRYPTION_PRIMARY_KEY", "FRONTEND_URL", "SMTP_PASSWORD"]) {
    assert.equal(now.get(name), was.get(name), name);
    assert.equal(installation.environment.get(name), was.get(name), `${name} for the stages that follow`);
  }
  for (const [name, value] of [
    ["POSTGRES_HOST", "localhost"],
    ["POSTGRES_PASSWORD", "here"],
    ["OWN", "mine"],
  ] as const)
    assert.equal(now.get(name), value);
  assert.match(text, /^# made by cwctl\nSECRET_KEY_BASE=\w+ # new\n/);
  assert.equal((await stat(folder.at("chatwoot/.env"))).mode & 0o777, 0o640);
  await environmentStage.undo(context, record);
  assert.equal(await readFile(folder.at("chatwoot/.env"), "utf8"), FRESH);
  assert.equal((await stat(folder.at("chatwoot/.env"))).mode & 0o777, 0o640);
});

test("where everything is as it was saved there is nothing to do", async () => {
  await using folder = await temporaryFolder();
  const context = await contextOf(folder, await placeWith(folder, saved));
  const { lines, blockers, findings } = await environmentStage.plan(context);
  assert.deepEqual({ lines, blockers, findings }, { lines: [], blockers: [], findings: [] });
});

test("a file that is lost comes back as it was saved, and an undo takes it away again", async () => {
  await using folder = await temporaryFolder();
  const installation = await placeWith(folder, undefined);
  const context = await contextOf(folder, installation);
  const record = memoryRecord<EnvironmentRecord>();
  await environmentStage.apply(context, record);
  assert.equal(await readFile(folder.at("chatwoot/.env"), "utf8"), saved);
  assert.equal((await stat(folder.at("chatwoot/.env"))).mode & 0o777, 0o600);
  await environmentStage.undo(context, record);
  assert.equal((await readFolder(folder.at("chatwoot")))[".env"], undefined);
});

test("elsewhere the address stays, and a clone keeps its keys, and gets ways out that lead nowhere", async () => {
  await using folder = await temporaryFolder();
  const installation = await placeWith(folder, FRESH);
  const elsewhere = await contextOf(folder, installation, { isElsewhere: true });
  const { findings } = await environmentStage.plan(elsewhere);
  assert.ok(findings.some(({ kind }) => kind === "address-stays"));
  const clone = { frontendUrl: "https://staging.acme.example", anonymise: false };
  const context = await contextOf(folder, installation, { clone });
  assert.deepEqual((await environmentStage.plan(context)).blockers, []);
  await environmentStage.apply(context, memoryRecord<EnvironmentRecord>());
  const now = readEnvFile(await readFile(folder.at("chatwoot/.env"), "utf8")).values;
  assert.equal(now.get("FRONTEND_URL"), "https://staging.acme.example");
  assert.equal(now.get("SECRET_KEY_BASE"), "fresh");
  assert.equal(now.has("ACTIVE_RECORD_ENCRYPTION_PRIMARY_KEY"), false);
  assert.deepEqual([now.get("SMTP_PASSWORD"), now.get("SMTP_ADDRESS")], ["", "127.0.0.1"]);
  await writeFile(folder.at("chatwoot/.env"), FRESH);
  const bare = { ...(await contextOf(folder, await placeWith(folder, FRESH), { clone })), saved: undefined };
  await environmentStage.apply(bare, memoryRecord<EnvironmentRecord>());
  const walled = readEnvFile(await readFile(folder.at("chatwoot/.env"), "utf8")).values;
  assert.equal(walled.get("SMTP_ADDRESS"), "127.0.0.1", "also for a point without an environment");
});

test("killed at any moment it goes on, and what an undo puts back is what was there, byte for byte", async () => {
  for (let kill = 1; kill <= 4; kill += 1) {
    await using folder = await temporaryFolder();
    const installation = await placeWith(folder, FRESH);
    await writeFile(folder.at("chatwoot/.env.production"), "SMTP_PASSWORD=of-another-file\n");
    const found = await placeWith(folder, FRESH);
    const before = await readFolder(folder.at("chatwoot"));
    const context = await contextOf(folder, { ...found, environment: new Map(found.environment) });
    const record = memoryRecord<EnvironmentRecord>();
    await killedAt(kill, record, async () => await environmentStage.apply(context, record));
    const resumed = await contextOf(folder, found);
    await environmentStage.apply(resumed, record);
    const values = readEnvFile(saved).values;
    assert.equal(
      await readFile(folder.at("chatwoot/.env.production"), "utf8"),
      `SMTP_PASSWORD=${values.get("SMTP_PASSWORD") ?? ""}\n`,
    );
    assert.equal(installation.envFile, folder.at("chatwoot/.env"));
    const undone = memoryRecord(record.kept);
    await environmentStage.undo(resumed, undone);
    await environmentStage.undo(resumed, undone);
    assert.deepEqual(await readFolder(folder.at("chatwoot")), before, `killed at ${kill}`);
  }
});

/** Ends the work as a kill would, behind the first or second record, or after the first of two files was written. */
async function killedAt(kill: number, record: MemoryRecord<EnvironmentRecord>, work: () => Promise<unknown>) {
  let count = 0;
  record.onKeep = () => {
    count += 1;
    if (count === kill) throw new Error("killed");
  };
  await work().catch((error: Error) => assert.equal(error.message, "killed"));
  record.onKeep = () => {};
  if (kill !== 3) return;
  // The second file is written, and nobody noted it.
  const [, second] = record.kept?.files ?? [];
  assert(record.kept && second?.copy);
  record.kept = { ...record.kept, isWritten: false };
  await writeFile(second.path, "torn");
}

test("a file behind a link keeps the link, and one that is mounted or has two names stays the same file", async () => {
  await using folder = await temporaryFolder();
  await placeWith(folder, FRESH);
  await rm(folder.at("chatwoot/.env"));
  await writeFile(folder.at("shared.env"), FRESH);
  await chmod(folder.at("shared.env"), 0o600);
  await symlink("../shared.env", folder.at("chatwoot/.env"));
  await link(folder.at("shared.env"), folder.at("mounted.env"));
  const { ino } = await stat(folder.at("shared.env"));
  const { installation } = await findInstallation({ root: folder.at("chatwoot") }, { signal });
  const context = await contextOf(folder, installation);
  const record = memoryRecord<EnvironmentRecord>();
  await environmentStage.apply(context, record);
  assert.equal((await stat(folder.at("shared.env"))).ino, ino);
  assert.notEqual(await readFile(folder.at("mounted.env"), "utf8"), FRESH);
  await environmentStage.undo(context, record);
  assert.equal(await readFile(folder.at("mounted.env"), "utf8"), FRESH);
  assert.equal((await stat(folder.at("chatwoot/.env"))).ino, ino);
});

test("what a person wrote into the file since is kept beside when it is put back", async () => {
  await using folder = await temporaryFolder();
  const context = await contextOf(folder, await placeWith(folder, FRESH));
  const record = memoryRecord<EnvironmentRecord>();
  await environmentStage.apply(context, record);
  await writeFile(folder.at("chatwoot/.env"), "A=by hand\n");
  const { lines } = await environmentStage.undo(context, record);
  const [, aside = ""] = /is kept as (.*)$/.exec(lines[0] ?? "") ?? [];
  assert.equal(await readFile(aside, "utf8"), "A=by hand\n");
  assert.equal(await readFile(folder.at("chatwoot/.env"), "utf8"), FRESH);
});

function elsewhereSet(installation: Installation, source: Partial<EnvironmentSource>): Installation {
  const one: EnvironmentSource = { of: "web", files: [], fixed: "all", where: "the Secret chatwoot", ...source };
  return { ...installation, environmentFrom: [one] };
}

test("what is set where Chatkeep does not write stands in the way if the data needs it, and is told otherwise", async () => {
  await using folder = await temporaryFolder();
  const fresh = elsewhereSet(await placeWith(folder, FRESH), {});
  const { blockers } = await environmentStage.plan(await contextOf(folder, fresh));
  assert.deepEqual(
    blockers.map(({ kind }) => kind),
    ["environment-must-match"],
  );
  assert.match(blockers[0]?.message ?? "", /SECRET_KEY_BASE in the Secret chatwoot/);
  const keyed = elsewhereSet(await placeWith(folder, saved.replace(/^SMTP_PASSWORD=.*$/m, "SMTP_PASSWORD=x")), {});
  const context = await contextOf(folder, keyed);
  const plan = await environmentStage.plan(context);
  assert.deepEqual(plan.blockers, []);
  assert.deepEqual(
    plan.findings.map(({ kind, message }) => `${kind}: ${message}`),
    ["environment-set-elsewhere: Chatkeep cannot write SMTP_PASSWORD in the Secret chatwoot: what was saved differs"],
  );
  const { next } = await environmentStage.apply(context, memoryRecord<EnvironmentRecord>());
  const [, path = ""] = /the lines are in (.*)$/.exec(next?.[0] ?? "") ?? [];
  assert.deepEqual(
    readEnvFile(await readFile(path, "utf8")).values,
    new Map([["SMTP_PASSWORD", readEnvFile(saved).values.get("SMTP_PASSWORD")]]),
  );
  assert.equal((await stat(path)).mode & 0o777, 0o600);
});

test("other encryption keys than those that opened the secrets stand in the way, whoever set them", async () => {
  await using folder = await temporaryFolder();
  const installation = await placeWith(folder, FRESH);
  for (const name of ["PRIMARY_KEY", "DETERMINISTIC_KEY", "KEY_DERIVATION_SALT"])
    installation.environment.set(`ACTIVE_RECORD_ENCRYPTION_${name}`, "another");
  const context = await contextFor(reader, installation, { folder: folder.path, hasEnvironment: false });
  const { blockers, findings } = await environmentStage.plan(context);
  assert.deepEqual(
    [...blockers, ...findings].map(({ kind }) => kind),
    ["environment-keys-do-not-open", "point-without-environment"],
  );
  assert.match(blockers[0]?.message ?? "", /channel_\w+\.\w+|users\.\w+/);
  for (const [name, value] of readEnvFile(saved).values) installation.environment.set(name, value);
  assert.deepEqual((await environmentStage.plan(context)).blockers, []);
});

test("containers have to be made again: the restore stops there until they have what their files say", async () => {
  await using folder = await temporaryFolder();
  const found = await placeWith(folder, FRESH);
  const files = [{ path: folder.at("chatwoot/.env"), isMounted: false, isReadAtStart: false }];
  const place = elsewhereSet(found, {
    files,
    fixed: new Set(),
    remake: "docker compose up --no-start rails",
  });
  const running = new Map(place.environment);
  const context = await contextOf(folder, place);
  assert.ok((await environmentStage.plan(context)).findings.some(({ kind }) => kind === "containers-to-make-again"));
  const record = memoryRecord<EnvironmentRecord>();
  const first = await environmentStage.apply(context, record);
  assert.match(first.holds ?? "", /SECRET_KEY_BASE.* Call: docker compose up --no-start rails$/);
  const again = await environmentStage.apply(await contextOf(folder, { ...place, environment: running }), record);
  assert.match(again.holds ?? "", /SECRET_KEY_BASE/, "never with other keys");
  const made = await placeWith(folder, await readFile(folder.at("chatwoot/.env"), "utf8"));
  const done = await environmentStage.apply(
    await contextOf(folder, { ...place, environment: made.environment }),
    record,
  );
  assert.equal(done.holds, undefined);
  // Whoever starts them again sees to what they have then.
  const undone = await environmentStage.undo(context, record);
  assert.deepEqual(undone.next, undefined);
});

test("other files of the configuration stay as they are, and what was saved of those that differ is put beside", async () => {
  await using folder = await temporaryFolder();
  const installation = await placeWith(folder, saved);
  await writeFile(nginx, "server { listen 80; }\n");
  const context = await contextOf(folder, installation);
  const { lines } = await environmentStage.plan(context);
  assert.equal(lines.length, 1);
  assert.ok(lines[0]?.includes(nginx));
  for (let time = 0; time < 2; time += 1) {
    const { next } = await environmentStage.apply(context, memoryRecord<EnvironmentRecord>());
    assert.equal(next?.length, 1);
    assert.equal(await readFile(folder.at("restore/config", nginx), "utf8"), "server { listen 443; }\n");
  }
  assert.equal(await readFile(nginx, "utf8"), "server { listen 80; }\n");
});
