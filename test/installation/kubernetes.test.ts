/** Chatwoot in a cluster, found through a stand-in for its API that grants what deploy/kubernetes/rbac.yaml grants. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { isFailure } from "../../src/base/errors.ts";
import { findInstallation } from "../../src/installation/find.ts";
import { runStep } from "../../src/installation/processes.ts";
import type { ClusterObject, WorkloadDetails } from "../../src/system/cluster-details.ts";
import { assertValid, objectsIn } from "../harness/kubernetes-objects.ts";
import { makeCertificate, makePod, RBAC } from "../harness/stand-in-kubernetes.ts";
import { find, findFromOutside, firstOf, kindsOf, startWhole, UPLOADS, wholeWorld } from "./cluster-desk.ts";
import { ENVIRONMENT, ownPod, release, secret, withClaim } from "./cluster-shapes.ts";

const { signal } = new AbortController();

/** What a controller does that knows better. */
function setBack({ spec }: WorkloadDetails): void {
  spec.replicas = 2;
}

test("a release of the chart is found from its own namespace, with all that a backup needs, and nothing to worry about", async () => {
  await using cluster = await startWhole();
  const { installation, findings } = await find(cluster);
  assert.deepEqual(findings, []);
  assert.equal(installation.kind, "kubernetes");
  assert.deepEqual(installation.choice, { namespace: "chatwoot", deployment: "acme-chatwoot-web" });
  assert.deepEqual(Object.fromEntries(installation.environment), ENVIRONMENT);
  assert.deepEqual(installation.storage, [
    { serviceName: "local", kind: "local", roots: [join(cluster.root, "uploads")] },
  ]);
  assert.equal(installation.version, "4.15.1");
  assert.equal(installation.edition, "ee");
  assert.deepEqual(installation.image, {
    name: "chatwoot/chatwoot:v4.15.1",
    id: `sha256:${"d".repeat(64)}`,
    digest: `docker.io/chatwoot/chatwoot@sha256:${"d".repeat(64)}`,
  });
  assert.deepEqual(installation.processes.health, { how: "http", url: "http://acme-chatwoot:3000" });
  assert.match(
    installation.notes[0] ?? "",
    /^the release 'acme' in the namespace 'chatwoot' at https:.*, of the chart chatwoot-2\.0\.23$/,
  );
  const at = installation.reach?.("acme-chatwoot-postgresql", 5432);
  assert.deepEqual([at?.host, at?.port], ["acme-chatwoot-postgresql", 5432]);
});

