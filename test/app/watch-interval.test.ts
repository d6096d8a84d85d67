/** Where the log cannot be had: a restore point every so often, each of what changed, and after a day one an hour of them. */
import assert from "node:assert/strict";
import { readdir, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Surroundings } from "../../src/app/surroundings.ts";
import { makePoints } from "../../src/app/watch-interval.ts";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { Failure } from "../../src/base/errors.ts";
import { silent } from "../../src/base/progress.ts";
import { sendMessage } from "../../src/demo/change.ts";
import { onDatabase } from "../../src/demo/database.ts";
import { seededRandom } from "../../src/demo/random.ts";
import { planForget } from "../../src/job/forget.ts";
import { listPoints } from "../../src/job/points.ts";
import { WatchBook } from "../../src/job/watch-book.ts";
import { LOCK_TIMES } from "../../src/repo/lock.ts";
import { longTest } from "../harness/whole.ts";
import { hasty, reopen, signal } from "../repo/small-backup.ts";
import { makeCheapToOpen } from "../scenario/cheap-key.ts";
import { openDesk } from "../scenario/desk.ts";

const MINUTE = 60_000;
const EVERY = 40 * MINUTE;
const HOUR = 60 * MINUTE;

/** The system's clock, but for the date; and whatever is longer than a lock waits is the pause between two points, which is over at once. */
class PointClock implements Clock {
  readonly pauses: number[] = [];
  #ahead: number;
  readonly #onPause: (pauses: number) => Promise<void>;

  constructor(startMs: number, onPause: (pauses: number) => Promise<void>) {
    this.#ahead = startMs - systemClock.now();
    this.#onPause = onPause;
  }

  now = () => Math.round(systemClock.now() + this.#ahead);
  monotonic = () => systemClock.monotonic() + this.#ahead;

  skip(ms: number): void {
    this.#ahead += ms;
  }

  async sleep(ms: number, stop?: AbortSignal): Promise<void> {
    if (ms <= LOCK_TIMES.stale) return await hasty.sleep(ms, stop);
    this.pauses.push(ms);
    await this.#onPause(this.pauses.length);
    this.skip(ms);
  }
}

async function bytesIn(repository: string): Promise<number> {
  const folder = join(repository, "data");
  const files = (await readdir(folder, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  const sizes = await Promise.all(files.map(async ({ parentPath, name }) => (await stat(join(parentPath, name))).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}

longTest(
  "a point is made every so often, of what changed; one that cannot be made is told; they are thinned out to one an hour",
  async () => {
    await using desk = await openDesk({ size: { messages: 300, conversations: 30, files: 10 } });
    const { repository } = await makeCheapToOpen(desk);
    const stop = new AbortController();
    const random = seededRandom("points");
    const change = async () =>
      await onDatabase(desk.installation.database, async (client) => await sendMessage(client, random));
    const sizes: number[] = [];
    const told: string[][] = [];
    let isSlow = false;
    const clock = new PointClock(Math.ceil(Date.now() / HOUR) * HOUR + 2 * MINUTE, async (pauses) => {
      if (pauses !== 3) sizes.push(await bytesIn(desk.repository));
      told.push(book.findings.filter(({ kind }) => /^(?:point|interval)-/.test(kind)).map(({ kind }) => kind));
      if (pauses === 1) await change();
      // The third finds no repository.
      if (pauses === 2) await rename(desk.repository, `${desk.repository}.away`);
      if (pauses === 3) await rename(`${desk.repository}.away`, desk.repository);
      isSlow = pauses === 4;
      if (pauses === 5) clock.skip(26 * HOUR);
      if (pauses === 6) stop.abort(new Failure("run/cancelled", "the test is over"));
    });
    const book = new WatchBook({
      program: "chatkeep test",
      host: "here",
      pid: process.pid,
      mode: "interval",
      why: undefined,
      repositories: ["primary"],
      clock,
      rpoMs: HOUR,
    });
    const s: Surroundings = {
      signal: stop.signal,
      progress: {
        ...silent,
        stage() {
          if (isSlow) clock.skip(10 * MINUTE);
          isSlow = false;
        },
      },
      env: process.env,
      cwd: desk.root,
      clock,
      person: undefined,
      redact: (value) => value,
      hide: () => {},
    };
    const seen = async () => (await listPoints(reopen(repository), { signal })).points;
    await assert.rejects(
      makePoints({ everyMs: EVERY, book, points: seen }, { config: desk.config }, s),
      /the test is over/,
    );

    const points = (await listPoints(reopen(repository), { signal })).points.toReversed();
    assert.deepEqual(
      points.map(({ snapshot }) => snapshot.tags?.includes("interval")),
      [true, true, true, true, true],
    );
    const [first = 0, second = 0, ...later] = sizes;
    assert.ok(second > first && second - first < first / 4, `${first}, then ${second}`);
    assert.equal(later.length, 3);
    assert.deepEqual(told, [[], [], ["point-not-made"], [], ["interval-too-short"], []]);
    const minutes = clock.pauses.map((ms) => Math.round(ms / MINUTE));
    assert.deepEqual(minutes.slice(0, 4), [40, 40, 40, 40]);
    // The fifth took ten minutes: a twentieth of the time is what reading may take.
    assert.ok((minutes[4] ?? 0) >= 190, `${minutes[4]}`);

    const starts = points.map(({ takenAtMs }) => new Date(takenAtMs).getUTCMinutes());
    assert.deepEqual(starts.slice(0, 3), [2, 42, 2]);
    const installation = { id: points[0]?.installationId ?? "" };
    const plan = await planForget({
      repository: reopen(repository),
      repositoryName: "primary",
      request: { by: "policy", policy: { daily: 1 }, timeZone: "UTC", installation },
      program: "chatkeep test",
      clock: { ...hasty, now: () => clock.now() },
      progress: silent,
      signal,
    });
    // A day and more after the others: of each of their hours the newest.
    const kept = plan.kept.map(({ point }) => points.findIndex(({ id }) => id === point));
    assert.deepEqual(kept, [4, 3, 1]);
  },
);
