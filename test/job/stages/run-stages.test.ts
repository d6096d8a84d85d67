import assert from "node:assert/strict";
import { tmpdir } from "node:os";
import { test } from "node:test";
import { Failure, isFailure } from "../../../src/base/errors.ts";
import type { Finding } from "../../../src/base/findings.ts";
import { silent } from "../../../src/base/progress.ts";
import { knownNeed } from "../../../src/job/room.ts";
import { Journal, type JournalValue } from "../../../src/job/stages/journal.ts";
import { applyStages, undoStages, unsettled } from "../../../src/job/stages/run-stages.ts";
import type { Stage, StageContext, StageResult } from "../../../src/job/stages/stage.ts";
import { HandClock } from "../../harness/hand-clock.ts";
import { fakeStage, Fuse, Killed, type World, worldJournal } from "./fake-stages.ts";

const BEFORE = ["what was there"];
const AFTER = [...BEFORE, "stopped", "loaded", "proven", "swapped", "started"];

function newWorld(): World {
  return { lines: [...BEFORE], journal: undefined };
}

function stagesOf(world: World, fuse: Fuse): Stage[] {
  const within = { world, fuse };
  return [
    fakeStage("stop", ["stopped"], within),
    fakeStage("database", ["loaded", "proven"], within),
    fakeStage("swap", ["swapped"], within),
    fakeStage("web", ["started"], within),
  ];
}

/** Only what the runner itself reads: fakes need nothing else. */
const context = {
  clock: new HandClock(),
  progress: silent,
  signal: new AbortController().signal,
  redact: <T>(value: T) => value,
  // There is none.
  folder: "/nowhere",
  place: { installation: {} },
} as unknown as StageContext;

const HEAD: Omit<JournalValue, "schema" | "state" | "stages"> = {
  id: "one",
  program: "chatkeep 0",
  beganAt: "2026-03-01T02:03:04.000Z",
  point: "a".repeat(64),
  snapshot: "b".repeat(64),
  takenAt: "2026-03-01T01:00:00.000Z",
  installation: { id: "6a1f", name: "desk" },
  repository: "primary",
  parts: ["database"],
  options: { withRoles: false, storage: undefined, migrate: false, outbound: "ask", clone: undefined },
  place: { kind: "manual", database: "chatwoot_production" },
};

async function begin(world: World, fuse: Fuse, stages: readonly Stage[]): Promise<Journal> {
  const entries = stages.map(({ name }) => ({ name, state: "waiting" as const, seconds: 0 }));
  return await Journal.begin(worldJournal(world, fuse), { ...HEAD, stages: entries });
}

/** As a new process does it: from what lasts alone. */
async function openAgain(world: World, fuse = new Fuse()): Promise<{ journal: Journal; stages: Stage[] } | undefined> {
  const journal = await Journal.open(worldJournal(world, fuse), "journal.json");
  return journal === undefined ? undefined : { journal, stages: stagesOf(world, fuse) };
}

async function applyAll(world: World, fuse: Fuse): Promise<void> {
  const stages = stagesOf(world, fuse);
  await applyStages(stages, context, await begin(world, fuse, stages));
}

async function undoAll(world: World, fuse: Fuse): Promise<void> {
  const opened = await openAgain(world, fuse);
  assert.ok(opened);
  await undoStages(opened.stages, context, opened.journal);
}

/** Runs with a kill before, then behind, every write there is. @returns how many there were. */
async function sweep(run: (fuse: Fuse, kill: string) => Promise<void>): Promise<number> {
  for (let at = 1; ; at += 1) {
    for (const side of ["before", "behind"] as const) {
      const fuse = new Fuse(at, side);
      await run(fuse, `${side} write ${at}`);
      if (fuse.count < at) return at - 1;
    }
  }
}

async function untilKilled(work: () => Promise<void>): Promise<void> {
  await work().catch((error: unknown) => {
    const cause: unknown = isFailure(error) ? error.cause : error;
    if (!(cause instanceof Killed)) throw error;
  });
}

