import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { silent } from "../../../src/base/progress.ts";
import { listContinuous, lookAtWindow } from "../../../src/job/continuous/list.ts";
import { copy } from "../../../src/job/copy.ts";
import { parseWindow } from "../../../src/policy/keep-window.ts";
import { serve } from "../../../src/policy/window.ts";
import type { Repository } from "../../../src/repo/repository.ts";
import { createMemoryStore } from "../../../src/store/memory-store.ts";
import { temporaryFolder } from "../../harness/temporary.ts";
import { newRepository, reopen, signal } from "../../repo/small-backup.ts";
import { addPoint, clockAt, DAY, HOUR, NOW } from "../kept-points.ts";
import { factsOf, putBase } from "./bases.ts";
import { LINE, putSpan, SEGMENT, START } from "./spans.ts";

function at(day: number): number {
  return NOW - (6 - day) * DAY;
}

async function copied(from: Repository, to: Repository): Promise<[points: number, continuous: number | undefined]> {
  const window = { installationId: LINE.installation, windowUs: parseWindow("2d") };
  const summary = await copy({
    from: { repository: reopen(from), name: "one" },
    to: { repository: reopen(to), name: "other" },
    choose: (snapshots) => snapshots.filter(({ snapshot }) => snapshot.tags?.includes("chatkeep")),
    window,
    clock: clockAt(),
    progress: silent,
    signal,
  });
  assert.deepEqual(summary.failed, []);
  return [summary.copied.length, summary.continuous];
}

test("a copy gets what its window lacks, and neither what it has in other pieces nor what is over", async () => {
  await using folder = await temporaryFolder();
  const [from, to] = [await newRepository(createMemoryStore()), await newRepository(createMemoryStore())];
  const log = randomBytes(6 * SEGMENT);
  for (let day = 0; day < 6; day += 1) {
    const lsn = START + BigInt(day * SEGMENT);
    if (day % 2 === 0) {
      const times = { beganUs: BigInt(at(day)) * 1000n, endedUs: BigInt(at(day) + HOUR) * 1000n };
      const base = { facts: factsOf({ from: lsn + 8n, to: lsn + 99n, ...times }), atMs: at(day) };
      await putBase(from, folder.path, base);
      if (day === 4) await putBase(to, folder.path, base);
    }
    const commits = [{ lsn: lsn + 500n, timeUs: BigInt(at(day) + 2 * HOUR) * 1000n }];
    const bytes = log.subarray(day * SEGMENT, (day + 1) * SEGMENT);
    await putSpan(from, { at: day * SEGMENT, bytes, commits, atMs: at(day) + 23 * HOUR });
  }
  // The copy followed the last two days itself, in one piece.
  await putSpan(to, { at: 4 * SEGMENT, bytes: log.subarray(4 * SEGMENT), atMs: at(5) + 23 * HOUR });
  await addPoint(from, at(5));
  // The base of the third day serves the beginning of the window.
  assert.deepEqual(await copied(from, to), [1, 3]);
  const { spans, bases } = await listContinuous(reopen(to), LINE.installation, { signal });
  assert.deepEqual([bases.length, spans.length], [2, 3]);
  const { window } = await lookAtWindow(reopen(to), LINE.installation, { signal });
  assert.deepEqual(window.gaps, []);
  assert.ok(serve(window, { us: BigInt(at(3) + 2 * HOUR) * 1000n }));
  assert.deepEqual(await copied(from, to), [0, undefined]);
});
