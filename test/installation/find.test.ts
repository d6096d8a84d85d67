import assert from "node:assert/strict";
import { chmod, mkdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { type ErrorCode, isFailure } from "../../src/base/errors.ts";
import { findInstallation, type InstallationSettings } from "../../src/installation/find.ts";
import { isAckable } from "../../src/job/quiet.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { commit, git, write } from "./checkout.ts";

const signal = new AbortController().signal;

const ENV = `SECRET_KEY_BASE=0123456789abcdef0123456789abcdef
FRONTEND_URL=https://chat.example.com
RAILS_ENV=production
POSTGRES_HOST=localhost
POSTGRES_USERNAME=chatwoot
POSTGRES_PASSWORD='very$secret'
ACTIVE_RECORD_ENCRYPTION_PRIMARY_KEY=a
ACTIVE_RECORD_ENCRYPTION_DETERMINISTIC_KEY=b
ACTIVE_RECORD_ENCRYPTION_KEY_DERIVATION_SALT=c
`;

const APP = "home/chatwoot/chatwoot";

/** A machine as cwctl leaves it. */
async function makeMachine(root: string): Promise<void> {
  await write(root, `${APP}/.env`, ENV);
  await chmod(`${root}/${APP}/.env`, 0o600);
  await write(root, `${APP}/config/app.yml`, "shared: &shared\n  version: '4.15.1'\n");
  await write(root, `${APP}/enterprise/x.rb`, "");
  await mkdir(`${root}/${APP}/storage`);
  await git(`${root}/${APP}`, "init", "--quiet");
  await commit(`${root}/${APP}`, "first");
  const unit =
    "[Service]\nWorkingDirectory=/home/chatwoot/chatwoot\nEnvironment=PORT=3000\nEnvironment=RAILS_ENV=production\n";
  await write(root, "etc/systemd/system/chatwoot-web.1.service", unit);
  await write(
    root,
    "etc/systemd/system/chatwoot-worker.1.service",
    unit.replace("PORT=3000", '"PORT=3000" "GREETING=hello world"'),
  );
  await write(root, "etc/systemd/system/chatwoot.target", "[Unit]\n");
  await write(root, "etc/systemd/system/other.service", "[Service]\nEnvironment=RAILS_ENV=test\n");
  const nginx =
    "server {\n  server_name chat.example.com;\n  ssl_certificate /etc/letsencrypt/live/chat.example.com/fullchain.pem;\n  ssl_certificate_key /etc/letsencrypt/live/chat.example.com/privkey.pem;\n}\n";
  await write(root, "etc/nginx/sites-available/nginx_chatwoot.conf", nginx);
  await write(root, "etc/nginx/sites-available/default", "server { root /var/www; }\n");
  await write(root, "etc/letsencrypt/archive/chat.example.com/fullchain1.pem", "certificate");
  await mkdir(`${root}/etc/letsencrypt/live/chat.example.com`, { recursive: true });
  await symlink(
    "../../archive/chat.example.com/fullchain1.pem",
    `${root}/etc/letsencrypt/live/chat.example.com/fullchain.pem`,
  );
  await write(root, "opt/chatwoot/config/.pg_pass", "password\n");
}

test("a cwctl installation is found by itself, with all that belongs to it", async () => {
  await using folder = await temporaryFolder();
  await makeMachine(folder.path);
  const { installation, findings } = await findInstallation({}, { signal, filesystemRoot: folder.path });
  assert.equal(installation.kind, "linux-vm");
  assert.equal(installation.root, folder.at(APP));
  assert.equal(installation.envFile, folder.at(APP, ".env"));
  assert.equal(installation.version, "4.15.1");
  assert.equal(installation.edition, "ee");
  assert.deepEqual(installation.code, { kind: "git", root: folder.at(APP) });
  assert.equal(installation.commit, await git(folder.at(APP), "rev-parse", "HEAD"));
  assert.deepEqual(installation.storage, [{ serviceName: "local", kind: "local", roots: [folder.at(APP, "storage")] }]);
  assert.deepEqual(installation.database, {
    host: "localhost",
    port: 5432,
    user: "chatwoot",
    password: "very$secret",
    database: "chatwoot_production",
  });
  assert.equal(installation.environment.get("GREETING"), "hello world");
  const [source] = installation.environmentFrom ?? [];
  assert.deepEqual(source?.files, [{ path: folder.at(APP, ".env"), isMounted: false, isReadAtStart: true }]);
  assert.deepEqual(source?.fixed, new Set(["PORT", "RAILS_ENV", "GREETING"]));
  assert.deepEqual(
    installation.systemFiles.map((path) => path.slice(folder.path.length)),
    [
      "/etc/systemd/system/chatwoot-web.1.service",
      "/etc/systemd/system/chatwoot-worker.1.service",
      "/etc/systemd/system/chatwoot.target",
      "/etc/nginx/sites-available/nginx_chatwoot.conf",
      "/opt/chatwoot/config",
      "/etc/letsencrypt/live/chat.example.com/fullchain.pem",
      "/etc/letsencrypt/live/chat.example.com",
    ],
  );
  assert.deepEqual(findings, []);
  assert.ok(installation.notes.some((note) => note.includes("Chatwoot 4.15.1 (ee)")));
  assert.equal(installation.notes.join("\n").includes("very$secret"), false);
});

test("what systemd gives the processes wins over the file, as it does for Chatwoot", async () => {
  await using folder = await temporaryFolder();
  await makeMachine(folder.path);
  await write(folder.path, `${APP}/.env`, ENV.replace("RAILS_ENV=production", "RAILS_ENV=development"));
  await chmod(folder.at(APP, ".env"), 0o600);
  const { installation, findings } = await findInstallation({}, { signal, filesystemRoot: folder.path });
  assert.equal(installation.database.url === undefined && installation.database.database, "chatwoot_production");
  assert.deepEqual(findings, []);
});

test("a machine of web or worker alone is told that the other's files are not saved, unless they are in a bucket", async () => {
  await using folder = await temporaryFolder();
  await makeMachine(folder.path);
  const units = "etc/systemd/system";
  const find = async () => (await findInstallation({}, { signal, filesystemRoot: folder.path })).findings;
  // As it is converted: the target of one process in the place of that of both.
  await rename(folder.at(units, "chatwoot.target"), folder.at(units, "chatwoot-worker.target"));
  const [converted] = await find();
  assert.deepEqual([converted?.kind, converted?.level, converted?.subject], ["storage-split", "warning", "worker"]);
  assert.match(converted?.message ?? "", /runs the worker alone.*chatwoot\/storage\): those of the web process/);
  assert.ok(isAckable("storage-split"));
  await rename(folder.at(units, "chatwoot-worker.target"), folder.at(units, "chatwoot.target"));
  await rm(folder.at(units, "chatwoot-worker.1.service"));
  const [withoutWorker] = await find();
  assert.match(withoutWorker?.message ?? "", /runs the web process alone.*those of the worker/);
  assert.match(withoutWorker?.hint ?? "", /in a bucket.*or in one folder that both machines mount/);
  await write(folder.path, `${APP}/.env`, `${ENV}ACTIVE_STORAGE_SERVICE=amazon\nS3_BUCKET_NAME=acme\n`);
  await chmod(folder.at(APP, ".env"), 0o600);
  assert.deepEqual(await find(), []);
});

