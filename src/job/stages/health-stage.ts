/** Sees that the web process is well, that it is the version that it was, and that uploaded files come through it. */
import { listSome, plural } from "../../base/bytes.ts";
import type { Finding } from "../../base/findings.ts";
import { LIMITS } from "../../base/limits.ts";
import {
  checkHealth,
  describeStep,
  type Health,
  type HealthCheck,
  startStep,
  type Step,
} from "../../installation/processes.ts";
import { describeEnd, stateOf } from "../../installation/process-state.ts";
import { lookAgain, notWell, pauseAfter, Starts, waitUntilSteady } from "./coming-up.ts";
import { readRanBefore, stepsToStart } from "./ran-before.ts";
import { filesFinding, sampleFiles } from "./sample-files.ts";
import { NOTHING_DONE, type Stage, type StageContext, type StageResult, type UndoContext } from "./stage.ts";

const NOT_SEEN: StageResult = {
  lines: ["nobody could be asked whether Chatwoot is well"],
  findings: [],
  next: [
    "Open Chatwoot in a browser, and a conversation with an attachment: no address of the web process is known here.",
  ],
};

/** What was started of the web process; none where it was left alone. */
async function startedSteps({ place, folder, options }: StageContext) {
  const ran = (options.isElsewhere ?? options.afterUpgrade) === true ? undefined : await readRanBefore(folder);
  return stepsToStart(place.installation.processes.web, "web", ran);
}

/**
 * Until the web process is well; its address may be another one once it runs.
 * @param steps What was started of it.
 * @returns undefined where nobody can be asked, or was started.
 * @throws Failure `restore/not-well`.
 */
export async function waitUntilWell(
  context: UndoContext,
  steps: readonly Step[],
): Promise<{ health: Health; check: HealthCheck } | undefined> {
  const { clock, signal, place } = context;
  const isKnown = (place.installation.processes.web?.start.length ?? 0) > 0;
  const began = clock.monotonic();
  const starts = new Starts(context);
  for (;;) {
    const check = (await lookAgain(context)).processes.health;
    const health = check === undefined ? undefined : await checkHealth(check, { signal });
    if (check !== undefined && health?.isWell === true) return { health, check };
    // Where nobody started it, nobody is waited for.
    if (steps.length === 0 && isKnown) return undefined;
    for (const step of steps) {
      const state = await stateOf(step, { signal });
      if (state === undefined) continue;
      if (!state.isWanted) throw await notWell(describeEnd(step, state), [step], context);
      await starts.count(step, state);
    }
    if (check === undefined) {
      // One that does not run has no address; one that runs, and has none even then, cannot be asked from here.
      await waitUntilSteady(steps, context);
      if ((await lookAgain(context)).processes.health === undefined) return undefined;
    }
    const waited = clock.monotonic() - began;
    if (waited >= LIMITS.healthPatienceMs) {
      const why = health?.detail ?? "it does not run";
      throw await notWell(`Chatwoot does not become well: ${why}`, steps, context);
    }
    await clock.sleep(pauseAfter(waited), signal);
  }
}

/**
 * For a restore that is gone on with: what has ended since it was started, and was corrected, is started anew. Of what a person's own
 * command has started by an earlier run nobody tells, so one that does not become well soon is taken to have ended.
 */
async function startOnceMore(context: StageContext): Promise<StageResult> {
  const { clock, folder, progress, signal } = context;
  const steps = await startedSteps(context);
  const began = clock.monotonic();
  while (steps.length > 0) {
    const check = (await lookAgain(context)).processes.health;
    if (check !== undefined && (await checkHealth(check, { signal })).isWell) break;
    const isLate = check !== undefined && clock.monotonic() - began >= LIMITS.soonMs;
    const states = await Promise.all(steps.map(async (step) => await stateOf(step, { signal })));
    const ended = steps.filter((_, at) => states[at]?.isWanted === false || (states[at] === undefined && isLate));
    for (const step of ended) await startStep(step, { folder, progress, signal });
    if (ended.length > 0) {
      const lines = [`the web process was started once more: ${listSome(ended.map(describeStep))}`];
      return { lines, findings: [] };
    }
    if (check === undefined || isLate || !states.includes(undefined)) break;
    await clock.sleep(pauseAfter(clock.monotonic() - began), signal);
  }
  return NOTHING_DONE;
}

/** The code that runs may be another than the one that the database was written by. Pure. */
function versionFindings(runs: string | undefined, saved: string | null, isMigrated: boolean): Finding[] {
  if (runs === undefined || saved === null || runs === saved || isMigrated) return [];
  return [
    {
      kind: "version-differs",
      level: "warning",
      message: `Chatwoot ${runs} runs on a database of version ${saved}`,
      hint: `Errors such as UndefinedColumn, empty lists and endless spinners come of that. Run its migrations (docs/installations.md), or run version ${saved} and upgrade afterwards.`,
    },
  ];
}

async function askForFiles(
  context: StageContext,
  check: HealthCheck,
): Promise<Pick<StageResult, "lines" | "findings">> {
  const { place, manifest, signal } = context;
  const secretKeyBase = (await lookAgain(context)).environment.get("SECRET_KEY_BASE") ?? "";
  if (check.how !== "http" || secretKeyBase === "") return { lines: [], findings: [] };
  const missing = new Set(manifest.storage.flatMap((service) => service.missing.map(({ key }) => key)));
  const sampled = await sampleFiles(place.address, { url: check.url, secretKeyBase, missing, signal });
  const findings = filesFinding(sampled);
  if (sampled.asked === 0 || findings.length > 0) return { lines: [], findings };
  return { lines: [`${plural(sampled.asked, "uploaded file")} came through the application as they were`], findings };
}

export const healthStage: Stage = {
  name: "health",
  plan: async () =>
    await Promise.resolve({
      lines: ["ask the web process whether it is well, and for some uploaded files"],
      blockers: [],
      findings: [],
    }),
  before: async (context, { isFirst }) => (isFirst ? await startOnceMore(context) : NOTHING_DONE),
  async apply(context) {
    const { manifest, options } = context;
    const found = await waitUntilWell(context, await startedSteps(context));
    if (found === undefined) return NOT_SEEN;
    const { health, check } = found;
    const files = await askForFiles(context, check);
    const version = health.version === undefined ? "" : `, Chatwoot ${health.version}`;
    return {
      lines: [`the web process is well: ${health.detail}${version}`, ...files.lines],
      findings: [...versionFindings(health.version, manifest.chatwoot.version, options.migrate), ...files.findings],
    };
  },
  // It only looked.
  undoIs: "spared",
  undo: async () => await Promise.resolve({ lines: [], findings: [] }),
};
