/** Seeing that nobody uses the database and Redis of a place, before something is put into their place. */
import { formatInstant } from "../../base/clock.ts";
import { listSome } from "../../base/bytes.ts";
import { Failure, isFailure } from "../../base/errors.ts";
import type { Finding } from "../../base/findings.ts";
import { LIMITS } from "../../base/limits.ts";
import { databaseOf } from "../../chatwoot/environment.ts";
import { runStep, describeStep, type Step } from "../../installation/processes.ts";
import { stateOf } from "../../installation/process-state.ts";
import { openRedis } from "../../installation/redis.ts";
import { parseDatabaseUrl } from "../../postgres/address.ts";
import { type ApplicationSession, applicationSessions } from "../../postgres/application-sessions.ts";
import { redisClients } from "../../system/redis-clients.ts";
import { pauseAfter } from "./coming-up.ts";
import { noteRanAgain } from "./ran-before.ts";
import type { Place, StageResult, UndoContext } from "./stage.ts";

/** The role that Chatwoot itself comes as. */
function roleOf({ installation, address }: Place): string {
  const setting = databaseOf(installation.environment);
  const named = setting.url === undefined ? setting.user : parseDatabaseUrl(setting.url).user;
  return named || address.user;
}

interface Unasked {
  readonly why: string;
  /** It answers, and keeps to itself who is connected. */
  readonly isReached: boolean;
}

export interface Connected {
  /** Those of the application that are connected to its database and its Redis now, for people. */
  readonly who: readonly string[];
  /** Why Redis could not be asked; undefined where it was. */
  readonly unasked: Unasked | undefined;
}

/** What Sidekiq calls itself. */
const SIDEKIQ = /sidekiq/i;

/** Looks who of the application is connected, or of its worker alone. Changes nothing. */
export async function whoIsConnected(
  { place, signal }: Pick<UndoContext, "place" | "signal">,
  { isWorkerAlone = false }: { isWorkerAlone?: boolean } = {},
): Promise<Connected> {
  const sessions = await applicationSessions(place.address, { role: roleOf(place), signal });
  const meant = isWorkerAlone ? sessions.filter(({ program }) => SIDEKIQ.test(program)) : sessions;
  const { who, unasked } = await whoIsInRedis(place, { isWorkerAlone, signal });
  return { who: [...meant.map(describeSession), ...who], unasked };
}

/** A worker has loaded all its code, and has its configuration, before it connects. Where it cannot be told it is not. */
export async function isWorkerConnected(context: Pick<UndoContext, "place" | "signal">): Promise<boolean> {
  try {
    return (await whoIsConnected(context, { isWorkerAlone: true })).who.length > 0;
  } catch (error) {
    context.signal.throwIfAborted();
    if (!isFailure(error)) throw error;
    return false;
  }
}

/** What Ruby's own libraries for Redis say of themselves. */
const RUBYS_LIBRARY = /redis-(?:rb|client)/i;

/** One that does not answer, or does not tell, keeps nobody from going on: the stage that clears it needs it, too. */
async function whoIsInRedis(
  { installation }: Place,
  { isWorkerAlone, signal }: { isWorkerAlone: boolean; signal: AbortSignal },
): Promise<Connected> {
  const { redis } = installation;
  if (redis === undefined) return unaskedFor("Chatwoot's environment names none (REDIS_URL)");
  try {
    await using session = await openRedis(installation, { signal, patienceMs: 0 });
    const clients = await redisClients(session, redis.database);
    if (clients === undefined) return unaskedFor("it does not tell (CLIENT LIST is not allowed)", true);
    const meant = clients.filter(({ role, library }) =>
      isWorkerAlone ? role === "worker" : role !== "unknown" || RUBYS_LIBRARY.test(library),
    );
    const named = meant.map(
      ({ role, address }) => `${role === "unknown" ? "Ruby" : `the ${role}`} in Redis (${address})`,
    );
    return { who: named, unasked: undefined };
  } catch (error) {
    signal.throwIfAborted();
    if (!isFailure(error)) throw error;
    return unaskedFor(error.message);
  }
}

function unaskedFor(why: string, isReached = false): Connected {
  return { who: [], unasked: { why, isReached } };
}

/** That nobody was seen in Redis says nothing where it was not asked. */
function unaskedFindings(unasked: Unasked | undefined): Finding[] {
  if (unasked === undefined) return [];
  return [
    {
      // One that was not reached may be later, and is asked then; one that does not tell never does.
      kind: unasked.isReached ? "redis-does-not-tell" : "redis-not-asked",
      level: "note",
      message: `Redis could not be asked who is connected: ${unasked.why}`,
      hint: "A worker on another machine would be seen by its sessions in the database alone. See yourself that none runs.",
    },
  ];
}

/** `process 4711 of role 'chatwoot' (puma, 192.0.2.7), since 2026-01-01T02:30:00Z`. */
function describeSession({ process, role, program, client, sinceMs }: ApplicationSession): string {
  const from = [program || "no name", ...(client === undefined ? [] : [client])].join(", ");
  return `process ${process} of role '${role}' (${from})${sinceMs === undefined ? "" : `, since ${formatInstant(sinceMs)}`}`;
}

