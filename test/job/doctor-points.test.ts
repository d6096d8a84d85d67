/** What `doctor` says of the age of restore points: which of them count as a backup of this installation. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { silent } from "../../src/base/progress.ts";
import { examineRepositories } from "../../src/job/doctor-points.ts";
import { emptyReport } from "../../src/job/doctor-report.ts";
import { createMemoryStore } from "../../src/store/memory-store.ts";
import { newRepository, signal } from "../repo/small-backup.ts";
import { addPoint, clockAt, HOUR, NOW, ONE } from "./kept-points.ts";

function manifestOf(told: string): { "chatkeep/manifest.json": Buffer } {
  const empty = { installation: {}, server: {}, tables: [], sequences: [], filledViews: [], storage: [], read: {} };
  const findings = [{ kind: "foreign-tables", level: "warning", message: told, hint: "" }];
  return { "chatkeep/manifest.json": Buffer.from(JSON.stringify({ schema: 1, ...empty, findings })) };
}

test("a dump that was imported today is no backup of today, and not what the next look is compared with", async () => {
  const repository = await newRepository(createMemoryStore());
  const look = async () => {
    const report = emptyReport();
    const config = {
      installation: { id: ONE, name: "desk" },
      repositories: [{ name: "primary", location: "s3:https://s3.example/bucket" }],
    };
    const known = await examineRepositories(
      {
        config: { path: "/nowhere/chatkeep.yaml", config },
        openRepository: async () => ({ repository }),
        readPassword: async () => "some long words",
        clock: clockAt(),
        progress: silent,
        signal,
      },
      report,
    );
    const about = report.findings.filter(({ kind }) => ["no-restore-point", "backup-overdue"].includes(kind));
    return { told: known.told.map(({ message }) => message), about: about.map(({ message }) => message) };
  };
  await addPoint(repository, NOW - HOUR, { tags: ["imported=17.2"], files: manifestOf("the dump's") });
  assert.deepEqual(await look(), {
    told: [],
    about: ["repository 'primary' holds no restore point of this installation but what was imported from dumps"],
  });
  await addPoint(repository, NOW - 30 * HOUR, { files: manifestOf("its own") });
  assert.deepEqual(await look(), {
    told: ["its own"],
    about: ["the newest restore point in 'primary' is 30 h 0 min old"],
  });
  await addPoint(repository, NOW - 2 * HOUR, { files: manifestOf("its newest") });
  assert.deepEqual(await look(), { told: ["its newest"], about: [] });
});
