/** The stages of the database on a real server: killed in their middle they go on, and an undo brings what was before. */
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { Client } from "pg";
import { type Clock, systemClock } from "../../../src/base/clock.ts";
import { type Progress, silent } from "../../../src/base/progress.ts";
import { onDatabase } from "../../../src/demo/database.ts";
import type { Installation } from "../../../src/installation/installation.ts";
import type { PointReader } from "../../../src/job/point-reader.ts";
import { planDatabase } from "../../../src/job/plan-database.ts";
import { ALL_ROWS } from "../../../src/job/row-choice.ts";
import { databaseStage } from "../../../src/job/stages/database-stage.ts";
import type { Stage, StageContext, StageRecord } from "../../../src/job/stages/stage.ts";
import { type SwapKept, swapStage } from "../../../src/job/stages/swap-stage.ts";
import { HandClock } from "../../harness/hand-clock.ts";
import { dumpLines } from "../../harness/pg-dump-diff.ts";
import { longTest } from "../../harness/whole.ts";
import { makeCheapToOpen } from "../../scenario/cheap-key.ts";
import { openDesk, type Desk } from "../../scenario/desk.ts";
import { savedPoints } from "../../scenario/saved-point.ts";

let desk: Desk;
let reader: PointReader;
let live: string;
let saved: string[];
let damaged: string[];

before(async () => {
  desk = await openDesk({ size: { messages: 60, conversations: 12, files: 3 } });
  const { repository } = await makeCheapToOpen(desk);
  live = desk.installation.database.database;
  await desk.summary(["backup"]);
  const [point] = await savedPoints(repository);
  assert.ok(point);
  await point.repository.loadIndex({ signal: new AbortController().signal });
  reader = point;
  saved = await dumpLines(desk.installation.database);
  await desk.server.query(`create database "${SAVED}" template "${live}"`);
  await onLive("delete from messages where id % 2 = 0");
  damaged = await dumpLines(desk.installation.database);
});
after(async () => {
  await desk[Symbol.asyncDispose]();
});
beforeEach(async () => {
  assert.deepEqual(await others(), [], "a test left a database");
});

async function onLive<T>(sql: string): Promise<T[]> {
  return await onDatabase(desk.installation.database, async (client) => (await client.query(sql)).rows as T[]);
}

/** Databases beside the live one. */
async function others(): Promise<string[]> {
  const rows = await desk.server.query(`select datname from pg_database where datname like '${live}_%' order by 1`);
  return rows.map((row) => String(row["datname"]));
}

async function liveLines(): Promise<string[]> {
  return await dumpLines(desk.installation.database);
}

/** A copy of the live database as it was saved. */
const SAVED = "as_saved";

class Killed extends Error {}

/** Kills in the middle of a piece of work: when its line is said, or before or behind the n-th record. */
type Kill = { say: string } | { keep: number; side: "before" | "behind" };

const FRESH = "_restoring_20260301T020304";

async function contextOf(said: string[], kill?: Kill, clock: Clock = systemClock): Promise<StageContext> {
  const progress: Progress = {
    ...silent,
    stage(name) {
      said.push(name);
      if (kill !== undefined && "say" in kill && name === kill.say) throw new Killed();
    },
    say: (line) => said.push(line),
  };
  const address = { ...desk.installation.database };
  return {
    // The stages of the database ask it only who may still be connected.
    place: { installation: { environment: new Map(), processes: {} } as unknown as Installation, address },
    folder: desk.root,
    fresh: { ...address, database: `${live}${FRESH}` },
    redact: (value) => value,
    clock,
    progress,
    signal: new AbortController().signal,
    reader,
    manifest: await reader.manifest(),
    saved: undefined,
    options: { withRoles: false, storage: undefined, migrate: false, outbound: "ask", clone: undefined },
  };
}

/** What lasts over a kill: plain JSON. */
interface Disk {
  database: string | undefined;
  swap: string | undefined;
}

function recordOn(disk: Disk, name: keyof Disk, kill?: Kill): StageRecord<unknown> {
  let count = 0;
  return {
    get kept() {
      const text = disk[name];
      return text === undefined ? undefined : (JSON.parse(text) as unknown);
    },
    async keep(value) {
      count += 1;
      const isNow = kill !== undefined && "keep" in kill && kill.keep === count;
      if (isNow && kill.side === "before") throw new Killed();
      disk[name] = JSON.stringify(value);
      if (isNow) throw new Killed();
      await Promise.resolve();
    },
  };
}

