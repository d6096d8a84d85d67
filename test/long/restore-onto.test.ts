/** A new machine with a fresh Chatwoot on it and no configuration: the repository and its password are enough. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { buildInstallation } from "../../src/demo/installation.ts";
import { CHATKEEP, summaryOf } from "../harness/cli.ts";
import { cannotMount, IS_ROOT, runWithMounts } from "../harness/namespace.ts";
import { dumpLines } from "../harness/pg-dump-diff.ts";
import { startRedis } from "../harness/redis.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { openDesk, SMALL } from "../scenario/desk.ts";

/** The fresh machine's home, and nothing that Chatkeep wrote before. */
const MACHINE = `
mount -t tmpfs tmpfs /home; mkdir /home/chatwoot; mount --bind "$1" /home/chatwoot
mount -t tmpfs tmpfs /var/lib
node=$2; chatkeep=$3; repository=$4; state=$5; shift 5
run() { "$node" "$chatkeep" --json --repository "$repository" "$@"; }
run restore latest --onto linux-vm --replace new.acme.example --yes --outbound allow || [ $? = 3 ]
cp /home/chatwoot/chatwoot/.env "$state/restored.env"
PGPASSWORD= "$node" "$chatkeep" --json rollback --yes
`;

test("a restore onto a fresh machine needs no configuration, and neither does its rollback", async (t) => {
  const why = IS_ROOT ? await cannotMount() : "only root may have mounts and its own /var/lib";
  if (why !== undefined) return t.skip(why);
  await using redis = await startRedis();
  await using desk = await openDesk({ size: SMALL });
  await desk.summary(["backup"]);
  const saved = await dumpLines(desk.installation.database);
  await using machine = await temporaryFolder();
  const fresh = await buildInstallation({
    root: machine.at("home"),
    address: desk.server.address,
    size: { messages: 60, conversations: 10, files: 6 },
    seed: 7,
    role: "fresh",
    database: "fresh_production",
    isCheckout: false,
    signal: new AbortController().signal,
  });
  const before = await readFile(fresh.envFile, "utf8");
  const own = before
    .replace(/^REDIS_URL=.*$/m, `REDIS_URL=${redis.url}`)
    .replace(/^FRONTEND_URL=.*$/m, "FRONTEND_URL=https://new.acme.example");
  await writeFile(fresh.envFile, own);
  const empty = await dumpLines(fresh.database);
  const args = [fresh.root, process.execPath, CHATKEEP, desk.repository, machine.path];
  const env = { CHATKEEP_PASSWORD_FILE: desk.passwordFile, CHATKEEP_CONFIG: "", NODE_TEST_CONTEXT: "" };
  const { status, stdout, stderr } = await runWithMounts(MACHINE, args, { cwd: machine.path, env });
  assert.equal(status, 0, `${stderr}${stdout}`);
  assert.equal(summaryOf(stdout)["verb"], "rollback");
  const restored = stdout.split("\n").find((line) => line.includes('"state":"done"'));
  assert.ok(restored, stdout);
  const [aside] = await desk.server.query(
    "select datname as name from pg_database where datname like 'fresh_production_rolledback_%'",
  );
  assert.deepEqual(await dumpLines({ ...fresh.database, database: String(aside?.["name"]) }), saved);
  const environment = await readFile(join(machine.path, "restored.env"), "utf8");
  const secret = /^SECRET_KEY_BASE=.*$/m.exec(await readFile(desk.installation.envFile, "utf8"))?.[0] ?? "none";
  assert.ok(environment.includes(secret), "the keys are the point's");
  assert.match(environment, /^FRONTEND_URL=https:\/\/new\.acme\.example$/m);
  assert.deepEqual(await dumpLines(fresh.database), empty, "rolled back");
  assert.equal(await readFile(fresh.envFile, "utf8"), own);
});
