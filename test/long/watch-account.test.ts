/**
 * The independent account: rows over three tables, and uploaded files, are kept outside as they were acknowledged while `watch` runs;
 * then the server is killed at a random moment and its data are deleted. What comes back at `now` has everything that was
 * acknowledged longer before than the time to flush and two seconds, nothing half, and at random earlier moments exactly what had been
 * committed then. CHATKEEP_TEST_SEED repeats a run; CHATKEEP_TEST_ROUNDS and CHATKEEP_TEST_MOMENTS make it shorter.
 */
import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { after, before, test } from "node:test";
import { type SeededRandom, seededRandom } from "../../src/demo/random.ts";
import { assertAsOf, assertBefore, type Entry, startAccount } from "../harness/account.ts";
import { startFileAccount } from "../harness/account-files.ts";
import { isReady, startWatch } from "../scenario/watched-desk.ts";
import { type AccountDesk, followedBefore, openAccountDesk, safeBefore } from "./account-desk.ts";

const ROUNDS = Number(process.env["CHATKEEP_TEST_ROUNDS"] ?? 50);
const MOMENTS = Number(process.env["CHATKEEP_TEST_MOMENTS"] ?? 20);
const seed = process.env["CHATKEEP_TEST_SEED"] ?? String(Date.now());
const FLUSH_MS = 1_000;
let desk: AccountDesk;

before(async () => {
  desk = await openAccountDesk();
});
after(async () => {
  await desk[Symbol.asyncDispose]();
});

/** Asserts of a random moment that it is exactly what had been committed then: of every second one by its position in the log. */
async function proveMoment(entries: readonly Entry[], random: SeededRandom, what: string): Promise<void> {
  const at = random.below(entries.length);
  const entry = entries[at];
  assert.ok(entry?.lsn !== undefined);
  if (random.below(2) === 0) {
    return assertBefore(await desk.lastAt({ kind: "lsn", lsn: entry.lsn }), at, `${what}, up to a position`);
  }
  const atMs = entry.askedMs + random.below(20);
  // Behind the last commit that is safe nothing is promised.
  const bound = Math.min(atMs, entries.at(-1)?.askedMs ?? atMs);
  assertAsOf(entries, await desk.lastAt({ kind: "time", us: BigInt(bound) * 1_000n }), { atMs: bound, what });
}

for (let round = 1; round <= ROUNDS; round += 1) {
  test(`a server dies, round ${round} of ${ROUNDS}, ${MOMENTS} moments (CHATKEEP_TEST_SEED=${seed})`, async (t) => {
    const random = seededRandom(`${seed}/account/${round}`);
    await desk.renew();
    const { database } = desk.installation;
    await using watching = startWatch(desk, ["--mode", "stream", "--flush-every", `${FLUSH_MS / 1000}s`]);
    await watching.until("a base is there", isReady);
    await using account = await startAccount(database, { pauseMs: random.below(15) });
    await using uploads = startFileAccount(desk.installation, { seed: `${seed}/${round}`, pauseMs: 500 });
    await sleep(6_000 + random.below(20_000));
    const diedMs = Date.now();
    // In one of two the whole machine dies, and in the other the watch stays and stores what it still has.
    const isMachine = random.below(2) === 0;
    if (isMachine) process.kill(watching.pid, "SIGKILL");
    await desk.server.kill();
    await rm(desk.server.data, { recursive: true });
    await Promise.all([account.stop(), uploads.stop()]);
    if (!isMachine) {
      await watching.until("the loss is told", ({ findings }) =>
        findings.some(({ kind }) => kind === "log-not-received"),
      );
      await watching.stop();
    }
    await watching.kill();

    const { entries } = account;
    const safe = safeBefore(entries, diedMs, FLUSH_MS);
    assert.ok(safe.length > 0, "something was acknowledged in time");
    const now = await desk.lastAt({ kind: "now" });
    t.diagnostic(`${isMachine ? "machine" : "server"}: ${entries.length} asked for, ${safe.length} safe, ${now} there`);
    assert.ok(now >= safe.length, `${now} are there, and ${safe.length} were safe`);
    assert.ok(now <= entries.length, `${now} are there, and only ${entries.length} had been asked for`);
    await desk.assertFollowed(followedBefore(uploads.files, diedMs));
    for (let moment = 1; moment <= MOMENTS; moment += 1) await proveMoment(safe, random, `moment ${moment}`);
  });
}
