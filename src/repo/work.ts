/** A worker's side of a pool: how a thread serves tasks, and how failures cross from thread to thread. */
import { parentPort } from "node:worker_threads";
import { assert, Failure, messageOf, type ErrorCode } from "../base/errors.ts";

/** What does a worker's tasks, one at a time. */
export interface WorkHandler<Task, Result> {
  run(task: Task): Promise<Result>;
  /** The task has come, and others are before it: what it needs from afar can be asked for. Never throws. */
  foresee?(task: Task): void;
  /** The pool ends, well or not. Never rejects. */
  close?(): Promise<void>;
}

export interface WorkTools<Message> {
  /** Sends something to the pool's `onMessage`. */
  post: (message: Message) => void;
  /** Aborts when the pool ends. */
  signal: AbortSignal;
}

export type ToWorker<Task> =
  | { kind: "init"; init: unknown }
  | { kind: "task"; number: number; task: Task }
  | { kind: "stop" };

export type FromWorker<Result, Message> =
  | { kind: "result"; number: number; result: Result }
  | { kind: "error"; number: number; error: SentError }
  | { kind: "message"; message: Message }
  | { kind: "broken"; error: SentError };

/** An error as it travels between threads: a class would not survive. */
export interface SentError {
  readonly code: ErrorCode | undefined;
  readonly message: string;
  readonly hint: string | undefined;
  readonly stack: string | undefined;
}

function packError(error: unknown): SentError {
  const isOurs = error instanceof Failure;
  return {
    code: isOurs ? error.code : undefined,
    message: messageOf(error),
    hint: isOurs ? error.hint : undefined,
    stack: error instanceof Error ? error.stack : undefined,
  };
}

export function reviveError(sent: SentError): Error {
  const error =
    sent.code === undefined
      ? new Error(sent.message)
      : new Failure(sent.code, sent.message, sent.hint === undefined ? {} : { hint: sent.hint });
  if (sent.stack !== undefined) error.stack = sent.stack;
  return error;
}

/**
 * Called once by a worker's file: opens the handler with what the pool sends first, then serves its tasks in order
 * until the pool ends.
 */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- what the pool was given as `init`
export function serveWork<Task, Result, Init, Message>(
  open: (init: Init, tools: WorkTools<Message>) => Promise<WorkHandler<Task, Result>>,
): void {
  const port = parentPort;
  assert(port !== null, "a worker's file was loaded outside a worker");
  const stop = new AbortController();
  const send = (message: FromWorker<Result, Message>) => port.postMessage(message);
  const init = Promise.withResolvers<Init>();
  const opened = init.promise.then(
    async (given) => await open(given, { post: (message) => send({ kind: "message", message }), signal: stop.signal }),
  );
  opened.catch((error: unknown) => {
    if (!stop.signal.aborted) send({ kind: "broken", error: packError(error) });
  });
  let last: Promise<unknown> = opened.catch(() => {});
  port.on("message", (message: ToWorker<Task>) => {
    if (message.kind === "init") return init.resolve(message.init as Init);
    if (message.kind === "stop") {
      stop.abort(new Failure("run/cancelled", "the run was stopped"));
      // It may never have been told what to do.
      init.reject(stop.signal.reason);
      last = last.then(async () => {
        await (await opened.catch(() => undefined))?.close?.();
        port.close();
      });
      return;
    }
    const { number, task } = message;
    void opened.then(
      (handler) => handler.foresee?.(task),
      () => {},
    );
    last = last.then(async () => {
      try {
        stop.signal.throwIfAborted();
        const handler = await opened;
        send({ kind: "result", number, result: await handler.run(task) });
      } catch (error) {
        send({ kind: "error", number, error: packError(error) });
      }
    });
  });
}
