/** A new machine with a fresh Chatwoot on it and no configuration: the repository and its password are enough, and a kill on the way is not the end. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { buildInstallation } from "../../src/demo/installation.ts";
import { CHATKEEP, summaryOf } from "../harness/cli.ts";
import { cannotMount, IS_ROOT, runWithMounts } from "../harness/namespace.ts";
import { dumpLines } from "../harness/pg-dump-diff.ts";
import { startRedis } from "../harness/redis.ts";
import { mustRun } from "../harness/run.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { readFolder } from "../harness/tree.ts";
import { type Checkout, git, readCheckout } from "../installation/checkout.ts";
import { type Desk, openDesk, SMALL } from "../scenario/desk.ts";

/** The fresh machine's home, and nothing of Chatkeep's but what it keeps there itself. */
const MACHINE = `
mount -t tmpfs tmpfs /home; mkdir /home/chatwoot; mount --bind "$1" /home/chatwoot
mkdir -p "$2/lib"; mount --bind "$2/lib" /var/lib
state=$2; node=$3; chatkeep=$4; repository=$5; shift 5
run() { "$node" "$chatkeep" --json "$@"; }
`;
const RESTORE = `${MACHINE}
"$node" "$chatkeep" --json --repository "$repository" restore latest --onto linux-vm --replace new.acme.example --yes &
begun() { cat /var/lib/chatkeep/*/restore/*/journal.json 2>/dev/null | tr -d ' \n' | grep -q '"name":"files","state":"begun"'; }
until begun; do kill -0 $! || exit 9; sleep 0.02; done
kill -KILL $! || exit 9
wait $! || [ $? = 137 ] || exit 9
run --repository "$repository" restore --resume --outbound allow || [ $? = 3 ]
cp /home/chatwoot/chatwoot/.env "$state/restored.env"
cp -R /home/chatwoot/chatwoot/storage "$state/restored-storage"
cp -a /home/chatwoot/chatwoot "$state/restored-code"
PGPASSWORD= run rollback --yes
`;
/** What was put aside goes, with the secrets that are in it. */
const DISCARD = `${MACHINE}
secret() { grep -rlF "$(sed -n 's/^SECRET_KEY_BASE=//p' "$state/fresh.env")" /var/lib/chatkeep || true; }
secret > "$state/secrets-before"
PGPASSWORD= run restore --discard-previous --yes
secret > "$state/secrets-after"
find /var/lib/chatkeep -path '*/restore/*' > "$state/kept"
`;

interface MadePoint {
  /** False: it holds no code, and the new machine's stays. */
  readonly hasCode: boolean;
}

/** Where the point comes from. */
const POINTS: Readonly<Record<string, (desk: Desk) => Promise<MadePoint>>> = {
  "that was saved": async (desk) => {
    await desk.summary(["backup"]);
    return { hasCode: true };
  },
  "that was imported, of a dump with its uploads and environment,": async (desk) => {
    const { database, storageRoot, envFile } = desk.installation;
    const { host, port, user, password = "", database: name } = database;
    const file = join(desk.root, "chatwoot.sql");
    await mustRun(join(desk.server.programs, "pg_dump"), ["--create", "-f", file, name], {
      env: { PGHOST: host, PGPORT: String(port), PGUSER: user, PGPASSWORD: password },
    });
    await desk.summary(["import", "--database", file, "--storage", storageRoot, "--env", envFile]);
    assert.equal((await desk.summary(["drill"]))["proven"], true);
    return { hasCode: false };
  },
};

for (const [which, makePoint] of Object.entries(POINTS)) {
  test(`a point ${which} comes onto a fresh machine without a configuration, and goes again with all that was put aside`, async (t) => {
    await ontoFreshMachine(makePoint, t);
  });
}

/** A checkout as it is after an installation: the release, and nothing of anybody's own. */
async function asReleased(root: string): Promise<Checkout> {
  await git(root, "reset", "--quiet", "--hard", "origin/master");
  await git(root, "clean", "--quiet", "-d", "--force");
  const released = await readCheckout(root);
  assert.deepEqual([released.status, released.edited, released.staged], ["", "", ""]);
  return released;
}