test("all objects of the installation are saved, and of others none; nothing changed gives the same bytes", async () => {
  const world = wholeWorld();
  world["cronjobs"]?.push({
    metadata: { name: "acme-chatwoot-nightly" },
    spec: {
      schedule: "0 3 * * *",
      jobTemplate: {
        spec: {
          template: {
            metadata: {},
            spec: {
              restartPolicy: "Never",
              volumes: [],
              containers: [{ name: "task", image: "chatwoot/chatwoot:v4.15.1", volumeMounts: [] }],
            },
          },
        },
      },
    },
  } as ClusterObject);
  world["cronjobs"]?.push({
    metadata: {
      name: "chatkeep",
      labels: { "app.kubernetes.io/name": "chatkeep", "app.kubernetes.io/instance": "acme" },
    },
    spec: { jobTemplate: { spec: { template: { spec: { containers: [] } } } } },
  } as ClusterObject);
  world["secrets"]?.push(secret("acme-chatwoot-tls", { "tls.key": "of the certificate" }));
  await using cluster = await startWhole(world);
  const saved = async () => (await find(cluster)).installation.madeFiles;
  const [first, second] = [await saved(), await saved()];
  assert.deepEqual(first, second);
  assert.deepEqual(
    first.map(({ path }) => path.replace(/^kubernetes\/(.*)\.yaml$/, "$1")),
    [
      "cronjob-acme-chatwoot-nightly",
      "deployment-acme-chatwoot-web",
      "deployment-acme-chatwoot-worker",
      "horizontalpodautoscaler-acme-chatwoot-web",
      "ingress-acme-chatwoot",
      "persistentvolumeclaim-data-acme-chatwoot-postgresql-0",
      "persistentvolumeclaim-redis-data-acme-chatwoot-redis-master-0",
      "persistentvolumeclaim-uploads",
      "secret-acme-chatwoot-env",
      "secret-acme-chatwoot-tls",
      "secret-sh.helm.release.v1.acme.v10",
      "service-acme-chatwoot-postgresql",
      "service-acme-chatwoot-redis-master",
      "service-acme-chatwoot",
      "statefulset-acme-chatwoot-postgresql",
      "statefulset-acme-chatwoot-redis-master",
    ],
  );
  const all = first.map(({ text }) => text).join("---\n");
  assert.doesNotMatch(all, /never-to-be-saved|resourceVersion|managedFields|uid:|creationTimestamp|10\.96|pvc-uploads/);
  assert.doesNotMatch(all, /203\.0\.113|revision|bind-completed/);
  // Helm's own name for it has dots, which no other object's has.
  for (const { text } of first.filter(({ path }) => !path.includes("sh.helm"))) {
    for (const object of objectsIn(text)) await assertValid(object);
  }
  const web = parse(first.find(({ path }) => path.endsWith("-web.yaml"))?.text ?? "") as WorkloadDetails & {
    kind: string;
    apiVersion: string;
  };
  assert.deepEqual([web.apiVersion, web.kind, web.metadata.name], ["apps/v1", "Deployment", "acme-chatwoot-web"]);
  assert.deepEqual(web.spec, firstOf(world).spec);
  assert.equal(web.metadata.annotations?.["meta.helm.sh/release-name"], "acme");
});

test("each right of rbac.yaml and scale.yaml is used by finding, saving, stopping or starting, and no other is needed", async () => {
  const world = wholeWorld();
  const [web] = world["deployments"] as WorkloadDetails[];
  assert(web !== undefined);
  web.spec.template.spec.containers[0]?.envFrom?.unshift({ configMapRef: { name: "kube-root-ca.crt" } });
  // Some run the worker as a StatefulSet.
  const [worker] = (world["deployments"] as WorkloadDetails[]).splice(1, 1);
  assert(worker !== undefined);
  world["statefulsets"]?.push(worker);
  await using cluster = await startWhole(world);
  const { installation, findings } = await find(cluster);
  assert.deepEqual(kindsOf(findings), []);
  for (const control of [installation.processes.worker, installation.processes.web]) {
    for (const step of [...(control?.stop ?? []), ...(control?.start ?? [])]) await runStep(step, { signal });
  }
  assert.deepEqual([...cluster.usedRights].toSorted(), [...cluster.grantedRights].toSorted());
});

test("web and worker are scaled to none, each by itself, until no pod is left; and back to what they had", async () => {
  const world = wholeWorld();
  await using cluster = await startWhole(world, { endingLooks: 2 });
  const { web, worker } = (await find(cluster)).installation.processes;
  const running = (name: string) => world["pods"]?.filter(({ metadata }) => metadata.name.startsWith(name)).length;
  for (const step of worker?.stop ?? []) await runStep(step, { signal });
  assert.deepEqual([running("acme-chatwoot-web-"), running("acme-chatwoot-worker-")], [2, 0]);
  for (const step of web?.stop ?? []) await runStep(step, { signal });
  assert.deepEqual([running("acme-chatwoot-web-"), running("acme-chatwoot-postgresql-")], [0, 1]);
  for (const step of [...(web?.start ?? []), ...(worker?.start ?? [])]) await runStep(step, { signal });
  assert.deepEqual([running("acme-chatwoot-web-"), running("acme-chatwoot-worker-")], [2, 3]);
});