test("a restore that is killed at any write goes on to the same end", async () => {
  const writes = await sweep(async (fuse, kill) => {
    const world = newWorld();
    await untilKilled(async () => await applyAll(world, fuse));
    const opened = await openAgain(world);
    if (opened === undefined) return assert.deepEqual(world.lines, BEFORE, kill);
    await applyStages(opened.stages, context, opened.journal);
    assert.deepEqual(world.lines, AFTER, kill);
    assert.equal((await openAgain(world))?.journal.value.state, "done", kill);
  });
  assert.ok(writes > 15, `only ${writes} writes were swept`);
});

test("a restore that is killed at any write is undone to what was before", async () => {
  await sweep(async (fuse, kill) => {
    const world = newWorld();
    await untilKilled(async () => await applyAll(world, fuse));
    if (world.journal !== undefined) await undoAll(world, new Fuse());
    assert.deepEqual(world.lines, BEFORE, kill);
  });
});

test("an undo that is killed at any write is gone on with", async () => {
  const writes = await sweep(async (fuse, kill) => {
    const world = newWorld();
    await applyAll(world, new Fuse());
    await untilKilled(async () => await undoAll(world, fuse));
    await undoAll(world, new Fuse());
    assert.deepEqual(world.lines, BEFORE, kill);
    const value = (await openAgain(world))?.journal.value;
    assert.equal(value?.state, "undone", kill);
    assert.ok(
      value?.stages.every(({ state }) => state === "undone"),
      kill,
    );
  });
  assert.ok(writes > 8, `only ${writes} writes were swept`);
});

test("a stage that holds stops the restore there, and the next call goes on with it", async () => {
  const world = newWorld();
  const fuse = new Fuse();
  const [stop, , , web] = stagesOf(world, fuse);
  assert.ok(stop && web);
  let holds = true;
  const outbound: Stage = {
    ...fakeStage("outbound", ["reviewed"], { world, fuse }),
    apply: () => Promise.resolve({ lines: [], findings: [], ...(holds ? { holds: "3 campaigns would go out" } : {}) }),
  };
  const stages = [stop, outbound, web];
  const journal = await begin(world, fuse, stages);
  const first = await applyStages(stages, context, journal);
  assert.deepEqual(first.held, { stage: "outbound", why: "3 campaigns would go out" });
  assert.deepEqual(
    journal.value.stages.map(({ state }) => state),
    ["done", "begun", "waiting"],
  );
  holds = false;
  assert.equal((await applyStages(stages, context, journal)).held, undefined);
  assert.deepEqual(world.lines, [...BEFORE, "stopped", "started"]);
});

test("an undo that holds stops there, and the next call goes on with it", async () => {
  const world = newWorld();
  const fuse = new Fuse();
  const stages = stagesOf(world, fuse);
  const [stop, ...others] = stages;
  assert.ok(stop);
  const journal = await begin(world, fuse, stages);
  await applyStages(stages, context, journal);
  const holding: Stage = {
    ...stop,
    undo: () => Promise.resolve({ lines: [], findings: [], holds: "other keys" }),
  };
  const first = await undoStages([holding, ...others], context, journal);
  assert.deepEqual(first.held, { stage: "stop", why: "other keys" });
  assert.deepEqual([journal.value.state, journal.value.stages[0]?.state], ["undoing", "done"]);
  assert.equal((await undoStages(stages, context, journal)).held, undefined);
  assert.deepEqual([journal.value.state, world.lines], ["undone", BEFORE]);
});

test("a stage that this version does not have is refused, and nothing of it is done", async () => {
  const world = newWorld();
  const stages = stagesOf(world, new Fuse());
  const journal = await begin(world, new Fuse(), stages);
  await assert.rejects(applyStages(stages.slice(1), context, journal), { code: "restore/record" });
  assert.deepEqual(world.lines, BEFORE);
});

