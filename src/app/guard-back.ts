/** Going back after an upgrade under `guard`: a whole restore of the point from before it, and the same look as before. */
import { join } from "node:path";
import { Failure, isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import {
  type ComposeProject,
  goneData,
  goneImages,
  movedServices,
  readComposeProject,
  runImages,
  type ServiceImage,
} from "../installation/images.ts";
import { type GuardRecord, writeGuard } from "../job/guard-record.ts";
import type { GuardSummary } from "../job/guard-summary.ts";
import type { Part } from "../job/restore-findings.ts";
import type { OutboundChoice } from "../job/plan-whole.ts";
import { type KeptRestore, listRestores } from "../job/restore-journals.ts";
import { type ResumeOptions, restoreWhole, resumeWhole } from "../job/restore-whole.ts";
import type { WholeSummary } from "../job/whole-summaries.ts";
import { connect } from "../postgres/connect.ts";
import { releaseGuarded } from "./guard-hold.ts";
import {
  type CheckFlags,
  type GuardSession,
  pointOf,
  lastGuard,
  lookAndJudge,
  openGuarded,
  summaryOf,
  withGuard,
} from "./guard.ts";
import { PROGRAM } from "./program.ts";
import { watching } from "./restore-whole.ts";
import { openToRead } from "./session.ts";
import { guardFile } from "./state-folder.ts";
import { storageSettings } from "./storage.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

export interface BackFlags extends CheckFlags {
  /** What becomes of messages that the worker would send; undefined: somebody is asked, or they are held. */
  outbound: OutboundChoice | undefined;
}

const ALL: readonly Part[] = ["database", "storage", "config", "code"];

/**
 * Puts everything back. Called again after a kill, or when the restore stopped for somebody to decide, it goes on.
 * @throws Failure when something stands in the way: then nothing was changed; or what keeps the restore from going on.
 */
export async function goBack(globals: Globals, flags: BackFlags, s: Surroundings): Promise<GuardSummary> {
  return await withGuard(globals, s, async (session) => {
    const started = s.clock.monotonic();
    const record = await lastGuard(session);
    const file = guardFile(session.state);
    const going: GuardRecord = { ...record, stage: "going-back" };
    await writeGuard(file, going);
    let whole: WholeSummary | undefined;
    try {
      whole = await restoreAll(session, record, flags);
    } catch (error) {
      // What was refused before its first change leaves all as it was.
      if ((await restoreOf(session, record)) === undefined) await writeGuard(file, record);
      throw error;
    }
    const summary = await seeItIsBack(session, going, whole, flags);
    const seconds = Math.round((s.clock.monotonic() - started) / 100) / 10;
    return { ...summary, seconds };
  });
}

/** The restore that this guard began: the newest of its point that came after it. */
async function restoreOf({ state }: GuardSession, { point, startedAt }: GuardRecord): Promise<KeptRestore | undefined> {
  const { restores } = await listRestores(homeOf(state));
  const own = restores.find(({ journal: { value } }) => value.point === point.id && value.beganAt >= startedAt);
  return own?.journal.value.state === "undone" ? undefined : own;
}

function homeOf({ path }: { path: string }): string {
  return join(path, "restore");
}

/** @returns undefined where it was done before. */
async function restoreAll(
  session: GuardSession,
  record: GuardRecord,
  { outbound }: BackFlags,
): Promise<WholeSummary | undefined> {
  const { globals, s } = session;
  const { point, before } = record;
  const begun = await restoreOf(session, record);
  if (begun?.journal.value.state === "done") return undefined;
  if (begun === undefined) await bringServersBack(session, record);
  const { repository, name } = await openToRead({ ...globals, repository: globals.repository ?? point.repository }, s);
  const watching = await placeOf(session);
  if (begun !== undefined) return await resumeWhole(repository, begun, { ...watching, outbound });
  const { id, name: ownName } = session.loaded.config.installation;
  const choose = (list: Parameters<typeof pointOf>[0]) => pointOf(list, point);
  return await restoreWhole(
    { repository, choose },
    {
      ...watching,
      own: { id, name: ownName },
      parts: ALL,
      isNamed: false,
      stages: {
        withRoles: false,
        storage: undefined,
        migrate: false,
        outbound: outbound ?? (s.person === undefined ? "hold" : "ask"),
        clone: undefined,
        afterUpgrade: true,
        ...(before.project === null ? {} : { project: before.project }),
      },
      home: async () => await Promise.resolve(homeOf(session.state)),
      repositoryName: name,
      program: PROGRAM,
    },
  );
}

async function placeOf(session: GuardSession): Promise<Omit<ResumeOptions, "outbound">> {
  const { loaded, s } = session;
  const found = await openGuarded(session);
  return {
    place: {
      installation: found.installation,
      address: found.address(),
      storageSettings: await storageSettings(loaded.config, s),
    },
    isConfigured: true,
    ...watching(s),
  };
}

/** PostgreSQL and Redis of the project run their earlier images first: the restore needs them. */
async function bringServersBack(session: GuardSession, { before: { project } }: GuardRecord): Promise<void> {
  if (project === null) return;
  const { s } = session;
  const now = await projectNow(session);
  const moved = movedServices(project, now);
  const servers = moved.filter(({ isChatwoot }) => !isChatwoot);
  // Without a container of Chatwoot's nothing says where it is; which image they are of comes with the restore.
  const lost = now === undefined ? moved.filter(({ isChatwoot }) => isChatwoot) : [];
  if (servers.length === 0 && lost.length === 0) return;
  await refuseGone(project, [...servers, ...lost], s);
  await refuseGoneData(project, servers, s);
  if (lost.length > 0) {
    s.progress.stage(`making the containers of ${lost.map(({ service }) => service).join(", ")} again`);
    await runImages(project, lost, { isStarted: false, signal: s.signal });
  }
  if (servers.length > 0) {
    s.progress.stage(`starting ${servers.map(({ service }) => service).join(", ")} as before`);
    await runImages(project, servers, { isStarted: true, signal: s.signal });
  }
  await waitForDatabase(session);
}

/** Undefined where the command left no container of Chatwoot's, as `docker compose down` does. */
async function projectNow(session: GuardSession): Promise<ComposeProject | undefined> {
  try {
    return await readComposeProject((await openGuarded(session)).installation, session.s);
  } catch (error) {
    if (!isFailure(error, "installation/not-found")) throw error;
    return undefined;
  }
}

async function refuseGone(
  project: ComposeProject,
  moved: readonly ServiceImage[],
  s: Pick<Surroundings, "signal">,
): Promise<void> {
  const [gone] = await goneImages(project, moved, s);
  if (gone !== undefined) {
    throw new Failure(
      "target/unsuitable",
      `the image that ${gone.service} ran, ${gone.name}, is no longer on this machine`,
      {
        hint:
          gone.digest === null ? "Make it again, and call this again." : `'docker pull ${gone.digest}' brings it back.`,
      },
    );
  }
}

async function refuseGoneData(
  project: ComposeProject,
  servers: readonly ServiceImage[],
  s: Pick<Surroundings, "signal">,
): Promise<void> {
  const [volume] = await goneData(project, servers, s);
  if (volume === undefined) return;
  throw new Failure(
    "target/unsuitable",
    `the volume ${volume}, in which PostgreSQL kept its data, is no longer there: there is no database to go back in`,
    {
      hint: "Nothing was changed. Start the project with the images of before and let Chatwoot make an empty database; then 'chatkeep restore' brings the restore point into it, and 'chatkeep guard --forget' ends this.",
    },
  );
}

async function waitForDatabase(session: GuardSession): Promise<void> {
  const { s } = session;
  const endMs = s.clock.monotonic() + LIMITS.guardWaitMs;
  for (;;) {
    try {
      const found = await openGuarded(session);
      await using _connection = await connect(found.address(), s);
      return;
    } catch (error) {
      if (!isFailure(error, "database/unreachable") || s.clock.monotonic() >= endMs) throw error;
      await s.clock.sleep(LIMITS.guardLookMs, s.signal);
    }
  }
}

async function seeItIsBack(
  session: GuardSession,
  record: GuardRecord,
  whole: WholeSummary | undefined,
  { waitMs }: CheckFlags,
): Promise<GuardSummary> {
  const file = guardFile(session.state);
  const back = whole?.stages.flatMap(({ lines }) => lines) ?? ["the restore was done before"];
  const summary = { ...summaryOf(record, { outcome: "wrong" }), back };
  if (whole?.state === "held") {
    const { stage, why } = whole.held ?? { stage: "outbound", why: "somebody has to decide" };
    return {
      ...summary,
      reasons: [held(stage, why)],
      next: stage === "outbound" ? DECIDE : ["Mend that, then 'chatkeep guard --back' goes on."],
      // It says how the restore goes on by itself; here 'guard --back' does that, and looks afterwards.
      findings: whole.findings.filter(({ kind }) => kind !== "restore-held"),
    };
  }
  const { judged, after } = await lookAndJudge(session, { ...record, ended: null }, waitMs);
  // The restore has compared every row with the point: what came after that is no loss of it.
  const reasons = judged.reasons.filter(({ kind }) => kind !== "guard-rows-lost" && kind !== "guard-migrations-lost");
  const isBack = reasons.length === 0;
  if (isBack) await writeGuard(file, { ...record, stage: "back" });
  const released = isBack ? await releaseGuarded(session.globals, record.point, session.s) : [];
  return {
    ...summary,
    outcome: isBack ? "back" : "wrong",
    after,
    reasons,
    next: [...(whole?.next ?? []), isBack ? SINCE : AGAIN],
    findings: [...(whole?.findings ?? []), ...judged.findings, ...released],
  };
}

const SINCE =
  "What was written between the restore point and the end of the upgrade is in the database that was put aside: 'chatkeep doctor' names it.";
const AGAIN = "Mend what is wrong, then 'chatkeep guard --back' looks again and ends it; nothing is restored twice.";

const DECIDE = [
  "Look at what would be sent: 'chatkeep guard --back --outbound defuse' goes on without it, '--outbound allow' lets it out.",
];

function held(stage: string, why: string): Finding {
  return {
    kind: "guard-held",
    level: "alarm",
    message: `putting everything back stopped at '${stage}': ${why}`,
    hint: "All before it is done, and is not done again.",
  };
}
