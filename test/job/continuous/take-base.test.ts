/** A base that is taken from a real server, and the moments that it serves from then on. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../../../src/base/clock.ts";
import { isFailure } from "../../../src/base/errors.ts";
import { listContinuous } from "../../../src/job/continuous/list.ts";
import { takeBase } from "../../../src/job/continuous/take-base.ts";
import { serve, windowOf } from "../../../src/policy/window.ts";
import { createMemoryStore } from "../../../src/store/memory-store.ts";
import { segmentStart } from "../../../src/wal/lsn.ts";
import { startPostgres } from "../../harness/postgres.ts";
import { newRepository, signal } from "../../repo/small-backup.ts";
import { IDENTITY } from "../memory-desk.ts";

test("a base is taken of the expected server alone; moments are served from its end on, however long the span is in which it ended", async () => {
  await using server = await startPostgres();
  const repository = await newRepository(createMemoryStore());
  const writer = { repository, identity: IDENTITY, program: "chatkeep test", clock: systemClock, signal };
  const [control] = await server.query("select system_identifier::text as id from pg_control_system()");
  const expected = { systemId: String(control?.["id"]), timeline: 1, least: 0n };
  const options = { address: server.address, rate: undefined, checkpoint: "fast" } as const;
  const ahead = { ...expected, least: 1n << 40n };
  for (const wrong of [{ ...expected, systemId: "7" }, { ...expected, timeline: 2 }, ahead]) {
    await assert.rejects(takeBase(writer, { ...options, expected: wrong }), (error) => {
      return isFailure(error, "wal/other-cluster");
    });
  }
  await takeBase(writer, { ...options, expected });
  const afterUs = BigInt(Date.now() + 1) * 1_000n;
  const { bases } = await listContinuous(repository, IDENTITY.id, { signal });
  const [listed] = bases;
  assert.ok(listed?.base.endedUs !== undefined);
  const { base, id } = listed;
  assert.ok(base.endedUs !== undefined && base.beganUs <= base.endedUs && base.endedUs <= afterUs);
  // Ten minutes of the log became one span, as they do.
  const laterUs = afterUs + 600_000_000n;
  const { systemId, timeline, from, to, segmentBytes } = base;
  const span = { systemId, timeline, from: segmentStart(from, segmentBytes), to: to + BigInt(segmentBytes) };
  const pieces = [{ ...span, firstCommitUs: base.beganUs, lastCommitUs: laterUs }];
  const window = windowOf({ bases: [{ ...base, id }], pieces, histories: [] });
  assert.equal(serve(window, { us: afterUs })?.base.id, id);
  assert.equal(serve(window, { us: base.beganUs - 1n }), undefined);
});
