/** Retention through the command line, on a desk of which a month of points is kept; stock restic looks on. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { appendFileSync } from "node:fs";
import { hostname } from "node:os";
import { after, before, test } from "node:test";
import { formatInstant, systemClock } from "../../src/base/clock.ts";
import { encodeLock } from "../../src/format/lock-file.ts";
import { listPoints } from "../../src/job/points.ts";
import { Repository } from "../../src/repo/repository.ts";
import { judges, runRestic } from "../harness/restic.ts";
import { readFolder } from "../harness/tree.ts";
import { addProof } from "../job/kept-points.ts";
import { makeCheapToOpen, type OpenedDesk } from "./cheap-key.ts";
import { openDesk, type Desk } from "./desk.ts";
import { assertRefused, secretsOf } from "./refusal.ts";

const DAY = 24 * 3_600_000;
const { signal } = new AbortController();
let desk: Desk;
let opened: OpenedDesk;
/** The newest first: today's, and one for each of twenty days before. */
let points: string[];

before(async () => {
  desk = await openDesk({ size: { messages: 100, conversations: 10, files: 8 } });
  opened = await makeCheapToOpen(desk);
  await desk.summary(["backup"]);
  const repository = open();
  const [newest] = (await listPoints(repository, { signal })).points;
  assert.ok(newest !== undefined);
  for (let day = 1; day <= 20; day += 1) {
    const time = formatInstant(newest.takenAtMs - day * DAY);
    await repository.saveSnapshot({ ...newest.snapshot, time }, { signal });
  }
  const { points: all } = await listPoints(repository, { signal });
  points = all.map(({ id }) => id);
  const old = all[12];
  assert.ok(old !== undefined);
  const { tree } = old.snapshot;
  await addProof(repository, { point: old.snapshotId, tree, proven: true, timeMs: newest.takenAtMs });
  appendFileSync(desk.config, "retention: { last: 2, daily: 5 }\nschedule: { timezone: Europe/Berlin }\n");
});
after(async () => await desk[Symbol.asyncDispose]());

/** The repository as another process sees it now. */
function open(): Repository {
  const { store, keys, config, keyId } = opened.repository;
  return new Repository({ store, keys, config, keyId });
}

interface Line {
  point: string;
  reasons: string[];
}

const named = (lines: unknown) => (lines as Line[]).map(({ point }) => point);

