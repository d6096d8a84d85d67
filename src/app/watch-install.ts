/** `watch --install`, `--remove` and `--print`: continuous protection that runs for good. */
import { rm } from "node:fs/promises";
import { resolve } from "node:path";
import { failureOf, isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import type { WatchStatus } from "../job/watch-book.ts";
import { watchState } from "../job/watch-findings.ts";
import type { WatchServiceSummary } from "../job/watch-service-summary.ts";
import type { ServerAddress } from "../postgres/address.ts";
import { connect } from "../postgres/connect.ts";
import { dropOwnSlot, readSlot, slotName } from "../postgres/replication-slots.ts";
import { formatWatchDeployment } from "../schedule/cron-job.ts";
import type { WatchJob } from "../schedule/job.ts";
import { formatWatchCompose } from "../schedule/manifests.ts";
import {
  ELSE_WATCH,
  installService,
  readService,
  removeUnits,
  requireSystemd,
  type Systemd,
} from "../schedule/systemd.ts";
import { formatWatchUnit } from "../schedule/units.ts";
import { loadConfig, type LoadedConfig } from "./config.ts";
import { openInstallation } from "./installation.ts";
import { VERSION } from "./program.ts";
import { acceptServer } from "./new-server.ts";
import { notInPod } from "./schedule.ts";
import {
  composeOptions,
  lingerFindings,
  localPlaces,
  makePlaces,
  ownJob,
  systemdHere,
  variableFindings,
} from "./service-here.ts";
import { findStateFolder, SYSTEM_STATE, watchFile } from "./state-folder.ts";
import type { Globals, Surroundings } from "./surroundings.ts";
import { timeZoneOf } from "./tidy.ts";
import type { WatchFlags } from "./watch.ts";
import { chooseMode, wayToLog } from "./watch-mode.ts";
import { readWatch, watchMetricsFile } from "./watched.ts";

const WATCH_MANIFESTS = ["systemd", "compose", "kubernetes"] as const;

export interface WatchServiceFlags extends WatchFlags {
  readonly action: "install" | "remove" | "new-server" | (typeof WATCH_MANIFESTS)[number];
  readonly image: string | undefined;
  /** Asks before something of the server's is dropped; false where nobody can answer. */
  readonly confirm: (question: string) => Promise<boolean>;
}

interface Here {
  readonly loaded: LoadedConfig;
  readonly job: WatchJob;
  readonly systemd: Systemd;
  readonly flags: WatchServiceFlags;
  readonly s: Surroundings;
}

/** @throws Failure `schedule/unsuitable` where no systemd runs, or it refuses. */
export async function runWatchService(
  globals: Globals,
  flags: WatchServiceFlags,
  s: Surroundings,
): Promise<WatchServiceSummary> {
  const loaded = await loadConfig(globals, s);
  if (flags.action === "new-server")
    return { ...summaryOf("new-server"), server: await acceptServer(loaded, flags, s) };
  const job: WatchJob = {
    ...(await ownJob(loaded, s)),
    timeZone: timeZoneOf(loaded.config),
    options: optionsOf(globals, flags),
  };
  const here: Here = { loaded, job, systemd: systemdHere(s), flags, s };
  if (flags.action === "install") return await install(here);
  if (flags.action === "remove") return await remove(here);
  return await print(here, flags.action);
}

function given(flag: string, value: string | undefined): string[] {
  return value === undefined ? [] : [flag, value];
}

function optionsOf({ repository }: Globals, { mode, flushEvery, interval }: WatchFlags): WatchJob["options"] {
  return {
    program: given("--repository", repository),
    watch: [...given("--mode", mode), ...given("--flush-every", flushEvery), ...given("--interval", interval)],
  };
}

function summaryOf(action: WatchServiceSummary["action"]): WatchServiceSummary {
  return {
    type: "summary",
    verb: "watch",
    action,
    by: null,
    state: null,
    installed: [],
    removed: [],
    slot: null,
    stays: [],
    server: null,
    manifest: null,
    findings: [],
  };
}

async function install(here: Here): Promise<WatchServiceSummary> {
  const { job, systemd, s } = here;
  await requireSystemd(systemd, s, ELSE_WATCH);
  await makePlaces(here);
  const unit = formatWatchUnit(job, systemd.scope);
  const installed = await installService(systemd, unit, job.installation.id, s);
  const { state } = await readService(systemd, unit.name, s);
  return {
    ...summaryOf("install"),
    by: systemd.scope === "system" ? "systemd" : "systemd user",
    state,
    installed,
    findings: [...(await lingerFindings(systemd, "service")), ...variableFindings(here), ...(await modeFindings(here))],
  };
}

/** How it will protect, as far as it can be told now. */
async function modeFindings({ loaded: { config }, flags, s }: Here): Promise<Finding[]> {
  try {
    const found = await openInstallation(config.installation, s, config.database);
    const way = await wayToLog(config, { found, address: found.address() }, s);
    const { why, change } = await chooseMode(flags.mode ?? config.watch?.mode ?? "auto", way, s);
    if (why === undefined) return [];
    return [
      {
        kind: "log-not-followed",
        level: "warning",
        message: `a restore point is made every few minutes, because the log cannot be followed: ${why}`,
        hint: change ?? "'chatkeep doctor' says more.",
      },
    ];
  } catch (error) {
    s.signal.throwIfAborted();
    const { code, message, hint } = failureOf(error);
    if (code === "internal/bug") throw error;
    return [{ kind: code.replace("/", "-"), level: "warning", message, hint: hint ?? "It is tried again by itself." }];
  }
}

async function remove(here: Here): Promise<WatchServiceSummary> {
  const { loaded, job, systemd, s } = here;
  const { id } = job.installation;
  const removed = await removeUnits(systemd, id, s, "watch");
  const running = await runningWatch(loaded, s);
  if (running !== null) {
    // A temporary one has a name of its own.
    const findings = [watchGoesOn(running.pid, running.log?.slot.name ?? slotName(id))];
    return { ...summaryOf("remove"), removed, findings, stays: staysOf(loaded) };
  }
  // What nobody writes any more would be taken for a watch that has died.
  await rm(watchFile(await findStateFolder(loaded, s)), { force: true });
  const metrics = watchMetricsFile(loaded.config, s);
  if (metrics !== undefined) await rm(metrics, { force: true });
  const { slot, findings } = await giveUpSlot(here);
  return { ...summaryOf("remove"), removed, slot, findings, stays: staysOf(loaded) };
}

/** What a watch says of itself that no service of ours runs: in a terminal, or by whatever else keeps it running on this machine. */
async function runningWatch(loaded: LoadedConfig, s: Surroundings): Promise<WatchStatus | null> {
  const facts = await readWatch(loaded, s);
  const { isRunning, report } = watchState(facts, s.clock.now());
  return isRunning && facts.isAlive === true ? report : null;
}

/** Its slot is read from, and the server would name a process of its own for that, which nobody is to end. */
function watchGoesOn(pid: number, slot: string): Finding {
  return {
    kind: "watch-goes-on",
    level: "warning",
    message: `a watch of this installation goes on that no service here runs (process ${pid} of this machine), so its replication slot '${slot}' was left`,
    hint: `End it first: Ctrl+C in its terminal, 'kill ${pid}', or by what keeps it running. Then 'chatkeep watch --remove' again.`,
  };
}

function staysOf({ config }: LoadedConfig): string[] {
  return [
    "What is in the repositories stays: bases, the log, restore points. Moments can be brought back until 'forget' lets go of them.",
    ...(config.watch === undefined
      ? []
      : ["'watch' in the configuration stays: take it out, or 'status' and 'doctor' go on asking for one that runs."]),
    "Settings of the server and lines of pg_hba.conf stay; 'chatkeep doctor' told what was changed, and how it is undone.",
  ];
}

type SlotAnswer = Pick<WatchServiceSummary, "slot" | "findings">;

/** A slot that nobody reads makes the server keep its log, up to its bound. */
async function giveUpSlot({ loaded: { config }, job, flags, s }: Here): Promise<SlotAnswer> {
  const name = slotName(job.installation.id);
  try {
    const found = await openInstallation(config.installation, s, config.database);
    const { address } = await wayToLog(config, { found, address: found.address() }, s);
    return await dropAt(address, name, flags, s);
  } catch (error) {
    s.signal.throwIfAborted();
    const failure = failureOf(error);
    if (failure.code === "internal/bug") throw error;
    return { slot: null, findings: [slotLeft(name, failure.message)] };
  }
}

async function dropAt(
  address: ServerAddress,
  name: string,
  { confirm }: WatchServiceFlags,
  s: Surroundings,
): Promise<SlotAnswer> {
  await using connection = await connect(address, s);
  if ((await readSlot(connection, name)) === undefined)
    return { slot: { name, wasThere: false, isDropped: false }, findings: [] };
  const isMeant = await confirm(
    `Drop the replication slot '${name}'? A new watch then begins with a new base, and what is written until then is in no window.`,
  );
  if (!isMeant)
    return { slot: { name, wasThere: true, isDropped: false }, findings: [slotLeft(name, "nobody confirmed it")] };
  try {
    await dropOwnSlot(connection, name, s);
  } catch (error) {
    if (s.signal.aborted || !isFailure(error)) throw error;
    return { slot: { name, wasThere: true, isDropped: false }, findings: [slotLeft(name, error.message)] };
  }
  return { slot: { name, wasThere: true, isDropped: true }, findings: [] };
}

function slotLeft(name: string, why: string): Finding {
  return {
    kind: "slot-left",
    level: "warning",
    subject: name,
    message: `the replication slot '${name}' was not dropped: ${why}`,
    hint: `The server keeps its log for it, up to max_slot_wal_keep_size. 'chatkeep watch --remove --yes' tries again; a superuser: SELECT pg_drop_replication_slot('${name}');`,
  };
}

async function print(here: Here, kind: (typeof WATCH_MANIFESTS)[number]): Promise<WatchServiceSummary> {
  const { loaded, job, systemd, flags, s } = here;
  const image = flags.image ?? `chatkeep:${VERSION}`;
  if (kind === "systemd") return { ...summaryOf("print"), manifest: formatWatchUnit(job, systemd.scope).service };
  if (kind === "kubernetes") {
    const stateDir = resolve(s.cwd, loaded.config["state-dir"] ?? SYSTEM_STATE);
    const local = localPlaces(loaded.config, s);
    const manifest = formatWatchDeployment(job, { image, stateDir, local });
    return { ...summaryOf("print"), manifest, findings: local.map(notInPod) };
  }
  const database = await databaseService(here);
  const manifest = formatWatchCompose(job, { image, database, ...(await composeOptions(loaded, s)) });
  return { ...summaryOf("print"), manifest };
}

/** What Compose calls the database; undefined where it cannot be asked. Printing takes no installation. */
async function databaseService({ loaded: { config }, s }: Here): Promise<string | undefined> {
  try {
    const { installation } = await openInstallation(config.installation, s, config.database);
    return installation.databaseService;
  } catch (error) {
    if (s.signal.aborted || !isFailure(error) || error.code === "internal/bug") throw error;
    return undefined;
  }
}
