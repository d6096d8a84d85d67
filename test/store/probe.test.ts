import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { systemClock } from "../../src/base/clock.ts";
import { Failure, isFailure } from "../../src/base/errors.ts";
import { LIMITS } from "../../src/base/limits.ts";
import { caching } from "../../src/store/caching.ts";
import { createMemoryStore } from "../../src/store/memory-store.ts";
import { openStore } from "../../src/store/open-store.ts";
import { probePlace } from "../../src/store/probe.ts";
import { startGs } from "../harness/gs.ts";
import { HandClock } from "../harness/hand-clock.ts";
import { startRestServer } from "../harness/rclone.ts";
import { startS3 } from "../harness/s3.ts";
import { startSshd } from "../harness/sshd.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { MemoryBackend } from "./memory-backend.ts";
import { assertTold, probeOf } from "./probing.ts";

const { signal } = new AbortController();

function open() {
  const place = new MemoryBackend();
  place.files.set("config", Buffer.from("config"));
  const clock = new HandClock();
  return { place, clock, look: async () => await probePlace(place, { clock, signal }) };
}

function refuseRemoving(call: string): void {
  if (call.startsWith("remove")) throw new Failure("store/denied", "no right to delete");
}

test("a place where all works is told so, and nothing stays in it", async () => {
  const { place, clock, look } = open();
  place.before = async (call) => {
    if (call === "stat config") await clock.advance(20);
    if (call.startsWith("put")) await clock.advance(250);
    if (call.startsWith("get")) await clock.advance(125);
  };
  const probe = await look();
  assert.deepEqual(probe, {
    latencyMs: 20,
    writeRate: LIMITS.probeBytes * 4,
    readRate: LIMITS.probeBytes * 8,
    canDelete: true,
    putsOnce: true,
    clockAheadMs: undefined,
    publicAccess: undefined,
    left: undefined,
  });
  assert.deepEqual([...place.files.keys()], ["config"]);
});

test("a slow place is sent a small file and no large one", async () => {
  const { place, clock, look } = open();
  let sent = 0;
  place.before = async (call) => {
    if (call.startsWith("put")) await clock.advance(LIMITS.probeLongMs + 1);
  };
  place.after = (call) => {
    if (call.startsWith("put")) sent += place.files.get(call.slice("put ".length))?.length ?? 0;
  };
  const { writeRate = 0 } = await look();
  assert.ok(writeRate < LIMITS.probeFirstBytes);
  assert.ok(sent < LIMITS.probeFirstBytes + 1000, String(sent));
});

test("where nothing can be deleted one small file with a telling name stays, however often it is tried", async () => {
  const { place, clock, look } = open();
  place.before = refuseRemoving;
  const { left = "", ...probe } = await look();
  assert.deepEqual([probe.canDelete, probe.putsOnce, probe.writeRate], [false, true, undefined]);
  assert.match(left, /^chatkeep\/probe\/1970-01-01T00_00_00\.000Z-[0-9a-f]{8}$/);
  for (let time = 0; time < 3; time += 1) {
    await clock.advance(LIMITS.probeKeptMs + 1);
    assert.equal((await look()).left, left);
    assert.deepEqual([...place.files.keys()], ["config", left]);
  }
  assert.ok((place.files.get(left)?.length ?? 0) < 200);
  assert.match(place.files.get(left)?.toString() ?? "", /may be deleted/);
  // With more rights it goes.
  place.before = () => {};
  assert.equal((await look()).canDelete, true);
  assert.deepEqual([...place.files.keys()], ["config"]);
});

test("a place that only says that it deleted is not believed", async () => {
  const { place, look } = open();
  const kept = new Map<string, Buffer>();
  place.before = (call) => {
    const key = call.slice("remove ".length);
    const bytes = place.files.get(key);
    if (call.startsWith("remove") && bytes !== undefined) kept.set(key, bytes);
  };
  place.after = () => {
    for (const [key, bytes] of kept) place.files.set(key, bytes);
  };
  const { canDelete, left } = await look();
  assert.deepEqual([canDelete, left], [false, [...kept.keys()][0]]);
});

test("a place that writes over what must be new is found out, and one that refuses to is not", async () => {
  const { place, look } = open();
  const put = place.put.bind(place);
  place.put = async (key, bytes, options) => await put(key, bytes, { ...options, mustBeNew: false });
  assert.equal((await look()).putsOnce, false);
  place.put = async (key, bytes, options) => {
    if (place.files.has(key)) throw new Failure("store/denied", "it is there");
    await put(key, bytes, options);
  };
  assert.equal((await look()).putsOnce, true);
});

