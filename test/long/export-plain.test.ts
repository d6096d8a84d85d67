/**
 * A point as plain files, put back by what its README.txt says, command by command, with nothing of ours: database, code with
 * commits and edits of its own, files of the folder, and those of a bucket.
 */
import assert from "node:assert/strict";
import { appendFile, cp, mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { blobPath } from "../../src/chatwoot/blobs.ts";
import { onDatabase } from "../../src/demo/database.ts";
import { assertSameDatabase } from "../harness/pg-dump-diff.ts";
import { startRedis, type TestRedis } from "../harness/redis.ts";
import { mustRun } from "../harness/run.ts";
import { startS3, type TestS3 } from "../harness/s3.ts";
import { readFolder } from "../harness/tree.ts";
import { commit, git, write } from "../installation/checkout.ts";
import { makeCheapToOpen } from "../scenario/cheap-key.ts";
import { type Desk, openDesk } from "../scenario/desk.ts";

const KEY = "alfred:CHATWOOT_INSTALLATION_ONBOARDING";

let desk: Desk;
let s3: TestS3;
let redis: TestRedis;
/** What lay in the bucket, by key. */
const objects = new Map<string, Buffer>();
let plain: string;
let readme: string;

before(async () => {
  [desk, s3, redis] = await Promise.all([
    openDesk({ isCheckout: true, size: { messages: 300, conversations: 30, files: 16 } }),
    startS3(),
    startRedis(),
  ]);
  await makeCheapToOpen(desk);
  await moveIntoBucket();
  const { codeRoot } = desk.installation;
  await write(codeRoot, "lib/acme/of_our_own.rb", "COMMITTED = true\n");
  await commit(codeRoot, "acme's own");
  await write(codeRoot, "README.md", "staged\n");
  await git(codeRoot, "add", "README.md");
  await write(codeRoot, "README.md", "staged and edited\n");
  await write(codeRoot, "public/acme.css", "untracked\n");
  await desk.summary(["backup"]);
  plain = join(desk.root, "plain");
  const report = await desk.chatkeep(["export", "latest", plain, "--plain"]);
  assert.ok(report.status === 0 || report.status === 3, report.stderr);
  readme = await readFile(join(plain, "README.txt"), "utf8");
});
after(async () => {
  await redis[Symbol.asyncDispose]();
  await s3[Symbol.asyncDispose]();
  await desk[Symbol.asyncDispose]();
});

/** Every second file goes to the bucket, as Chatwoot's own move does it. */
async function moveIntoBucket(): Promise<void> {
  const { installation, config } = desk;
  await s3.createBucket("acme");
  const credentials = { accessKeyId: "S3RVER", secretAccessKey: "S3RVER" };
  const client = new S3Client({ endpoint: s3.endpoint, region: "us-east-1", forcePathStyle: true, credentials });
  const keys = await onDatabase(installation.database, async (db) => {
    const { rows } = await db.query<{ key: string }>(
      "update active_storage_blobs set service_name = 'amazon' where id % 2 = 0 returning key",
    );
    return rows.map(({ key }) => key);
  });
  for (const key of keys) {
    const path = blobPath(installation.storageRoot, key);
    const bytes = await readFile(path);
    await client.send(new PutObjectCommand({ Bucket: "acme", Key: key, Body: bytes }));
    objects.set(key, bytes);
    await rm(path);
  }
  client.destroy();
  assert.ok(objects.size > 4);
  const lines = ["", "AWS_ACCESS_KEY_ID=S3RVER", "AWS_SECRET_ACCESS_KEY=S3RVER", "S3_BUCKET_NAME=acme", ""];
  await appendFile(installation.envFile, lines.join("\n"));
  await appendFile(config, `\nstorage:\n  amazon: { endpoint: ${s3.endpoint} }\n`);
}

/** The commands below the line of README.txt that begins so. */
function commandsUnder(heading: string): string[] {
  const [, ...lines] = readme
    .slice(readme.indexOf(`\n${heading}`))
    .trimStart()
    .split("\n");
  const begin = lines.findIndex((line) => line.startsWith("  "));
  const end = lines.findIndex((line, at) => at > begin && !line.startsWith("  "));
  assert.ok(begin >= 0 && end > begin, `README.txt has no commands under '${heading}':\n${readme}`);
  return lines.slice(begin, end).map((line) => line.trim());
}

/** As they stand there, but that this machine is no Chatwoot's: its folder, its database and its Redis are others, and nothing is stopped. */
async function follow(commands: readonly string[], app: string): Promise<void> {
  const { host, port, user } = desk.server.address;
  const script = commands
    .filter((line) => !/^systemctl |^chown /.test(line))
    .map((line) =>
      line
        .replace(/^sudo -u postgres /, "")
        .replaceAll("chatwoot_production", "by_hand")
        .replaceAll("/home/chatwoot/chatwoot", app)
        .replace("redis-cli", `redis-cli -u ${redis.url}`),
    );
  const env = { PGHOST: host, PGPORT: String(port), PGUSER: user, GIT_CONFIG_GLOBAL: "/dev/null" };
  const path = `${desk.server.programs}:${process.env["PATH"] ?? ""}`;
  await mustRun("sh", ["-eu", "-c", script.join("\n")], { cwd: plain, env: { ...env, PATH: path } });
}

test("database, files and code come back by the commands of README.txt", async () => {
  const { installation, server } = desk;
  const app = join(desk.root, "fresh", "chatwoot");
  await mkdir(app, { recursive: true });
  await git(app, "init", "--quiet");
  // What a fresh installation has, which is replaced.
  await server.createDatabase("by_hand");
  await mustRun("redis-cli", ["-u", redis.url, "set", KEY, "true"]);
  const linux = commandsUnder("On a Linux machine");
  assert.ok(linux.some((line) => line.includes("pg_restore")) && linux.some((line) => line.includes(KEY)));
  await follow(commandsUnder("The code, before"), app);
  await follow(linux, app);
  await cp(join(plain, ".env"), join(app, ".env"));

  await assertSameDatabase(installation.database, { ...server.address, database: "by_hand" });
  const [owner] = await server.query("select tableowner from pg_tables where tablename = 'messages'", "by_hand");
  assert.deepEqual(owner, { tableowner: "chatwoot" });
  assert.equal(await readFile(join(app, ".env"), "utf8"), await readFile(installation.envFile, "utf8"));
  const code = { except: (path: string) => /^(?:\.git|storage|tmp|log|node_modules)(?:$|\/)/.test(path) };
  assert.deepEqual(await readFolder(app, code), await readFolder(installation.codeRoot, code));
  for (const question of [["log", "--format=%H %s"], ["diff", "--cached"], ["diff"]]) {
    assert.equal(await git(app, ...question), await git(installation.codeRoot, ...question), question.join(" "));
  }
  const files = await readFolder(installation.storageRoot);
  assert.ok(Object.keys(files).length > 4);
  const restored = await readFolder(join(app, "storage"), { except: (path) => path === "amazon" });
  assert.deepEqual(restored, files);
  const { stdout } = await mustRun("redis-cli", ["-u", redis.url, "exists", KEY]);
  assert.equal(stdout.trim(), "0");
});

test("files of a bucket are copied into a new one under their keys, with a program that others wrote", async () => {
  assert.match(
    readme,
    /storage\/amazon\/ {2}those of the bucket 'amazon', under their keys: copy them into the bucket/,
  );
  await s3.createBucket("fresh");
  const remote = `:s3,provider=Other,force_path_style=true,endpoint='${s3.endpoint}':fresh`;
  // A bundle of certificates is nothing to a server without any, and some releases of rclone stumble over it.
  const own = { RCLONE_S3_ENV_AUTH: "true", RCLONE_CONFIG: join(desk.root, "none.conf"), AWS_CA_BUNDLE: undefined };
  const env = { ...s3.env, ...own };
  await mustRun("rclone", ["copy", join(plain, "storage", "amazon"), remote], { env });
  const back = join(desk.root, "back");
  await mustRun("rclone", ["copy", remote, back], { env });
  const found = await readFolder(back);
  assert.deepEqual(Object.keys(found).toSorted(), [...objects.keys()].toSorted());
  for (const [key, bytes] of objects) assert.ok((await readFile(join(back, key))).equals(bytes), key);
});