test("time counts over all calls of a stage, also those that failed", async () => {
  const world = newWorld();
  const clock = new HandClock();
  let fails = true;
  const slow: Stage = {
    ...fakeStage("files", [], { world, fuse: new Fuse() }),
    async apply() {
      clock.advance(1500);
      if (fails) throw new Error("cut");
      return await Promise.resolve({ lines: [], findings: [] });
    },
  };
  const journal = await begin(world, new Fuse(), [slow]);
  const timed = { ...context, clock };
  await assert.rejects(applyStages([slow], timed, journal), /cut/);
  fails = false;
  await applyStages([slow], timed, journal);
  assert.equal(journal.stage("files")?.seconds, 3);
});

function isLacking(thrown: unknown): boolean {
  return (
    isFailure(thrown, "restore/disk") &&
    thrown.message === "'database' could not be done: 'git' ended with status 128" &&
    /free, and .*1024 PiB.*: 1024 PiB are lacking\. It said: fatal: write error/.test(thrown.hint ?? "")
  );
}

test("a disk that is full, or refuses, in the middle of a stage is told by stage and path, and the call can be made again", async () => {
  const world = newWorld();
  const [stop, database, ...others] = stagesOf(world, new Fuse());
  assert.ok(stop && database);
  const journal = await begin(world, new Fuse(), [stop, database, ...others]);
  const denied = Object.assign(new Error("EACCES: permission denied"), {
    code: "EACCES",
    path: "/srv/chatwoot/.env",
    syscall: "open",
  });
  for (const [error, message] of [
    [denied, "'database' could not be done: open of '/srv/chatwoot/.env' failed (EACCES)"],
    [
      Object.assign(new Error("ENOSPC"), { code: "ENOSPC", syscall: "write" }),
      "'database' could not be done: write failed (ENOSPC)",
    ],
  ] as const) {
    const failing: Stage = {
      ...database,
      apply: async () => await Promise.reject(error),
      undo: async () => await Promise.reject(error),
    };
    const expected = (thrown: unknown) =>
      isFailure(thrown, "restore/disk") && thrown.message === message && thrown.hint !== undefined;
    await assert.rejects(applyStages([stop, failing, ...others], context, journal), expected);
  }
  // What a program printed tells it, too; and what is still to be written, how much is lacking.
  const git = new Failure("program/failed", "'git' ended with status 128", {
    hint: "It said: fatal: write error: No space left on device",
  });
  const filling: Stage = {
    ...database,
    apply: async () => await Promise.reject(git),
    undo: async () => await Promise.reject(git),
    room: async () => await Promise.resolve([knownNeed("the code", tmpdir(), 2 ** 60)]),
  };
  await assert.rejects(applyStages([stop, filling, ...others], context, journal), isLacking);
  // A fault of ours stays one.
  const faulty: Stage = { ...database, apply: async () => await Promise.reject(new TypeError("x is undefined")) };
  await assert.rejects(applyStages([stop, faulty, ...others], context, journal), TypeError);
  assert.deepEqual(await applyStages([stop, database, ...others], context, journal), { held: undefined });
  assert.deepEqual(world.lines, AFTER);
});