/** The steps that stop what is meant to run now, and those of which nobody tells whether it does. */
async function stepsOfRunning(
  { place, signal }: UndoContext,
  isWorkerAlone: boolean,
): Promise<{ running: Step[]; unknown: Step[] }> {
  const { web, worker } = place.installation.processes;
  const [running, unknown]: [Step[], Step[]] = [[], []];
  for (const step of [...(worker?.stop ?? []), ...(isWorkerAlone ? [] : (web?.stop ?? []))]) {
    const state = await stateOf(step, { signal });
    if (state === undefined) unknown.push(step);
    else if (state.isWanted) running.push(step);
  }
  return { running, unknown };
}

export interface NobodyOptions {
  patienceMs?: number;
  /** Once is enough where everything was seen to be stopped before: what is on its way is seen by what runs. */
  looks?: number;
  /** Everything was stopped before: whoever is connected was started again, by a person's own command too, which does not tell. */
  isAgain?: boolean;
  /** The web process runs already, and the worker must not. */
  isWorkerAlone?: boolean;
  /** Says so where Redis could not be asked: once in a restore is enough. */
  tellsUnasked?: boolean;
}

/**
 * Waits until none of Chatwoot's processes runs and none is connected. What was started again since it was stopped, as by a
 * machine that was restarted, is stopped once more, told, and started again at the end, whether or not it ran before.
 *
 * Nobody must be seen several times in a row. What runs here and is only being started has no connection yet, and is known by whoever
 * runs it; so these looks are for what comes from elsewhere. A worker stays connected; other things (a console, a job of cron) come for
 * a moment, and are met the surer the denser one looks: five times a second meets whoever stays for 200 ms, where a look each second
 * misses most of them, though three of those last twice as long.
 * @throws Failure `restore/in-use` that names who stays, from where.
 */
export async function seeNobody(
  context: UndoContext,
  {
    patienceMs = LIMITS.nobodyPatienceMs,
    looks = LIMITS.nobodyLooks,
    isAgain = false,
    isWorkerAlone = false,
    tellsUnasked = false,
  }: NobodyOptions = {},
): Promise<StageResult> {
  const { clock, signal } = context;
  const began = clock.monotonic();
  const stopped: Step[] = [];
  let [isAsked, seen, nobodySince] = [false, 0, began];
  for (;;) {
    const { running, unknown } = await stepsOfRunning(context, isWorkerAlone);
    if (running.length > 0) {
      if (stopped.some((step) => running.includes(step))) throw startedAgain(running);
      stopped.push(...running);
      await stopOnceMore(context, running);
    }
    const connected = await whoIsConnected(context, { isWorkerAlone });
    const now = clock.monotonic();
    const isNobody = running.length === 0 && connected.who.length === 0;
    if (!isNobody) [seen, nobodySince] = [0, now];
    else seen += 1;
    // One that was met here is looked for as long as if it had just been stopped.
    const isLong = stopped.length > 0 || looks > 1;
    if (isNobody && (!isLong || (seen >= LIMITS.nobodyLooks && now - nobodySince >= LIMITS.nobodyMs)))
      return told(stopped, tellsUnasked ? connected.unasked : undefined);
    if (connected.who.length > 0 && isAgain && !isAsked && unknown.length > 0) {
      isAsked = true;
      stopped.push(...unknown);
      await stopOnceMore(context, unknown);
    } else if (connected.who.length > 0 && now - began >= patienceMs) {
      throw stillConnected(context.place, connected.who);
    }
    await clock.sleep(pauseAfter(now - began), signal);
  }
}

/** What somebody started is wanted: it is started at the end, too. */
async function stopOnceMore({ folder, signal }: UndoContext, steps: readonly Step[]): Promise<void> {
  await noteRanAgain(folder, steps);
  for (const step of steps) await runStep(step, { signal });
}

function told(stopped: readonly Step[], unasked: Unasked | undefined): StageResult {
  const findings = unaskedFindings(unasked);
  if (stopped.length === 0) return { lines: [], findings };
  const what = listSome(stopped.map(describeStep));
  const message = `${what} ran again after it was stopped, and was stopped once more`;
  const hint =
    "What it did until then is done: a worker may have sent messages. Was the machine or Docker restarted, or did somebody start it?";
  return { lines: [message], findings: [{ kind: "ran-again", level: "warning", message, hint }, ...findings] };
}

const GO_ON = "Then go on with chatkeep restore --resume, or undo what was done with chatkeep rollback.";

function startedAgain(running: readonly Step[]): Failure {
  const what = listSome(running.map(describeStep));
  return new Failure("restore/in-use", `somebody starts again what Chatkeep stops: ${what}`, {
    hint: `An autoscaler (KEDA), a controller (Argo CD, Flux), Portainer, Coolify or a watchdog does that: pause it. ${GO_ON}`,
  });
}

function stillConnected({ address }: Place, connected: readonly string[]): Failure {
  return new Failure(
    "restore/in-use",
    `Chatwoot is still connected to the database '${address.database}' or its Redis: ${listSome(connected)}`,
    {
      hint: `Stop it where it comes from: another machine, a container by another name, a console that was left open. A pooler (PgBouncer) keeps sessions for some minutes: wait, or let it close them. ${GO_ON}`,
    },
  );
}
