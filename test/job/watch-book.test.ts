/** What a watch writes down of itself, and what of it is told. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure } from "../../src/base/errors.ts";
import { LIMITS } from "../../src/base/limits.ts";
import type { LogState } from "../../src/job/continuous/follow-log.ts";
import { type BookOptions, WatchBook } from "../../src/job/watch-book.ts";
import { Lag } from "../../src/job/lag.ts";
import { givenUpFinding } from "../../src/job/log-findings.ts";
import { newsOf, NOTHING_TOLD } from "../../src/app/watch-told.ts";
import type { NotFollowed } from "../../src/job/continuous/follow.ts";
import { HandClock } from "../harness/hand-clock.ts";

const MINUTE = 60_000;
const MIB = 1024n * 1024n;
const LINE = { installation: "desk", systemId: "7000000000000000001", timeline: 2 };
const HISTORY = { timeline: LINE.timeline, parents: [] };
const SLOT = {
  name: "chatkeep_desk",
  isPhysical: true,
  isTemporary: false,
  activePid: 12,
  restart: 16n * MIB,
  walStatus: "reserved",
  safeBytes: 1024,
};

/** Of the book that was opened last. */
let hand = new HandClock();

function openBook(more: Partial<BookOptions> = {}) {
  const clock = new HandClock();
  hand = clock;
  const book = new WatchBook({
    program: "chatkeep 0.1.0",
    host: "desk-1",
    pid: 4711,
    mode: "stream",
    repositories: ["primary", "usb"],
    clock,
    rpoMs: 24 * 60 * MINUTE,
    ...more,
  });
  return { clock, book };
}

function state(durable: bigint, server: bigint, slot: Partial<LogState["slot"]> = {}): LogState {
  return {
    line: LINE,
    serverEnd: server,
    serverTimeUs: 0n,
    heardMs: hand.now(),
    received: server,
    durableTo: durable,
    durableCommitUs: 1_764_000_000_123_456n,
    places: [
      { name: "primary", durableTo: server },
      { name: "usb", durableTo: durable },
    ],
    slot: { ...SLOT, ...slot },
  } as unknown as LogState;
}

const AWAY = new Failure("store/unreachable", "192.0.2.1 does not answer", { hint: "Is it plugged in?" });
const kinds = (book: WatchBook) =>
  book.findings.map(({ kind, level, subject = "" }) => `${level} ${kind} ${subject}`.trim());

test("lag counts from when everything was in every repository for the last time, and is over when it is again", async () => {
  const { clock, book } = openBook();
  assert.equal(openBook().book.status.log, null);
  book.logState(state(32n * MIB, 32n * MIB));
  await clock.advance(30_000);
  assert.equal(book.status.log?.lagSeconds, 0, "nothing was written meanwhile");
  book.logState(state(32n * MIB, 40n * MIB));
  await clock.advance(12_000);
  const { log, repositories } = book.status;
  assert.equal(log?.lagBytes, Number(8n * MIB));
  assert.equal(log?.lagSeconds, 42);
  assert.deepEqual(
    [log?.server, log?.durable, log?.lastCommit, log?.timeline],
    ["0/2800000", "0/2000000", "2025-11-24T16:00:00.123456Z", 2],
  );
  assert.deepEqual(log?.slot, {
    name: "chatkeep_desk",
    permanent: true,
    retainedBytes: Number(24n * MIB),
    safeBytes: 1024,
    status: "reserved",
  });
  assert.deepEqual(
    repositories.map(({ name, durable }) => [name, durable]),
    [
      ["primary", "0/2800000"],
      ["usb", "0/2000000"],
    ],
  );
  book.logState(state(40n * MIB, 40n * MIB));
  assert.deepEqual([book.status.log?.lagBytes, book.status.log?.lagSeconds], [0, 0]);
});

test("what is stored is known to be all until the server was heard last, and not before it was all for once", async () => {
  const { clock, book } = openBook();
  const beganMs = clock.now();
  const safe = () => book.status.repositories.map(({ safeUntil = "" }) => Date.parse(safeUntil) - beganMs);
  const { heardMs: _, ...unheard } = state(32n * MIB, 0n);
  book.logState(unheard);
  assert.deepEqual([safe(), book.status.log?.heard], [[NaN, NaN], undefined], "nobody has said how far the server is");
  await clock.advance(10_000);
  book.logState(state(32n * MIB, 40n * MIB));
  assert.deepEqual(safe(), [10_000, NaN], "what came before may lack in the one that is behind");
  const heard = state(40n * MIB, 40n * MIB);
  await clock.advance(MINUTE);
  book.session(new Failure("database/unreachable", "the server does not answer"));
  book.logState(heard);
  await clock.advance(MINUTE);
  book.logState(heard);
  assert.deepEqual(safe(), [10_000, 10_000], "a server that is away may have written since");
  assert.equal(Date.parse(book.status.log?.heard ?? "") - beganMs, 10_000);
});

