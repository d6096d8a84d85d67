/** What is read without a lock, while others forget and prune. */
import assert from "node:assert/strict";
import { globSync, rmSync } from "node:fs";
import { test } from "node:test";
import { openPoint, readingPoint } from "../../src/app/opened-point.ts";
import { runExport } from "../../src/app/portable.ts";
import type { Surroundings } from "../../src/app/surroundings.ts";
import { systemClock } from "../../src/base/clock.ts";
import { type ErrorCode, isFailure } from "../../src/base/errors.ts";
import type { SnapshotId } from "../../src/base/ids.ts";
import { silent } from "../../src/base/progress.ts";
import { forget } from "../../src/job/forget.ts";
import { prune } from "../../src/job/prune.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { openLocalStore } from "../../src/store/local-store.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { addPoint, clockAt, DAY, forgetting, NOW, ONE } from "../job/kept-points.ts";
import { newRepository, PASSWORD, reopen, signal } from "../repo/small-backup.ts";

function surroundings(cwd: string): Surroundings {
  const nothing = { hide: () => {}, redact: <T>(value: T) => value, person: undefined, progress: silent };
  return { ...nothing, signal, env: { CHATKEEP_PASSWORD: PASSWORD }, cwd, clock: systemClock };
}

async function forgetAndPrune(repository: Repository, ...words: SnapshotId[]): Promise<void> {
  await forget(forgetting(reopen(repository), { by: "name", words, installationId: ONE }));
  const limits = { maxUnused: { bytes: 0 }, maxRepackBytes: undefined, dryRun: false };
  const tools = { clock: clockAt(), progress: silent, signal };
  await prune({ repository: reopen(repository), repositoryName: "primary", ...limits, ...tools });
}

function told(code: ErrorCode, message: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(isFailure(error, code) && message.test(error.message), String(error));
    return true;
  };
}

test("a point that was forgotten while it was read is gone, and one that was packed anew is whole", async () => {
  await using folder = await temporaryFolder("chatkeep-session");
  const place = folder.at("repository");
  const repository = await newRepository(openLocalStore(place));
  const [kept, going] = [await addPoint(repository, NOW - DAY), await addPoint(repository, NOW - 2 * DAY)];
  const s = surroundings(folder.path);
  const read = async (word: string) => {
    const opened = await openPoint({ repository: place }, word, s);
    return async () => await readingPoint(opened, s, async () => await opened.reader.readText("manifest.json"));
  };
  const [reading, ofTheOther] = [await read(going), await read(kept)];
  await forgetAndPrune(repository, going);
  await assert.rejects(reading(), told("point/not-found", /was forgotten while it was read$/));
  assert.match(await ofTheOther(), /^2026/);

  // Small packs are joined: what was read from them lies elsewhere now.
  const joined = await read(kept);
  for (let at = 0; at < 12; at += 1) await addPoint(repository, NOW + at, { files: { big: Buffer.alloc(2000, at) } });
  const last = await addPoint(repository, NOW + 100);
  await forgetAndPrune(repository, last);
  await assert.rejects(joined(), told("repo/locked", /was pruned while restore point/));
  assert.match(await (await read(kept))(), /^2026/);

  // Damage is damage.
  const damaged = await read(kept);
  for (const pack of globSync("data/*/*", { cwd: place })) rmSync(`${place}/${pack}`);
  await assert.rejects(damaged(), told("repo/damaged", /cannot be read/));
});

test("a point that is forgotten while its export begins is said to be gone", async () => {
  await using folder = await temporaryFolder("chatkeep-session");
  const place = folder.at("repository");
  const repository = await newRepository(openLocalStore(place));
  const [, going] = [await addPoint(repository, NOW - DAY), await addPoint(repository, NOW - 2 * DAY)];
  const s = surroundings(folder.path);
  // The first thing that an export says comes after its point was chosen, and before it takes a lock.
  let isDone = false;
  const progress = {
    ...silent,
    stage: () => {
      if (isDone) return;
      isDone = true;
      rmSync(`${place}/snapshots/${going}`);
      for (const pack of globSync("data/*/*", { cwd: place })) rmSync(`${place}/${pack}`);
    },
  };
  const flags = { point: going, file: "out.tar", passwordFile: folder.at("new.password") };
  const exporting = runExport({ repository: place }, flags, { ...s, progress });
  await assert.rejects(exporting, told("point/not-found", /was forgotten while it was read$/));
});
