/** Running Chatwoot's own migrations where Chatwoot runs: what each kind gives for it, and doing it. */
import { stat } from "node:fs/promises";
import { Failure, messageOf } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { EngineAddress } from "../system/engine-api.ts";
import {
  type LeftOver,
  runLikeContainer,
  runLikeService,
  settleLikeContainer,
  settleLikeService,
} from "../system/engine-one-off.ts";
import { endMarked, type Mark, markedProcesses, waitForMarked } from "../system/marked-processes.ts";
import { runProgram } from "../system/process.ts";

/** How they are run. */
export type MigrateStep =
  /** As the owner of Chatwoot's folder, in that user's login shell, which knows its Ruby. */
  | { how: "login"; folder: string; railsEnv: string }
  /** In a container of its own, made as that one is. */
  | { how: "container"; engine: EngineAddress; container: string }
  /** The same, of a Swarm's service. */
  | { how: "service"; engine: EngineAddress; service: string }
  /** A person's own line, run by `/bin/sh`. */
  | { how: "shell"; command: string };

export interface MigrationRun {
  readonly status: number;
  /** The last lines that it printed. They may hold secrets. */
  readonly lines: readonly string[];
}

/** Chatwoot's own task: it makes what is missing, and runs the migrations that the database lacks. */
const TASK = "db:chatwoot_prepare";
/** Chatwoot's own limit is 14 seconds, which no migration of a large table keeps (F32); this is what its own script sets. */
const TIMEOUT = { POSTGRES_STATEMENT_TIMEOUT: "600s" };

/** For people. */
export function describeMigration(step: MigrateStep): string {
  if (step.how === "login") return `in ${step.folder}, as its owner`;
  if (step.how === "container") return `in a container of its own, as ${step.container} is`;
  return step.how === "service" ? `as a job like the service ${step.service}` : `by the command '${step.command}'`;
}

export interface MigrationOptions {
  /** By which those of one restore are known again, whichever run of Chatkeep began them. */
  readonly mark: string;
  readonly signal: AbortSignal;
}

function markOf({ mark: value }: MigrationOptions): Mark {
  return { name: "CHATKEEP_MIGRATION", value };
}

/**
 * Sees to migrations that a run began which was killed: they go on by themselves. Waited for they are all done; stopped they undo
 * what they had in hand, for each has a transaction of its own, unless it says otherwise: so stop them only where the database goes.
 * Of a person's own command, and of a folder's owner, they are found on this machine alone.
 * @param options.onFound Called where some run still, before they are waited for or stopped.
 * @throws Failure `program/failed` where an engine refuses.
 */
export async function settleMigration(
  step: MigrateStep,
  options: MigrationOptions & { readonly how: LeftOver; readonly onFound: () => void },
): Promise<void> {
  if (step.how === "container") return await settleLikeContainer(step.engine, step.container, options);
  if (step.how === "service") return await settleLikeService(step.engine, step.service, options);
  if ((await markedProcesses(markOf(options))).length === 0) return;
  options.onFound();
  await (options.how === "stop" ? endMarked : waitForMarked)(markOf(options), options);
}

/**
 * Runs them, and waits until they end, however that is.
 * @throws Failure `program/missing` or `program/failed` when they cannot be begun; `source/unreadable` for a folder.
 */
export async function runMigration(step: MigrateStep, options: MigrationOptions): Promise<MigrationRun> {
  const { signal } = options;
  const once = { command: ["bundle", "exec", "rails", TASK], env: TIMEOUT, signal };
  if (step.how === "container") return await runLikeContainer(step.engine, step.container, once);
  if (step.how === "service") return await runLikeService(step.engine, step.service, once);
  if (step.how === "shell") return await runLine(["/bin/sh", "-c", step.command], options);
  return await runAsOwner(step, options);
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

async function runAsOwner(
  { folder, railsEnv }: Extract<MigrateStep, { how: "login" }>,
  options: MigrationOptions,
): Promise<MigrationRun> {
  const owner = await ownerOf(folder, options.signal);
  const { name, value } = markOf(options);
  const timeout = `POSTGRES_STATEMENT_TIMEOUT=${TIMEOUT.POSTGRES_STATEMENT_TIMEOUT}`;
  // A login shell forgets what it was given, the mark too.
  const given = `RAILS_ENV=${quoted(railsEnv)} ${name}=${quoted(value)} ${timeout}`;
  const line = `cd ${quoted(folder)} && ${given} bundle exec rake ${TASK}`;
  const isOurs = owner.uid === process.getuid?.();
  // A login shell reads what puts RVM's Ruby into PATH.
  return await runLine(isOurs ? ["bash", "-lc", line] : ["runuser", "-l", owner.name, "-c", line], options);
}

async function ownerOf(folder: string, signal: AbortSignal): Promise<{ uid: number; name: string }> {
  try {
    const { uid } = await stat(folder);
    const { stdout } = await runProgram("id", ["--name", "--user", String(uid)], { signal });
    return { uid, name: stdout.toString("utf8").trim() };
  } catch (cause) {
    signal.throwIfAborted();
    throw new Failure("source/unreadable", `cannot tell whose the folder ${folder} is: ${messageOf(cause)}`, {
      hint: "Migrations are run as its owner: give it to the user that Chatwoot runs as (chown -R chatwoot:chatwoot).",
      cause,
    });
  }
}

const EVERY_STATUS = Array.from({ length: 256 }, (_, status) => status);

async function runLine([program = "", ...args]: string[], options: MigrationOptions): Promise<MigrationRun> {
  const { name, value } = markOf(options);
  const { status, stdout, stderr } = await runProgram(program, args, {
    signal: options.signal,
    env: { [name]: value },
    hasOwnGroup: true,
    allowStatus: EVERY_STATUS,
  });
  const lines = [...stdout.toString("utf8").split("\n"), ...stderr.split("\n")].filter((line) => line.trim() !== "");
  return { status, lines: lines.slice(-LIMITS.lastWordsLines) };
}
