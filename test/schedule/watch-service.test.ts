/** What keeps continuous protection running: a unit, a Compose service, a Deployment. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { test } from "node:test";
import { parse } from "yaml";
import { formatWatchDeployment } from "../../src/schedule/cron-job.ts";
import type { WatchJob } from "../../src/schedule/job.ts";
import { formatWatchCompose } from "../../src/schedule/manifests.ts";
import { ownUnits, removeUnits } from "../../src/schedule/systemd.ts";
import { formatWatchUnit } from "../../src/schedule/units.ts";
import { assertValid, objectsIn, oneOf, podOf, secretsOf } from "../harness/kubernetes-objects.ts";
import { run } from "../harness/run.ts";
import { temporaryFolder } from "../harness/temporary.ts";

const ID = "6f1c0000-0000-4000-8000-000000000001";

function jobAt(folder: string, options: WatchJob["options"] = { program: [], watch: [] }): WatchJob {
  return {
    installation: { id: ID, name: "acme" },
    command: ["/bin/echo", `${folder}/with blank/100%/$HOME`],
    config: `${folder}/with blank/chatkeep.yaml`,
    writes: ["/var/lib/chatkeep", `${folder}/with blank/100%`],
    timeZone: "Europe/Berlin",
    options,
  };
}

for (const scope of ["system", "user"] as const) {
  test(`systemd finds nothing wrong with the service of a ${scope}, which is started anew whatever ended it`, async () => {
    await using folder = await temporaryFolder();
    const job = jobAt(folder.path, { program: ["--repository", "primary"], watch: ["--mode", "stream"] });
    const { name, service } = formatWatchUnit(job, scope);
    assert.equal(name, "chatkeep-acme-watch");
    await writeFile(folder.at(`${name}.service`), service);
    const options = scope === "user" ? ["--user"] : [];
    const env = { XDG_RUNTIME_DIR: folder.path };
    const args = ["verify", "--man=no", ...options, folder.at(`${name}.service`)];
    const verified = await run("systemd-analyze", args, { env });
    assert.equal(`${verified.stdout}${verified.stderr}`, "");
    assert.equal(verified.status, 0);
    for (const line of [
      "Restart=always",
      "SuccessExitStatus=130",
      "StartLimitIntervalSec=0",
      "Nice=10",
      "Environment=MALLOC_ARENA_MAX=2 MALLOC_MMAP_THRESHOLD_=1048576 MALLOC_TRIM_THRESHOLD_=4194304",
    ])
      assert.ok(service.includes(`\n${line}\n`), line);
    const start = service.split("\n").find((line) => line.startsWith("ExecStart=")) ?? "";
    assert.match(start, /"--repository" "primary" "--json" "--quiet" "watch" "--mode" "stream"$/);
    assert.equal(service.includes("\nProtectSystem=strict\n"), scope === "system");
    assert.ok(service.endsWith(`\nWantedBy=${scope === "system" ? "multi-user" : "default"}.target\n`));
  });
}

test("the daily run's units and this service are told apart, also where their names are alike", async () => {
  await using folder = await temporaryFolder();
  const { name, service } = formatWatchUnit(jobAt("/srv"), "user");
  await writeFile(folder.at(`${name}.service`), service);
  assert.deepEqual(await ownUnits(folder.path, ID), []);
  const path = folder.at(`${name}.service`);
  assert.deepEqual(await ownUnits(folder.path, ID, "watch"), [path]);
  const { signal } = new AbortController();
  const systemd = { scope: "user", folder: folder.path } as const;
  assert.deepEqual(await removeUnits(systemd, ID, { signal }), []);
  assert.deepEqual(await removeUnits(systemd, ID, { signal }, "watch"), [path]);
  assert.deepEqual(await ownUnits(folder.path, ID, "watch"), []);
});

test("the Compose service is in the network of the database, and is made anew with it", () => {
  const options = { image: "x", reads: ["/srv/chatwoot"], stateDir: "/srv/state", owner: { uid: 0, gid: 0 } };
  const text = formatWatchCompose(jobAt("/srv"), { ...options, database: "db" });
  const { services, volumes } = parse(text) as {
    services: Record<string, { network_mode: string; depends_on: object; command: string[]; restart: string }>;
    volumes: object;
  };
  assert.deepEqual(Object.keys(services), ["chatkeep-watch"]);
  const service = services["chatkeep-watch"];
  assert.equal(service?.network_mode, "service:db");
  assert.deepEqual(service.depends_on, { db: { condition: "service_started", restart: true } });
  assert.deepEqual(service.command, ["--config", "/srv/with blank/chatkeep.yaml", "--json", "--quiet", "watch"]);
  assert.equal(service.restart, "always");
  // As the daily run's: both keep their state in one place.
  assert.deepEqual(Object.keys(volumes), ["chatkeep-state"]);
  assert.doesNotMatch(text, /called otherwise/);
  const guessed = formatWatchCompose(jobAt("/srv"), { ...options, database: undefined });
  assert.match(guessed, /^ {4}network_mode: service:postgres$/m);
  assert.match(guessed, /^# Is the database's service called otherwise\?/m);
});

test("there is one pod at most, whose objects go together", async () => {
  const { name } = { name: "Acme.Desk_1" };
  const job = { ...jobAt("/etc"), installation: { id: ID, name } };
  const objects = objectsIn(formatWatchDeployment(job, { image: "chatkeep:test", stateDir: "/srv/state" }));
  for (const object of objects) await assertValid(object);
  const deployment = oneOf(objects, "Deployment");
  const { replicas, strategy } = deployment["spec"] as { replicas: number; strategy: object };
  assert.deepEqual([replicas, strategy], [1, { type: "Recreate" }]);
  const pod = podOf(deployment);
  assert.ok(pod !== undefined);
  assert.deepEqual(secretsOf(pod), ["chatkeep-acme-desk-1-config"]);
  const claim = oneOf(objects, "PersistentVolumeClaim", "chatkeep-acme-desk-1-watch-state");
  assert.equal(pod.spec.volumes[1]?.persistentVolumeClaim?.claimName, claim.metadata.name);
});
