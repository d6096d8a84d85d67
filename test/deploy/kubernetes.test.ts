/** The manifests: valid, whole, one with what Chatkeep prints, and with a configuration and commands that Chatkeep understands. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { parseConfig } from "../../src/app/config.ts";
import { parseCall } from "../../src/cli/parse.ts";
import { parseCron } from "../../src/schedule/cron.ts";
import { callCli } from "../harness/cli.ts";
import {
  assertRestricted,
  assertValid,
  type KubernetesObject,
  objectsIn,
  objectsOf,
  oneOf,
  podOf,
  secretsOf,
} from "../harness/kubernetes-objects.ts";
import { temporaryFolder } from "../harness/temporary.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const MANIFESTS = join(ROOT, "deploy/kubernetes");
const EXAMPLE = join(MANIFESTS, "chatkeep.example.yaml");

interface Kustomization {
  namespace: string;
  resources: string[];
  images: { name: string; newName: string; newTag: string }[];
}

const kustomization = parse(readFileSync(join(MANIFESTS, "kustomization.yaml"), "utf8")) as Kustomization;
const version = (JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string }).version;

/** Of all files, those that are applied one by one too. */
function allObjects(): KubernetesObject[] {
  return readdirSync(MANIFESTS)
    .filter((name) => name.endsWith(".yaml") && !["kustomization.yaml", "chatkeep.example.yaml"].includes(name))
    .flatMap((name) => objectsOf(join(MANIFESTS, name)));
}

const all = allObjects();

function podNamed(kind: string, name: string) {
  const pod = podOf(oneOf(all, kind, name));
  assert.ok(pod !== undefined);
  return pod;
}

test("every object is what the API describes, and names only what is there", async () => {
  for (const object of all) await assertValid(object);
  const made = new Set(all.map(({ kind, metadata }) => `${kind} ${metadata.name}`));
  const page = readFileSync(join(ROOT, "docs/kubernetes.md"), "utf8");
  for (const object of all) {
    const pod = podOf(object);
    if (pod === undefined) continue;
    assert.ok(made.has(`ServiceAccount ${pod.spec.serviceAccountName}`));
    for (const { persistentVolumeClaim: claim } of pod.spec.volumes)
      if (claim !== undefined) assert.ok(made.has(`PersistentVolumeClaim ${claim.claimName}`), claim.claimName);
    for (const secret of secretsOf(pod)) assert.ok(page.includes(`secret generic ${secret} `), secret);
    for (const { secretRef } of pod.spec.containers[0].envFrom ?? [])
      assert.ok(page.includes(`secret generic ${secretRef?.name} `), JSON.stringify(secretRef));
  }
  for (const binding of all.filter(({ kind }) => kind === "RoleBinding")) {
    const { roleRef, subjects } = binding as unknown as {
      roleRef: { kind: string; name: string };
      subjects: { kind: string; name: string; namespace: string }[];
    };
    assert.ok(made.has(`${roleRef.kind} ${roleRef.name}`));
    for (const { kind, name, namespace } of subjects) {
      assert.ok(made.has(`${kind} ${name}`));
      assert.equal(namespace, kustomization.namespace);
    }
  }
});

async function checkChanged(change: (cronJob: KubernetesObject) => void): Promise<void> {
  const cronJob = structuredClone(oneOf(all, "CronJob"));
  change(cronJob);
  await assertValid(cronJob);
}

test("the check sees a field that is wrong, unknown or lacking, a name that is too long and a mount without its volume", async () => {
  await checkChanged(() => {});
  await assert.rejects(checkChanged((one) => Object.assign(one["spec"] as object, { concurrencyPolicy: "Never" })));
  await assert.rejects(checkChanged((one) => Object.assign(one["spec"] as object, { schedule: undefined })));
  await assert.rejects(checkChanged((one) => Object.assign(one["spec"] as object, { timezone: "Etc/UTC" })));
  await assert.rejects(checkChanged((one) => Object.assign(podOf(one)?.spec.containers[0] ?? {}, { arg: [] })));
  await assert.rejects(checkChanged((one) => Object.assign(podOf(one)?.spec.volumes[0]?.secret ?? {}, { mode: 0 })));
  await assert.rejects(checkChanged((one) => Object.assign(one.metadata, { name: "a".repeat(53) })));
  await assert.rejects(checkChanged((one) => podOf(one)?.spec.volumes.pop()));
});

