/**
 * The chart as Helm itself renders it, an older and a newer one, and the manifests as kubectl reads them: what comes out is what
 * the API describes, of one kind with the manifests, and what Chatkeep understands. No cluster takes part.
 */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { parseConfig } from "../../src/app/config.ts";
import { parseCall } from "../../src/cli/parse.ts";
import { formatWatchDeployment } from "../../src/schedule/cron-job.ts";
import type { WatchJob } from "../../src/schedule/job.ts";
import { clusterPrograms, HELM_MAJORS } from "../harness/helm.ts";
import {
  assertRestricted,
  assertValid,
  type KubernetesObject,
  objectsIn,
  objectsOf,
  oneOf,
  podOf,
  type PodSpec,
  secretsOf,
} from "../harness/kubernetes-objects.ts";
import { temporaryFolder } from "../harness/temporary.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const CHART = join(ROOT, "deploy/helm/chatkeep");
const MANIFESTS = join(ROOT, "deploy/kubernetes");
const EVERY = join(ROOT, "test/deploy/every-value.yaml");
const IMAGE = "image.repository=chatkeep";

for (const major of HELM_MAJORS) {
  const { helm, kubectl } = await clusterPrograms(major);

  const render = async (release: string, ...args: string[]): Promise<KubernetesObject[]> => {
    const { status, stdout, stderr } = await helm(["template", release, CHART, "--namespace", "desk", ...args]);
    assert.equal(status, 0, stderr);
    const objects = objectsIn(stdout);
    for (const object of objects) {
      await assertValid(object);
      const pod = podOf(object);
      if (pod !== undefined) assertRestricted(pod);
    }
    return objects;
  };

  /** What kubectl's own types keep of an object: a field that they do not know is gone. */
  const readBack = async (object: KubernetesObject, change: readonly string[]): Promise<unknown> => {
    const args = ["set", ...change, "--local", "--filename", "-", "--output", "json"];
    const { status, stdout, stderr } = await kubectl(args, JSON.stringify(object));
    assert.equal(status, 0, `${object.kind} ${object.metadata.name}: ${stderr}`);
    return JSON.parse(stdout);
  };

  const assertKnown = async (object: KubernetesObject): Promise<void> => {
    const pod = podOf(object);
    if (pod === undefined) return;
    // Where nothing is changed it prints nothing.
    const made = (await readBack(object, ["image", "chatkeep=another:image"])) as KubernetesObject;
    const [container] = podOf(made)?.spec.containers ?? [];
    assert.equal(container?.image, "another:image");
    Object.assign(container, { image: pod.spec.containers[0].image });
    assert.deepEqual(withoutEmpty(made), withoutEmpty(object));
  };

  test(`Helm ${major}: the chart has no faults that its lint knows`, async () => {
    const { status, stdout } = await helm(["lint", CHART, "--strict", "--set", IMAGE]);
    assert.equal(status, 0, stdout);
    assert.doesNotMatch(stdout, /\[(WARNING|ERROR)\]/);
  });

  test(`Helm ${major}: before there is a configuration it makes a pod to set up in, and nothing that runs by itself`, async () => {
    const objects = await render("chatkeep", "--set", IMAGE);
    assert.deepEqual(objects.map(({ kind }) => kind).toSorted(), [
      "NetworkPolicy",
      "PersistentVolumeClaim",
      "Pod",
      "Role",
      "RoleBinding",
      "ServiceAccount",
    ]);
    const { spec } = podIn(objects, "Pod");
    assert.equal(oneOf(objects, "Pod").metadata.name, "chatkeep-terminal-1");
    assert.deepEqual(spec.volumes[0], { name: "config", emptyDir: { medium: "Memory" } });
    assert.equal(spec.containers[0].volumeMounts[0]?.readOnly, undefined);
  });

  test(`Helm ${major}: what it makes is what the manifests make`, async () => {
    const set = `${IMAGE},existingSecret=chatkeep-chatwoot-config,credentialsSecret=chatkeep-chatwoot-credentials`;
    const objects = await render("chatkeep-chatwoot", "--set", `${set},rbac.stop=true,serviceAccount.name=chatkeep`);
    const manifests = ["rbac", "scale", "cronjob", "network-policy"].flatMap((name) =>
      objectsOf(join(MANIFESTS, `${name}.yaml`)),
    );
    assert.deepEqual(objects.map(({ kind }) => kind).toSorted(), manifests.map(({ kind }) => kind).toSorted());
    for (const kind of ["CronJob", "PersistentVolumeClaim", "NetworkPolicy"]) {
      const made = comparable(oneOf(objects, kind));
      const own = comparable(oneOf(manifests, kind));
      assert.deepEqual(made, own, kind);
    }
    for (const suffix of ["", "-scale"]) {
      const made = oneOf(objects, "Role", `chatkeep-chatwoot${suffix}`);
      assert.deepEqual(made["rules"], oneOf(manifests, "Role", `chatkeep${suffix}`)["rules"]);
      const binding = oneOf(objects, "RoleBinding", `chatkeep-chatwoot${suffix}`);
      assert.equal((binding["roleRef"] as { name: string }).name, made.metadata.name);
      assert.deepEqual(binding["subjects"], [{ kind: "ServiceAccount", name: "chatkeep", namespace: "desk" }]);
    }
  });

  test(`Helm ${major}: with every setting changed each has its place, and Chatkeep understands what comes out`, async () => {
    const objects = await render("acme", "--values", EVERY);
    const values = parse(readFileSync(EVERY, "utf8")) as Record<string, unknown>;
    for (const object of objects) await assertKnown(object);

    const cronJob = oneOf(objects, "CronJob", "acme-chatkeep");
    const { schedule, timeZone } = cronJob["spec"] as { schedule: string; timeZone: string };
    assert.deepEqual([schedule, timeZone], [values["schedule"], values["timeZone"]]);
    const daily = podIn(objects, "CronJob");
    const terminal = podIn(objects, "Pod");
    for (const { spec, metadata } of [daily, terminal]) {
      const [container] = spec.containers;
      assert.equal(container.image, "registry.example.com/backup/chatkeep:0.1.0-acme");
      assert.equal(container["imagePullPolicy"], "Always");
      assert.deepEqual(spec["imagePullSecrets"], [{ name: "registry-login" }]);
      assert.equal(spec.serviceAccountName, "acme-backup");
      for (const key of ["nodeSelector", "affinity", "tolerations"]) assert.deepEqual(spec[key], values[key], key);
      assert.deepEqual(container["resources"], values["resources"]);
      assert.deepEqual((metadata as { annotations?: unknown }).annotations, values["podAnnotations"]);
      assert.equal(metadata.labels["azure.workload.identity/use"], "true");
      assert.deepEqual(secretsOf({ spec, metadata }), [
        "acme-chatkeep-config",
        "acme-passwords",
        "acme-ssh",
        "acme-credentials",
      ]);
      assert.deepEqual(
        container.env?.map(({ name }) => name),
        ["TZ", "XDG_CACHE_HOME", "OFFSITE_PASSWORD"],
      );
      assert.deepEqual(claimsOf(spec), ["acme-state", "chatwoot-storage"]);
      assert.match(JSON.stringify(spec.volumes), /"ephemeral":.*"storageClassName":"local-path".*"storage":"200Gi"/);
      // What Chatwoot keeps is only read, but by somebody at work.
      const mount = container.volumeMounts.find(({ name }) => name === "storage");
      assert.deepEqual(mount, { name: "storage", mountPath: "/srv/uploads", readOnly: spec === daily.spec });
    }

    const call = parseCall(daily.spec.containers[0].args ?? []);
    assert.deepEqual([call.command.name, call.globals.config], ["run", "/etc/chatkeep/chatkeep.yaml"]);
    const secret = oneOf(objects, "Secret", "acme-chatkeep-config") as unknown as {
      stringData: Record<string, string>;
    };
    const text = secret.stringData["chatkeep.yaml"] ?? "";
    assert.deepEqual(parse(text), values["config"]);
    assert.equal(parseConfig(text, "chatkeep.yaml", { OFFSITE_PASSWORD: "secret" }).installation.version, "4.10");
    // An account of somebody else's gets the rights; none is made, and no claim or policy either.
    assert.deepEqual(objects.map(({ kind }) => kind).toSorted(), [
      "CronJob",
      "Pod",
      "Role",
      "Role",
      "RoleBinding",
      "RoleBinding",
      "Secret",
    ]);
  });

  test(`Helm ${major}: what is switched off is not there`, async () => {
    const set = "existingSecret=own,serviceAccount.create=false,rbac.create=false,networkPolicy=false";
    const objects = await render("chatkeep", "--set", `${IMAGE},${set}`);
    assert.deepEqual(objects.map(({ kind }) => kind).toSorted(), ["CronJob", "PersistentVolumeClaim"]);
    assert.equal(podIn(objects, "CronJob").spec.serviceAccountName, "default");
    const withAccount = await render(
      "chatkeep",
      "--set",
      `${IMAGE},existingSecret=own`,
      "--set-string",
      "serviceAccount.annotations.role=one",
    );
    assert.deepEqual((oneOf(withAccount, "ServiceAccount").metadata as { annotations?: unknown }).annotations, {
      role: "one",
    });
    assert.equal(withAccount.filter(({ kind }) => kind === "Role").length, 1);
  });

  test(`Helm ${major}: long names of a release stay within what Kubernetes takes`, async () => {
    const objects = await render(`a${"b".repeat(52)}`, "--values", EVERY);
    for (const object of objects) await assertKnown(object);
  });

  test(`Helm ${major}: values that make no sense are refused before anything is made`, async () => {
    for (const [set, what] of [
      ["existingSecret=own", /image\.repository is empty: name where/],
      [`${IMAGE},shedule=daily`, /shedule/],
      [`${IMAGE},terminal=perhaps`, /terminal/],
      [`${IMAGE},config.installation.name=acme`, /config/],
    ] as const) {
      const { status, stdout, stderr } = await helm(["template", "chatkeep", CHART, "--set", set]);
      assert.notEqual(status, 0, set);
      assert.equal(stdout, "");
      assert.match(stderr, what);
    }
  });

  // An older one asks a cluster before it says anything.
  if (major >= 4)
    test(`Helm ${major}: what it says after installing names what it made, in commands that Chatkeep understands`, async () => {
      for (const [set, kinds] of [
        ["", ["Pod"]],
        [",existingSecret=own", ["CronJob"]],
        [",existingSecret=own,terminal=true", ["CronJob", "Pod"]],
      ] as const) {
        const objects = await render("desk", "--set", `${IMAGE}${set}`);
        const args = ["install", "desk", CHART, "--namespace", "desk", "--dry-run=client", "--set", `${IMAGE}${set}`];
        const { stdout } = await helm(args);
        const notes = stdout.slice(stdout.indexOf("\nNOTES:\n"));
        const reached = [
          ...[...notes.matchAll(/--from=cronjob\/(\S+)/g)].map(([, name]) => ["CronJob", name]),
          ...[...notes.matchAll(/--tty (\S+) --/g)].map(([, name]) => ["Pod", name]),
        ];
        assert.deepEqual(
          reached.map(([kind]) => kind),
          kinds,
          notes,
        );
        for (const [kind, name] of reached) oneOf(objects, kind ?? "", name);
        for (const [, words = ""] of notes.matchAll(/-- chatkeep (.*)$/gm)) parseCall(words.split(" "));
        for (const [line] of notes.matchAll(/^ {2}kubectl .*$/gm)) assert.match(line, / --namespace desk /);
      }
    });

  test(`kubectl beside Helm ${major}: it knows every field of the manifests, and sees one that nobody knows`, async () => {
    const files = readdirSync(MANIFESTS).filter(
      (name) => !["kustomization.yaml", "chatkeep.example.yaml"].includes(name),
    );
    const objects = files.flatMap((name) => objectsOf(join(MANIFESTS, name)));
    for (const object of objects) {
      await assertKnown(object);
      if (object.kind !== "RoleBinding") continue;
      const made = (await readBack(object, ["subject", "--user=somebody"])) as { subjects: unknown[] };
      made.subjects.pop();
      assert.deepEqual(withoutEmpty(made), withoutEmpty(object));
    }
    const misspelt = structuredClone(oneOf(objects, "CronJob"));
    Object.assign(misspelt["spec"] as object, { concurencyPolicy: "Forbid" });
    await assert.rejects(assertKnown(misspelt));
  });

  test(`kubectl beside Helm ${major}: it knows every field of the Deployment that 'watch --print kubernetes' prints`, async () => {
    const job: WatchJob = {
      installation: { id: "6f1c0000-0000-4000-8000-000000000001", name: "acme" },
      command: ["chatkeep"],
      config: "/etc/chatkeep/chatkeep.yaml",
      writes: [],
      timeZone: "Europe/Berlin",
      options: { program: ["--repository", "primary"], watch: ["--mode", "stream", "--flush-every", "1s"] },
    };
    const printed = formatWatchDeployment(job, { image: "chatkeep:test", stateDir: "/var/lib/chatkeep" });
    const objects = objectsIn(printed);
    assert.deepEqual(objects.map(({ kind }) => kind).toSorted(), ["Deployment", "PersistentVolumeClaim"]);
    for (const object of objects) {
      await assertValid(object);
      await assertKnown(object);
    }
    const deployment = oneOf(objects, "Deployment");
    const pod = podOf(deployment);
    assert.ok(pod !== undefined);
    assertRestricted(pod);
    parseCall(pod.spec.containers[0].args ?? []);
    const misspelt = structuredClone(deployment);
    Object.assign(misspelt["spec"] as object, { stratgy: { type: "Recreate" } });
    await assert.rejects(assertKnown(misspelt));
  });

  test(`kubectl beside Helm ${major}: one place in the kustomization says the namespace, and one the image`, async () => {
    await using folder = await temporaryFolder();
    const names = readdirSync(MANIFESTS);
    for (const name of names) {
      const text = readFileSync(join(MANIFESTS, name), "utf8");
      const own = name === "kustomization.yaml";
      const changed = text
        .replace("namespace: chatwoot", "namespace: desk")
        .replace("registry.example.com", "r.acme.example");
      await writeFile(folder.at(name), own ? changed : text);
    }
    assert.ok(existsSync(folder.at("kustomization.yaml")));
    const { status, stdout, stderr } = await kubectl(["kustomize", folder.path]);
    assert.equal(status, 0, stderr);
    const objects = objectsIn(stdout);
    for (const object of objects) {
      await assertValid(object);
      assert.equal(object.metadata.namespace, "desk");
      const { subjects = [] } = object as unknown as { subjects?: { namespace: string }[] };
      for (const subject of subjects) assert.equal(subject.namespace, "desk");
    }
    assert.equal(podIn(objects, "CronJob").spec.containers[0].image, "r.acme.example/chatkeep:0.1.0");
  });
}

