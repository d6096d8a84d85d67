import assert from "node:assert/strict";
import { chmod, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { parseConfig } from "../../src/app/config.ts";
import { dailyFindings } from "../../src/app/daily-findings.ts";
import type { Surroundings } from "../../src/app/surroundings.ts";
import { systemClock } from "../../src/base/clock.ts";
import { silent } from "../../src/base/progress.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";

const BASE = `installation: { id: 6f1c0000-0000-4000-8000-000000000001, name: acme }
repositories: [{ name: primary, location: /var }]
`;

async function kinds(folder: TestFolder, text: string): Promise<string[]> {
  const s: Surroundings = {
    signal: new AbortController().signal,
    progress: silent,
    env: {},
    cwd: folder.path,
    clock: systemClock,
    person: undefined,
    redact: (value) => value,
    hide: () => {},
  };
  const config = parseConfig(`${BASE}${text}`, "c.yaml", {});
  const findings = await dailyFindings({ path: folder.at("c.yaml"), config, usesVariables: false }, s);
  return findings.map(({ kind, level, message }) => `${level} ${kind}: ${message.replaceAll(folder.path, "…")}`);
}

test("doctor says what would keep the daily run from being made, or anybody from being told", async () => {
  await using folder = await temporaryFolder();
  await writeFile(folder.at("slack.url"), "https://hooks.example.com/services/x\n");
  await chmod(folder.at("slack.url"), 0o600);
  assert.deepEqual(await kinds(folder, "notify: [{ kind: slack, url-file: slack.url }]\n"), []);
  assert.deepEqual(await kinds(folder, ""), [
    "note nobody-told: nobody is told when a daily run fails, or does not happen",
  ]);
  await chmod(folder.at("slack.url"), 0o644);
  const wrong = `schedule: { backup: "30 25 * * *" }
notify: [{ kind: slack, url-file: slack.url }, { kind: ntfy, url: nowhere }]
ping: { url-file: slack.url }
`;
  assert.deepEqual(await kinds(folder, wrong), [
    "warning schedule-invalid: schedule.backup '30 25 * * *' is no time: Invalid value for hour: 25",
    "warning notice-failed: 'ntfy' could not be told: the address of notify 'ntfy' is no URL",
    "warning readable-by-others: a secret of notify 'slack' can be read by other users of this machine: …/slack.url",
    "warning readable-by-others: the address of 'ping' can be read by other users of this machine: …/slack.url",
  ]);
});