async function run(stage: Stage, disk: Disk, kill?: Kill): Promise<string[]> {
  const said: string[] = [];
  const context = await contextOf(said, kill);
  const record = recordOn(disk, stage.name as keyof Disk, kill);
  if (kill === undefined) await stage.apply(context, record);
  else await assert.rejects(stage.apply(context, record), Killed);
  return said;
}

async function undo(stage: Stage, disk: Disk): Promise<void> {
  await stage.undo(await contextOf([]), recordOn(disk, stage.name as keyof Disk));
}

async function dropAll(): Promise<void> {
  for (const name of await others()) await desk.server.query(`drop database "${name}" with (force)`);
}

test("what was loaded whole before a kill is proven again and used; what was not is loaded again; an undo drops it", async () => {
  const disk: Disk = { database: undefined, swap: undefined };
  await run(databaseStage, disk, { keep: 1, side: "behind" });
  await run(databaseStage, disk, { say: "comparing every row" });
  const [loaded] = await desk.server.query(`select oid from pg_database where datname = '${live}${FRESH}'`);
  assert.ok(loaded, "what was loaded is kept over the kill");
  const said = await run(databaseStage, disk);
  assert.ok(!said.includes("loading the database"), said.join("; "));
  assert.deepEqual(await desk.server.query(`select oid from pg_database where datname = '${live}${FRESH}'`), [loaded]);
  assert.deepEqual(await dumpLines({ ...desk.installation.database, database: `${live}${FRESH}` }), saved);

  // Somebody wrote into it meanwhile: the proof sees that, and it is loaded again.
  await desk.server.query("delete from messages", `${live}${FRESH}`);
  assert.ok((await run(databaseStage, disk)).includes("loading the database"));
  assert.deepEqual(await dumpLines({ ...desk.installation.database, database: `${live}${FRESH}` }), saved);

  assert.deepEqual(await liveLines(), damaged);
  await undo(databaseStage, disk);
  await undo(databaseStage, disk);
  assert.deepEqual(await others(), []);
});

test("a database of that name that is not ours is left alone", async () => {
  await desk.server.query(`create database "${live}${FRESH}"`);
  const disk: Disk = { database: undefined, swap: undefined };
  await assert.rejects(run(databaseStage, disk), { code: "target/unsuitable" });
  assert.deepEqual(await others(), [`${live}${FRESH}`]);
  await dropAll();
});

/** As the stage before the swap leaves one: the saved rows, quicker than by loading them. */
async function makeFresh(more: { hadNone?: true } = {}): Promise<void> {
  await desk.server.query(`create database "${live}${FRESH}" template "${SAVED}"`);
  const note = { chatkeep: "restoring", of: live, point: reader.point.id, at: "2026-03-01T02:03:04.000Z", ...more };
  await desk.server.query(`comment on database "${live}${FRESH}" is '${JSON.stringify(note)}'`);
}

test("a swap that was killed before or behind is gone on with, and an undo puts back what was there, to the line", async () => {
  const disk: Disk = { database: undefined, swap: undefined };
  await makeFresh();
  await run(swapStage, disk, { keep: 1, side: "before" });
  await run(swapStage, disk, { keep: 1, side: "behind" });
  await undo(swapStage, disk);
  assert.deepEqual(await liveLines(), damaged, "an undo before the swap changes nothing");
  await run(swapStage, disk);
  assert.deepEqual(await liveLines(), saved);
  const swapped = await others();
  // As after a kill behind the swap: nothing was recorded since.
  await run(swapStage, disk);
  assert.deepEqual(await others(), swapped);
  await onLive("insert into tags (name) values ('written since')");
  await undo(swapStage, disk);
  await undo(swapStage, disk);
  await undo(databaseStage, disk);
  assert.deepEqual(await liveLines(), damaged);
  const [aside, ...none] = await others();
  assert.deepEqual(none, []);
  assert.match(aside ?? "", /_rolledback_/);
  const since = await desk.server.query("select name from tags where name = 'written since'", aside ?? "");
  assert.equal(since.length, 1, "what was written since is kept");
  await dropAll();
});