test("the files of dotenv-rails are read in its order, and saved", async () => {
  await using folder = await temporaryFolder();
  await makeMachine(folder.path);
  await write(folder.path, `${APP}/.env.production`, "FRONTEND_URL=https://other.example\nEXTRA=1\n");
  await write(folder.path, `${APP}/.env.local`, "EXTRA=2\n");
  const { installation } = await findInstallation({}, { signal, filesystemRoot: folder.path });
  assert.equal(installation.environment.get("FRONTEND_URL"), "https://other.example");
  assert.equal(installation.environment.get("EXTRA"), "2");
  assert.equal(installation.environment.get("POSTGRES_USERNAME"), "chatwoot");
  assert.deepEqual(installation.configFiles, [folder.at(APP, ".env.local"), folder.at(APP, ".env.production")]);
});

test("a detached or packed HEAD is read, too", async () => {
  await using folder = await temporaryFolder();
  await makeMachine(folder.path);
  const head = await git(folder.at(APP), "rev-parse", "HEAD");
  await git(folder.at(APP), "pack-refs", "--all");
  const find = async () => (await findInstallation({}, { signal, filesystemRoot: folder.path })).installation.commit;
  assert.equal(await find(), head);
  await git(folder.at(APP), "checkout", "--quiet", "--detach");
  assert.equal(await find(), head);
});

