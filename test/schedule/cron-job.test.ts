/** What is printed for Kubernetes, of names, times and places that are not the usual ones. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseCron } from "../../src/schedule/cron.ts";
import { formatCronJob } from "../../src/schedule/cron-job.ts";
import { assertValid, objectsIn, oneOf, podOf, secretsOf } from "../harness/kubernetes-objects.ts";

async function printed(name: string, times: string, config = "/etc/chatkeep/chatkeep.yaml") {
  const text = formatCronJob(
    {
      installation: { id: "6f1c0000-0000-4000-8000-000000000001", name },
      command: [],
      config,
      times: parseCron(times, "Europe/Berlin"),
      writes: [],
    },
    { image: "chatkeep:test", stateDir: "/srv/state" },
  );
  const objects = objectsIn(text);
  for (const object of objects) await assertValid(object);
  const cronJob = oneOf(objects, "CronJob");
  const pod = podOf(cronJob);
  assert.ok(pod !== undefined);
  const { schedule, timeZone } = cronJob["spec"] as { schedule: string; timeZone: string };
  return { objects, cronJob, pod, schedule, timeZone };
}

test("any name of an installation makes names that Kubernetes takes, and they go together", async () => {
  for (const name of ["Acme.Desk_1", `A${"b".repeat(62)}`, "x"]) {
    const { objects, cronJob, pod } = await printed(name, "30 2 * * *");
    const own = cronJob.metadata.name;
    assert.ok(own.startsWith("chatkeep-"));
    assert.deepEqual(secretsOf(pod), [`${own}-config`]);
    const claim = oneOf(objects, "PersistentVolumeClaim", `${own}-state`);
    assert.equal(pod.spec.volumes[1]?.persistentVolumeClaim?.claimName, claim.metadata.name);
  }
});

test("times are those of the configuration, in the words that Kubernetes knows", async () => {
  for (const [given, expected] of [
    ["30 2 * * *", "30 2 * * *"],
    ["@daily", "@daily"],
    ["0 4 * * mon", "0 4 * * mon"],
    // It has no weekday 7.
    ["0 4 * * 7", "0 4 * * 0"],
    ["0 4 * * 5-7", "0 4 * * 0,5,6"],
    ["7 7 7 7 *", "7 7 7 7 *"],
  ] as const) {
    const { schedule, timeZone } = await printed("acme", given);
    assert.deepEqual([schedule, timeZone], [expected, "Europe/Berlin"]);
  }
});

test("the configuration is mounted where it names its password files, and the state where it says", async () => {
  const { pod } = await printed("acme", "30 2 * * *", "/home/ann/desk/chatkeep.yaml");
  assert.deepEqual(
    pod.spec.containers[0].volumeMounts.map(({ mountPath, readOnly }) => [mountPath, readOnly === true]),
    [
      ["/home/ann/desk", true],
      ["/srv/state", false],
      ["/tmp", false],
    ],
  );
  assert.equal(pod.spec.containers[0].args?.[1], "/home/ann/desk/chatkeep.yaml");
  assert.deepEqual(pod.spec.containers[0].env, [
    { name: "TZ", value: "Europe/Berlin" },
    { name: "XDG_CACHE_HOME", value: "/srv/state/cache" },
  ]);
});
