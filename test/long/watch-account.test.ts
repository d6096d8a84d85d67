/**
 * The independent account: numbered rows over several tables, with all that databases do besides, and uploaded files, are kept outside
 * as they were acknowledged while `watch` runs; then the server is killed at a random moment, and its data and the uploaded files are
 * deleted. What a restore of `now` brings back has everything that was acknowledged longer before than the time to flush and two
 * seconds, nothing half, and at random earlier moments exactly what had been committed then.
 *
 * CHATKEEP_TEST_SEED repeats a run; CHATKEEP_TEST_ROUNDS and CHATKEEP_TEST_MOMENTS make it shorter. CHATKEEP_TEST_PLACES names what
 * the rounds take turns with; CHATKEEP_TEST_MAJOR=17 takes a server of that version.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdir, readFile, rm } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { after, before, test, type TestContext } from "node:test";
import { mapConcurrent } from "../../src/base/concurrent.ts";
import { type SeededRandom, seededRandom } from "../../src/demo/random.ts";
import type { AskedMoment } from "../../src/point/moment.ts";
import { type Account, assertAsOf, assertBefore, type Entry, lastIn, startAccount } from "../harness/account.ts";
import { type FileAccount, startFileAccount, type UploadedFile } from "../harness/account-files.ts";
import { startOthers, VARIED_SETTINGS } from "../harness/account-varied.ts";
import { callCli } from "../harness/cli.ts";
import { newerPostgres } from "../harness/newer-postgres.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";
import { startS3 } from "../harness/s3.ts";
import { isReady, startWatch, type Watching } from "../scenario/watched-desk.ts";
import { type AccountDesk, followedBefore, openAccountDesk, safeBefore } from "./account-desk.ts";

const ROUNDS = Number(process.env["CHATKEEP_TEST_ROUNDS"] ?? 50);
const MOMENTS = Number(process.env["CHATKEEP_TEST_MOMENTS"] ?? 20);
const PLACES = (process.env["CHATKEEP_TEST_PLACES"] ?? "folder,folder,two,folder,bucket").split(",");
const seed = process.env["CHATKEEP_TEST_SEED"] ?? String(Date.now());
const FLUSHES_S = [1, 1, 2, 5] as const;
/** While a span of the log and more is not stored yet, it is in time after so long. */
const BEHIND_S = 5;
/** Of moments: one waits while the other's server starts. */
const AT_ONCE = 2;
const { signal } = new AbortController();

let other: TestServer;
let programs: { programs?: string } = {};
const desks = new Map<string, AccountDesk>();
const ends = new AsyncDisposableStack();

before(async () => {
  if (process.env["CHATKEEP_TEST_MAJOR"] === "17") {
    programs = { programs: (await newerPostgres(17)).programs };
    process.env["PATH"] = [process.env["PATH"], programs.programs].join(delimiter);
  }
  other = ends.use(await startPostgres(programs));
});
after(async () => {
  await ends.disposeAsync();
});

async function makeDesk(place: string): Promise<AccountDesk> {
  const settings = ["max_slot_wal_keep_size=1GB", ...VARIED_SETTINGS];
  const usual = { settings, isLean: true, ...programs };
  if (place === "folder") return await openAccountDesk(usual);
  if (place === "two") return await openAccountDesk({ ...usual, hasSecond: true });
  assert.equal(place, "bucket");
  const s3 = ends.use(await startS3());
  const bucket = { location: s3.location("desk"), kept: s3.folder, env: s3.env };
  return await openAccountDesk({ ...usual, ...bucket, isLean: false });
}

/** One that is as it was made. */
async function deskAt(place: string): Promise<AccountDesk> {
  const known = desks.get(place);
  if (known !== undefined) {
    await known.renew();
    return known;
  }
  const made = ends.use(await makeDesk(place));
  desks.set(place, made);
  return made;
}

interface Watched extends AsyncDisposable {
  readonly watching: Watching;
  readonly account: Account;
  readonly uploads: FileAccount;
  /** So much is written that spans of the log are stored. */
  readonly isHeavy: boolean;
  /** No more is asked of the server. */
  end(): Promise<void>;
}

/** A desk that is used, and watched. */
async function beginRound(desk: AccountDesk, random: SeededRandom, flushSeconds: number): Promise<Watched> {
  await using stack = new AsyncDisposableStack();
  const watching = stack.use(startWatch(desk, ["--mode", "stream", "--flush-every", `${flushSeconds}s`], desk));
  await watching.until("a base is there", isReady);
  const { database } = desk.installation;
  const account = stack.use(await startAccount(database, { pauseMs: 5 + random.below(20), isVaried: true }));
  const isHeavy = random.below(4) === 0;
  const others = stack.use(await startOthers(database, { random: random.fork("others"), isHeavy }));
  const uploads = stack.use(startFileAccount(desk.installation, { seed: random.alphanumeric(8), pauseMs: 500 }));
  const rest = stack.move();
  return {
    watching,
    account,
    uploads,
    isHeavy,
    end: async () => void (await Promise.all([account.stop(), others.stop(), uploads.stop()])),
    [Symbol.asyncDispose]: async () => await rest.disposeAsync(),
  };
}

