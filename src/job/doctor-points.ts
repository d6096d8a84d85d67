/** What `doctor` asks of each repository: whether it can be had and used, and how old and how proven its restore points are. */
import { formatSeconds, plural } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { Failure } from "../base/errors.ts";
import type { Progress } from "../base/progress.ts";
import type { Repository } from "../repo/repository.ts";
import { awaitingAck } from "./acks.ts";
import { type CopiedPoints, copiedPoints } from "./copy.ts";
import { addTo, attempt, type Report } from "./doctor-report.ts";
import {
  type KnownRepository,
  copyFindings,
  notWholeFindings,
  passwordFindings,
  permissionFindings,
} from "./doctor-repositories.ts";
import { tryPlace } from "./doctor-store.ts";
import { aheadFindings } from "./findings.ts";
import { heldPointFindings, lostHeldPoints } from "./held-points.ts";
import {
  DEFAULT_OBJECTIVES,
  type Objectives,
  overdueFindings,
  proofAge,
  proofFindings,
  recoveryFindings,
} from "./objectives.ts";
import { listPoints, type Point, type PointList, pointsAhead, recoverSeconds } from "./points.ts";
import { awaitingFinding } from "./shrinkage.ts";

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
  /** What is not said is {@link DEFAULT_OBJECTIVES}. */
  objectives?: Objectives;
  clock: Clock;
  progress: Progress;
  signal: AbortSignal;
}

export async function examineRepositories(ports: RepositoriesExamination, report: Report): Promise<void> {
  const { path, config } = ports.config;
  const { id, name: ownName } = config.installation;
  const { repositories } = config;
  report.findings.push(...(await permissionFindings(path, repositories)));
  const passwords = new Map<string, string>();
  const points = new Map<string, CopiedPoints>();
  for (const { name } of repositories) {
    const opened = await attempt(report, () => ports.openRepository(name));
    if (opened === undefined) continue;
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
      examinePoints(ports, report, name, mine);
    });
  }
  const proofs = [...points.values()].flatMap((copied) => copied.points);
  report.findings.push(...proofFindings(proofAge(proofs, ports.clock.now()), ports.objectives ?? DEFAULT_OBJECTIVES));
  const names = [id, ownName, ...repositories.map((known) => known.name), "chatkeep", "chatwoot"];
  report.findings.push(
    ...passwordFindings(passwords, names),
    ...copyFindings(points, { installationId: id, nowMs: ports.clock.now() }),
  );
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

function examinePoints(ports: RepositoriesExamination, report: Report, name: string, mine: readonly Point[]): void {
  const ahead = pointsAhead(mine, ports.clock.now());
  report.findings.push(...aheadFindings(ahead, name));
  // One from a clock that was ahead must not hide that no backup was made since.
  const newest = mine.find((point) => !ahead.includes(point)) ?? mine[0];
  if (newest === undefined) {
    report.findings.push({
      kind: "no-restore-point",
      level: "alarm",
      message: `repository '${name}' holds no restore point of this installation`,
      hint: "Run 'chatkeep backup'.",
    });
    return;
  }
  const age = (ports.clock.now() - newest.takenAtMs) / 1000;
  report.facts.push({
    name: `newest point in '${name}'`,
    value: `${formatSeconds(Math.max(0, age))} old`,
    from: newest.snapshot.time,
  });
  const objectives = ports.objectives ?? DEFAULT_OBJECTIVES;
  report.findings.push(...overdueFindings(name, age * 1000, objectives));
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
