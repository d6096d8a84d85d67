/**
 * What Redis keeps beside a database that was exchanged: caches and the page of the first set-up go, jobs and drafts are put aside
 * under other names, and browsers are told to ask again. An undo gives what was put aside its names back.
 */
import { basename } from "node:path";
import { plural } from "../../base/bytes.ts";
import { Failure, isFailure } from "../../base/errors.ts";
import type { Finding } from "../../base/findings.ts";
import { asidePattern } from "../../chatwoot/redis-keys.ts";
import { openRedis } from "../../installation/redis.ts";
import { connect } from "../../postgres/connect.ts";
import type { RedisSession } from "../../system/redis.ts";
import {
  cleanRedis,
  countAside,
  countContents,
  discardAside,
  putAsideSince,
  putBack,
  type RedisContents,
} from "../redis-hygiene.ts";
import {
  NOTHING_TO_DO,
  NOTHING_TO_UNDO,
  type Stage,
  type StagePlan,
  type StageRecord,
  type StageResult,
  type UndoContext,
} from "./stage.ts";

export interface RedisKept {
  /** Ids of the accounts whose browsers are told. */
  readonly accounts: readonly string[];
  /** What was written since the restore is put aside: from here on only the way back is left. */
  readonly isTurnedBack?: boolean;
}

export const redisStage: Stage<RedisKept> = {
  name: "redis",

  async plan(context): Promise<StagePlan> {
    if (context.fresh === undefined) return NOTHING_TO_DO;
    try {
      await using session = await openRedis(context.place.installation, context);
      return { lines: planLines(await countContents(session), session), blockers: [], findings: [] };
    } catch (error) {
      if (!isOfRedis(error)) throw error;
      const line =
        "Redis: its caches go and its jobs are put aside, once it can be reached; Chatwoot is not started before";
      return { lines: [line], blockers: [], findings: [unreachable(error)] };
    }
  },

  async apply(context, record) {
    if (context.fresh === undefined) return nothing();
    try {
      await using session = await openRedis(context.place.installation, context);
      const accounts = await readAccounts(context);
      await record.keep({ ...record.kept, accounts });
      const restore = basename(context.folder);
      await cleanRedis(session, { restore, accounts, now: context.clock.now() });
      const aside = await countAside(session, { space: "before", restore });
      return { lines: doneLines(aside, accounts.length), findings: [] };
    } catch (error) {
      if (!isOfRedis(error)) throw error;
      const { message, hint } = error;
      return {
        ...nothing(),
        holds:
          `${message}. The database is in place, and Chatwoot stays stopped: an old Redis would show and send what is not so any more. ${hint ?? ""}`.trim(),
      };
    }
  },

  // It was reached in the end.
  settles: ["redis-not-ready", "redis-not-asked"],

  // Looked at before, for Chatwoot needs some Redis to run: but what it holds of jobs and caches is no reason to stay stopped for,
  // when it is lost on the way.
  undoIs: "spared",
  async planUndo(context, { kept }) {
    if (kept === undefined) return NOTHING_TO_UNDO;
    try {
      await using session = await openRedis(context.place.installation, context);
      await countAside(session, { space: "before", restore: basename(context.folder) });
      return NOTHING_TO_UNDO;
    } catch (error) {
      if (!isOfRedis(error)) throw error;
      const { message, hint = "" } = error;
      return { blockers: [{ kind: "redis-not-ready", level: "alarm", message, hint: withEmpty(hint) }], findings: [] };
    }
  },
  async undo(context, record) {
    const { kept } = record;
    if (kept === undefined) return nothing();
    try {
      return await goBack(context, record, kept);
    } catch (error) {
      if (!isOfRedis(error)) throw error;
      throw leftInRedis(error, context);
    }
  },

  async planDiscard(context, { kept }) {
    if (kept !== undefined) await inRedis(context, async () => await Promise.resolve());
  },

  async discard(context, { kept }) {
    if (kept === undefined) return nothing();
    const restore = basename(context.folder);
    const keys = await inRedis(context, async (session) => await discardAside(session, restore));
    return { lines: [`Redis: ${plural(keys, "key")} that had been put aside are deleted`], findings: [] };
  },
};