test("who sets back what was scaled is named beforehand, and when he does it, stopping fails", async () => {
  const world = release({
    ...withClaim("uploads"),
    annotations: { "argocd.argoproj.io/tracking-id": "desk:apps/Deployment:chatwoot/acme-chatwoot-web" },
    labels: { "kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system" },
  });
  const [autoscaler] = world["horizontalpodautoscalers"] ?? [];
  assert(autoscaler !== undefined);
  autoscaler.metadata.labels = { "scaledobject.keda.sh/name": "web" };
  await using cluster = await startWhole(world, { onScale: setBack });
  const { installation, findings } = await find(cluster);
  const managed = findings.find(({ kind }) => kind === "scaling-managed");
  assert.equal(managed?.level, "note");
  assert.match(
    managed?.message ?? "",
    /KEDA's ScaledObject 'web' and Argo CD's application 'desk' and Flux's kustomization 'apps'/,
  );
  assert.match(managed?.hint ?? "", /flux suspend kustomization apps --namespace flux-system/);
  const [step] = installation.processes.web?.stop ?? [];
  assert(step !== undefined);
  await assert.rejects(
    runStep(step, { signal }),
    (error) =>
      isFailure(error, "program/failed") &&
      error.message === "somebody scaled the Deployment 'acme-chatwoot-web' back to 2 while Chatkeep was stopping it",
  );
});

test("without the role for scaling everything is found and saved, and stopping says which right lacks", async () => {
  await using cluster = await startWhole(wholeWorld(), { rbac: readFileSync(RBAC, "utf8") });
  const { installation, findings } = await find(cluster);
  assert.deepEqual(findings, []);
  const [step] = installation.processes.web?.stop ?? [];
  assert(step !== undefined);
  await assert.rejects(
    runStep(step, { signal }),
    (error) =>
      isFailure(error, "source/unreadable") &&
      error.message === "Chatkeep may not get deployments/scale in the namespace 'chatwoot'" &&
      /cannot get resource "deployments\/scale".*scale\.yaml grants/.test(error.hint ?? ""),
  );
});

test("rights that only save more may lack: a note says of what, and the rest is saved", async () => {
  const rbac = `
apiVersion: v1
kind: ServiceAccount
metadata: { name: chatkeep }
---
kind: Role
metadata: { name: least }
rules:
  - { apiGroups: [apps], resources: [deployments, statefulsets], verbs: [list] }
  - { apiGroups: [""], resources: [pods, services, persistentvolumeclaims], verbs: [list] }
  - { apiGroups: [""], resources: [secrets, configmaps], verbs: [get] }
---
kind: RoleBinding
metadata: { name: least }
roleRef: { kind: Role, name: least }
subjects: [{ kind: ServiceAccount, name: chatkeep, namespace: chatwoot }]
`;
  await using cluster = await startWhole(wholeWorld(), { rbac });
  const { installation, findings } = await find(cluster);
  assert.deepEqual(kindsOf(findings), ["manifests-not-saved note"]);
  assert.match(
    findings[0]?.message ?? "",
    /may not list cronjobs, horizontalpodautoscalers, ingresses, secrets .*, nor is the release that Helm keeps/,
  );
  assert.ok(installation.madeFiles.some(({ path }) => path === "kubernetes/secret-acme-chatwoot-env.yaml"));
});

