/**
 * Looks for everything that would make a backup or a restore fail, and for data that is being lost already. Every
 * check runs, whatever the others found; each finding says what it means and what to do.
 */
import type { Finding } from "../base/findings.ts";
import { sortFindings } from "../base/findings.ts";
import { captureConfig } from "../installation/config.ts";
import type { Installation } from "../installation/installation.ts";
import type { ServerAddress } from "../postgres/address.ts";
import {
  chatwootUsers,
  type Disk,
  diskFacts,
  type DiskUser,
  lowDiskFindings,
  placeFindings,
  readDisks,
  roomFindings,
  repositoryUsers,
} from "./disks.ts";
import { askDatabase, type DatabaseExamination } from "./doctor-database.ts";
import { examineHealth, installationFacts } from "./doctor-installation.ts";
import { examineRepositories, type Known, type RepositoriesExamination } from "./doctor-points.ts";
import { addTo, attempt, emptyReport, type Report } from "./doctor-report.ts";
import { examineStandby } from "./doctor-standby.ts";
import { examineStorage, type StorageExamination } from "./doctor-storage.ts";
import { quietKnown, quietTold } from "./quiet.ts";
import type { DoctorSummary } from "./summaries.ts";

export interface DoctorPorts
  extends Omit<StorageExamination, "knownLost">, DatabaseExamination, Omit<RepositoriesExamination, "config"> {
  config: RepositoriesExamination["config"] | undefined;
  openInstallation(): Promise<Found>;
  /** Undefined where the configuration names no standby. */
  standby?(): Promise<ServerAddress | undefined>;
  /** Folders of this machine that a run needs room in. */
  ownFolders(): Promise<{ what: string; path: string }[]>;
  /** What only the configuration tells: of the daily run, of who is told, of the recovery kit. */
  otherFindings(): Promise<Finding[]>;
  /** Whether the server's log can be followed, where that is meant. */
  followFindings?(): Promise<Finding[]>;
}

interface Found {
  installation: Installation;
  findings: Finding[];
  address(): ServerAddress;
}

export async function doctor(ports: DoctorPorts): Promise<DoctorSummary> {
  const report = emptyReport();
  // First, as they say which files are lost already; told last.
  ports.progress.stage("looking at the repositories");
  const repositories = emptyReport();
  let known: Known = { acks: [], told: [], lost: new Map(), empty: [] };
  if (ports.config === undefined) repositories.findings.push(NOT_SET_UP);
  else known = await examineRepositories({ ...ports, config: ports.config }, repositories);
  ports.progress.stage("looking at the installation");
  const found = await attempt(report, () => ports.openInstallation());
  const filesBytes = found === undefined ? 0 : await examineInstallation(ports, report, { ...found, lost: known.lost });
  ports.progress.stage("looking at the disks");
  const disks = await attempt(report, async () => await examineDisks(ports, report, found));
  const isTold = new Set(report.findings.map(({ message }) => message));
  addTo(report, { ...repositories, findings: repositories.findings.filter(({ message }) => !isTold.has(message)) });
  report.findings.push(...roomFindings(disks ?? [], known.empty, filesBytes));
  await attempt(report, async () => addTo(report, { findings: await ports.otherFindings() }));
  await attempt(report, async () => addTo(report, { findings: (await ports.followFindings?.()) ?? [] }));
  const { facts, places } = report;
  const findings = quietTold(await quietKnown(report.findings, known.acks), known.told);
  return { type: "summary", verb: "doctor", facts, places, findings: sortFindings(findings) };
}

const NOT_SET_UP: Finding = {
  kind: "not-set-up",
  level: "warning",
  message: "there is no configuration: nothing is backed up",
  hint: "Run 'chatkeep init'.",
};

/** @returns how large all uploaded files together are, as far as that can be told. */
async function examineInstallation(
  ports: DoctorPorts,
  report: Report,
  { lost, ...found }: Found & Pick<Known, "lost">,
): Promise<number> {
  addTo(report, { findings: found.findings, facts: installationFacts(found.installation) });
  ports.progress.stage("looking at the database");
  await attempt(report, async () => await askDatabase(ports, report, found.installation, found.address()));
  await attempt(report, async () => addTo(report, { findings: await configFindings(found.installation, ports) }));
  ports.progress.stage("looking at the uploaded files");
  const storage = await attempt(report, async () => await examineStorage(found, { ...ports, knownLost: lost }));
  if (storage !== undefined) addTo(report, storage);
  ports.progress.stage("asking the web process");
  await attempt(report, async () => addTo(report, await examineHealth(found.installation, ports)));
  await attempt(report, async () => {
    const standby = await ports.standby?.();
    if (standby !== undefined) addTo(report, await examineStandby(standby, found.address(), ports));
  });
  return storage?.bytes ?? 0;
}

/** Which files of the configuration would not be saved. */
async function configFindings(installation: Installation, options: { signal: AbortSignal }): Promise<Finding[]> {
  return (await captureConfig(installation, options)).findings;
}

/** All of this machine that matters: what lies on one disk fails together, and fills it together. */
async function examineDisks(ports: DoctorPorts, report: Report, found: Found | undefined): Promise<Disk[]> {
  const repositories = ports.config?.config.repositories ?? [];
  const own = (await ports.ownFolders()).map((folder): DiskUser => ({ ...folder, role: "own" }));
  const chatwoot = found === undefined ? [] : await chatwootUsers(found.installation, () => found.address(), ports);
  const disks = await readDisks([...repositoryUsers(repositories), ...chatwoot, ...own]);
  addTo(report, {
    facts: diskFacts(disks),
    findings: [...lowDiskFindings(disks), ...placeFindings(repositories, disks)],
  });
  return disks;
}