function podIn(objects: readonly KubernetesObject[], kind: string) {
  const pod = podOf(oneOf(objects, kind));
  assert.ok(pod !== undefined);
  return pod;
}

function claimsOf({ volumes }: PodSpec): string[] {
  return volumes.flatMap(({ persistentVolumeClaim: claim }) => (claim === undefined ? [] : [claim.claimName]));
}

/** Kubernetes' own types write nothing for a false, nor for what is empty, but sometimes null or {}. */
function withoutEmpty(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutEmpty);
  if (typeof value !== "object" || value === null) return value;
  const full = Object.entries(value).map(([key, inner]) => [key, withoutEmpty(inner)] as const);
  return Object.fromEntries(full.filter(([, inner]) => !isEmpty(inner)));
}

function isEmpty(value: unknown): boolean {
  return value === null || value === false || (typeof value === "object" && Object.keys(value ?? {}).length === 0);
}

/** Without what may differ: labels that Helm puts everywhere, names, and how a Secret is mounted. */
function comparable(object: KubernetesObject): unknown {
  const copy = structuredClone(object) as KubernetesObject & { metadata: object };
  const pod = podOf(copy);
  if (pod !== undefined) {
    assert.deepEqual(secretsOf(pod).slice(0, 1), ["chatkeep-chatwoot-config"]);
    pod.spec.volumes[0] = { name: "config" };
    delete pod.spec.containers[0]["imagePullPolicy"];
    // The manifests take it where it is there.
    for (const { secretRef } of pod.spec.containers[0].envFrom ?? []) delete secretRef?.optional;
  }
  const { name: _name, ...metadata } = copy.metadata;
  return withoutLabels({ ...copy, metadata });
}

function withoutLabels(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutLabels);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, inner]) =>
      key === "labels" || key === "matchLabels" ? [] : [[key, withoutLabels(inner)]],
    ),
  );
}