test("the environment is put together as the kubelet does: whole objects in their order, then each variable", async () => {
  const world = wholeWorld();
  for (const { spec } of world["deployments"] as WorkloadDetails[]) {
    const [container] = spec.template.spec.containers;
    assert(container !== undefined);
    container.envFrom = [
      { secretRef: { name: "acme-chatwoot-env" } },
      { configMapRef: { name: "more" }, prefix: "MORE_" },
      { secretRef: { name: "later" } },
      { secretRef: { name: "not-there", optional: true } },
    ];
    container.env = [
      { name: "POSTGRES_USERNAME", value: "" },
      { name: "GREETING", value: "$(LATER) $$(LATER) $(UNKNOWN) $5 $(" },
      { name: "REDIS_PASSWORD", valueFrom: { secretKeyRef: { name: "redis", key: "password" } } },
      { name: "MISSING", valueFrom: { configMapKeyRef: { name: "more", key: "not-there", optional: true } } },
      { name: "FOLDED", value: "$(REDIS_PASSWORD)!" },
      { name: "SPACE", valueFrom: { fieldRef: { fieldPath: "metadata.namespace" } } },
      { name: "ROLE", valueFrom: { fieldRef: { fieldPath: "metadata.labels['release']" } } },
      { name: "POD", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } },
      { name: "DATABASE_AT", value: "$(ACME_CHATWOOT_POSTGRESQL_SERVICE_HOST)" },
      { name: "LATER", value: "from env" },
    ];
  }
  world["secrets"]?.push(secret("later", { LATER: "$(RAILS_ENV)", FRONTEND_URL: "https://other.example.com" }));
  world["secrets"]?.push(secret("redis", { password: "of-redis" }));
  world["configmaps"]?.push({ metadata: { name: "more" }, data: { A: "1" } } as ClusterObject);
  await using cluster = await startWhole(world);
  const { environment } = (await find(cluster)).installation;
  const given = ["POSTGRES_USERNAME", "GREETING", "REDIS_PASSWORD", "MISSING", "FOLDED", "SPACE", "ROLE", "POD"];
  assert.deepEqual(
    [...given, "DATABASE_AT", "LATER", "MORE_A", "FRONTEND_URL"].map((name) => environment.get(name)),
    [
      "",
      "$(RAILS_ENV) $(LATER) $(UNKNOWN) $5 $(",
      "of-redis",
      undefined,
      "of-redis!",
      "chatwoot",
      "acme",
      undefined,
      "10.96.0.7",
      "from env",
      "1",
      "https://other.example.com",
    ],
  );
});

test("a .env that a Secret brings into Chatwoot's folder is read as the application reads it", async () => {
  const world = release({
    storage: [{ name: "dotenv", secret: { secretName: "dotenv", items: [{ key: "production", path: ".env" }] } }],
    mounts: [{ name: "dotenv", mountPath: "/app/.env", subPath: ".env" }],
  });
  world["secrets"]?.push(
    secret("dotenv", { production: "MAILER_SENDER_EMAIL=desk@example.com\nRAILS_ENV=development\n" }),
  );
  await using cluster = await startWhole(world);
  const { environment, madeFiles } = (await find(cluster)).installation;
  assert.equal(environment.get("MAILER_SENDER_EMAIL"), "desk@example.com");
  assert.equal(environment.get("RAILS_ENV"), "production");
  assert.ok(madeFiles.some(({ path }) => path === "kubernetes/secret-dotenv.yaml"));
});

test("what environments ask for and is not there, and what web and worker do not agree in, is said", async () => {
  const world = wholeWorld();
  const [web, worker] = (world["deployments"] as WorkloadDetails[]).map(({ spec }) => spec.template.spec.containers[0]);
  assert(web !== undefined && worker !== undefined);
  web.env = [{ name: "MAILER_PASSWORD", valueFrom: { secretKeyRef: { name: "mail", key: "password" } } }];
  worker.env = [{ name: "FRONTEND_URL", value: "https://old.example.com" }];
  await using cluster = await startWhole(world);
  const { findings } = await find(cluster);
  assert.deepEqual(kindsOf(findings), ["environment-incomplete warning", "environment-differs warning"]);
  assert.match(
    findings[0]?.message ?? "",
    /acme-chatwoot-web comes from what is not there: 'password' of the Secret 'mail'/,
  );
  assert.match(findings[1]?.message ?? "", /^acme-chatwoot-web and acme-chatwoot-worker do not agree in FRONTEND_URL$/);
});

