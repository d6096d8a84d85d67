/**
 * Brings a restore point back into the installation's own place, stage by stage. What each stage changes is in a journal
 * first, so that the whole can be gone on with, or undone.
 */
import { Failure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { shortId } from "../base/ids.ts";
import type { Repository } from "../repo/repository.ts";
import { lockToRead } from "./lock.ts";
import { contextOf, planAll, type Surrounding, type Watching, type WholeOptions } from "./plan-whole.ts";
import { newServerSteps } from "./new-server-step.ts";
import { PointReader } from "./point-reader.ts";
import { listPoints, type Point, type PointList, pointOfSnapshot } from "./points.ts";
import type { KeptRestore } from "./restore-journals.ts";
import { ALL_STAGES } from "./stages/all.ts";
import { Journal, journalFile, type JournalValue, type PlaceIdentity } from "./stages/journal.ts";
import { type Applied, applyStages, unsettled, withWayOn } from "./stages/run-stages.ts";
import type { Place, StageContext, StageOptions } from "./stages/stage.ts";
import type { WholeSummary } from "./whole-summaries.ts";

/** By what the place is known again. Pure. */
export function identityOf({ installation, address }: Place): PlaceIdentity {
  const { kind, root, choice, environment } = installation;
  return {
    kind,
    root,
    choice: choice === undefined ? undefined : Object.values(choice).join("/"),
    database: address.database,
    frontendUrl: environment.get("FRONTEND_URL"),
  };
}

/** Where the point is, and which one; chosen under the lock, so that nobody can forget and prune it in between. */
export interface WholeSource {
  repository: Repository;
  choose: (list: PointList) => Point;
}

/**
 * Does what the plan says.
 * @throws Failure `target/unsuitable` when something stands in the way, `restore/unfinished`: nothing is touched then; and
 * whatever a stage threw: what was done is recorded then.
 */
export async function restoreWhole(source: WholeSource, given: WholeOptions): Promise<WholeSummary> {
  await using lock = await lockToRead(source.repository, given);
  const options = { ...given, signal: AbortSignal.any([given.signal, lock.signal]) };
  const reader = await readerOf(source, options);
  const { plan, context, id, at } = await planAll(reader, options);
  const [blocker] = plan.blockers;
  if (blocker !== undefined) throw new Failure("target/unsuitable", blocker.message, { hint: blocker.hint });
  const { folder, fresh, manifest } = context;
  const journal = await Journal.begin(journalFile(folder), {
    id,
    program: options.program,
    beganAt: at,
    point: plan.point,
    snapshot: plan.snapshot,
    takenAt: plan.takenAt,
    installation: { id: manifest.installation.id, name: manifest.installation.name },
    repository: options.repositoryName,
    parts: plan.parts,
    options: options.stages,
    place: identityOf(options.place),
    fresh: fresh?.database,
    findings: context.redact(plan.findings),
    stages: plan.stages.map(({ name }) => ({ name, state: "waiting", seconds: 0 })),
  });
  return await goOn(journal, context, { findings: plan.findings, isConfigured: options.own !== undefined });
}

async function readerOf({ repository, choose }: WholeSource, options: Surrounding): Promise<PointReader> {
  const point = choose(await listPoints(repository, options));
  await repository.loadIndex(options);
  return new PointReader(repository, point, options);
}

export interface ResumeOptions extends Watching {
  place: Place;
  /** A configuration says which place it is. */
  isConfigured: boolean;
  /** What is to become of messages, where it is said anew. */
  outbound: StageOptions["outbound"] | undefined;
}

/**
 * Goes on with a restore that was interrupted, or that stopped where somebody had to decide.
 * @throws Failure `restore/unfinished` where a rollback of it was begun, `target/unsuitable` where the place is another.
 */
export async function resumeWhole(
  repository: Repository,
  { folder, journal }: KeptRestore,
  given: ResumeOptions,
): Promise<WholeSummary> {
  await using lock = await lockToRead(repository, given);
  const options = { ...given, signal: AbortSignal.any([given.signal, lock.signal]) };
  const { value } = journal;
  if (value.state === "undoing") {
    throw new Failure("restore/unfinished", "a rollback of that restore was begun, so it cannot be gone on with", {
      hint: "'chatkeep rollback' goes on with that.",
    });
  }
  refuseOtherPlace(value, options.place);
  const { outbound } = options;
  if (outbound !== undefined && outbound !== value.options.outbound)
    await journal.set({ options: { ...value.options, outbound } });
  const choose = (list: PointList) => {
    const found = pointOfSnapshot(list, value.snapshot);
    if (found !== undefined) return found;
    throw new Failure(
      "point/not-found",
      `the restore point that is being restored (${shortId(value.point)}) is not there`,
      {
        hint: "Name the repository that has it with --repository, or undo what was done: 'chatkeep rollback'.",
      },
    );
  };
  const reader = await readerOf({ repository, choose }, options);
  const stages = { ...journal.value.options, outbound: outbound ?? saidBefore(value, options) };
  const context = await contextOf(reader, { ...options, stages, folder, fresh: value.fresh });
  return await goOn(journal, context, { findings: value.findings ?? [], isConfigured: options.isConfigured });
}

/** Whoever let a restore hold, and calls again at a terminal, is there to be asked now. */
function saidBefore({ options: { outbound } }: JournalValue, { ask }: ResumeOptions): StageOptions["outbound"] {
  return outbound === "hold" && ask !== undefined ? "ask" : outbound;
}

/** What a rollback or a resumed restore would work on must be what the restore worked on. @throws Failure `target/unsuitable`. */
export function refuseOtherPlace({ place: was }: Pick<JournalValue, "place">, place: Place): void {
  const is = identityOf(place);
  const differing = (["kind", "root", "choice", "database"] as const).filter((name) => was[name] !== is[name]);
  const [first] = differing;
  if (first === undefined) return;
  const word = { kind: "kind", root: "folder", choice: "project or container", database: "database" }[first];
  throw new Failure(
    "target/unsuitable",
    `the restore was begun in another place: its ${word} was '${was[first] ?? "none"}' and is '${is[first] ?? "none"}' now`,
    { hint: "Nothing was changed. Name the configuration of that place with --config, or make the place what it was." },
  );
}

interface KnownBefore {
  findings: readonly Finding[];
  isConfigured: boolean;
}

async function goOn(
  journal: Journal,
  context: StageContext,
  { findings, isConfigured }: KnownBefore,
): Promise<WholeSummary> {
  let applied: Applied;
  try {
    applied = await applyStages(ALL_STAGES, context, journal);
  } catch (error) {
    throw withWayOn(error, WAY_ON, context.signal);
  }
  const steps = await watchSteps(journal, context, isConfigured);
  return summarize(journal, applied, { findings, steps });
}

/** A clone is nothing that is protected as the installation was. */
async function watchSteps(
  { value: { stages, options, installation } }: Journal,
  { reader, place, signal }: StageContext,
  isConfigured: boolean,
): Promise<string[]> {
  const isInPlace = stages.some(({ name, state }) => name === "swap" && state === "done");
  if (!isInPlace || options.clone !== undefined) return [];
  const { address } = place;
  return await newServerSteps(reader.repository, {
    address,
    installation: installation.id,
    isOwn: true,
    isConfigured,
    signal,
  });
}

/** Whatever went wrong, there is a way on and a way back. */
const WAY_ON = "'chatkeep restore --resume' goes on where it stopped; 'chatkeep rollback' undoes what was done.";

function summarize(
  journal: Journal,
  { held }: Applied,
  { findings, steps }: { findings: readonly Finding[]; steps: readonly string[] },
): WholeSummary {
  const { id, point, stages } = journal.value;
  const results = stages.flatMap(({ result }) => result ?? []);
  const heldFinding: Finding[] =
    held === undefined
      ? []
      : [
          {
            kind: "restore-held",
            level: "warning",
            message: `the restore stopped before the end, at '${held.stage}': ${held.why}`,
            hint:
              held.stage === "outbound"
                ? "'chatkeep restore --resume --outbound defuse' goes on without them, '… --outbound allow' lets them out; 'chatkeep rollback' undoes all."
                : WAY_ON,
          },
        ];
  return {
    type: "summary",
    verb: "restore",
    isWhole: true,
    restore: id,
    point,
    state: held === undefined ? "done" : "held",
    held: held ?? null,
    stages: stages.map(({ name, state, seconds, result }) => ({
      name,
      state,
      seconds,
      lines: [...(result?.lines ?? [])],
    })),
    seconds: stages.reduce((sum, { seconds }) => sum + seconds, 0),
    findings: [
      ...unsettled(ALL_STAGES, journal, [...findings, ...results.flatMap(({ findings: found }) => found)]),
      ...heldFinding,
    ],
    next: [
      ...results.flatMap(({ next = [] }) => next),
      ...steps,
      ...(held === undefined
        ? [
            "look whether all is as it should be: 'chatkeep rollback' undoes all of it, and 'chatkeep restore --discard-previous' drops what was put aside",
          ]
        : []),
    ],
  };
}
