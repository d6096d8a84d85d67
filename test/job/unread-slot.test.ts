/** A slot that is left where the log is not followed any more is told, and given up before it fills the server's disk. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { Finding } from "../../src/base/findings.ts";
import { LIMITS } from "../../src/base/limits.ts";
import { UnreadSlot } from "../../src/job/unread-slot.ts";
import { slotName } from "../../src/postgres/replication-slots.ts";
import { HandClock } from "../harness/hand-clock.ts";
import { startPostgres } from "../harness/postgres.ts";

const INSTALLATION = "0a61c0de-0000-4000-8000-000000000001";
const { signal } = new AbortController();
const server = await startPostgres();
after(async () => await server.stop());

test("it is told while nobody reads from it, and given up when it stood still and keeps more than it may", async () => {
  const name = slotName(INSTALLATION);
  const told = new Map<string, readonly Finding[]>();
  const clock = new HandClock();
  const book = {
    find: (key: string, ...findings: readonly Finding[]) => void told.set(key, findings),
    happened: (key: string, ...findings: readonly Finding[]) => void told.set(key, findings),
  };
  const kinds = () => [...told.values()].flat().map(({ kind, level }) => `${level} ${kind}`);
  let most = 1024 ** 3;
  const options = { address: () => server.address, installation: INSTALLATION, book, clock, signal };
  const slot = new UnreadSlot({ ...options, most: async () => most });
  await slot.look();
  assert.deepEqual(kinds(), []);
  await server.query(`select pg_create_physical_replication_slot('${name}', true)`);
  await server.query("select pg_logical_emit_message(true, 'test', repeat('x', 2 * 1048576))");
  await slot.look();
  assert.deepEqual(kinds(), ["warning slot-left"]);
  most = 1024 ** 2;
  await slot.look();
  assert.deepEqual(kinds(), ["warning slot-left"], "who was cut off may come again");
  await clock.advance(LIMITS.unreadSlotMs);
  await slot.look();
  assert.deepEqual(kinds(), ["alarm slot-given-up"]);
  assert.deepEqual(await server.query("select slot_name from pg_replication_slots"), []);
  await slot.look();
  assert.deepEqual(kinds(), ["alarm slot-given-up"]);
});