test("what came back different, a refused write and a stop in the middle are thrown, and nothing stays", async () => {
  const { place, clock, look } = open();
  place.change = (bytes) => Buffer.concat([bytes.subarray(1), bytes.subarray(0, 1)]);
  await assert.rejects(look, (error) => isFailure(error, "store/unreachable") && /different/.test(error.message));
  place.change = (bytes) => bytes;
  place.before = (call) => {
    if (call.startsWith("put")) throw new Failure("store/denied", "read only");
  };
  await assert.rejects(look, (error) => isFailure(error, "store/denied"));
  for (let stopAt = 1; stopAt < 30; stopAt += 1) {
    const controller = new AbortController();
    let count = 0;
    place.before = () => {
      count += 1;
      if (count === stopAt) controller.abort(new Error("stopped"));
    };
    await probePlace(place, { clock, signal: controller.signal }).catch((error: unknown) => {
      assert.match(String(error), /stopped/);
    });
    // A removal that was stopped is done by the next doctor.
    place.before = () => {};
    await clock.advance(LIMITS.probeKeptMs + 1);
    await look();
    assert.deepEqual([...place.files.keys()], ["config"], `stopped at call ${stopAt}`);
  }
});

test("a place that takes only restic's names is read and never written", async () => {
  const { place, clock, look } = open();
  Object.assign(place, { isNarrow: true });
  assert.equal((await look()).readRate, undefined);
  place.files.set("data/aa/small", Buffer.alloc(1000));
  place.files.set("data/bb/large", Buffer.alloc(LIMITS.probeBytes + 1));
  place.before = async (call) => {
    if (call.startsWith("get")) await clock.advance(1000);
  };
  const probe = await look();
  assert.deepEqual([probe.readRate, probe.writeRate, probe.canDelete], [LIMITS.probeBytes, undefined, undefined]);
  assert.ok(place.calls.every((call) => !/^(put|remove)/.test(call)));
});

test("a store in memory is nothing to try, and a cache hands on what lies behind it", async () => {
  await using folder = await temporaryFolder();
  const clock = new HandClock();
  assert.equal(caching(createMemoryStore(), { folder: folder.path, clock }).probe, undefined);
  const store = await openStore(folder.at("repository"));
  await store.create({ signal });
  const probe = await caching(store, { folder: folder.at("cache"), clock }).probe?.({ clock: systemClock, signal });
  assert.equal(probe?.canDelete, true);
});

test("a folder tells how fast it writes and what time it is, and keeps nothing", async () => {
  await using folder = await temporaryFolder();
  const probe = await probeOf(openStore(folder.at("repository")));
  assertTold(probe);
  assert.equal(probe.readRate, undefined);
  for (const name of ["probe", "tmp"]) assert.deepEqual(readdirSync(folder.at("repository", "chatkeep", name)), []);
});

test("s3 and gs tell all of it, and keep nothing", async () => {
  await using s3 = await startS3();
  // s3rver knows no condition on a put.
  assertTold(await probeOf(openStore(s3.location("box", "a"), { env: s3.env })), false);
  const gs = await startGs();
  try {
    assertTold(await probeOf(openStore(gs.location("box", "a"), { env: gs.env })));
    assert.deepEqual([...(gs.buckets.get("box")?.keys() ?? [])], ["a/config"]);
  } finally {
    await gs.stop();
  }
});

test("a file server tells all of it, and keeps nothing", async () => {
  await using sshd = await startSshd();
  assertTold(await probeOf(openStore(sshd.location("x"), { env: sshd.env })));
  for (const name of ["probe", "tmp"]) assert.deepEqual(readdirSync(`${sshd.folder}/x/chatkeep/${name}`), []);
});

test("a REST server tells its time and how fast it answers, and is sent nothing", async () => {
  await using server = await startRestServer();
  const { latencyMs, clockAheadMs, publicAccess, ...rest } = await probeOf(
    openStore(server.location("x"), { env: server.env }),
  );
  assert.ok(latencyMs > 0);
  assert.ok(Math.abs(clockAheadMs ?? Number.POSITIVE_INFINITY) < 60_000);
  assert.deepEqual(publicAccess, { reads: false, lists: false });
  assert.ok(Object.values(rest).every((value) => value === undefined));
  assert.deepEqual(
    readdirSync(server.folder + "/x").filter((name) => name === "chatkeep"),
    [],
  );
});
