/** What lies in a repository beside backups, and what of it cannot be counted, are told by what they are. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { test } from "node:test";
import { silent } from "../../src/base/progress.ts";
import { stats } from "../../src/job/stats.ts";
import { momentTags } from "../../src/point/moment.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { createMemoryStore } from "../../src/store/memory-store.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { backUp, newRepository, reopen, signal } from "../repo/small-backup.ts";
import { factsOf, putBase } from "./continuous/bases.ts";
import { LINE, putSpan, SEGMENT } from "./continuous/spans.ts";
import { addPoint, clockAt, DAY, NOW } from "./kept-points.ts";

async function packsOf(repository: Repository): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of repository.store.list("data", { signal })) names.push(name);
  return names;
}

async function looked(repository: Repository) {
  const tools = { clock: clockAt(), progress: silent, signal };
  return await stats({
    repository: reopen(repository),
    repositoryName: "primary",
    installationId: undefined,
    ...tools,
  });
}

test("what is no backup is counted by what it is, and what of it cannot be is named by its time", async () => {
  await using folder = await temporaryFolder();
  await writeFile(folder.at("PG_VERSION"), randomBytes(5000));
  const repository = await newRepository(createMemoryStore());
  await addPoint(repository, NOW - DAY, { proven: true });
  const moment = { us: BigInt(NOW) * 1000n, upTo: undefined, replayedTo: 0x16_b300_0100n, madeMs: NOW };
  await addPoint(repository, NOW, { tags: momentTags({ ...LINE, ...moment }) });
  for (const at of [0, SEGMENT]) await putSpan(repository, { at, bytes: randomBytes(SEGMENT) });
  await backUp(repository, { "a file": randomBytes(3000) }, "2026-11-01T00:00:00Z");
  const before = await packsOf(repository);
  await putBase(repository, folder.path, { facts: factsOf() });

  const whole = await looked(repository);
  assert.deepEqual(
    whole.otherSizes.map(({ what, snapshots }) => [what, snapshots]),
    [
      ["moments", 1],
      ["bases", 1],
      ["log", 2],
      ["marks", 1],
      ["others", 1],
    ],
  );
  const all = [...whole.points, ...whole.otherSizes];
  assert.equal(
    all.reduce((sum, { addedBytes }) => sum + addedBytes, 0),
    whole.used.bytes,
  );
  assert.deepEqual(whole.damaged, []);

  for (const name of await packsOf(repository))
    if (!before.includes(name)) await repository.store.remove({ kind: "data", name }, { signal });
  const { damaged } = await looked(repository);
  assert.ok(damaged.length > 0);
  for (const { points, continuous } of damaged) {
    assert.deepEqual([points, continuous], [[], ["the base of 2026-11-23T15:58:50.123456Z"]]);
  }
});
