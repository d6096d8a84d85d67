/** When what the server keeps for us is too much, and what it is told so that it keeps no more. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "../../../src/base/errors.ts";
import type { LogLine } from "../../../src/job/continuous/line.ts";
import { receive } from "../../../src/job/continuous/receive.ts";
import { Retained, type ServerLog } from "../../../src/job/continuous/retained.ts";
import type { ReplicationSession } from "../../../src/postgres/replication.ts";
import type { Slot } from "../../../src/postgres/replication-slots.ts";
import type { Lsn } from "../../../src/wal/lsn.ts";

function slotAt(restart: Lsn | undefined): Slot {
  return {
    name: "chatkeep_a",
    isPhysical: true,
    isTemporary: false,
    activePid: undefined,
    restart,
    walStatus: "reserved",
    safeBytes: undefined,
  };
}

function logTo(end: Lsn, redo?: Lsn): ServerLog {
  return { end, redo };
}

async function isGivenUp(looking: Promise<void>): Promise<boolean> {
  return await looking.then(
    () => false,
    (error: unknown) => {
      assert.ok(isFailure(error, "wal/given-up"), String(error));
      return true;
    },
  );
}

test("a slot is given up when more than allowed is kept at two looks, and it became no less", async () => {
  const retained = new Retained(1000);
  await retained.begins(slotAt(100n), logTo(5000n));
  assert.equal(await isGivenUp(retained.look(slotAt(100n), logTo(5000n))), false, "one look says nothing");
  assert.equal(await isGivenUp(retained.look(slotAt(900n), logTo(5100n))), false, "it is being fetched");
  assert.equal(await isGivenUp(retained.look(slotAt(900n), logTo(5200n))), true);
  const patient = new Retained(1000);
  for (const end of [300n, 600n, 1100n]) assert.equal(await isGivenUp(patient.look(slotAt(100n), logTo(end))), false);
});

test("sessions that end at once, and let go of nothing, give it up all the same", async () => {
  const retained = new Retained(async ({ isTemporary }) => (isTemporary ? 10 : 1000));
  assert.equal(await isGivenUp(retained.begins(slotAt(100n), logTo(5000n))), false, "the first may fetch it");
  assert.equal(await isGivenUp(retained.begins(slotAt(2000n), logTo(6000n))), false, "the one before did");
  assert.equal(await isGivenUp(retained.begins(slotAt(2000n), logTo(6000n))), true);
  assert.equal(
    await isGivenUp(retained.begins(slotAt(undefined), logTo(9000n))),
    false,
    "the new one keeps nothing yet",
  );
});

test("what the server needs itself is not kept for us, and a slot that is made anew may be fetched from", async () => {
  const retained = new Retained(1000);
  for (let times = 0; times < 3; times += 1) {
    assert.equal(await isGivenUp(retained.begins(slotAt(2000n), logTo(9000n, 2000n))), false);
    assert.equal(await isGivenUp(retained.look(slotAt(2000n), logTo(9000n, 2000n))), false);
  }
  assert.equal(await isGivenUp(retained.look(slotAt(2000n), logTo(9000n, 2001n))), false, "one look says nothing");
  assert.equal(
    await isGivenUp(retained.look(slotAt(2000n), logTo(9000n, 2001n))),
    true,
    "since its checkpoint it does not",
  );
  // Where the server does not tell from where on it needs its log, the new slot may begin where the old one stood.
  const unknown = new Retained(1000);
  assert.equal(await isGivenUp(unknown.begins(slotAt(2000n), logTo(9000n))), false);
  assert.equal(await isGivenUp(unknown.begins(slotAt(2000n), logTo(9000n))), true);
  unknown.renewed();
  assert.equal(await isGivenUp(unknown.begins(slotAt(2000n), logTo(9000n))), false);
});

test("what a new slot does not keep is never confirmed: the server would keep it all again", async () => {
  const told: [Lsn, Lsn][] = [];
  let durableTo: Lsn = 0x1000n;
  const stream = {
    next: undefined,
    confirm: ({ written, flushed }: { written: Lsn; flushed: Lsn }) => void told.push([written, flushed]),
    async *[Symbol.asyncIterator]() {
      yield { start: 0x3000n, bytes: new Uint8Array(0), serverEnd: 0x3000n, serverTimeUs: 0n };
      durableTo = 0x2800n;
      yield { start: 0x3000n, bytes: new Uint8Array(0), serverEnd: 0x3000n, serverTimeUs: 0n };
    },
    async [Symbol.asyncDispose]() {},
  };
  const session = { streamWal: async () => stream } as unknown as ReplicationSession;
  const line = {
    line: { installation: "a", systemId: "7", timeline: 1 },
    tail: { end: 0x3000n, heard() {} },
    get acknowledged() {
      return durableTo;
    },
  } as unknown as LogLine;
  const { signal } = new AbortController();
  await receive({ session, line, slot: "s", keptFrom: 0x2000n, onServer() {}, onConfirm() {}, signal });
  assert.deepEqual(told, [
    [0x3000n, 0n],
    [0x3000n, 0x2800n],
  ]);
});