longTest("what somebody dropped since does not keep the rest from coming back", async () => {
  const disk: Disk = { database: undefined, swap: undefined };
  await makeFresh();
  await run(swapStage, disk);
  const blockers = async () =>
    await swapStage.planUndo?.(await contextOf([]), recordOn(disk, "swap") as StageRecord<SwapKept>);
  await desk.server.query(`drop database "${live}"`);
  // Somebody's own is not touched, and stands in the way.
  await desk.server.query(`create database "${live}"`);
  assert.deepEqual(
    (await blockers())?.blockers.map(({ kind }) => kind),
    ["database-no-swap"],
  );
  await assert.rejects(undo(swapStage, disk), { code: "target/unsuitable" });
  await desk.server.query(`drop database "${live}"`);
  assert.deepEqual(await blockers(), { blockers: [], findings: [] });
  await undo(swapStage, disk);
  await undo(swapStage, disk);
  assert.deepEqual(await liveLines(), damaged);
  const note = `select shobj_description(oid, 'pg_database') as note from pg_database where datname = '${live}'`;
  assert.deepEqual(await desk.server.query(note), [{ note: null }]);

  // Before the swap there is nothing to undo, whatever became of the live one.
  await makeFresh();
  const begun: Disk = { database: undefined, swap: undefined };
  await run(swapStage, begun, { keep: 1, side: "behind" });
  await desk.server.query(`alter database "${live}" rename to "away"`);
  await desk.server.query(`create database "as_damaged" template "away"`);
  await desk.server.query(`drop database "away"`);
  await undo(swapStage, begun);
  await undo(databaseStage, begun);
  assert.deepEqual(await others(), []);
  await desk.server.query(`alter database "as_damaged" rename to "${live}"`);
  assert.deepEqual(await liveLines(), damaged);
});

longTest(
  "where somebody dropped the live database the restored one takes its name, killed or not, and an undo leaves none again",
  async () => {
    const disk: Disk = { database: undefined, swap: undefined };
    const planned = async () => {
      const context = await contextOf([]);
      const [database, swap] = [await databaseStage.plan(context), await swapStage.plan(context)];
      return { blockers: database.blockers, kinds: database.findings.map(({ kind }) => kind), line: swap.lines.join() };
    };
    await desk.server.query(`alter database "${live}" rename to "away"`);
    const gone = await planned();
    assert.deepEqual(gone.blockers, []);
    assert.ok(gone.kinds.includes("database-gone"), gone.kinds.join());
    assert.match(gone.line, /; none has that name now$/);
    await desk.server.query("create role may_make_none login");
    const context = await contextOf([]);
    const address = { ...context.place.address, user: "may_make_none" };
    const poor = { ...context, place: { ...context.place, address } };
    assert.deepEqual(
      (await databaseStage.plan(poor)).blockers.map(({ kind, hint }) => [kind, hint.split(";")[0]]).slice(0, 1),
      [["database-missing", 'Let an administrator run: ALTER ROLE "may_make_none" CREATEDB']],
    );

    await run(databaseStage, disk);
    assert.deepEqual(await others(), [`${live}${FRESH}`], "nothing has the name before the swap");
    await run(swapStage, disk, { keep: 1, side: "behind" });
    await undo(swapStage, disk);
    assert.deepEqual(await others(), [`${live}${FRESH}`], "an undo before the swap changes nothing");
    await run(swapStage, disk);
    assert.deepEqual(await liveLines(), saved);
    // As after a kill behind the swap: nothing was recorded since.
    await run(swapStage, disk);
    assert.deepEqual(await others(), []);
    const back = await swapStage.planUndo?.(await contextOf([]), recordOn(disk, "swap") as StageRecord<SwapKept>);
    assert.deepEqual(back, { blockers: [], findings: [] });
    await undo(swapStage, disk);
    await undo(swapStage, disk);
    await undo(databaseStage, disk);
    const [aside, ...none] = await others();
    assert.deepEqual(none, []);
    assert.match(aside ?? "", /_rolledback_/);
    assert.deepEqual(await dumpLines({ ...desk.installation.database, database: aside ?? "" }), saved);
    const named = await desk.server.query(`select 1 from pg_database where datname = '${live}'`);
    assert.deepEqual(named, [], "none has the name, as before");

    // What somebody made meanwhile is theirs, and put aside as any other.
    await desk.server.query(`drop database "${aside}"`);
    const second: Disk = { database: undefined, swap: undefined };
    await makeFresh({ hadNone: true });
    await desk.server.query(`create database "${live}"`);
    await run(swapStage, second);
    assert.deepEqual(await liveLines(), saved);
    await undo(swapStage, second);
    assert.deepEqual(await onLive("select 1 from pg_class where relname = 'messages'"), [], "theirs is back");
    await dropAll();
    await desk.server.query(`drop database "${live}"`);
    await desk.server.query(`alter database "away" rename to "${live}"`);
    assert.deepEqual(await liveLines(), damaged);
  },
);