test("a desk's points are forgotten by its policy, what must stay stays, and restic finds nothing wrong", async (t) => {
  const [proven = "", held = ""] = [points[12], points[16]];

  await t.test("a proof and a hold protect what the policy would not keep", async () => {
    await desk.summary(["hold", held, "--name", "audit", "--reason", "tax", "--until", "2099-12-31"]);
    const listed = await desk.chatkeep(["list"]);
    assert.match(listed.stdout, /audit until 2099-12-31/);
    assert.doesNotMatch(listed.stdout, /no restore point/);
    assert.match((await desk.chatkeep(["show", held])).stdout, /held +audit until 2099-12-31/);
    assert.match((await desk.chatkeep(["hold"])).stdout, /audit +2099-12-31 +\S+@\S+ +tax/);
  });

  await t.test("a dry run says what would go and why the rest stays, and changes nothing", async () => {
    const before = await readFolder(desk.repository);
    const { stdout, status } = await desk.chatkeep(["forget", "--dry-run"]);
    assert.equal(status, 0);
    assert.match(stdout, /^14 restore points would be forgotten; 7 stay$/m);
    assert.match(stdout, /last 1 of 2, daily 1 of 5$/m);
    assert.match(stdout, /the newest proven$/m);
    assert.match(stdout, /held: audit until 2099-12-31$/m);
    assert.deepEqual(await readFolder(desk.repository), before);
  });

  await t.test("forgetting does what the dry run said; a second time changes no byte", async () => {
    const summary = await desk.summary(["forget"]);
    assert.equal(named(summary["forgotten"]).length, 14);
    assert.deepEqual(named(summary["kept"]), [...points.slice(0, 5), proven, held]);
    const after = await readFolder(desk.repository);
    assert.deepEqual((await desk.summary(["forget"]))["forgotten"], []);
    assert.deepEqual(await readFolder(desk.repository), after);
    assert.deepEqual(named((await desk.summary(["list"]))["points"]), named(summary["kept"]));
  });

  for (const { path: restic, version } of judges()) {
    await t.test(`restic ${version} finds nothing wrong`, async () => {
      await runRestic(["check"], { repo: desk.repository, password: opened.password, restic });
      const { stdout } = await runRestic(["snapshots", "--json"], {
        repo: desk.repository,
        password: opened.password,
        restic,
      });
      // Seven points, a proof and a hold.
      assert.equal((JSON.parse(stdout) as unknown[]).length, 9);
    });
  }

  await t.test("options take the place of the configured rules", async () => {
    const plan = await desk.summary(["forget", "--dry-run", "--keep-last", "1", "--keep-daily", "0"]);
    assert.deepEqual(named(plan["kept"]), [points[0], proven, held]);
    const all = await desk.summary(["forget", "--dry-run", "--all", "--keep-within", "10d"]);
    assert.equal(named(all["forgotten"]).length, 0);
  });

  await t.test("a point goes by its name once that is confirmed, and not when it is needed", async () => {
    const secrets = await secretsOf(desk);
    const [, second = ""] = points;
    for (const [args, error, status] of [
      [[second], /nobody is at a terminal/, 2],
      [[proven, "--yes"], /the last that is proven/, 2],
      [[second, "--keep-last", "1"], /points are named, and rules/, 2],
      [["--keep-last", "many"], /--keep-last cannot be 'many'/, 2],
      [["--keep-last", "0", "--keep-daily", "0"], /nothing says which restore points to keep/, 2],
    ] as const) {
      assertRefused(await desk.chatkeep(["forget", ...args]), { status, error, hint: /\.$/ }, secrets);
    }
    const summary = await desk.summary(["forget", second.slice(0, 12), "--yes"]);
    assert.deepEqual(named(summary["forgotten"]), [second]);
  });

  await t.test("a hold that is released lets its point go", async () => {
    await desk.summary(["hold", "--release", held, "audit"]);
    const summary = await desk.summary(["forget", "--prune"]);
    assert.deepEqual(named(summary["forgotten"]), [held]);
    assert.equal((summary["prune"] as Record<string, unknown>)["verb"], "prune");
    await runRestic(["check", "--read-data"], { repo: desk.repository, password: opened.password });
  });

  await t.test("a held point that restic forgot is an alarm, and is not pruned before it is released", async () => {
    const secrets = await secretsOf(desk);
    const [, , , gone = ""] = points;
    await desk.summary(["hold", gone, "--name", "court"]);
    await runRestic(["forget", gone], { repo: desk.repository, password: opened.password });
    const [digits] = [gone.slice(0, 8)];
    const verified = await desk.chatkeep(["verify"]);
    assert.equal(verified.status, 13, verified.stderr);
    assert.match(verified.stderr, new RegExp(`restore point ${digits} is held \\(court\\) and is not there any more`));
    assert.match(verified.stderr.replaceAll(/\s+/g, " "), /'chatkeep copy POINT .*'chatkeep hold --release'/);
    const doctor = await desk.chatkeep(["doctor"]);
    assert.equal(doctor.status, 3);
    assert.match(
      doctor.stdout.replaceAll(/\s+/g, " "),
      new RegExp(`alarm: in repository 'primary' restore point ${digits}`),
    );
    const before = await readFolder(desk.repository);
    for (const flags of [[], ["--dry-run"]]) {
      const expected = {
        status: 13,
        error: /is held \(court\) and is not there any more/,
        hint: new RegExp(
          `^hint: Nothing was removed.*chatkeep copy ${digits} .*chatkeep hold --release ${digits} court`,
        ),
      };
      assertRefused(await desk.chatkeep(["prune", ...flags]), expected, secrets);
    }
    assert.deepEqual(await readFolder(desk.repository), before);
    await desk.summary(["hold", "--release", gone.slice(0, 8), "court"]);
    assert.equal((await desk.summary(["verify"]))["errors"], 0);
    await desk.summary(["prune"]);
  });
});

test("unlock removes what a dead run left, and every lock only when that is confirmed", async () => {
  const repository = open();
  const dead = spawnSync(process.execPath, ["-e", ""]).pid;
  const time = formatInstant(systemClock.now());
  const lock = { time, exclusive: true, hostname: hostname(), username: "me", pid: dead };
  await repository.putUnpacked("locks", encodeLock(lock), { signal });
  await repository.putUnpacked("locks", encodeLock({ ...lock, hostname: "elsewhere" }), { signal });
  const refused = await desk.chatkeep(["forget"]);
  assertRefused(refused, { status: 11, error: /me@elsewhere/, hint: /chatkeep unlock/ });
  // The one of this machine was removed by the run that met it.
  await repository.putUnpacked("locks", encodeLock(lock), { signal });
  const first = await desk.summary(["unlock"]);
  assert.equal((first["left"] as unknown[]).length, 1);
  assertRefused(await desk.chatkeep(["unlock", "--remove-all"]), { status: 2, error: /nobody is at a terminal/ });
  const all = await desk.summary(["unlock", "--remove-all", "--yes"]);
  assert.equal((all["removed"] as unknown[]).length, 1);
  await desk.summary(["forget"]);
});