test("everything can be named, and nothing else is looked at", async () => {
  await using folder = await temporaryFolder();
  await makeMachine(folder.path);
  await write(folder.path, "elsewhere/chatwoot.env", "RAILS_ENV=production\nSECRET_KEY_BASE=x\n");
  await chmod(folder.at("elsewhere/chatwoot.env"), 0o600);
  await mkdir(folder.at("uploads"));
  await write(folder.path, "code/file.rb", "");
  const settings: InstallationSettings = {
    kind: "manual",
    envFile: folder.at("elsewhere/chatwoot.env"),
    databaseUrl: "postgresql://u:p@db/chatwoot",
    storage: folder.at("uploads"),
    config: [folder.at("etc/nginx")],
    code: folder.at("code"),
    version: "4.0.0",
  };
  const { installation, findings } = await findInstallation(settings, { signal, filesystemRoot: folder.path });
  assert.equal(installation.kind, "manual");
  assert.equal(installation.root, undefined);
  assert.deepEqual(installation.database, { url: "postgresql://u:p@db/chatwoot" });
  assert.deepEqual(installation.storage, [{ serviceName: "local", kind: "local", roots: [folder.at("uploads")] }]);
  assert.deepEqual(installation.code, { kind: "files", root: folder.at("code") });
  assert.deepEqual([installation.configFiles, installation.systemFiles], [[folder.at("etc/nginx")], []]);
  assert.equal(installation.version, "4.0.0");
  assert.deepEqual(
    findings.map((finding) => finding.kind),
    ["encryption-keys-unset"],
  );
});

test("a database URL and nothing else is enough, and says what is not known", async () => {
  await using folder = await temporaryFolder();
  const settings = { kind: "manual", databaseUrl: "postgresql://u:p@db/chatwoot" } as const;
  const { installation, findings } = await findInstallation(settings, { signal, filesystemRoot: folder.path });
  assert.equal(installation.environment.size, 0);
  assert.deepEqual(
    findings.map((finding) => finding.kind),
    ["storage-unknown"],
  );
  assert.ok(installation.notes.some((note) => note.startsWith("no code is saved")));
});

test("a root that is named without units is a manual installation", async () => {
  await using folder = await temporaryFolder();
  await write(folder.path, "srv/app/.env", "RAILS_ENV=production\nSECRET_KEY_BASE=x\n");
  const { installation } = await findInstallation(
    { root: folder.at("srv/app") },
    { signal, filesystemRoot: folder.path },
  );
  assert.equal(installation.kind, "manual");
  assert.equal(installation.code, undefined);
  assert.equal(installation.edition, "ce");
});

async function refused(settings: InstallationSettings, root: string, code: ErrorCode, says: RegExp): Promise<void> {
  await assert.rejects(
    findInstallation(settings, { signal, filesystemRoot: root }),
    (error) => isFailure(error, code) && says.test(`${error.message} ${error.hint}`),
  );
}

test("what is not there is said, with what was looked for", async () => {
  await using folder = await temporaryFolder();
  const root = folder.path;
  await refused(
    {},
    root,
    "installation/not-found",
    /no Chatwoot was found.*chatwoot\*\.service.*home\/chatwoot\/chatwoot/,
  );
  await refused({ kind: "manual" }, root, "installation/not-found", /'env-file'/);
  await refused({ root: folder.at("no") }, root, "installation/not-found", /no folder .*\/no/);
  await refused({ envFile: folder.at("no.env") }, root, "installation/not-found", /no environment file .*no\.env/);
  await refused({ databaseUrl: "postgres://x/y", code: folder.at("no") }, root, "installation/not-found", /as code/);
  await mkdir(folder.at("folder.env"));
  await refused({ envFile: folder.at("folder.env") }, root, "source/unreadable", /is not a file/);
});

