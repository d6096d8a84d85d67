/** What a watch writes down of itself, and what of it is told. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure } from "../../src/base/errors.ts";
import { LIMITS } from "../../src/base/limits.ts";
import type { LogState } from "../../src/job/continuous/follow-log.ts";
import { WatchBook } from "../../src/job/watch-book.ts";
import { HandClock } from "../harness/hand-clock.ts";

const MIB = 1024n * 1024n;
const LINE = { installation: "desk", systemId: "7000000000000000001", timeline: 2 };
const SLOT = {
  name: "chatkeep_desk",
  isPhysical: true,
  isTemporary: false,
  activePid: 12,
  restart: 16n * MIB,
  walStatus: "reserved",
  safeBytes: 1024,
};

function openBook() {
  const clock = new HandClock();
  const book = new WatchBook({
    program: "chatkeep 0.1.0",
    host: "desk-1",
    pid: 4711,
    mode: "stream",
    why: null,
    repositories: ["primary", "usb"],
    clock,
  });
  return { clock, book };
}

function state(durable: bigint, server: bigint, slot: Partial<LogState["slot"]> = {}): LogState {
  return {
    line: LINE,
    serverEnd: server,
    serverTimeUs: 0n,
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
  book.session(undefined);
  book.baseTrouble(undefined);
  book.filesTrouble("primary", undefined);
  book.find("point");
  assert.deepEqual(kinds(book), []);
});

test("a line that begins with a gap says in which repositories, and who is away", async () => {
  const { clock, book } = openBook();
  book.lineBegun({
    line: LINE,
    start: 48n * MIB,
    gapped: ["primary"],
    away: [{ name: "usb", failure: AWAY }],
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