test("pods that are not ready, and workloads without any, are named with the reason", async () => {
  const world = wholeWorld();
  const [web, worker] = world["deployments"] as WorkloadDetails[];
  assert(web !== undefined && worker !== undefined);
  worker.spec.replicas = 0;
  world["pods"] = (world["pods"] ?? []).filter(({ metadata }) => !metadata.name.startsWith("acme-chatwoot-w"));
  const broken = makePod(web, "0");
  broken.status = {
    phase: "Pending",
    conditions: [{ type: "Ready", status: "False" }],
    containerStatuses: [{ name: "chatwoot-web", state: { waiting: { reason: "CrashLoopBackOff" } } }],
  };
  world["pods"].push(broken);
  await using cluster = await startWhole(world);
  const { installation, findings } = await find(cluster);
  assert.deepEqual(
    findings.map(({ message }) => message),
    [
      "no pod of the Deployment acme-chatwoot-web is ready: CrashLoopBackOff",
      "no pod of the Deployment acme-chatwoot-worker is ready: it is scaled to none",
    ],
  );
  // One that is scaled to nothing is meant to have a pod when it is started.
  const [step] = installation.processes.worker?.start ?? [];
  assert.equal(step !== undefined && step.how === "scale" ? step.replicas : undefined, 1);
});

test("web and worker that run different images are told", async () => {
  const world = wholeWorld();
  const [, worker] = world["deployments"] as WorkloadDetails[];
  assert(worker !== undefined);
  world["pods"] = (world["pods"] ?? []).filter(({ metadata }) => !metadata.name.startsWith("acme-chatwoot-worker"));
  world["pods"].push(makePod(worker, "0", "e"));
  await using cluster = await startWhole(world);
  assert.deepEqual(kindsOf((await find(cluster)).findings), ["images-differ warning"]);
});

test("from outside the cluster: the same is found, and what is reached inside only is said, with the way to it", async () => {
  await using cluster = await startWhole();
  const { installation, findings } = await findFromOutside(cluster);
  assert.deepEqual(kindsOf(findings), ["storage-not-mounted alarm"]);
  assert.equal(installation.processes.health, undefined);
  assert.throws(
    () => installation.reach?.("acme-chatwoot-postgresql", 5432),
    (error) =>
      isFailure(error, "database/unreachable") &&
      /kubectl --namespace chatwoot port-forward service\/acme-chatwoot-postgresql 5432:5432/.test(error.hint ?? ""),
  );
  // A managed server is the same from everywhere.
  assert.equal(installation.reach?.("db.example.com", 5432).host, "db.example.com");
  const named = await findFromOutside(cluster, {
    namespace: "chatwoot",
    databaseUrl: "postgresql://u:p@127.0.0.1:15432/chatwoot_production",
    storage: join(cluster.root, "uploads"),
  });
  assert.deepEqual(named.findings, []);
  assert.equal(named.installation.reach, undefined);
});