test("a server that writes without a pause is behind by what storing takes, and not since it was idle last", async () => {
  const { clock, book } = openBook();
  for (let second = 1n; second <= 600n; second += 1n) {
    await clock.advance(1000);
    book.logState(state((second - 5n) * MIB, second * MIB));
  }
  assert.equal(book.status.log?.lagSeconds, 5);
  assert.deepEqual(kinds(book), []);
});

test("a lag is a warning after a minute, an alarm after ten or beyond the objective, with where and why, and goes by itself", async () => {
  const { clock, book } = openBook();
  book.logState(state(32n * MIB, 40n * MIB));
  await clock.advance(MINUTE - 1);
  assert.deepEqual(kinds(book), []);
  await clock.advance(1);
  assert.deepEqual(kinds(book), ["warning log-behind"]);
  const message = () => book.findings.find(({ kind }) => kind === "log-behind")?.message ?? "";
  assert.match(
    message(),
    /in the last 1 min 0 s is not in 'usb' \(it takes it more slowly than it comes\); everything up to 2025-/,
  );
  book.trouble("usb", AWAY);
  assert.match(message(), /'usb' \(192\.0\.2\.1 does not answer\)/);
  book.trouble("usb", undefined);
  await clock.advance(9 * MINUTE);
  assert.deepEqual(kinds(book), ["alarm log-behind"]);
  book.logState(state(40n * MIB, 40n * MIB));
  assert.deepEqual(kinds(book), []);
  const strict = openBook({ rpoMs: 2 * MINUTE });
  strict.book.logState(state(32n * MIB, 40n * MIB));
  await strict.clock.advance(2 * MINUTE);
  assert.deepEqual(kinds(strict.book), ["alarm log-behind"]);
});

test("what was known of one cluster is not said of another, also of a repository that is away since, in whatever order that comes", async () => {
  const { clock, book } = openBook();
  const line = { ...LINE, systemId: "7000000000000000002", timeline: 1 };
  const begun = { line, history: { timeline: 1, parents: [] }, start: 0n, gapped: [], refused: [] };
  const missed = { name: "usb", line: LINE, isGapped: true, refused: [], lacksFrom: 16n * MIB, start: 32n * MIB };
  for (const isStateFirst of [false, true]) {
    book.lineBegun({ ...begun, line: LINE, away: [] });
    book.logState({ ...state(32n * MIB, 32n * MIB), serverTimeUs: 1_764_000_000_123_456n });
    book.baseTaken({ atMs: clock.now(), repository: "primary", bytes: 1, seconds: 1 });
    book.joined(missed);
    assert.ok(book.status.log?.even !== undefined && book.status.repositories[1]?.safeUntil !== undefined);
    const places = [{ name: "primary", durableTo: 16n * MIB }];
    const now = { ...state(16n * MIB, 16n * MIB), line, places } as unknown as LogState;
    if (isStateFirst) book.logState(now);
    book.lineBegun({ ...begun, away: [{ name: "usb", failure: AWAY }] });
    assert.deepEqual([book.status.base, book.status.log?.even], [null, undefined]);
    book.logState(now);
    const { log, repositories } = book.status;
    assert.deepEqual([log?.systemId, log?.durable], [line.systemId, "0/1000000"]);
    const [primary, usb] = repositories;
    assert.deepEqual([primary?.durable, usb?.durable, usb?.safeUntil], ["0/1000000", null, undefined]);
  }
  book.joined({ ...missed, line, lacksFrom: undefined, start: 8n * MIB });
  const lacks = book.findings.find(({ kind }) => kind === "repository-behind");
  assert.match(lacks?.message ?? "", /'usb' lacks the log before 0\/800000 of timeline 1/);
});

