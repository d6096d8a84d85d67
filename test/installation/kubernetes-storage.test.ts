/** Where uploaded files of a Chatwoot in a cluster lie, and whether Chatkeep's own pod sees them. */
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { findInstallation } from "../../src/installation/find.ts";
import type { PodDetails, WorkloadDetails } from "../../src/system/cluster-details.ts";
import { find, firstOf, kindsOf, startWhole, UPLOADS, wholeWorld } from "./cluster-desk.ts";
import { claim, ENVIRONMENT, ownPod, release, withClaim } from "./cluster-shapes.ts";

const { signal } = new AbortController();

test("the chart's defaults: uploads that go with their pod are an alarm, and passwords that everybody knows a warning", async () => {
  const world = release({
    environment: {
      ...ENVIRONMENT,
      SECRET_KEY_BASE: "replace_with_your_super_duper_secret_key_base",
      POSTGRES_PASSWORD: "postgres",
      REDIS_PASSWORD: "redis",
    },
    image: "chatwoot/chatwoot:latest",
    isDatabaseLasting: false,
  });
  await using cluster = await startWhole(world);
  const { installation, findings } = await find(cluster);
  assert.deepEqual(kindsOf(findings), [
    "secret-key-base-example warning",
    "storage-ephemeral alarm",
    "postgres-not-on-volume alarm",
    "image-tag-latest warning",
    "default-secrets warning",
  ]);
  assert.match(
    findings[1]?.message ?? "",
    /^uploaded files are being lost: \/app\/storage of acme-chatwoot-web and acme-chatwoot-worker lies in the pod itself/,
  );
  assert.deepEqual(installation.storage, []);
  assert.equal(installation.version, undefined);
});

test("a database server whose next pod is of another major is an alarm while the pod that wrote the data runs", async () => {
  const world = wholeWorld();
  const [server] = world["statefulsets"] as WorkloadDetails[];
  const [postgres] = server?.spec.template.spec.containers ?? [];
  const pod = (world["pods"] as PodDetails[]).find(({ metadata }) => metadata.name === "acme-chatwoot-postgresql-0");
  const [running] = pod?.spec.containers ?? [];
  assert.ok(postgres !== undefined && running !== undefined && pod?.status !== undefined);
  // A container of the pod's own: the template and what was made of it are two things.
  Object.assign(pod.spec, { containers: [{ ...running }] });
  const told = async (next: string, now = "ghcr.io/chatwoot/pgvector:14.4.0") => {
    postgres.image = next;
    Object.assign(pod.spec.containers[0] ?? {}, { image: now });
    await using cluster = await startWhole(world);
    return (await find(cluster)).findings;
  };
  const findings = await told("docker.io/pgvector/pgvector:0.8.0-pg17");
  assert.deepEqual(kindsOf(findings), ["postgres-major-differs alarm"]);
  assert.match(
    findings[0]?.message ?? "",
    /written by PostgreSQL 14, which the pod acme-chatwoot-postgresql-0 still runs, and the StatefulSet acme-chatwoot-postgresql has the image \S+:0\.8\.0-pg17 of 17/,
  );
  assert.match(findings[0]?.hint ?? "", /^Go back to the image ghcr\.io\/chatwoot\/pgvector:14\.4\.0, back up/);
  assert.deepEqual(await told("registry:5000/bitnami/postgresql:14.9.0-debian-11-r1"), []);
  assert.deepEqual(await told("postgres:14-alpine", "timescale/timescaledb:2.14.2-pg14"), []);
  // Neither says a version of PostgreSQL.
  assert.deepEqual(await told("ankane/pgvector:v0.5.1"), []);
  assert.deepEqual(await told(`postgres@sha256:${"1".repeat(64)}`), []);
  // With no pod that runs there is nothing to compare with, and that none does is said.
  pod.status.containerStatuses = [];
  pod.status.conditions = [];
  assert.deepEqual(kindsOf(await told("postgres:17")), ["pods-not-ready warning"]);
});

test("uploads on a claim that Chatkeep's pod does not mount are an alarm, which says on what node it would have to run", async () => {
  const world = release(withClaim("uploads"));
  const uploads = claim("uploads", ["ReadWriteOnce"]);
  world["persistentvolumeclaims"]?.push(uploads);
  world["pods"]?.push(ownPod());
  await using cluster = await startWhole(world);
  const { findings } = await find(cluster);
  assert.deepEqual(kindsOf(findings), ["storage-not-mounted alarm"]);
  assert.match(
    findings[0]?.message ?? "",
    /are on the claim 'uploads', which Chatkeep's pod does not mount, so they are not saved/,
  );
  assert.match(
    findings[0]?.hint ?? "",
    /ReadWriteOnce, so Chatkeep's pod must run on the node that has it, now node-1/,
  );
  Object.assign(uploads, claim("uploads", ["ReadWriteOncePod"]));
  assert.match((await find(cluster)).findings[0]?.hint ?? "", /may be mounted by one pod alone \(ReadWriteOncePod\)/);
});