test("servers: of another namespace, of no Service, outside, and beside Chatwoot in its own pod", async () => {
  const world = wholeWorld();
  world["services"]?.push({
    metadata: { name: "managed" },
    spec: { type: "ExternalName", externalName: "db.example.com" },
  } as ClusterObject);
  await using cluster = await startWhole(world);
  const { reach } = (await find(cluster)).installation;
  assert(reach !== undefined);
  assert.equal(reach("managed", 5432).host, "db.example.com");
  assert.equal(reach("acme-chatwoot-postgresql.chatwoot.svc.cluster.local", 5432).host, "acme-chatwoot-postgresql");
  assert.equal(reach("db.shared.svc", 5432).host, "db.shared.svc");
  for (const [host, why] of [
    ["nowhere", /no Service of the namespace 'chatwoot' has that name/],
    ["127.0.0.1", /inside its own pod, which Chatkeep's pod is not/],
    ["/var/run/postgresql", /inside its own pod/],
  ] as const) {
    assert.throws(
      () => reach(host, 5432),
      (error) => isFailure(error, "database/unreachable") && why.test(error.message),
    );
  }
});

test("two releases in one namespace are two; either is taken by the name of one of its workloads", async () => {
  const [one, other] = [wholeWorld(), release({ release: "beta", ...withClaim("uploads") })];
  const world = Object.fromEntries(
    Object.entries(one).map(([resource, objects]) => [resource, [...objects, ...(other[resource] ?? [])]]),
  );
  await using cluster = await startWhole(world);
  await assert.rejects(find(cluster), (error) => {
    return (
      isFailure(error, "installation/several") &&
      /the release 'acme' in the namespace 'chatwoot'; the release 'beta'/.test(error.message) &&
      /'deployment: acme-chatwoot-web' under 'installation', or 'deployment: beta-chatwoot-web'/.test(error.hint ?? "")
    );
  });
  const { installation } = await find(cluster, { deployment: "beta-chatwoot-worker" });
  assert.deepEqual(installation.choice, { namespace: "chatwoot", deployment: "beta-chatwoot-web" });
  assert.ok(installation.madeFiles.every(({ path }) => !path.includes("acme-")));
  await assert.rejects(
    find(cluster, { deployment: "gamma" }),
    (error) =>
      isFailure(error, "installation/not-found") &&
      /There are the release 'acme' in .*; the release 'beta'/.test(error.hint ?? ""),
  );
});

test("without Helm, and with images of somebody's own, what runs is told by its command and its environment", async () => {
  const world = release({ image: "registry.example.com/acme/desk:2026-11", ...withClaim("uploads") });
  for (const objects of Object.values(world)) {
    for (const { metadata } of objects) {
      delete metadata.annotations;
      if (metadata.labels?.["owner"] === "helm") metadata.labels = {};
      else delete metadata.labels?.["release"];
    }
  }
  world["pods"]?.push(ownPod([UPLOADS], [{ name: "files", mountPath: "/uploads" }]));
  await using cluster = await startWhole(world);
  const { installation, findings } = await find(cluster);
  assert.deepEqual(findings, []);
  assert.match(installation.notes[0] ?? "", /^the Deployment acme-chatwoot-web in the namespace/);
  // What stands behind the servers that it names belongs to it, and the claims with it.
  for (const name of [
    "statefulset-acme-chatwoot-postgresql",
    "persistentvolumeclaim-redis-data-acme-chatwoot-redis-master-0",
  ])
    assert.ok(
      installation.madeFiles.some(({ path }) => path === `kubernetes/${name}.yaml`),
      name,
    );
  assert.equal(installation.version, undefined);
  assert.equal(installation.edition, undefined);
});

test("a workload that leaves to its image what it runs is found when it is named, and a Secret that holds nothing is there", async () => {
  const world = release({ image: "registry.example.com/acme/desk:7", ...withClaim("uploads") });
  const { containers } = firstOf(world).spec.template.spec;
  for (const container of containers) {
    delete container.args;
    delete container.command;
    container.envFrom?.push({ secretRef: { name: "empty" } });
  }
  world["secrets"]?.push({ metadata: { name: "empty" } });
  world["pods"]?.push(ownPod([UPLOADS], [{ name: "files", mountPath: "/uploads" }]));
  await using cluster = await startWhole(world);
  assert.deepEqual((await find(cluster)).installation.choice, {
    namespace: "chatwoot",
    deployment: "acme-chatwoot-worker",
  });
  const { installation, findings } = await find(cluster, { deployment: "acme-chatwoot-web" });
  assert.deepEqual(findings, []);
  assert.match(installation.notes[1] ?? "", /^web: acme-chatwoot-web; worker: acme-chatwoot-worker$/);
});

test("a namespace without Chatwoot, one that may not be looked into, and an account that is not known, are told apart", async () => {
  await using cluster = await startWhole({ pods: [ownPod()] });
  await assert.rejects(
    find(cluster),
    (error) =>
      isFailure(error, "installation/not-found") &&
      /Deployments and StatefulSets of Chatwoot in the namespace 'chatwoot' of https:/.test(error.hint ?? ""),
  );
  await assert.rejects(
    find(cluster, { namespace: "other" }),
    (error) =>
      isFailure(error, "source/unreadable") &&
      /may not list \w+ in the namespace 'other'/.test(error.message) &&
      /is forbidden: User "system:serviceaccount:chatwoot:chatkeep" cannot list/.test(error.hint ?? ""),
  );
  await writeFile(join(cluster.root, "var/run/secrets/kubernetes.io/serviceaccount/token"), "of-nobody");
  await assert.rejects(
    find(cluster, { kind: "kubernetes" }),
    (error) => isFailure(error, "source/unreadable") && /does not accept who Chatkeep is/.test(error.message),
  );
  // Where nobody said that it is in Kubernetes, there may be another.
  await assert.rejects(
    find(cluster),
    (error) =>
      isFailure(error, "installation/not-found") && /It may be in a container, but the cluster/.test(error.hint ?? ""),
  );
});

test("a cluster that does not answer, and a kubeconfig that is none, are said with what names them", async () => {
  const cluster = await startWhole();
  const { kubeconfig, podEnv, root } = cluster;
  await using other = await startWhole();
  await cluster[Symbol.asyncDispose]();
  await assert.rejects(
    findInstallation({ kind: "kubernetes" }, { signal, env: { KUBECONFIG: kubeconfig }, filesystemRoot: root }),
    (error) =>
      isFailure(error, "source/unreadable") && error.message.startsWith(`cannot read the kubeconfig ${kubeconfig}`),
  );
  await assert.rejects(
    findInstallation(
      { kind: "kubernetes" },
      {
        signal,
        env: { ...other.podEnv, KUBERNETES_SERVICE_PORT: podEnv["KUBERNETES_SERVICE_PORT"] },
        filesystemRoot: other.root,
      },
    ),
    (error) =>
      isFailure(error, "program/failed") &&
      /does not answer/.test(error.message) &&
      /network policy/.test(error.hint ?? ""),
  );
});

test("a kubeconfig that asks a program for the login is said with that program, when it fails", async () => {
  await using cluster = await startWhole();
  const text = readFileSync(cluster.kubeconfig, "utf8");
  const exec = "exec: { apiVersion: client.authentication.k8s.io/v1, command: no-such-login, interactiveMode: Never }";
  await writeFile(cluster.kubeconfig, text.replace(/token: [\w-]+/, exec));
  await assert.rejects(
    findFromOutside(cluster),
    (error) =>
      isFailure(error, "source/unreadable") &&
      /^cannot log in to the cluster at https:.*no-such-login/.test(error.message) &&
      error.hint?.includes(cluster.kubeconfig) === true,
  );
});

test("a certificate that the cluster's own root did not sign is refused", async () => {
  await using cluster = await startWhole();
  const { authority } = await makeCertificate();
  await writeFile(join(cluster.root, "var/run/secrets/kubernetes.io/serviceaccount/ca.crt"), authority);
  await assert.rejects(
    find(cluster, { kind: "kubernetes" }),
    (error) => isFailure(error, "program/failed") && /certificate|signature/i.test(error.message),
  );
});

test("a cluster that is busy is asked again, and lists that it gives in pieces are put together", async () => {
  const world = wholeWorld();
  await using cluster = await startWhole(world);
  cluster.putOff(3);
  const { installation } = await find(cluster);
  assert.equal(installation.kind, "kubernetes");
  // The stand-in never gives more than three at once.
  assert.ok((world["pods"]?.length ?? 0) > 6);
  assert.ok(cluster.requests.filter((request) => request === "list pods").length >= 3);
});