test("a lag of hours is known with few marks, and never as shorter than it is", () => {
  const lag = new Lag(0);
  for (let second = 1; second <= 20_000; second += 1) lag.look(BigInt(second), 0n, second * 1000);
  assert.equal(lag.of(20_000_000), 20_000_000);
  lag.look(20_001n, 10_000n, 20_001_000);
  const told = lag.of(20_001_000);
  assert.ok(told >= 10_001_000 && told < 10_200_000, `${told}`);
});

test("a log that is another one than before is told for a day, and the gap says why", async () => {
  const { clock, book } = openBook();
  const begun = { line: LINE, history: HISTORY, start: 64n * MIB, away: [], refused: [] };
  book.lineBegun({ ...begun, gapped: ["primary"], partedAt: 40n * MIB });
  assert.deepEqual(kinds(book), ["alarm log-parted", "alarm log-gap primary"]);
  const [parted, gap] = book.findings;
  assert.match(parted?.message ?? "", /another one than before from 0\/2800000 of timeline 2 on/);
  assert.match(gap?.message ?? "", /before 0\/4000000 of timeline 2: the server's log is another one than before$/);
  book.gapServed("primary");
  await clock.advance(LIMITS.watchEventMs);
  assert.deepEqual(kinds(book), []);
  book.lineBegun({ ...begun, gapped: ["primary"] });
  assert.match(book.findings[0]?.message ?? "", /: the server did not have it any more$/);
});

test("what an old primary wrote alone is told for a day with how to look at it, of each failover, and nothing where it committed nothing", async () => {
  const { clock, book } = openBook();
  const line = { ...LINE, timeline: 1 };
  const left = { line, from: 32n * MIB, to: 40n * MIB, repositories: ["usb", "primary"], sinceMs: clock.now() };
  book.oldTail({ ...left, commits: "counting" });
  assert.deepEqual(kinds(book), ["note failover-left-behind"], "nobody is woken for what may be nothing");
  const told = newsOf(NOTHING_TOLD, book.findings, 0);
  assert.deepEqual(told.fresh, []);
  book.oldTail({ ...left, commits: { count: 0, last: undefined, sinceUs: 0n, untilUs: 0n } });
  assert.deepEqual(kinds(book), []);
  book.oldTail({ ...left, commits: "unknown" });
  const [uncounted] = book.findings;
  assert.match(uncounted?.message ?? "", /last: from lsn:1:0\/2000000 to lsn:1:0\/2800000, whose commits could not be/);
  assert.match(uncounted?.hint ?? "", /^It may have been acknowledged, .*'chatkeep moments --repository usb' shows/);
  const uncountedNews = newsOf(told.told, book.findings, 1);
  assert.equal(uncountedNews.fresh.length, 1);
  const last = { lsn: 33n * MIB, timeUs: 1_764_000_000_123_456n };
  const commits = { count: 2, last, sinceUs: last.timeUs - 1n, untilUs: last.timeUs + 1n };
  book.oldTail({ ...left, commits });
  const [counted] = book.findings;
  assert.deepEqual(newsOf(uncountedNews.told, book.findings, 2).fresh, [], "it is the same that was told");
  assert.match(
    counted?.message ?? "",
    /last: 2 commits, from lsn:1:0\/2000000 to lsn:1:0\/2100000, the last of 2025-11-24T/,
  );
  assert.match(counted?.message ?? "", /It is in 'usb' and 'primary'$/);
  assert.match(counted?.hint ?? "", /^It was acknowledged, and/);
  const words = ["diff --repository usb lsn:1:0/2000000 lsn:1:0/2100000", "restore --repository usb lsn:1:0/2100000"];
  for (const word of words) assert.ok(counted?.hint.includes(`'chatkeep ${word}`), word);
  assert.match(counted?.hint ?? "", /moments --repository usb --since \S+\.123455Z --until \S+\.123457Z'/);
  const second = { ...left, line: LINE, commits, sinceMs: clock.now() + MINUTE };
  book.oldTail(second);
  assert.deepEqual(kinds(book), ["alarm failover-left-behind", "alarm failover-left-behind"]);
  await clock.advance(LIMITS.watchEventMs);
  assert.deepEqual(kinds(book), ["alarm failover-left-behind"]);
  const { book: only } = openBook({ repositories: ["usb"] });
  only.oldTail({ ...left, repositories: ["usb"], commits });
  assert.doesNotMatch(only.findings[0]?.hint ?? "", /--repository/);
});

test("a repository that is told to be back by a line that begins is in no trouble any more", async () => {
  const { clock, book } = openBook();
  book.lineBegun({
    line: LINE,
    history: HISTORY,
    start: 0n,
    gapped: [],
    away: [{ name: "usb", failure: AWAY }],
    refused: [],
  });
  await clock.advance(LIMITS.watchTroubleMs);
  assert.deepEqual(kinds(book), ["alarm repository-behind usb"]);
  book.lineBegun({ line: LINE, history: HISTORY, start: 0n, gapped: [], away: [], refused: [] });
  assert.deepEqual(kinds(book), []);
  assert.equal(book.status.repositories[1]?.trouble, null);
});

test("gaps of one repository are one finding, each is news, and it goes when a base is there", () => {
  const { book } = openBook();
  const begin = (start: bigint) =>
    book.lineBegun({ line: LINE, history: HISTORY, start, gapped: ["primary"], away: [], refused: [] });
  begin(48n * MIB);
  const [first] = book.findings;
  let { told } = newsOf(NOTHING_TOLD, book.findings, 0);
  begin(96n * MIB);
  assert.deepEqual(kinds(book), ["alarm log-gap primary"]);
  assert.notEqual(book.findings[0]?.event, first?.event);
  assert.match(book.findings[0]?.message ?? "", /before 0\/6000000 of timeline 2, the last of 2 gaps/);
  const news = newsOf(told, book.findings, 5_000);
  assert.deepEqual(
    news.fresh.map(({ kind }) => kind),
    ["log-gap"],
    "the second is told while the first stands",
  );
  ({ told } = news);
  book.gapServed("usb");
  assert.deepEqual(kinds(book), ["alarm log-gap primary"]);
  book.gapServed("primary");
  assert.deepEqual(kinds(book), []);
  assert.ok(newsOf(told, book.findings, 10_000).isOver, "all is well");
});

test("files that are lost for weeks are one finding, told at most every ten minutes, and gone after a day without any", async () => {
  const { clock, book } = openBook();
  const lose = (id: number) => {
    const lost = [{ blob: { id: BigInt(id), filename: `scan-${id}.pdf` }, reason: "missing" }];
    book.followed("primary", { files: 0, waiting: 0, lost: lost as unknown as NotFollowed[] });
  };
  let told = NOTHING_TOLD;
  const tellings: number[] = [];
  const tell = () => {
    const news = newsOf(told, book.findings, clock.now());
    ({ told } = news);
    if (news.fresh.length > 0) tellings.push(clock.now() / MINUTE);
    return news;
  };
  for (let id = 0; id < 2000; id += 1) {
    if (id < 1000) lose(id);
    else book.followed("primary", { files: 0, waiting: 0, lost: [] });
    tell();
    await clock.advance(MINUTE / 60);
  }
  assert.deepEqual(tellings, [0, 10, 20], "what came since is told, and nothing is told twice");
  assert.deepEqual(kinds(book), ["warning files-not-followed primary"]);
  const [{ message } = { message: "" }] = book.findings;
  assert.match(
    message,
    /^1,000 uploaded files were .* \(the newest: 'scan-995\.pdf' \(995\), .* 'scan-999\.pdf' \(999\)\)$/,
  );
  assert.ok(JSON.stringify(book.status).length < 5_000);
  await clock.advance(LIMITS.watchEventMs);
  book.followed("primary", { files: 0, waiting: 0, lost: [] });
  assert.deepEqual(kinds(book), []);
  assert.ok(tell().isOver);
});

test("what a restore point that was made once has to tell is known for a day", async () => {
  const { clock, book } = openBook();
  book.happened("point", { kind: "files-missing", level: "warning", message: "2 files are missing", hint: "Look." });
  await clock.advance(LIMITS.watchEventMs - 1);
  assert.deepEqual(kinds(book), ["warning files-missing"]);
  await clock.advance(1);
  assert.deepEqual(kinds(book), []);
});

test("what happened is known to the next watch for the rest of its day, and is no news then; what goes on it finds by itself", async () => {
  const { book } = openBook();
  book.happened("slot-given-up", givenUpFinding(new Failure("wal/given-up", "it kept too much"), hand.now()));
  book.happened("point", { kind: "files-missing", level: "warning", message: "2 files are missing", hint: "Look." });
  book.trouble("usb", AWAY);
  const { told } = newsOf(NOTHING_TOLD, book.findings, 0);
  const kept = book.happenings;
  assert.deepEqual(
    kept.map(({ key }) => key),
    ["slot-given-up"],
  );
  const next = openBook();
  await next.clock.advance(LIMITS.watchEventMs - 1);
  next.book.happenedBefore(kept);
  assert.deepEqual(kinds(next.book), ["alarm slot-given-up"]);
  assert.deepEqual(newsOf(told, next.book.findings, 1).fresh, []);
  await next.clock.advance(1);
  assert.deepEqual([kinds(next.book), next.book.happenings], [[], []]);
  const late = openBook();
  late.book.happenedBefore(kept.map((one) => ({ ...one, untilMs: 2 * LIMITS.watchEventMs })));
  await late.clock.advance(LIMITS.watchEventMs);
  assert.deepEqual(kinds(late.book), [], "a clock that was wrong keeps nothing for longer");
});

test("a repository that refuses is told of after a minute, with since when, and no longer when it takes something", async () => {
  const { clock, book } = openBook();
  book.trouble("usb", AWAY);
  await clock.advance(LIMITS.watchTroubleMs - 1);
  book.trouble("usb", AWAY);
  assert.deepEqual(kinds(book), []);
  assert.equal(book.status.repositories[1]?.since, "1970-01-01T00:00:00.000Z");
  await clock.advance(1);
  assert.deepEqual(kinds(book), ["alarm repository-behind usb"]);
  assert.match(book.findings[0]?.message ?? "", /'usb' has taken nothing for 1 min 0 s: 192\.0\.2\.1 does not answer/);
  book.trouble("usb", undefined);
  assert.deepEqual(kinds(book), []);
  assert.equal(book.status.repositories[1]?.trouble, null);
});

/** One that somebody sets: {@link monotonic} goes on as before. */
class SetClock extends HandClock {
  byMs = 0;

  override now(): number {
    return super.now() + this.byMs;
  }
}

test("this machine's clock is set, and what holds up is told by how long it does, not at once and not years later", async () => {
  const years = 10 * 365 * 24 * 60 * MINUTE;
  for (const byMs of [years, -years]) {
    const clock = new SetClock();
    clock.byMs = years;
    hand = clock;
    const { book } = openBook({ clock });
    hand = clock;
    book.logState(state(32n * MIB, 32n * MIB));
    book.trouble("usb", AWAY);
    book.happened("journal primary", { kind: "journal-damaged", level: "warning", message: "it is", hint: "Look." });
    await clock.advance(30_000);
    book.logState(state(32n * MIB, 40n * MIB));
    clock.byMs += byMs;
    assert.deepEqual(kinds(book), ["warning journal-damaged"], `${byMs}`);
    assert.equal(book.status.log?.lagSeconds, 30);
    await clock.advance(31_000);
    const behind = ["alarm repository-behind usb", "warning journal-damaged", "warning log-behind"];
    assert.deepEqual(kinds(book).toSorted(), behind, `${byMs}`);
    await clock.advance(24 * 60 * MINUTE);
    assert.ok(!kinds(book).includes("warning journal-damaged"), `${byMs}`);
  }
});

test("what a repository missed while the others went on is told until it has it from them", async () => {
  const { clock, book } = openBook();
  const missed = { name: "usb", line: LINE, isGapped: true, refused: [] };
  book.trouble("usb", AWAY);
  book.joined({ ...missed, start: 48n * MIB, lacksFrom: 16n * MIB });
  book.trouble("usb", undefined);
  book.joined({ ...missed, name: "primary", isGapped: false, start: 48n * MIB, lacksFrom: undefined });
  assert.deepEqual(kinds(book), ["warning repository-behind usb"]);
  assert.match(book.findings[0]?.message ?? "", /'usb' lacks the log from 0\/1000000 to 0\/3000000 of timeline 2/);
  book.joined({ ...missed, start: 96n * MIB, lacksFrom: 64n * MIB });
  assert.match(book.findings[0]?.message ?? "", /from 0\/1000000 to 0\/6000000/, "the first is not there yet");
  book.trouble("usb", AWAY);
  await clock.advance(LIMITS.watchTroubleMs);
  assert.deepEqual(kinds(book), ["alarm repository-behind usb"], "one finding at a time");
  assert.match(
    book.findings[0]?.hint ?? "",
    /The other repositories go on, and what this one lacks by then is brought/,
  );
  book.trouble("usb", undefined);
  book.gapServed("usb");
  assert.deepEqual(kinds(book), []);
});

test("one that was left behind is behind alone, for as long as it is, and the others are not", async () => {
  const { clock, book } = openBook();
  const left = { ...state(40n * MIB, 40n * MIB), places: state(32n * MIB, 40n * MIB).places };
  book.logState(left);
  await clock.advance(10 * MINUTE);
  assert.deepEqual(kinds(book), ["alarm log-behind"]);
  assert.match(book.findings[0]?.message ?? "", / is not in 'usb' \(/);
  const { log, repositories } = book.status;
  assert.deepEqual([log?.lagBytes, log?.lagSeconds, log?.durable], [Number(8n * MIB), 600, "0/2000000"]);
  assert.deepEqual(
    repositories.map(({ lagSeconds }) => lagSeconds),
    [0, 600],
  );
});

test("files that wait for somebody who prunes are told of when that takes an hour", async () => {
  const { clock, book } = openBook();
  const locked = new Failure("repo/locked", "somebody prunes");
  book.filesTrouble("usb", locked);
  await clock.advance(LIMITS.filesLockedMs - 1);
  book.filesTrouble("usb", locked);
  assert.deepEqual(kinds(book), []);
  await clock.advance(1);
  book.filesTrouble("usb", locked);
  assert.deepEqual(kinds(book), ["alarm files-behind usb"]);
});

test("a slot that holds more than the server needs is a warning, one whose log goes next an alarm", () => {
  const { book } = openBook();
  book.logState(state(0n, MIB, { walStatus: "extended" }));
  assert.deepEqual(kinds(book), ["warning slot-near-limit"]);
  book.logState(state(0n, MIB, { walStatus: "unreserved", safeBytes: -5 }));
  assert.deepEqual(kinds(book), ["alarm slot-near-limit"]);
  assert.match(book.findings[0]?.message ?? "", /0 B more are safe/);
  book.logState(state(MIB, MIB));
  assert.deepEqual(kinds(book), []);
});

test("what failed is one finding however often it fails, and goes when it works", async () => {
  const { clock, book } = openBook();
  for (let at = 0; at < 3; at += 1) {
    book.session(AWAY);
    book.baseTrouble(AWAY);
    book.pointTrouble(AWAY);
    book.filesTrouble("primary", AWAY);
  }
  assert.deepEqual(kinds(book), ["alarm log-not-received", "alarm base-not-taken", "alarm point-not-made"]);
  await clock.advance(LIMITS.watchTroubleMs);
  book.filesTrouble("primary", AWAY);
  assert.ok(kinds(book).includes("alarm files-behind primary"));
  book.session(new Failure("wal/other-cluster", "it is another"));
  assert.ok(kinds(book).includes("alarm other-cluster") && !kinds(book).includes("alarm log-not-received"));
  assert.doesNotMatch(book.findings.find(({ kind }) => kind === "other-cluster")?.hint ?? "", /fetched afterwards/);
  book.session(undefined);
  book.baseTrouble(undefined);
  book.filesTrouble("primary", undefined);
  book.find("point");
  assert.deepEqual(kinds(book), []);
});

test("positions of a cluster that was followed before say nothing of the one that took its place", async () => {
  const { clock, book } = openBook();
  book.logState(state(100n * MIB, 200n * MIB));
  await clock.advance(20 * MINUTE);
  const other = new Failure("wal/other-cluster", "Chatwoot's database is on another server");
  book.filesTrouble("usb", other);
  await clock.advance(LIMITS.watchTroubleMs);
  book.filesTrouble("usb", other);
  assert.deepEqual(kinds(book).toSorted(), ["alarm files-behind usb", "alarm log-behind"]);
  const line = { ...LINE, systemId: "7000000000000000002", timeline: 1 };
  const begun = { history: HISTORY, gapped: [], away: [], refused: [] };
  book.lineBegun({ ...begun, line, start: MIB });
  assert.deepEqual([kinds(book), book.status.log, book.status.repositories[0]?.durable], [[], null, null]);
  book.logState({ ...state(2n * MIB, 2n * MIB), line });
  assert.equal(book.status.log?.durable, "0/200000");
  // A look may have been under way.
  book.filesTrouble("usb", other);
  assert.deepEqual(kinds(book), []);
  await clock.advance(LIMITS.watchTroubleMs);
  book.filesTrouble("usb", other);
  assert.deepEqual(kinds(book), ["alarm files-behind usb"]);
});

test("a line that begins with a gap says in which repositories, and who is away", async () => {
  const { clock, book } = openBook();
  book.lineBegun({
    line: LINE,
    history: HISTORY,
    start: 48n * MIB,
    gapped: ["primary"],
    away: [{ name: "usb", failure: AWAY }],
    refused: [],
  });
  assert.deepEqual(kinds(book), ["alarm log-gap primary"]);
  assert.match(book.findings[0]?.message ?? "", /before 0\/3000000 of timeline 2/);
  await clock.advance(LIMITS.watchTroubleMs);
  assert.deepEqual(kinds(book), ["alarm log-gap primary", "alarm repository-behind usb"]);
});

test("files that were followed add up, those that went before are a note, and no name leaves the machine", () => {
  const { book } = openBook();
  const blob = { id: "7", filename: "plan.pdf" };
  book.followed("primary", { files: 3, waiting: 2, lost: [] });
  const lost = [
    { blob, reason: "purged" },
    { blob: { ...blob, id: "8" }, reason: "missing" },
  ] as unknown as Parameters<WatchBook["followed"]>[1]["lost"];
  book.followed("primary", { files: 2, waiting: 1, lost });
  book.followed("nobody", { files: 9, waiting: 9, lost: [] });
  assert.deepEqual(
    book.status.repositories.map(({ name, files, filesWaiting }) => [name, files, filesWaiting]),
    [
      ["primary", 5, 1],
      ["usb", 0, 0],
    ],
  );
  assert.deepEqual(kinds(book), ["warning files-not-followed primary", "note purged-before-copy primary"]);
  assert.ok(
    book.findings.every(
      ({ message, discreet = "plan.pdf" }) => message.includes("plan.pdf") && !discreet.includes("plan.pdf"),
    ),
  );
});

test("it is said until when, by the server's clock, nothing that was committed can be missing", () => {
  const { book } = openBook();
  const at = (durable: bigint, timeUs: bigint) => book.logState({ ...state(durable, 40n * MIB), serverTimeUs: timeUs });
  at(32n * MIB, 1_764_000_000_000_000n);
  assert.equal(book.status.log?.even, undefined);
  at(40n * MIB, 1_764_000_060_000_000n);
  const even = { at: "2025-11-24T16:01:00.000000Z", lsn: "0/2800000" };
  assert.deepEqual(book.status.log?.even, even);
  at(32n * MIB, 1_764_000_120_000_000n);
  assert.deepEqual(book.status.log?.even, even, "it stays true");
  book.lineBegun({ line: { ...LINE, timeline: 3 }, history: HISTORY, start: 0n, gapped: [], away: [], refused: [] });
  assert.equal(book.status.log?.even, undefined);
});

test("a base that is there when a watch begins is told, and the newest of those that serve", () => {
  const { book } = openBook();
  const at = (minutes: number) => ({ atMs: minutes * MINUTE, repository: "primary", bytes: 5 });
  const base = () => book.status.base;
  assert.equal(base(), null);
  book.baseServes(at(2));
  assert.deepEqual(base(), {
    at: new Date(2 * MINUTE).toISOString(),
    repository: "primary",
    bytes: 5,
    seconds: null,
  });
  book.baseServes({ ...at(1), repository: "usb" });
  assert.equal(base()?.repository, "primary");
  book.baseTaken({ ...at(9), seconds: 7 });
  book.baseServes(at(9));
  assert.equal(base()?.seconds, 7);
});

test("a watch whose server is not there says that it waits, and by what it was asked for what is missed", () => {
  const away = new Failure("database/unreachable", "no server answers");
  const { book } = openBook({ mode: "waiting", why: away.message });
  assert.deepEqual([book.status.mode, book.status.why, kinds(book)], ["waiting", "no server answers", []]);
  book.waits(away, "auto");
  assert.deepEqual(kinds(book), ["alarm log-not-received"]);
  book.begins({ mode: "stream" });
  assert.deepEqual([book.status.mode, book.status.why, kinds(book)], ["stream", null, ["alarm log-not-received"]]);
  book.session(undefined);
  assert.deepEqual(kinds(book), []);
  book.waits(away, "auto");
  book.begins({ mode: "interval", why: "nobody may replicate" });
  assert.deepEqual([book.status.mode, book.status.why, kinds(book)], ["interval", "nobody may replicate", []]);
  book.waits(away, "interval");
  assert.deepEqual(kinds(book), ["alarm point-not-made"]);
});