/** @throws Failure that says that a Redis without anything in it will do. */
async function inRedis<T>(context: UndoContext, work: (session: RedisSession) => Promise<T>): Promise<T> {
  try {
    await using session = await openRedis(context.place.installation, context);
    return await work(session);
  } catch (error) {
    if (!isOfRedis(error)) throw error;
    const { code, message, hint = "" } = error;
    const empty = `${hint} What was put aside lies in it. If its data is lost, an empty Redis will do.`.trim();
    throw new Failure(code, message, { hint: empty, cause: error });
  }
}

function nothing(): StageResult {
  return { lines: [], findings: [] };
}

function isOfRedis(error: unknown): error is Failure {
  return isFailure(error) && (error.code.startsWith("redis/") || error.code === "installation/invalid");
}

function unreachable({ message, hint }: Failure): Finding {
  return {
    kind: "redis-not-ready",
    level: "warning",
    message: `${message}; the restore goes on until the database is in place, and holds there`,
    hint: `${hint ?? ""} Then 'chatkeep restore --resume' goes on.`.trim(),
  };
}

function withEmpty(hint: string): string {
  return `${hint} If its data is lost, an empty Redis will do. Then call 'chatkeep rollback' again.`.trim();
}

/** What Redis has then, and what to do about it. */
function leftInRedis(cause: Failure, { folder }: UndoContext): Failure {
  const { code, message, hint = "" } = cause;
  const aside = asidePattern("before", basename(folder));
  return new Failure(code, message, {
    hint: `${hint} Jobs and drafts of before that are not back are in it as '${aside}', and jobs that the restored Chatwoot left may be done: look at its queues as soon as it answers (Super Admin, Sidekiq).`.trim(),
    cause,
  });
}

async function goBack(context: UndoContext, record: StageRecord<RedisKept>, kept: RedisKept): Promise<StageResult> {
  const restore = basename(context.folder);
  await using session = await openRedis(context.place.installation, context);
  if (kept.isTurnedBack !== true) {
    await putAsideSince(session, restore);
    await record.keep({ ...kept, isTurnedBack: true });
  }
  await putBack(session, { restore, accounts: kept.accounts, now: context.clock.now() });
  const since = await countAside(session, { space: "after", restore });
  const rest = since.jobs === 0 ? "" : `; ${plural(since.jobs, "job")} that came since stay put aside`;
  return { lines: [`Redis: jobs and drafts have their names again, caches are empty${rest}`], findings: [] };
}

async function readAccounts({ place, signal }: UndoContext): Promise<string[]> {
  await using connection = await connect(place.address, { signal });
  const rows = await connection.query<{ id: string }>(
    "select id::text as id from public.accounts order by accounts.id",
  );
  return rows.map(({ id }) => id);
}

function planLines(contents: RedisContents, session: RedisSession): string[] {
  const { jobs, drafts, caches, hasOnboarding } = contents;
  const parts = [
    `${plural(jobs, "job")} of Sidekiq and ${plural(drafts, "draft")} are put aside, for they are of the database that goes`,
    `${plural(caches, "key")} of caches are deleted or renewed`,
    ...(hasOnboarding ? ["the page of the first set-up is taken away"] : []),
  ];
  return [`Redis at ${session.shown}: ${parts.join("; ")}`];
}

function doneLines({ jobs, drafts, hasOnboarding }: Omit<RedisContents, "caches">, accounts: number): string[] {
  return [
    `Redis: ${plural(jobs, "job")} and ${plural(drafts, "draft")} put aside, none of them deleted; caches are empty`,
    `browsers of ${plural(accounts, "account")} will ask for inboxes, labels and teams anew`,
    ...(hasOnboarding
      ? ["the page of the first set-up, on which anybody can make an administrator, is taken away"]
      : []),
  ];
}
