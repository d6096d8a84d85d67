import assert from "node:assert/strict";
import { test } from "node:test";
import {
  formatStage,
  journalProgress,
  jsonProgress,
  keepTicking,
  lineProgress,
  terminalProgress,
  type StageView,
} from "../../src/cli/progress.ts";
import { widthOf } from "../../src/cli/look.ts";
import { createFakeClock, createKeptPrinter } from "./fakes.ts";

const MIB = 1024 * 1024;
const view: StageView = {
  name: "reading rows",
  done: 43 * MIB,
  total: 100 * MIB,
  unit: "bytes",
  elapsedMs: 4_000,
  rate: 10 * MIB,
};

test("a stage shows share, amount, rate and the time that is left", () => {
  assert.equal(formatStage(view, 200), "reading rows   43 %   43.0 MiB of 100 MiB   10.0 MiB/s   5.7 s left");
  assert.equal(
    formatStage({ ...view, unit: "files", done: 1_200, total: 3_000, rate: 60 }, 200),
    "reading rows   40 %   1,200 of 3,000 files   60 files/s   30 s left",
  );
  assert.equal(
    formatStage({ ...view, total: undefined, unit: "rows", done: 1_200, rate: undefined }, 200),
    "reading rows   1,200 rows   4.0 s",
  );
  assert.equal(
    formatStage({ ...view, done: 0, total: undefined, rate: undefined, elapsedMs: 100 }, 200),
    "reading rows",
  );
});

test("what does not fit the terminal is left out from the right, and no line is longer than it", () => {
  const full = formatStage(view, 200);
  for (let width = 1; width <= full.length; width += 1) {
    const shown = formatStage(view, width);
    assert.ok(widthOf(shown) <= width, `${shown} at ${width}`);
    if (width >= view.name.length) assert.ok(full.startsWith(shown), shown);
  }
  assert.equal(formatStage(view, 6), "readi…");
});

test("more done than was announced is never more than all of it", () => {
  assert.match(formatStage({ ...view, done: 120 * MIB }, 200), /100 % {3}120 MiB of 100 MiB/);
});

test("on a terminal the line is redrawn at most ten times a second", () => {
  const clock = createFakeClock();
  const { printer, stderr } = createKeptPrinter();
  const progress = terminalProgress(printer, clock, () => 80);
  progress.stage("reading rows", { total: 100_000, unit: "rows" });
  for (let step = 0; step < 1_000; step += 1) {
    clock.pass(1);
    progress.advance(1);
  }
  assert.ok(stderr.pieces.length <= 11, `${stderr.pieces.length} drawings in a second`);
  assert.ok(stderr.pieces.length >= 9, `${stderr.pieces.length} drawings in a second`);
});

test("the rate is that of the last seconds, not of the whole stage", () => {
  const clock = createFakeClock();
  const { printer, stderr } = createKeptPrinter();
  const progress = terminalProgress(printer, clock, () => 80);
  progress.stage("reading rows", { total: 100_000, unit: "rows" });
  const work = (seconds: number, rows: number) => {
    for (let second = 0; second < seconds; second += 1) {
      clock.pass(1_000);
      progress.advance(rows);
    }
  };
  work(20, 10);
  assert.match(stderr.pieces.at(-1) ?? "", / 10 rows\/s /);
  work(20, 1_000);
  assert.match(stderr.pieces.at(-1) ?? "", / 1,000 rows\/s {3}1 min 20 s left$/);
});

test("a stall shows: the clock ticks, the rate falls, and the end takes the line away", async () => {
  const clock = createFakeClock();
  const { printer, stderr } = createKeptPrinter();
  const progress = terminalProgress(printer, clock, () => 80);
  const ended = new AbortController();
  const ticking = keepTicking(progress, clock, ended.signal);
  progress.stage("waiting for a lock");
  for (let tick = 0; tick < 8; tick += 1) {
    clock.pass(500);
    await Promise.resolve();
    await Promise.resolve();
  }
  assert.match(stderr.pieces.at(-1) ?? "", /waiting for a lock {3}[34]\.\d s$/);
  ended.abort();
  await ticking;
  progress.end();
  assert.equal(stderr.pieces.at(-1), "\r\u001B[2K");
});

test("in a log there is one line a stage", () => {
  const { printer, stdout, stderr } = createKeptPrinter();
  const progress = lineProgress(printer);
  progress.stage("looking around");
  progress.stage("reading rows", { total: 2 * MIB, unit: "bytes" });
  progress.advance(MIB);
  progress.say("a word");
  progress.stage("files", { total: 1_300, unit: "files" });
  progress.end();
  assert.equal(stderr.text, "looking around\nreading rows (2.0 MiB)\na word\nfiles (1,300 files)\n");
  assert.equal(stdout.text, "");
});

test("a journal gets stages and lines as JSON, and no steps", () => {
  const clock = createFakeClock();
  const { printer, stdout, stderr } = createKeptPrinter();
  const progress = journalProgress(printer, clock);
  progress.stage("files", { total: 5_000, unit: "files" });
  clock.pass(5_000);
  progress.advance(2_000);
  progress.say("a word");
  assert.equal(
    stdout.text,
    '{"type":"stage","name":"files","total":5000,"unit":"files"}\n{"type":"line","text":"a word"}\n',
  );
  assert.equal(stderr.text, "");
});

test("with --json every stage is an event, and a step at most once a second", () => {
  const clock = createFakeClock();
  const { printer, stdout, stderr } = createKeptPrinter();
  const progress = jsonProgress(printer, clock);
  progress.stage("looking around");
  progress.stage("files", { total: 5_000, unit: "files" });
  for (let step = 0; step < 2_500; step += 1) {
    clock.pass(1);
    progress.advance(2);
  }
  progress.say("a word");
  const events = stdout.text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as object);
  assert.deepEqual(events, [
    { type: "stage", name: "looking around", total: null, unit: null },
    { type: "stage", name: "files", total: 5_000, unit: "files" },
    { type: "progress", stage: "files", done: 2_000, total: 5_000, unit: "files" },
    { type: "progress", stage: "files", done: 4_000, total: 5_000, unit: "files" },
  ]);
  assert.equal(stderr.text, "a word\n");
});