async function kindsFor(env: string, settings: InstallationSettings = {}): Promise<string[]> {
  await using folder = await temporaryFolder();
  await write(folder.path, "app/.env", env);
  await chmod(folder.at("app/.env"), 0o600);
  await mkdir(folder.at("app/storage"));
  const { findings } = await findInstallation(
    { root: folder.at("app"), ...settings },
    { signal, filesystemRoot: folder.path },
  );
  return findings.map((finding) => finding.kind);
}

test("each worry is found", async () => {
  assert.deepEqual(await kindsFor(ENV), []);
  assert.deepEqual(await kindsFor(ENV.replace("RAILS_ENV=production", "RAILS_ENV=development")), [
    "rails-env-not-production",
  ]);
  assert.deepEqual(await kindsFor(ENV.replace("RAILS_ENV=production", "")), ["rails-env-unset"]);
  assert.deepEqual(await kindsFor(ENV.replace(/SECRET_KEY_BASE=.*/, "")), ["secret-key-base-missing"]);
  assert.deepEqual(
    await kindsFor(ENV.replace(/SECRET_KEY_BASE=.*/, "SECRET_KEY_BASE=replace_with_lengthy_secure_hex")),
    ["secret-key-base-example"],
  );
  assert.deepEqual(await kindsFor(ENV.replace("PRIMARY_KEY=a", "PRIMARY_KEY=")), ["encryption-keys-unset"]);
  assert.deepEqual(await kindsFor(`${ENV}ACTIVE_STORAGE_SERVICE=r2\n`), ["storage-service-unsupported"]);
  // Files of a bucket need no folder.
  const bucket = "ACTIVE_STORAGE_SERVICE=amazon\nS3_BUCKET_NAME=acme\n";
  assert.deepEqual(await kindsFor(`${ENV}${bucket}`, { storage: "/nowhere/at/all" }), []);
  assert.deepEqual(await kindsFor(`${ENV}REDIS_PASSWORD=$(cat /secret)\n`), ["environment-command"]);
  assert.deepEqual(await kindsFor(ENV, { storage: "/nowhere/at/all" }), ["storage-folder-missing"]);
  assert.deepEqual(await kindsFor(ENV.replace(/POSTGRES_PASSWORD=.*/, "POSTGRES_PASSWORD=Postgres")), [
    "default-secrets",
  ]);
  assert.deepEqual(await kindsFor(`${ENV}REDIS_URL=redis://:redis@localhost:6379\n`), ["default-secrets"]);
  assert.deepEqual(await kindsFor(`${ENV}SMTP_PASSWORD a-password\n`), ["env-file-lines"]);
});

test("the folder of this machine's own Redis is known, and another's is not looked for", async () => {
  await using folder = await temporaryFolder();
  await write(folder.path, "app/.env", ENV);
  await mkdir(folder.at("var/lib/redis"), { recursive: true });
  const foldersFor = async (more: string) => {
    await writeFile(folder.at("app/.env"), `${ENV}${more}`);
    const options = { signal, filesystemRoot: folder.path };
    return (await findInstallation({ root: folder.at("app") }, options)).installation.dataFolders;
  };
  assert.deepEqual(await foldersFor(""), [{ server: "Redis", path: folder.at("var/lib/redis") }]);
  assert.deepEqual(await foldersFor("REDIS_URL=redis://redis.example.com:6379\n"), []);
  assert.deepEqual(await foldersFor("REDIS_URL=redis://localhost:6380\n"), []);
});

test("an environment file that everybody can read is noted, and one behind a closed folder is not", async () => {
  await using folder = await temporaryFolder();
  await write(folder.path, "app/.env", ENV);
  await mkdir(folder.at("app/storage"));
  const find = async () =>
    (await findInstallation({ root: folder.at("app") }, { signal, filesystemRoot: folder.path })).findings.map(
      (finding) => finding.kind,
    );
  assert.deepEqual(await find(), []);
  await chmod(folder.path, 0o755);
  assert.deepEqual(await find(), ["env-file-exposed"]);
});
