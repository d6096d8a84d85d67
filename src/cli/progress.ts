/**
 * How a run is watched: one live line on a terminal, one line a stage elsewhere, events with `--json`, nothing with
 * `--quiet`. Drawing is driven by what the verb reports and by a slow tick, so that a stall shows too.
 */
import { formatBytes, formatCount, formatSeconds } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { silent, type Progress } from "../base/progress.ts";
import { clip, widthOf } from "./look.ts";
import type { Printer } from "./print.ts";

type Unit = "bytes" | "rows" | "files";

/** A live line is drawn at most this often. */
const REDRAW_MS = 100;
/** At most one progress event in this time. */
const EVENT_MS = 1_000;
/** The rate is that of about the last ten seconds. */
const SAMPLE_MS = 1_000;
const SAMPLES = 10;

/** One stage under way, as the live line shows it. */
export interface StageView {
  name: string;
  done: number;
  total: number | undefined;
  unit: Unit | undefined;
  elapsedMs: number;
  /** Units a second; undefined before there is anything to go by. */
  rate: number | undefined;
}

function formatAmount(amount: number, unit: Unit | undefined): string {
  return unit === "bytes" ? formatBytes(amount) : `${formatCount(amount)}${unit === undefined ? "" : ` ${unit}`}`;
}

/** `reading rows   43 %   1.2 of 2.8 GiB   75 MiB/s   21 s left`; what does not fit is left out from the right. */
export function formatStage(view: StageView, width: number): string {
  const { done, total, unit, rate } = view;
  const parts: string[] = [];
  if (total !== undefined && total > 0) {
    parts.push(`${Math.min(100, Math.floor((done / total) * 100))} %`);
    parts.push(`${formatAmount(done, unit === "bytes" ? unit : undefined)} of ${formatAmount(total, unit)}`);
  } else if (done > 0) parts.push(formatAmount(done, unit));
  if (rate !== undefined && rate > 0) {
    parts.push(`${formatAmount(rate, unit)}/s`);
    if (total !== undefined && total > done) parts.push(`${formatSeconds((total - done) / rate)} left`);
  } else if (view.elapsedMs >= 2_000) parts.push(formatSeconds(view.elapsedMs / 1_000));
  let line = view.name;
  for (const part of parts) {
    if (widthOf(line) + 3 + widthOf(part) > width) break;
    line += `   ${part}`;
  }
  return clip(line, width);
}

/** Follows a stage: how much is done, and how fast lately. */
class StageMeter {
  readonly #clock: Clock;
  readonly #startedMs: number;
  readonly #name: string;
  readonly #total: number | undefined;
  readonly #unit: Unit | undefined;
  #done = 0;
  #samples: { atMs: number; done: number }[];

  constructor(clock: Clock, name: string, options: { total?: number; unit?: Unit }) {
    this.#clock = clock;
    this.#startedMs = clock.monotonic();
    this.#name = name;
    this.#total = options.total;
    this.#unit = options.unit;
    this.#samples = [{ atMs: this.#startedMs, done: 0 }];
  }

  advance(amount: number): void {
    this.#done += amount;
    const atMs = this.#clock.monotonic();
    const last = this.#samples.at(-1);
    if (last === undefined || atMs - last.atMs >= SAMPLE_MS) {
      this.#samples = [...this.#samples, { atMs, done: this.#done }].slice(-SAMPLES);
    }
  }

  view(): StageView {
    const nowMs = this.#clock.monotonic();
    const first = this.#samples[0];
    const spanMs = first === undefined ? 0 : nowMs - first.atMs;
    return {
      name: this.#name,
      done: this.#done,
      total: this.#total,
      unit: this.#unit,
      elapsedMs: nowMs - this.#startedMs,
      rate: first === undefined || spanMs < SAMPLE_MS ? undefined : ((this.#done - first.done) / spanMs) * 1_000,
    };
  }
}

export interface WatchedProgress extends Progress {
  /** Draws again, for a clock that ticks while the verb is silent. */
  tick(): void;
  /** Takes the live line away. */
  end(): void;
}

/** One live line, redrawn at each stage and otherwise at most ten times a second. `width` is asked each time: terminals are resized. */
export function terminalProgress(printer: Printer, clock: Clock, width: () => number): WatchedProgress {
  let meter: StageMeter | undefined;
  let drawnMs = -Infinity;
  const draw = () => {
    drawnMs = clock.monotonic();
    // One column less: a full last column makes some terminals wrap.
    if (meter !== undefined) printer.live(formatStage(meter.view(), width() - 1));
  };
  const drawWhenDue = () => {
    if (clock.monotonic() - drawnMs >= REDRAW_MS) draw();
  };
  return {
    stage(name, options = {}) {
      meter = new StageMeter(clock, name, options);
      // Stages are few, and one that is over at once was there too.
      draw();
    },
    advance(amount) {
      meter?.advance(amount);
      drawWhenDue();
    },
    say: (line) => printer.note(line),
    tick: drawWhenDue,
    end: () => {
      meter = undefined;
      printer.live("");
    },
  };
}

/** One line a stage, for logs. */
export function lineProgress(printer: Printer): WatchedProgress {
  return {
    stage(name, { total, unit } = {}) {
      printer.note(total === undefined || total === 0 ? name : `${name} (${formatAmount(total, unit)})`);
    },
    advance() {},
    say: (line) => printer.note(line),
    tick() {},
    end() {},
  };
}

/** Events for programs: each stage, and at most one step a second. */
export function jsonProgress(printer: Printer, clock: Clock): WatchedProgress {
  let stage = { name: "", done: 0, total: undefined as number | undefined, unit: undefined as Unit | undefined };
  let sentMs = clock.monotonic();
  const base = () => ({ total: stage.total ?? null, unit: stage.unit ?? null });
  return {
    stage(name, { total, unit } = {}) {
      stage = { name, done: 0, total, unit };
      printer.json({ type: "stage", name, ...base() });
    },
    advance(amount) {
      stage.done += amount;
      if (clock.monotonic() - sentMs < EVENT_MS) return;
      sentMs = clock.monotonic();
      printer.json({ type: "progress", stage: stage.name, done: stage.done, ...base() });
    },
    say: (line) => printer.note(line),
    tick() {},
    end() {},
  };
}

/** For a journal: each stage and each line as JSON, and no steps between. */
export function journalProgress(printer: Printer, clock: Clock): WatchedProgress {
  return { ...jsonProgress(printer, clock), advance() {}, say: (line) => printer.json({ type: "line", text: line }) };
}

export const silentProgress: WatchedProgress = { ...silent, tick() {}, end() {} };

/** Ticks twice a second until the signal is aborted. */
export async function keepTicking(progress: WatchedProgress, clock: Clock, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      await clock.sleep(500, signal);
    } catch {
      return; // aborted: the run is over
    }
    progress.tick();
  }
}