test("client programs that are lacking stand in the way before Chatwoot is stopped", async () => {
  const context = await contextOf([]);
  const { manifest } = context;
  // No machine has those of that version, nor an image of it.
  const far = { ...manifest, server: { ...manifest.server, clientMajor: 99 } };
  const asked = Object.create(reader, { manifest: { value: async () => await Promise.resolve(far) } }) as PointReader;
  const { blockers } = await databaseStage.plan({ ...context, reader: asked });
  assert.deepEqual(
    blockers.map(({ kind }) => kind),
    ["programs-missing"],
  );
  assert.match(blockers[0]?.hint ?? "", /postgresql-client-99/);
});

test("an empty database that its role may not fill stands in the way before anything is made, with the line that lets it", async () => {
  await desk.server.query("create role filler login");
  await desk.server.query('create database "to_fill"');
  await desk.server.query("revoke create on schema public from public", "to_fill");
  const address = { ...desk.installation.database, database: "to_fill", user: "filler" };
  const signal = new AbortController().signal;
  const planned = async () =>
    (await planDatabase(reader, { address, isLive: false, rows: ALL_ROWS, withRoles: false, signal })).blockers;
  const [blocker] = await planned();
  assert.equal(blocker?.kind, "schema-denied");
  assert.match(blocker?.hint ?? "", /GRANT CREATE ON SCHEMA public TO "filler";$/);
  await desk.server.query('GRANT CREATE ON SCHEMA public TO "filler"', "to_fill");
  assert.ok((await planned()).every(({ kind }) => kind !== "schema-denied"));
  await desk.server.query('drop database "to_fill"');
  await desk.server.query("drop role filler");
});

test("a live database that was renamed since the restore began is waited for: nothing takes its name", async () => {
  const disk: Disk = { database: undefined, swap: undefined };
  await makeFresh();
  await desk.server.query(`alter database "${live}" rename to "away"`);
  await assert.rejects(run(swapStage, disk), {
    code: "target/unsuitable",
    message: /^somebody renamed, made or dropped/,
  });
  await desk.server.query(`alter database "away" rename to "${live}"`);
  assert.deepEqual(await liveLines(), damaged);
  await dropAll();
});

test("a database that is not the one that was loaded is never swapped in", async () => {
  const disk: Disk = { database: undefined, swap: undefined };
  await desk.server.query(`create database "${live}${FRESH}"`);
  await assert.rejects(run(swapStage, disk), { code: "target/unsuitable" });
  await desk.server.query(`drop database "${live}${FRESH}"`);
  await makeFresh();
  await run(swapStage, disk, { keep: 1, side: "behind" });
  await desk.server.query(`drop database "${live}${FRESH}"`);
  await desk.server.query(`create database "${live}${FRESH}"`);
  await assert.rejects(run(swapStage, disk), { code: "target/unsuitable" });
  assert.deepEqual(await liveLines(), damaged);
  await dropAll();
});

test("nothing is swapped, forwards or back, while Chatwoot uses the database; a person who looks is ended", async () => {
  const disk: Disk = { database: undefined, swap: undefined };
  await makeFresh();
  /** Sessions wait until somebody gives up. */
  class Impatient extends HandClock {
    override async sleep(ms: number, aborted?: AbortSignal): Promise<void> {
      await super.sleep(60 * ms, aborted);
    }
  }
  const record = () => recordOn(disk, "swap") as StageRecord<SwapKept>;
  const refused = async (act: "apply" | "undo") => {
    const puma = new Client({ ...desk.installation.database, application_name: "puma" });
    await puma.connect();
    const context = await contextOf([], undefined, new Impatient({ wakesAtOnce: true }));
    await assert.rejects(swapStage[act](context, record()), {
      code: "restore/in-use",
      message: new RegExp(`^Chatwoot is still connected to the database '${live}'`),
    });
    await puma.end();
  };
  await refused("apply");
  assert.deepEqual(await liveLines(), damaged);
  const looker = new Client({ ...desk.installation.database, application_name: "psql" });
  looker.on("error", () => {});
  const ended = new Promise<void>((resolve) => looker.once("end", () => resolve()));
  await looker.connect();
  await run(swapStage, disk);
  await ended;
  await refused("undo");
  assert.deepEqual(await liveLines(), saved);
  await undo(swapStage, disk);
  assert.deepEqual(await liveLines(), damaged);
  await dropAll();
});
