/** What `doctor` asks of each repository: whether it can be had and used, and how old and how proven its restore points are. */
import { formatSeconds, plural } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { Failure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import type { Progress } from "../base/progress.ts";
import type { Repository } from "../repo/repository.ts";
import { acksOf, awaitingAck, type KnownAcks, readAck } from "./acks.ts";
import { type CopiedPoints, copiedPoints } from "./copy.ts";
import { addTo, attempt, type Report } from "./doctor-report.ts";
import {
  type KnownRepository,
  copyFindings,
  kitFindings,
  notWholeFindings,
  passwordFindings,
  permissionFindings,
} from "./doctor-repositories.ts";
import { tryPlace } from "./doctor-store.ts";
import { aheadFindings, lostBlobs, missingFindings } from "./findings.ts";
import { heldPointFindings, lostHeldPoints } from "./held-points.ts";
import {
  DEFAULT_OBJECTIVES,
  noPointFinding,
  type Objectives,
  overdueFindings,
  pointObjectives,
  proofAge,
  proofFindings,
  recoveryFindings,
} from "./objectives.ts";
import { PointReader } from "./point-reader.ts";
import { isImported, listPoints, type Point, type PointList, pointsAhead, recoverSeconds } from "./points.ts";
import { awaitingFinding } from "./shrinkage.ts";
import { NO_WATCH, safeUntilMs, windowFindings } from "./watch-findings.ts";
import { reportWindows } from "./window-report.ts";
import type { WatchState, WindowReport } from "./window-summary.ts";

export interface RepositoriesExamination {
  config: {
    path: string;
    config: {
      installation: { id: string; name: string };
      repositories: KnownRepository[];
    };
  };
  openRepository(name: string): Promise<{ repository: Repository }>;
  readPassword(name: string): Promise<string>;
  /** The page of the recovery kit, where it lies on this machine still. */
  findKit?(name: string): Promise<string | undefined>;
  /** What is not said is {@link DEFAULT_OBJECTIVES}. */
  objectives?: Objectives;
  /** What is known of a watch here, and `retention.window` in milliseconds. */
  continuous?: { watch: () => Promise<WatchState>; windowMs: number } | undefined;
  clock: Clock;
  progress: Progress;
  signal: AbortSignal;
}

/** What doctor learns of earlier runs. */
export interface Known {
  /** What was acknowledged, by repository. */
  acks: KnownAcks[];
  /** What the newest restore point of all told. */
  told: readonly Finding[];
  /** Ids of the blobs that it tells to be lost, by service. */
  lost: ReadonlyMap<string, readonly string[]>;
  /** Names of repositories that answer and hold no restore point of this installation. */
  empty: readonly string[];
}

export async function examineRepositories(ports: RepositoriesExamination, report: Report): Promise<Known> {
  const { path, config } = ports.config;
  const { id, name: ownName } = config.installation;
  const { repositories } = config;
  report.findings.push(...(await permissionFindings(path, repositories)));
  const passwords = new Map<string, string>();
  const points = new Map<string, CopiedPoints & { points: Point[] }>();
  const acks: KnownAcks[] = [];
  const readers: PointReader[] = [];
  for (const known of repositories) {
    const { name } = known;
    const opened = await attempt(report, () => ports.openRepository(name));
    if (opened === undefined) continue;
    report.findings.push(...kitFindings(known, opened.repository, await ports.findKit?.(name)));
    ports.progress.stage(`trying the place of repository '${name}'`);
    await attempt(report, async () => {
      addTo(report, await tryPlace(name, opened.repository.store, ports));
    });
    await attempt(report, () => examineRetention(ports, report, name, opened.repository));
    await attempt(report, async () => {
      passwords.set(name, await ports.readPassword(name));
      const list = await listPoints(opened.repository, ports);
      const [shrunk] = awaitingAck(list, id);
      if (shrunk !== undefined) report.findings.push(awaitingFinding(shrunk, name));
      report.findings.push(...heldPointFindings(lostHeldPoints(list, ports.clock.now()), name));
      const copied = minePoints(list, id);
      const mine = copied.points;
      points.set(name, copied);
      report.findings.push(...(await notWholeFindings(name, opened.repository, mine, ports)));
      acks.push(acksIn(opened.repository, list, id, ports));
      const last = newestOf(mine, ports.clock.now());
      if (last !== undefined) readers.push(new PointReader(opened.repository, last, ports));
      const [window] = await reportWindows(opened.repository, list, { ...ports, installationId: id });
      examinePoints(ports, report, { name, mine, window, watch: (await ports.continuous?.watch()) ?? NO_WATCH });
    });
  }
  const newest = await attempt(report, async () => await examineNewest(report, readers));
  const proofs = [...points.values()].flatMap((copied) => copied.points);
  report.findings.push(...proofFindings(proofAge(proofs, ports.clock.now()), ports.objectives ?? DEFAULT_OBJECTIVES));
  const names = [id, ownName, ...repositories.map((known) => known.name), "chatkeep", "chatwoot"];
  report.findings.push(
    ...passwordFindings(passwords, names),
    ...copyFindings(points, { installationId: id, nowMs: ports.clock.now() }),
  );
  const empty = [...points].filter(([, copied]) => copied.points.length === 0).map(([name]) => name);
  return { acks, told: newest?.told ?? [], lost: newest?.lost ?? new Map(), empty };
}

function acksIn(
  repository: Repository,
  list: PointList,
  installationId: string,
  { signal }: { signal: AbortSignal },
): KnownAcks {
  return {
    acks: acksOf(list, installationId),
    async read(record) {
      await repository.loadIndex({ signal });
      return await readAck(repository, record, { signal });
    },
  };
}

/** Neither one from a clock that was ahead nor a dump that was imported must hide that no backup was made since. */
function newestOf(mine: readonly Point[], nowMs: number): Point | undefined {
  const own = mine.filter((point) => !isImported(point));
  const ahead = pointsAhead(own, nowMs);
  return own.find((point) => !ahead.includes(point)) ?? own[0];
}

/**
 * What the newest restore point of all, wherever it is, lacks of the uploaded files.
 * @returns what it told when it was made, and which files are lost to it.
 */
async function examineNewest(
  report: Report,
  readers: readonly PointReader[],
): Promise<Pick<Known, "told" | "lost"> | undefined> {
  const [newest] = readers.toSorted((a, b) => b.point.takenAtMs - a.point.takenAtMs);
  if (newest === undefined) return undefined;
  const { storage, startedAt, findings } = await newest.manifest();
  const lost = new Map<string, string[]>();
  for (const service of storage) {
    const missing = await newest.missing(service);
    report.findings.push(...missingFindings({ point: newest.point.id, startedAt, service: service.name, missing }));
    lost.set(
      service.name,
      lostBlobs(missing).map(({ id }) => id),
    );
  }
  return { told: findings, lost };
}

async function examineRetention(
  { signal }: RepositoriesExamination,
  report: Report,
  name: string,
  { store: { retention } }: Repository,
): Promise<void> {
  if (retention === undefined) return;
  await retention.check({ signal });
  const { forMs, mode } = retention.policy;
  report.facts.push({
    name: `files in '${name}'`,
    value: `locked for ${plural(forMs / 86_400_000, "day")}, ${mode}`,
    from: "the configuration",
  });
}

function minePoints(list: PointList, id: string): CopiedPoints & { points: Point[] } {
  return { ...copiedPoints(list), points: list.points.filter((point) => point.installationId === id) };
}

function examinePoints(
  ports: RepositoriesExamination,
  report: Report,
  {
    name,
    mine,
    window,
    watch,
  }: { name: string; mine: readonly Point[]; window: WindowReport | undefined; watch: WatchState },
): void {
  report.findings.push(...aheadFindings(pointsAhead(mine, ports.clock.now()), name));
  const newest = newestOf(mine, ports.clock.now());
  if (newest === undefined) {
    report.findings.push(noPointFinding(name, mine.length > 0));
    return;
  }
  const age = (ports.clock.now() - newest.takenAtMs) / 1000;
  report.facts.push({
    name: `newest point in '${name}'`,
    value: `${formatSeconds(Math.max(0, age))} old`,
    from: newest.snapshot.time,
  });
  const objectives = ports.objectives ?? DEFAULT_OBJECTIVES;
  const nowMs = ports.clock.now();
  const windowMs = ports.continuous?.windowMs ?? 0;
  const asked = pointObjectives(objectives, safeUntilMs(name, window, watch, nowMs), nowMs);
  report.findings.push(
    ...overdueFindings(name, age * 1000, asked),
    ...windowFindings(name, { window, watch }, { objectives, windowMs, nowMs }),
  );
  const proven = mine.find((point) => point.proof?.proven === true);
  if (proven !== undefined) report.findings.push(...recoveryFindings(name, recoverSeconds(proven), objectives));
  if (proven === undefined) {
    report.findings.push({
      kind: "never-proven",
      level: "warning",
      message: `no restore point in '${name}' was ever proven to restore`,
      hint: "Run 'chatkeep drill'.",
    });
  }
  if (newest.proof?.proven === false)
    throw new Failure("drill/not-proven", `the last drill of the newest point in '${name}' failed`, {
      hint: "'chatkeep show latest' says which check.",
    });
}