/** The one has all that a code's own can be, and the other none of it. */
function assertOwn(own: Checkout, released: Checkout): void {
  assert.ok(own.history.endsWith(`\n${released.history}`), "commits upon the release");
  assert.match(own.status, /^1 \.M /m, "an edit");
  assert.match(own.status, /^\? /m, "a file that git does not know");
  assert.notEqual(own.edited, "");
}

async function ontoFreshMachine(makePoint: (desk: Desk) => Promise<MadePoint>, t: TestContext): Promise<void> {
  const why = IS_ROOT ? await cannotMount() : "only root may have mounts and its own /var/lib";
  if (why !== undefined) return t.skip(why);
  await using redis = await startRedis();
  // Its checkout has a commit of its own, an edit that nobody committed, and a file that git does not know.
  await using desk = await openDesk({ size: SMALL, isCheckout: true });
  const { hasCode } = await makePoint(desk);
  const ownCode = await readCheckout(desk.installation.codeRoot);
  const saved = await dumpLines(desk.installation.database);
  await using machine = await temporaryFolder();
  const fresh = await buildInstallation({
    root: machine.at("home"),
    address: desk.server.address,
    size: { messages: 60, conversations: 10, files: 6 },
    seed: 7,
    role: "fresh",
    database: "fresh_production",
    isCheckout: true,
    signal: new AbortController().signal,
  });
  const freshCode = await asReleased(fresh.codeRoot);
  assertOwn(ownCode, freshCode);
  const before = await readFile(fresh.envFile, "utf8");
  const own = before
    .replace(/^REDIS_URL=.*$/m, `REDIS_URL=${redis.url}`)
    .replace(/^FRONTEND_URL=.*$/m, "FRONTEND_URL=https://new.acme.example");
  await writeFile(fresh.envFile, own);
  await writeFile(join(machine.path, "fresh.env"), own);
  const empty = await dumpLines(fresh.database);
  const args = [fresh.root, machine.path, process.execPath, CHATKEEP, desk.repository];
  const env = { CHATKEEP_PASSWORD_FILE: desk.passwordFile, CHATKEEP_CONFIG: "", NODE_TEST_CONTEXT: "" };
  const { status, stdout, stderr } = await runWithMounts(RESTORE, args, { cwd: machine.path, env });
  assert.equal(status, 0, `${stderr}${stdout}`);
  assert.equal(summaryOf(stdout)["verb"], "rollback");
  const restored = stdout.split("\n").find((line) => line.includes('"state":"done"'));
  assert.ok(restored, stdout);
  const aside = async () => {
    const like = "select datname from pg_database where datname like 'fresh_production_rolledback_%'";
    return (await desk.server.query(like)).map(({ datname }) => String(datname));
  };
  const [rolledBack = "none"] = await aside();
  assert.deepEqual(await dumpLines({ ...fresh.database, database: rolledBack }), saved);
  const files = await readFolder(join(machine.path, "restored-storage"));
  for (const [path, content] of Object.entries(await readFolder(desk.installation.storageRoot)))
    assert.equal(files[path], content, path);
  assert.deepEqual(await readCheckout(join(machine.path, "restored-code")), hasCode ? ownCode : freshCode, "code");
  const environment = await readFile(join(machine.path, "restored.env"), "utf8");
  const secret = /^SECRET_KEY_BASE=.*$/m.exec(await readFile(desk.installation.envFile, "utf8"))?.[0] ?? "none";
  assert.ok(environment.includes(secret), "the keys are the point's");
  assert.match(environment, /^FRONTEND_URL=https:\/\/new\.acme\.example$/m);
  assert.deepEqual(await dumpLines(fresh.database), empty, "rolled back");
  assert.equal(await readFile(fresh.envFile, "utf8"), own);
  assert.deepEqual(await readCheckout(fresh.codeRoot), freshCode, "code, rolled back");
  const discarded = await runWithMounts(DISCARD, args, { cwd: machine.path, env });
  assert.equal(discarded.status, 0, discarded.stderr);
  assert.deepEqual(summaryOf(discarded.stdout)["forgotten"], [(JSON.parse(restored) as { restore: string }).restore]);
  assert.deepEqual(await aside(), []);
  const said = async (name: string) => await readFile(join(machine.path, name), "utf8");
  assert.match(await said("secrets-before"), /\/environment\/\d+\.before\n/);
  assert.deepEqual([await said("secrets-after"), await said("kept")], ["", ""]);
}
