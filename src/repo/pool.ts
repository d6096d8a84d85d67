/**
 * A pool of workers that each do one task after another: threads, or this thread when there is nothing to send them.
 *
 * `run` gives a task to the least busy worker; `all` gives one to every worker, behind what it has. What a worker
 * posts arrives before the result of the task during which it was posted. The first worker that dies, or an abort,
 * ends the whole pool: everything under way is rejected.
 */
import module from "node:module";
import { availableParallelism } from "node:os";
import { dirname } from "node:path";
import process from "node:process";
import type { Transferable } from "node:worker_threads";
import { systemClock } from "../base/clock.ts";
import { assert, bug, Failure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { startThread } from "../system/own-parts.ts";
import { reviveError, type FromWorker, type ToWorker, type WorkHandler } from "./work.ts";

export interface WorkPoolOptions<Task, Result, Init, Message> {
  /** The worker's file, which calls `serveWork`; undefined: in this thread. */
  url: URL | undefined;
  count: number;
  /** Tasks that each worker is given ahead of its answer; {@link LIMITS.tasksAhead} without it. */
  ahead?: number;
  /** Sent to every worker; a promise lets the threads load while it is made. When it rejects, the pool ends with that. */
  readonly init: Init | Promise<Init>;
  /** Threads are started, and `init` asked for, when they are first given a task: the first, then the next where that is busy. */
  startsLate?: boolean;
  /** Makes a worker of this thread. */
  inline: (
    init: Init,
    tools: { post: (message: Message) => void; signal: AbortSignal },
  ) => Promise<WorkHandler<Task, Result>>;
  onMessage?: (message: Message) => void;
  signal: AbortSignal;
}

export interface WorkPool<Task, Result> extends AsyncDisposable {
  /** So many tasks keep every worker busy; more are queued here. */
  readonly width: number;
  /** `lanes`: only the first so many workers may be given it. */
  run(task: Task, transfer?: readonly Transferable[], lanes?: number): Promise<Result>;
  /** Gives the task to every worker that was started; the results are in the workers' order. */
  all(task: Task): Promise<Result[]>;
  /** Starts the first so many, where they are not. */
  start(lanes: number): void;
  /** Ends the workers; tasks still under way are rejected. */
  close(): Promise<void>;
}

/** How many workers are worth having for what keeps a core busy. */
export function workerCount(): number {
  return Math.max(1, Math.min(LIMITS.sealingWorkers, availableParallelism()));
}

interface Job<Task, Result> {
  task: Task;
  transfer: readonly Transferable[];
  lanes: number;
  resolve: (result: Result) => void;
  reject: (error: unknown) => void;
}

/** One worker, wherever it lives. */
interface Lane<Task, Result> {
  readonly outstanding: Set<Job<Task, Result>>;
  give(job: Job<Task, Result>): void;
  close(): Promise<void>;
}

/**
 * Opens a pool. @throws what a worker's own opening throws, through the first tasks.
 */
export function openWorkPool<Task, Result, Init = unknown, Message = unknown>(
  options: WorkPoolOptions<Task, Result, Init, Message>,
): WorkPool<Task, Result> {
  return new Pool(options);
}

class Pool<Task, Result, Init, Message> implements WorkPool<Task, Result> {
  readonly width: number;
  readonly #lanes: Lane<Task, Result>[] = [];
  readonly #begin: () => Lane<Task, Result>;
  readonly #count: number;
  readonly #ahead: number;
  readonly #waiting: Job<Task, Result>[] = [];
  readonly #signal: AbortSignal;
  readonly #inner = new AbortController();
  #ended: { error: unknown } | undefined;

  constructor(options: WorkPoolOptions<Task, Result, Init, Message>) {
    assert(options.count > 0, "a pool has at least one worker");
    this.#signal = options.signal;
    const events: LaneEvents<Message> = {
      onMessage: (message) => options.onMessage?.(message),
      onFree: () => this.#hand(),
      onDeath: (error) => this.#end(error),
      signal: this.#inner.signal,
    };
    const { url } = options;
    this.#begin = () =>
      url === undefined ? inlineLane(options, events) : threadLane<Task, Result, Message>(url, options.init, events);
    this.#count = options.count;
    if (options.startsLate !== true) this.start(options.count);
    this.#ahead = options.ahead ?? LIMITS.tasksAhead;
    this.width = options.count * this.#ahead;
    if (this.#signal.aborted) this.#onAbort();
    this.#signal.addEventListener("abort", this.#onAbort);
  }

  readonly #onAbort = () => this.#end(this.#signal.reason);

  async run(task: Task, transfer: readonly Transferable[] = [], lanes = Infinity): Promise<Result> {
    return await new Promise((resolve, reject) => {
      const job = { task, transfer, lanes, resolve, reject };
      if (this.#ended !== undefined) return reject(this.#ended.error);
      this.#waiting.push(job);
      this.#hand();
    });
  }

  async all(task: Task): Promise<Result[]> {
    const jobs = this.#lanes.map(
      async (lane) =>
        await new Promise<Result>((resolve, reject) => {
          if (this.#ended !== undefined) return reject(this.#ended.error);
          lane.give({ task, transfer: [], lanes: Infinity, resolve, reject });
        }),
    );
    return await Promise.all(jobs);
  }

  start(lanes: number): void {
    if (this.#ended !== undefined) return;
    while (this.#lanes.length < Math.min(lanes, this.#count)) this.#lanes.push(this.#begin());
  }

  #hand(): void {
    for (let job = this.#waiting[0]; job !== undefined; job = this.#waiting[0]) {
      const lane = this.#laneFor(job);
      if (lane === undefined) return;
      this.#waiting.shift();
      lane.give(job);
    }
  }

  /** The least busy worker that may be given it; undefined where all of them have enough. */
  #laneFor({ lanes }: Job<Task, Result>): Lane<Task, Result> | undefined {
    const busy = this.#lanes.slice(0, lanes).every(({ outstanding }) => outstanding.size > 0);
    if (busy && this.#lanes.length < lanes) this.start(this.#lanes.length + 1);
    const lane = this.#lanes.slice(0, lanes).reduce((a, b) => (b.outstanding.size < a.outstanding.size ? b : a));
    return lane.outstanding.size < this.#ahead ? lane : undefined;
  }

  #end(error: unknown): void {
    if (this.#ended !== undefined) return;
    this.#ended = { error };
    this.#signal.removeEventListener("abort", this.#onAbort);
    this.#inner.abort(error);
    const lost = [...this.#lanes.flatMap((lane) => [...lane.outstanding]), ...this.#waiting.splice(0)];
    for (const lane of this.#lanes) lane.outstanding.clear();
    for (const job of lost) job.reject(error);
  }

  async close(): Promise<void> {
    this.#end(new Failure("run/cancelled", "the workers were closed"));
    await Promise.all(this.#lanes.map(async (lane) => await lane.close()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

interface LaneEvents<Message> {
  onMessage: (message: Message) => void;
  onFree: () => void;
  onDeath: (error: unknown) => void;
  signal: AbortSignal;
}

function inlineLane<Task, Result, Init, Message>(
  options: WorkPoolOptions<Task, Result, Init, Message>,
  events: LaneEvents<Message>,
): Lane<Task, Result> {
  const outstanding = new Set<Job<Task, Result>>();
  const tools = { post: events.onMessage, signal: events.signal };
  const opened = Promise.resolve(options.init).then(async (init) => await options.inline(init, tools));
  opened.catch(events.onDeath);
  let last: Promise<unknown> = opened.catch(() => {});
  return {
    outstanding,
    give(job) {
      outstanding.add(job);
      void opened.then(
        (handler) => handler.foresee?.(job.task),
        () => {},
      );
      last = last.then(async () => {
        if (!outstanding.has(job)) return;
        try {
          job.resolve(await (await opened).run(job.task));
        } catch (error) {
          job.reject(error);
        }
        outstanding.delete(job);
        events.onFree();
      });
    },
    async close() {
      await last;
      await (await opened.catch(() => undefined))?.close?.();
    },
  };
}

/** A thread does not inherit the cache of compiled code, which halves the time that it takes to start. */
function threadEnvironment(): NodeJS.ProcessEnv {
  const cache = module.getCompileCacheDir();
  // What is answered is the folder of this version of Node, and what is asked for the one above.
  return cache === undefined ? process.env : { ...process.env, NODE_COMPILE_CACHE: dirname(cache) };
}

function threadLane<Task, Result, Message>(url: URL, init: unknown, events: LaneEvents<Message>): Lane<Task, Result> {
  const outstanding = new Set<Job<Task, Result>>();
  const jobs = new Map<number, Job<Task, Result>>();
  // A small nursery: what a worker makes is large buffers held by small objects. They are freed when those are, and
  // until then V8 would let them pile up, and search all that it has for them.
  const worker = startThread(url, {
    env: threadEnvironment(),
    resourceLimits: { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 192 },
  });
  let number = 0;
  let isClosing = false;
  const exited = new Promise<void>((resolve) => {
    worker.on("exit", (code) => {
      if (!isClosing) events.onDeath(bug(`a worker thread ended by itself with status ${code}`));
      resolve();
    });
  });
  worker.on("error", (error) => {
    events.onDeath(error instanceof Failure ? error : bug(`a worker thread died: ${String(error)}`, error));
  });
  worker.on("messageerror", (error) => events.onDeath(bug("a worker's message cannot be read", error)));
  worker.on("message", (message: FromWorker<Result, Message>) => {
    if (message.kind === "message") return events.onMessage(message.message);
    if (message.kind === "broken") return events.onDeath(reviveError(message.error));
    const job = jobs.get(message.number);
    jobs.delete(message.number);
    if (job === undefined || !outstanding.delete(job)) return;
    if (message.kind === "result") job.resolve(message.result);
    else job.reject(reviveError(message.error));
    events.onFree();
  });
  const post = (message: ToWorker<Task>, transfer: readonly Transferable[] = []) =>
    worker.postMessage(message, transfer);
  // Tasks that come before it wait in the thread.
  Promise.resolve(init).then((ready) => post({ kind: "init", init: ready }), events.onDeath);
  events.signal.addEventListener("abort", () => post({ kind: "stop" }), { once: true });
  return {
    outstanding,
    give(job) {
      number += 1;
      jobs.set(number, job);
      outstanding.add(job);
      post({ kind: "task", number, task: job.task }, job.transfer);
    },
    async close() {
      isClosing = true;
      // Told to stop already: it ends by itself once it has put its things away, unless it is stuck.
      const ended = new AbortController();
      const tooLong = systemClock.sleep(LIMITS.workerStopMs, ended.signal).then(
        async () => void (await worker.terminate()),
        () => {},
      );
      await Promise.race([exited, tooLong]);
      ended.abort();
    },
  };
}
