/**
 * What is known of the stand-in for a cluster's API, held against programs that others made for the real one: kubectl lists and
 * scales through it, and Helm reads the release that a backup saved.
 */
import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { test } from "node:test";
import { parse } from "yaml";
import { findInstallation } from "../../src/installation/find.ts";
import { runStep } from "../../src/installation/processes.ts";
import type { SecretDetails } from "../../src/system/cluster-details.ts";
import { clusterPrograms, HELM_MAJORS } from "../harness/helm.ts";
import { type StandInCluster, startStandInCluster } from "../harness/stand-in-kubernetes.ts";
import { release, secret } from "../installation/cluster-shapes.ts";

const { signal } = new AbortController();

/** Of somebody who may do all that the stand-in can. */
const ADMIN = `
kind: ServiceAccount
metadata: { name: chatkeep }
---
kind: Role
metadata: { name: all }
rules:
  - { apiGroups: [apps], resources: [deployments, deployments/scale], verbs: [get, list, patch] }
  - { apiGroups: [""], resources: [pods, secrets], verbs: [get, list] }
---
kind: RoleBinding
metadata: { name: all }
roleRef: { kind: Role, name: all }
subjects: [{ kind: ServiceAccount, name: chatkeep, namespace: chatwoot }]
`;

async function findIn(cluster: StandInCluster) {
  const env = { KUBECONFIG: cluster.kubeconfig };
  return (await findInstallation({ kind: "kubernetes" }, { signal, env, filesystemRoot: cluster.root })).installation;
}

for (const major of HELM_MAJORS) {
  const { helm, kubectl } = await clusterPrograms(major);

  test(`kubectl beside Helm ${major}: it gets all pages of a list, a refusal and a scale from the stand-in as from a real server`, async () => {
    const world = release();
    await using cluster = await startStandInCluster(world, { rbac: ADMIN });
    const ask = async (...args: string[]) => await kubectl(["--kubeconfig", cluster.kubeconfig, ...args]);
    const listed = await ask("get", "pods", "--output", "name", "--chunk-size", "2");
    assert.equal(listed.status, 0, listed.stderr);
    assert.equal(listed.stdout.trim().split("\n").length, world["pods"]?.length);
    const chosen = await ask("get", "pods", "--selector", "role in (worker),app=acme-chatwoot", "--output", "name");
    assert.equal(chosen.stdout.trim().split("\n").length, 3, chosen.stderr);
    const refused = await ask("get", "services");
    assert.match(
      refused.stderr,
      /Error from server \(Forbidden\): services is forbidden: User "system:serviceaccount:chatwoot:chatkeep" cannot list resource "services" in API group "" in the namespace "chatwoot"/,
    );
    const gone = await ask("get", "--raw", "/apis/apps/v1/namespaces/chatwoot/deployments/none");
    assert.match(gone.stderr, /\(NotFound\): deployments\.apps "none" not found/);
    const scaled = await ask("scale", "deployment", "acme-chatwoot-worker", "--replicas", "1");
    assert.equal(scaled.status, 0, scaled.stderr);
    const left = await ask("get", "pods", "--selector", "role=worker", "--output", "name");
    assert.equal(left.stdout, "pod/acme-chatwoot-worker-0\n", left.stderr);
  });

  test(`kubectl beside Helm ${major}: what Chatkeep scaled to none has no pods there, until it is started`, async () => {
    await using cluster = await startStandInCluster(release());
    const ask = async () => {
      const args = ["--kubeconfig", cluster.kubeconfig, "get", "deployments", "--output"];
      return (await kubectl([...args, "jsonpath={.items[*].spec.replicas}"])).stdout;
    };
    const { processes } = await findIn(cluster);
    for (const step of [...(processes.worker?.stop ?? []), ...(processes.web?.stop ?? [])])
      await runStep(step, { signal });
    assert.equal(await ask(), "0 0");
    for (const step of [...(processes.worker?.start ?? []), ...(processes.web?.start ?? [])])
      await runStep(step, { signal });
    assert.equal(await ask(), "2 3");
  });

  test(`Helm ${major}: the release that was saved, in a cluster that has nothing else, gives its values and its manifests again`, async () => {
    // As Helm's driver for Secrets keeps it: JSON, gzipped, in base64, and once more as the data of a Secret.
    const kept = {
      name: "acme",
      version: 10,
      namespace: "chatwoot",
      info: { status: "deployed" },
      chart: { metadata: { apiVersion: "v2", name: "chatwoot", version: "2.0.23" }, values: { replicas: 1 } },
      config: { env: { FRONTEND_URL: "https://chat.example.com" } },
      manifest: "---\nkind: Deployment\n",
    };
    const labels = { owner: "helm", name: "acme", status: "deployed", version: "10" };
    const text = gzipSync(JSON.stringify(kept)).toString("base64");
    const object = { ...secret("sh.helm.release.v1.acme.v10", { release: text }, labels), type: "helm.sh/release.v1" };
    const world = release();
    world["secrets"] = [...(world["secrets"] ?? []).filter(({ metadata }) => !metadata.name.startsWith("sh.")), object];
    await using cluster = await startStandInCluster(world);
    const { madeFiles } = await findIn(cluster);
    const saved = madeFiles.find(({ path }) => path === "kubernetes/secret-sh.helm.release.v1.acme.v10.yaml");
    await using empty = await startStandInCluster(
      { secrets: [parse(saved?.text ?? "") as SecretDetails] },
      { rbac: ADMIN },
    );
    const ask = async (what: string) =>
      await helm(["get", what, "acme", "--namespace", "chatwoot", "--kubeconfig", empty.kubeconfig]);
    const values = await ask("values");
    assert.equal(values.status, 0, values.stderr);
    assert.match(values.stdout, /FRONTEND_URL: https:\/\/chat\.example\.com/);
    assert.match((await ask("manifest")).stdout, /kind: Deployment/);
  });
}
