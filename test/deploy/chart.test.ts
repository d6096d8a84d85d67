/** The chart without Helm: its values and their schema, its versions, and what it shares with the manifests. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { Ajv } from "ajv";
import { parse } from "yaml";
import { parseConfig } from "../../src/app/config.ts";
import { objectsOf, oneOf, podOf } from "../harness/kubernetes-objects.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const CHART = join(ROOT, "deploy/helm/chatkeep");

function read(...path: string[]): string {
  return readFileSync(join(...path), "utf8");
}

const defaults = parse(read(CHART, "values.yaml")) as Record<string, unknown>;
const every = parse(read(import.meta.dirname, "every-value.yaml")) as Record<string, unknown>;
const accepts = new Ajv({ strict: true, strictTypes: false }).compile(
  JSON.parse(read(CHART, "values.schema.json")) as object,
);

test("the schema takes the chart's own values, and another value for each of them", () => {
  assert.ok(accepts(defaults), JSON.stringify(accepts.errors));
  assert.ok(accepts(every), JSON.stringify(accepts.errors));
  assert.deepEqual(Object.keys(every).toSorted(), Object.keys(defaults).toSorted());
  for (const [key, value] of Object.entries(defaults)) assert.notDeepEqual(every[key], value, key);
});

test("the schema refuses what the chart does not have, what is lacking, and what is of the wrong kind", () => {
  const wrong: object[] = [
    { ...defaults, shedule: "30 2 * * *" },
    { image: defaults["image"] },
    { ...defaults, image: { repo: "chatkeep" } },
    { ...defaults, terminal: "yes" },
    { ...defaults, schedule: "30 2" },
    { ...defaults, timeZone: "" },
    { ...defaults, state: { size: "lots" } },
    { ...defaults, existingSecret: "Has_Capitals" },
    { ...defaults, rbac: { stop: "no" } },
    { ...defaults, storage: { mountPath: "uploads" } },
    { ...defaults, config: { installation: { id: "6f1c", name: "acme" } } },
    { ...defaults, config: { installation: { id: "6f1c", name: "acme" }, repositories: [] } },
    { ...defaults, config: { installation: { name: "acme" }, repositories: [{ name: "primary", location: "/srv" }] } },
    { ...defaults, extraEnv: [{ value: "x" }] },
  ];
  for (const values of wrong) assert.equal(accepts(values), false, JSON.stringify(values));
});

test("the configuration in the values is one that Chatkeep takes", () => {
  const text = JSON.stringify(every["config"]);
  assert.equal(parseConfig(text, "values.yaml", { OFFSITE_PASSWORD: "secret" }).installation.name, "acme");
});

test("the chart has Chatkeep's version, and the image's user is the one that all name", () => {
  const { version } = JSON.parse(read(ROOT, "package.json")) as { version: string };
  const chart = parse(read(CHART, "Chart.yaml")) as { version: string; appVersion: string };
  assert.deepEqual([chart.version, chart.appVersion], [version, version]);
  const pod = podOf(oneOf(objectsOf(join(ROOT, "deploy/kubernetes/cronjob.yaml")), "CronJob"));
  const user = /"runAsUser":(\d+),/.exec(JSON.stringify(pod))?.[1] ?? "none";
  assert.match(read(CHART, "templates/_helpers.tpl"), new RegExp(`runAsUser: ${user}\n`));
  assert.match(read(ROOT, "deploy/docker/Dockerfile"), new RegExp(`--uid ${user} `));
});

test("its roles have the rules of the manifests", () => {
  const templates = [...read(CHART, "templates/rbac.yaml").matchAll(/^(rules:\n[^]*?)\n---$/gm)];
  const manifests = ["rbac.yaml", "scale.yaml"].flatMap((file) => objectsOf(join(ROOT, "deploy/kubernetes", file)));
  const roles = manifests.filter(({ kind }) => kind === "Role");
  assert.equal(roles.length, 2);
  assert.deepEqual(
    templates.map(([, text = ""]) => (parse(text) as { rules: unknown }).rules),
    roles.map(({ rules }) => rules),
  );
});