test("what is spared and cannot be undone is told, and all behind it is undone; what is needed stops there", async () => {
  const world = newWorld();
  await applyAll(world, new Fuse());
  const opened = await openAgain(world);
  assert.ok(opened);
  const refusing = (name: string, undoIs: Stage["undoIs"], error: Error) =>
    opened.stages.map((stage) =>
      stage.name === name ? { ...stage, undoIs, undo: async () => await Promise.reject(error) } : stage,
    );
  const gone = new Failure("redis/unreachable", "nothing listens there", { hint: "Start it." });
  await assert.rejects(undoStages(refusing("swap", "needed", gone), context, opened.journal), gone);
  assert.deepEqual(world.lines, [...BEFORE, "stopped", "loaded", "proven", "swapped"]);
  // A fault of ours is none of these, nor is a journal that cannot be written.
  for (const error of [new TypeError("a fault"), new Failure("restore/record", "cannot be written")])
    await assert.rejects(undoStages(refusing("swap", "spared", error), context, opened.journal), error);
  const full = Object.assign(new Error("no"), { code: "EACCES", syscall: "unlink", path: "/x" });
  assert.equal((await undoStages(refusing("swap", "spared", full), context, opened.journal)).held, undefined);
  assert.deepEqual(world.lines, [...BEFORE, "swapped"], "all but what was spared");
  const [finding] = opened.journal.stage("swap")?.result?.findings ?? [];
  assert.deepEqual([finding?.kind, finding?.level, finding?.subject], ["rollback-left", "warning", "swap"]);
  assert.match(finding?.message ?? "", /'swap' could not be undone as a whole.*unlink of '\/x' failed/);
  assert.equal(opened.journal.value.state, "undone");
});

function told(kind: string): StageResult {
  return { lines: [kind], findings: [{ kind, level: "note", message: kind, hint: "" }] };
}

test("what was seen before a stage is told though the stage failed then, held, and was gone on with; likewise of an undo", async () => {
  const world = newWorld();
  const stages = stagesOf(world, new Fuse());
  const runs: boolean[] = [];
  let outcome: "fails" | "holds" | "ends" = "fails";
  const [stop, database] = stages;
  assert(stop !== undefined && database !== undefined);
  const looking: Stage = {
    ...database,
    async before(_context, { isFirst }) {
      runs.push(isFirst);
      return await Promise.resolve(outcome === "ends" ? { lines: [], findings: [] } : told(`ran again ${outcome}`));
    },
    async apply(context, record) {
      if (outcome === "fails") throw new Error("the disk is full");
      const result = await database.apply(context, record);
      return outcome === "holds" ? { ...result, holds: "somebody decides" } : result;
    },
    beforeUndo: async () => await Promise.resolve(told("ran before the undo")),
  };
  const journal = await begin(world, new Fuse(), [stop, looking]);
  await assert.rejects(applyStages([stop, looking], context, journal), /disk is full/);
  for (const next of ["holds", "ends"] as const) {
    outcome = next;
    await applyStages([stop, looking], context, journal);
  }
  const { result } = journal.stage("database") ?? {};
  assert.deepEqual(result?.lines, ["ran again fails", "ran again holds", "2 added"]);
  assert.deepEqual(
    result?.findings.map(({ kind }) => kind),
    ["ran again fails", "ran again holds"],
  );
  // Behind another stage, then the first of its run.
  assert.deepEqual(runs, [false, true, true]);
  await undoStages([stop, looking], context, journal);
  assert.deepEqual(journal.stage("database")?.result?.lines, ["ran before the undo", "taken away"]);
});

test("what the plan found is told to the end, but for what a stage that is done has settled", async () => {
  const world = newWorld();
  const settling = { ...fakeStage("redis", ["emptied"], { world, fuse: new Fuse() }), settles: ["redis-not-ready"] };
  const failing: Stage = {
    ...fakeStage("web", [], { world, fuse: new Fuse() }),
    apply: () => Promise.reject(new Failure("target/unsuitable", "not yet")),
    settles: ["part-missing"],
  };
  const stages = [settling, failing];
  const planned = ["redis-not-ready", "part-missing", "point-misses-files"].map((kind): Finding => {
    return { kind, level: "warning", message: kind, hint: "Look." };
  });
  const told = () => unsettled(stages, journal, planned).map(({ kind }) => kind);
  const journal = await begin(world, new Fuse(), stages);
  assert.deepEqual(told(), ["redis-not-ready", "part-missing", "point-misses-files"]);
  await assert.rejects(applyStages(stages, context, journal), /not yet/);
  assert.deepEqual(told(), ["part-missing", "point-misses-files"]);
});