test("web and worker on different claims, or folders of one, are split; each that is mounted here is read", async () => {
  const world = wholeWorld();
  const [, worker] = world["deployments"] as WorkloadDetails[];
  assert(worker !== undefined);
  worker.spec.template.spec.volumes = [UPLOADS];
  const [container] = worker.spec.template.spec.containers;
  assert(container !== undefined);
  container.volumeMounts = [
    { name: "files", mountPath: "/app/storage", subPath: "worker" },
    { name: "files", mountPath: "/app/public", subPath: "public" },
  ];
  await using cluster = await startWhole(world);
  await mkdir(join(cluster.root, "uploads/worker"));
  const { installation, findings } = await find(cluster);
  assert.deepEqual(kindsOf(findings), ["storage-split warning", "public-on-volume warning"]);
  assert.deepEqual(installation.storage, [
    {
      serviceName: "local",
      kind: "local",
      roots: [join(cluster.root, "uploads"), join(cluster.root, "uploads/worker")],
    },
  ]);
});

test("a share that is no claim is found in Chatkeep's pod too, also where that has its node's name", async () => {
  const share = { nfs: { server: "files.example.com", path: "/desk" } };
  const world = release({
    storage: [{ name: "uploads", ...share }],
    mounts: [{ name: "uploads", mountPath: "/app/storage", subPathExpr: "$(RAILS_ENV)/storage" }],
  });
  world["pods"]?.push(ownPod([{ name: "share", ...share }], [{ name: "share", mountPath: "/share" }]));
  await using cluster = await startWhole(world);
  await mkdir(join(cluster.root, "share/production/storage"), { recursive: true });
  const env = { ...cluster.podEnv, HOSTNAME: "node-1", CHATKEEP_POD: "chatkeep-1" };
  const { installation, findings } = await findInstallation({}, { signal, env, filesystemRoot: cluster.root });
  assert.deepEqual(findings, []);
  const roots = [join(cluster.root, "share/production/storage")];
  assert.deepEqual(installation.storage, [{ serviceName: "local", kind: "local", roots }]);
});

test("pods of a StatefulSet with a claim for each keep files apart; those that are mounted are read, the others an alarm", async () => {
  const world = wholeWorld();
  const web = firstOf(world);
  world["deployments"] = (world["deployments"] ?? []).slice(1);
  world["statefulsets"]?.push(web);
  web.spec.template.spec.volumes = [];
  web.spec.volumeClaimTemplates = [{ metadata: { name: "uploads" } }];
  const own = world["pods"]?.at(-1) as PodDetails;
  own.spec.volumes = [
    UPLOADS,
    { name: "first", persistentVolumeClaim: { claimName: "uploads-acme-chatwoot-web-0", readOnly: true } },
  ];
  own.spec.containers[0]?.volumeMounts?.push({ name: "first", mountPath: "/first" });
  await using cluster = await startWhole(world);
  await mkdir(join(cluster.root, "first"));
  const { installation, findings } = await find(cluster);
  assert.deepEqual(kindsOf(findings), ["storage-split warning", "storage-not-mounted alarm"]);
  assert.match(findings[1]?.message ?? "", /the claims 'uploads-acme-chatwoot-web-0', 'uploads-acme-chatwoot-web-1'/);
  const roots = [join(cluster.root, "first"), join(cluster.root, "uploads")];
  assert.deepEqual(installation.storage, [{ serviceName: "local", kind: "local", roots }]);
});

test("files of a bucket need no claim, and the chart is then as it should be", async () => {
  const world = release({
    environment: { ...ENVIRONMENT, ACTIVE_STORAGE_SERVICE: "amazon", S3_BUCKET_NAME: "acme", AWS_ACCESS_KEY_ID: "A" },
  });
  await using cluster = await startWhole(world);
  const { installation, findings } = await find(cluster);
  assert.deepEqual(findings, []);
  assert.deepEqual(
    installation.storage.map(({ serviceName }) => serviceName),
    ["amazon"],
  );
});