/** As on a machine that never saw the desk. Returns the last commit that is there. */
async function restoreNow(desk: AccountDesk, { name, files }: { name: string; files: readonly UploadedFile[] }) {
  const target = await other.createDatabase(name);
  const to = join(desk.root, name);
  const url = `postgres://${target.user}@${target.host}:${target.port}/${name}`;
  const args = ["--config", desk.config, "restore", "now", "--yes", "--database-url", url, "--to", to];
  const { status, stderr } = await callCli(args, { cwd: desk.root, env: desk.env });
  assert.equal(status, 0, stderr);
  const there = new Set<string>();
  for (const entry of await readdir(to, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const bytes = await readFile(join(entry.parentPath, entry.name));
    there.add(createHash("sha256").update(bytes).digest("hex"));
  }
  const lacking = files.filter(({ sha256 }) => !there.has(sha256));
  assert.equal(lacking.length, 0, `${lacking.length} of ${files.length} files did not come back`);
  const last = await lastIn(target);
  await rm(to, { recursive: true });
  await other.query(`drop database ${name}`);
  return last;
}

interface Picked {
  readonly asked: AskedMoment;
  readonly repository: number;
  /** Asserts that what is there up to a commit is what was there then. */
  assertIs(last: number): void;
}

/** A random moment; every second one by its position in the log. */
function pick(entries: readonly Entry[], random: SeededRandom, { what, of }: { what: string; of: number }): Picked {
  const at = random.below(entries.length);
  const entry = entries[at];
  assert.ok(entry?.lsn !== undefined);
  const repository = random.below(of);
  if (random.below(2) === 0) {
    const assertIs = (last: number) => assertBefore(last, at, `${what}, up to a position`);
    return { asked: { kind: "lsn", lsn: entry.lsn }, repository, assertIs };
  }
  // Behind the last commit that is safe nothing is promised.
  const atMs = Math.min(entry.askedMs + random.below(20), entries.at(-1)?.askedMs ?? entry.askedMs);
  const assertIs = (last: number) => assertAsOf(entries, last, { atMs, what });
  return { asked: { kind: "time", us: BigInt(atMs) * 1_000n }, repository, assertIs };
}

/** Kills the server, in one of two rounds with the watch, which else stores what it still has. Returns when. */
async function disaster(desk: AccountDesk, watched: Watched, isMachine: boolean): Promise<number> {
  const { watching } = watched;
  const diedMs = Date.now();
  if (isMachine) process.kill(watching.pid, "SIGKILL");
  await desk.server.kill();
  await rm(desk.server.data, { recursive: true });
  await watched.end();
  if (!isMachine) {
    await watching.until("the loss is told", ({ findings }) =>
      findings.some(({ kind }) => kind === "log-not-received"),
    );
    await watching.stop();
  }
  await watching.kill();
  await rm(desk.installation.storageRoot, { recursive: true });
  return diedMs;
}

async function proveRound(t: TestContext, round: number): Promise<void> {
  const random = seededRandom(`${seed}/account/${round}`);
  const place = PLACES[(round - 1) % PLACES.length] ?? "folder";
  const flushSeconds = FLUSHES_S[random.below(FLUSHES_S.length)] ?? 1;
  const desk = await deskAt(place);
  await using watched = await beginRound(desk, random, flushSeconds);
  const { account, uploads, isHeavy } = watched;
  const boundSeconds = isHeavy ? Math.max(flushSeconds, BEHIND_S) : flushSeconds;
  await sleep(4_000 + boundSeconds * 1_000 + random.below(24_000));
  const isMachine = random.below(2) === 0;
  const diedMs = await disaster(desk, watched, isMachine);

  const { entries } = account;
  const safe = safeBefore(entries, diedMs, boundSeconds * 1_000);
  const what = `${isMachine ? "machine" : "server"}, ${place}, ${isHeavy ? "much log, " : ""}flushed every ${flushSeconds} s`;
  const files = followedBefore(uploads.files, diedMs);
  t.diagnostic(`${what}: ${entries.length} asked for, ${safe.length} safe, ${files.length} files`);
  assert.ok(safe.length > 0, "something was acknowledged in time");
  const assertNow = (now: number, how: string) => {
    t.diagnostic(`${how}: ${now} there`);
    assert.ok(now >= safe.length, `${how}: ${now} are there, and ${safe.length} were safe`);
    assert.ok(now <= entries.length, `${how}: ${now} are there, and only ${entries.length} had been asked for`);
  };
  assertNow(await restoreNow(desk, { name: `now_${round}`, files }), "restored");
  await desk.assertFollowed(files);
  for (let index = 1; index < desk.repositories; index += 1) {
    assertNow(await desk.lastAt({ kind: "now" }, index), "in the other repository");
  }
  const picked = Array.from({ length: MOMENTS }, (_, index) =>
    pick(safe, random, { what: `moment ${index + 1}`, of: desk.repositories }),
  );
  const prove = async (one: Picked) => one.assertIs(await desk.lastAt(one.asked, one.repository));
  await mapConcurrent(picked, AT_ONCE, prove, { signal });
}

for (let round = 1; round <= ROUNDS; round += 1) {
  test(`a server dies, round ${round} of ${ROUNDS}, ${MOMENTS} moments (CHATKEEP_TEST_SEED=${seed})`, async (t) => {
    await proveRound(t, round);
  });
}
