/** Seeing that nobody uses the database and Redis of a place, before something is put into their place. */
import { formatInstant } from "../../base/clock.ts";
import { listSome } from "../../base/bytes.ts";
import { Failure, isFailure } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import { databaseOf } from "../../chatwoot/environment.ts";
import { runStep, showStep, type Step } from "../../installation/processes.ts";
import { stateOf } from "../../installation/process-state.ts";
import { openRedis } from "../../installation/redis.ts";
import { parseDatabaseUrl } from "../../postgres/address.ts";
import { type ApplicationSession, applicationSessions } from "../../postgres/application-sessions.ts";
import { redisClients } from "../../system/redis-clients.ts";
import type { Place, UndoContext } from "./stage.ts";

/** How often in a row nobody must be seen: one that is being started has no connection yet. */
const LOOKS = 3;

/** The role that Chatwoot itself comes as. */
function roleOf({ installation, address }: Place): string {
  const setting = databaseOf(installation.environment);
  const named = setting.url === undefined ? setting.user : parseDatabaseUrl(setting.url).user;
  return named || address.user;
}

/** Those of the application that are connected to its database and its Redis now. Changes nothing. */
export async function whoIsConnected({ place, signal }: Pick<UndoContext, "place" | "signal">): Promise<string[]> {
  const sessions = await applicationSessions(place.address, { role: roleOf(place), signal });
  return [...sessions.map(describeSession), ...(await whoIsInRedis(place, signal))];
}

/** What Ruby's own libraries for Redis say of themselves. */
const RUBYS_LIBRARY = /redis-(?:rb|client)/i;

/** Nobody, where Redis does not answer or does not tell: the stage that clears it says so. */
async function whoIsInRedis({ installation }: Place, signal: AbortSignal): Promise<string[]> {
  const { redis } = installation;
  if (redis === undefined) return [];
  try {
    await using session = await openRedis(installation, { signal, patienceMs: 0 });
    const clients = (await redisClients(session, redis.database)) ?? [];
    return clients
      .filter(({ role, library }) => role !== "unknown" || RUBYS_LIBRARY.test(library))
      .map(({ role, address }) => `${role === "unknown" ? "Ruby" : `the ${role}`} in Redis (${address})`);
  } catch (error) {
    signal.throwIfAborted();
    if (!isFailure(error)) throw error;
    return [];
  }
}

/** `process 4711 of role 'chatwoot' (puma, 192.0.2.7), since 2026-01-01T02:30:00Z`. */
function describeSession({ process, role, program, client, sinceMs }: ApplicationSession): string {
  const from = [program || "no name", ...(client === undefined ? [] : [client])].join(", ");
  return `process ${process} of role '${role}' (${from})${sinceMs === undefined ? "" : `, since ${formatInstant(sinceMs)}`}`;
}

/** The steps that stop what is meant to run now. */
async function stepsOfRunning({ place, signal }: UndoContext): Promise<Step[]> {
  const { web, worker } = place.installation.processes;
  const running: Step[] = [];
  for (const step of [...(worker?.stop ?? []), ...(web?.stop ?? [])]) {
    if ((await stateOf(step, { signal }))?.isWanted === true) running.push(step);
  }
  return running;
}

/**
 * Waits until none of Chatwoot's processes runs and none is connected. What was started again since it was stopped, as by a
 * machine that was restarted, is stopped once more.
 * @throws Failure `restore/in-use` that names who stays, from where.
 */
export async function seeNobody(
  context: UndoContext,
  { patienceMs = LIMITS.nobodyPatienceMs }: { patienceMs?: number } = {},
): Promise<void> {
  const { clock, signal } = context;
  const until = clock.monotonic() + patienceMs;
  let isStoppedAgain = false;
  for (let seen = 0; seen < LOOKS;) {
    const running = await stepsOfRunning(context);
    if (running.length > 0) {
      if (isStoppedAgain) throw startedAgain(running);
      isStoppedAgain = true;
      for (const step of running) await runStep(step, { signal });
    }
    const connected = await whoIsConnected(context);
    seen = running.length === 0 && connected.length === 0 ? seen + 1 : 0;
    if (connected.length > 0 && clock.monotonic() >= until) throw stillConnected(context.place, connected);
    if (seen < LOOKS) await clock.sleep(LIMITS.lookAgainMs, signal);
  }
}

const GO_ON = "Then go on with chatkeep restore --resume, or undo what was done with chatkeep rollback.";

function startedAgain(running: readonly Step[]): Failure {
  const what = listSome(running.map(showStep));
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
