import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { waitByChance, waitUntilDue } from "../../src/app/due.ts";
import type { Surroundings } from "../../src/app/surroundings.ts";
import { silent } from "../../src/base/progress.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";

const ID = "6f1c0000-0000-4000-8000-000000000001";
const NOON = Date.parse("2026-11-28T12:00:00Z");

/** How long it waits, in milliseconds, at noon. */
async function waited(
  folder: TestFolder,
  lastRun: string | undefined,
  { began, times = [] }: { began?: string; times?: string[] } = {},
): Promise<number> {
  let now = NOON;
  const clock = {
    now: () => now,
    monotonic: () => now,
    sleep: async (ms: number) => {
      now += ms;
      // Somebody changes the configuration meanwhile.
      const time = times.shift();
      if (time !== undefined) await writeFile(folder.at("chatkeep.yaml"), config.replace("30 2 * * *", time));
    },
  };
  const config = `installation: { id: ${ID}, name: acme }
repositories: [{ name: primary, location: /var }]
schedule: { backup: "30 2 * * *", timezone: UTC }
state-dir: ${folder.path}
`;
  await writeFile(folder.at("chatkeep.yaml"), config);
  await mkdir(folder.at(ID), { recursive: true });
  const status = { schema: 1, repositories: [], lastRun: { startedAt: lastRun } };
  if (lastRun !== undefined) await writeFile(folder.at(ID, "status.json"), JSON.stringify(status));
  if (began !== undefined) await writeFile(folder.at(ID, "began"), `${began}\n`);
  const { signal } = new AbortController();
  const s: Surroundings = {
    signal,
    progress: silent,
    env: {},
    cwd: "/",
    clock,
    person: undefined,
    redact: (value) => value,
    hide: () => {},
  };
  await waitUntilDue({ config: folder.at("chatkeep.yaml") }, s);
  const after = now;
  await waitByChance(0, s);
  await waitByChance(60_000, s);
  assert.ok(now >= after && now < after + 60_000);
  return after - NOON;
}

test("a run waits for the next time, and goes at once when one was missed", async () => {
  await using folder = await temporaryFolder();
  const untilNight = 14.5 * 3_600_000;
  assert.equal(await waited(folder, undefined), untilNight, "one that never ran has missed nothing");
  assert.equal(await waited(folder, "2026-11-28T02:47:00.000Z"), untilNight, "it ran tonight");
  assert.equal(await waited(folder, "2026-11-27T02:31:00.000Z"), 0, "it slept through tonight's");
});

const TONIGHT = "2026-11-28T02:47:00.000Z";

test("a run that was killed is begun again an hour after it began, or when it is due again", async () => {
  await using folder = await temporaryFolder();
  const yesterday = "2026-11-27T02:31:00.000Z";
  assert.equal(await waited(folder, yesterday, { began: "2026-11-28T11:40:00.000Z" }), 40 * 60_000);
  assert.equal(await waited(folder, undefined, { began: "2026-11-28T11:40:00.000Z" }), 40 * 60_000, "its first one");
  assert.equal(await waited(folder, yesterday, { began: TONIGHT }), 0, "that was long ago");
  assert.equal(await waited(folder, TONIGHT, { began: TONIGHT }), 14.5 * 3_600_000, "it came to its end");
});

test("a time that is changed while it waits counts, and one that is broken changes nothing", async () => {
  await using folder = await temporaryFolder();
  assert.equal(await waited(folder, TONIGHT, { times: ["0 15 * * *"] }), 3 * 3_600_000);
  assert.equal(await waited(folder, TONIGHT, { times: ["never"] }), 14.5 * 3_600_000);
});