test("'schedule --print cronjob' prints what the manifests have", async () => {
  await using folder = await temporaryFolder();
  const printed = await callCli(
    ["--config", EXAMPLE, "schedule", "--print", "cronjob", "--image", `chatkeep:${version}`],
    { cwd: folder.path },
  );
  assert.equal(printed.status, 0, printed.stderr);
  // The example lies elsewhere than the configuration will.
  const text = printed.stdout.replaceAll(EXAMPLE, "/etc/chatkeep/chatkeep.yaml").replaceAll(MANIFESTS, "/etc/chatkeep");
  assert.deepEqual(objectsIn(text), objectsOf(join(MANIFESTS, "cronjob.yaml")));
});

test("the run's command line and configuration are Chatkeep's own", () => {
  const [container] = podNamed("CronJob", "chatkeep-chatwoot").spec.containers;
  const call = parseCall(container.args ?? []);
  assert.equal(call.command.name, "run");
  assert.equal(call.globals.config, "/etc/chatkeep/chatkeep.yaml");
  const config = parseConfig(readFileSync(EXAMPLE, "utf8"), EXAMPLE, {});
  assert.equal(config.installation.kind, "kubernetes");
  const { spec } = oneOf(all, "CronJob") as unknown as { spec: { schedule: string; timeZone: string } };
  assert.equal(spec.schedule, config.schedule?.backup);
  assert.equal(spec.timeZone, config.schedule?.timezone);
  parseCron(spec.schedule, spec.timeZone);
  // Where the image, or the example, has files, something is mounted.
  const places = container.volumeMounts.map(({ mountPath }) => mountPath);
  assert.deepEqual(places, ["/etc/chatkeep", "/var/lib/chatkeep", "/tmp"]);
  for (const [, file = ""] of JSON.stringify(config).matchAll(/"[a-z]+-file":"([^"]+)"/g))
    assert.ok(file.startsWith("/etc/chatkeep/"), file);
});

test("the pods to work in by hand differ from the daily run's in what they must", () => {
  const daily = podNamed("CronJob", "chatkeep-chatwoot").spec;
  for (const name of ["chatkeep-terminal", "chatkeep-setup"]) {
    const pod = structuredClone(podNamed("Pod", name).spec);
    const [container] = pod.containers;
    assert.deepEqual(container.command, ["sleep", "28800"]);
    assert.equal(container.image, `${kustomization.images[0]?.newName}:${version}`);
    const { args, image } = daily.containers[0];
    delete container.command;
    Object.assign(container, { args, image });
    const { terminationGracePeriodSeconds } = daily;
    Object.assign(pod, { terminationGracePeriodSeconds });
    if (name === "chatkeep-setup") {
      // Init writes the configuration there, and nothing of it reaches a disk.
      assert.deepEqual(pod.volumes[0], { name: "config", emptyDir: { medium: "Memory" } });
      assert.deepEqual(pod.volumes[1], { name: "state", emptyDir: {} });
      assert.equal(container.volumeMounts[0]?.readOnly, undefined);
      Object.assign(container.volumeMounts[0] ?? {}, { readOnly: true });
      pod.volumes = daily.volumes;
    }
    assert.deepEqual(pod, daily);
  }
});

test("a namespace that takes only restricted pods takes these", () => {
  const pods = all.map(podOf).filter((pod) => pod !== undefined);
  assert.equal(pods.length, 3);
  for (const pod of pods) assertRestricted(pod);
  const [pod] = structuredClone(pods);
  pod?.spec.volumes.push({ name: "host", hostPath: { path: "/" } } as { name: string });
  assert.throws(() => pod && assertRestricted(pod));
});

test("versions and images are this Chatkeep's", () => {
  assert.deepEqual(
    kustomization.images.map(({ name, newTag }) => `${name}:${newTag}`),
    [podNamed("CronJob", "chatkeep-chatwoot").spec.containers[0].image],
  );
  assert.equal(kustomization.images[0]?.newTag, version);
});
