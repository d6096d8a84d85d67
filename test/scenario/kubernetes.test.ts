/**
 * Chatwoot in a cluster, from nothing to a restored copy: Chatkeep in a pod of its own, with a service account and the claim of
 * uploaded files, and from an administrator's machine. The database is real; the cluster is a stand-in for its API.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { parse } from "yaml";
import { readEnvFile } from "../../src/chatwoot/environment.ts";
import { buildInstallation, type DemoInstallation } from "../../src/demo/installation.ts";
import type { ClusterObject } from "../../src/system/cluster-details.ts";
import { callCli, CHATKEEP, summaryOf } from "../harness/cli.ts";
import { cannotMount, runWithMounts } from "../harness/namespace.ts";
import { assertSameDatabase } from "../harness/pg-dump-diff.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";
import type { RunResult } from "../harness/run.ts";
import { type ClusterWorld, type StandInCluster, startStandInCluster } from "../harness/stand-in-kubernetes.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import { readFolder } from "../harness/tree.ts";
import { claim, ownPod, release, withClaim } from "../installation/cluster-shapes.ts";

let folder: TestFolder;
let server: TestServer;
let seeded: DemoInstallation;
let world: ClusterWorld;
let cluster: StandInCluster;

before(async () => {
  folder = await temporaryFolder();
  server = await startPostgres();
  seeded = await buildInstallation({
    root: folder.at("home"),
    address: server.address,
    size: { messages: 120, conversations: 12, files: 24 },
    isCheckout: false,
    signal: new AbortController().signal,
  });
  const environment = Object.fromEntries(readEnvFile(readFileSync(seeded.envFile, "utf8")).values);
  world = release({
    ...withClaim("uploads"),
    environment: { ...environment, POSTGRES_HOST: "database", REDIS_URL: "redis://acme-chatwoot-redis-master:6379" },
  });
  world["services"]?.push({
    metadata: { name: "database" },
    spec: { type: "ExternalName", externalName: "localhost" },
  } as ClusterObject);
  world["persistentvolumeclaims"]?.push(claim("uploads"));
  const volume = { name: "files", persistentVolumeClaim: { claimName: "uploads", readOnly: true } };
  world["pods"]?.push(ownPod([volume], [{ name: "files", mountPath: seeded.storageRoot }]));
  cluster = await startStandInCluster(world);
});

after(async () => {
  await cluster[Symbol.asyncDispose]();
  await server.stop();
  await folder[Symbol.asyncDispose]();
});

/** In a pod: with its service account in its place, which nobody else sees. */
const IN_A_POD = `
  mount -t tmpfs tmpfs /run
  mkdir -p /run/secrets/kubernetes.io
  cp -r "$1/var/run/secrets/kubernetes.io/serviceaccount" /run/secrets/kubernetes.io/
  shift
  exec "$@"`;

async function inPod(args: readonly string[]): Promise<RunResult> {
  const config = folder.at("chatkeep.yaml");
  const words = [cluster.root, process.execPath, CHATKEEP, "--config", config, ...args];
  const env = {
    ...cluster.podEnv,
    HOSTNAME: "chatkeep-1",
    KUBECONFIG: undefined,
    NO_COLOR: "1",
    NODE_TEST_CONTEXT: undefined,
  };
  return await runWithMounts(IN_A_POD, words, { cwd: folder.path, env });
}

async function call(...args: string[]): Promise<RunResult> {
  return await callCli(["--config", folder.at("chatkeep.yaml"), ...args], { cwd: folder.path });
}

test("from an administrator's machine: init finds it in the namespace that is named, and says what is not reached from there", async () => {
  process.env["KUBECONFIG"] = cluster.kubeconfig;
  const { user, password = "", host, port, database } = seeded.database;
  const url = `postgresql://${user}:${password}@${host}:${port}/${database}`;
  const place = ["--name", "desk", "--location", folder.at("repository")];
  const made = await call("init", "--yes", "--namespace", "chatwoot", "--database-url", url, ...place);
  assert.equal(made.status, 3, made.stderr + made.stdout);
  assert.match(made.stdout, /the release 'acme' in the namespace 'chatwoot' at https:/);
  assert.match(made.stderr, /uploaded files are on the claim 'uploads', which this machine does not see/);
  const config = folder.at("chatkeep.yaml");
  const written = readFileSync(config, "utf8");
  assert.match(written, /kind: kubernetes\n {2}namespace: chatwoot\n {2}deployment: acme-chatwoot-web\n/);
  await writeFile(config, written.replace("  namespace:", `  storage: ${seeded.storageRoot}\n  namespace:`));
  const doctor = await call("--json", "doctor");
  assert.equal(doctor.status, 3, doctor.stderr);
  const { facts, findings } = summaryOf(doctor.stdout) as unknown as {
    facts: { name: string; value: string; from: string }[];
    findings: { kind: string }[];
  };
  assert.deepEqual(facts.slice(0, 2), [
    { name: "installation", value: "kubernetes", from: "chatwoot/acme-chatwoot-web" },
    { name: "Chatwoot", value: "4.15.1", from: "chatwoot/chatwoot:v4.15.1" },
  ]);
  assert.ok(!findings.some(({ kind }) => kind.startsWith("storage-")), JSON.stringify(findings));
});

test("in a pod: the same configuration needs neither the database's place nor the files', and all comes back whole", async (t) => {
  const refused = await cannotMount();
  if (refused !== undefined) return t.skip(refused);
  const config = folder.at("chatkeep.yaml");
  const lines = readFileSync(config, "utf8").split("\n");
  await writeFile(config, lines.filter((line) => !/^ {2}(?:storage|database-url):/.test(line)).join("\n"));
  const backup = await inPod(["--json", "backup"]);
  assert.equal(backup.status, 0, backup.stderr + backup.stdout);
  const storage = summaryOf(backup.stdout)["storage"] as { missing: number; copied: number };
  assert.deepEqual([storage.missing, storage.copied > 20], [0, true]);
  const to = folder.at("copy");
  const { user, password = "", host, port } = seeded.database;
  const url = `postgresql://${user}:${password}@${host}:${port}/copy`;
  const restored = await call("restore", "latest", "--to", to, "--database-url", url, "--yes");
  assert.equal(restored.status, 0, restored.stderr + restored.stdout);
  await assertSameDatabase(seeded.database, { ...seeded.database, database: "copy" }, { programs: server.programs });
  assert.deepEqual(await readFolder(join(to, "storage")), await readFolder(seeded.storageRoot));
  const saved = (path: string) => parse(readFileSync(join(to, "config/kubernetes", path), "utf8")) as ClusterObject;
  assert.equal(saved("deployment-acme-chatwoot-web.yaml").metadata.name, "acme-chatwoot-web");
  assert.equal(saved("secret-sh.helm.release.v1.acme.v10.yaml").metadata.labels?.["version"], "10");
});
