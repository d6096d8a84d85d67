/**
 * Looks for everything that would make a backup or a restore fail, and for data that is being lost already. Every
 * check runs, whatever the others found; each finding says what it means and what to do.
 */
import { stat } from "node:fs/promises";
import { formatBytes, formatSeconds, plural } from "../base/bytes.ts";
import { Failure, isFailure } from "../base/errors.ts";
import { type Finding, sortFindings } from "../base/findings.ts";
import type { Installation } from "../installation/installation.ts";
import { describeAddress, type ServerAddress } from "../postgres/address.ts";
import { withConflictRetries } from "../postgres/conflict.ts";
import { connect, type Connection } from "../postgres/connect.ts";
import { looksLikePooler, refuseSharedSessions } from "../postgres/pooler.ts";
import { findPrograms } from "../postgres/programs.ts";
import { readRoles } from "../postgres/roles.ts";
import { readServerFacts } from "../postgres/server-facts.ts";
import type { KeptDatabase } from "../postgres/kept-databases.ts";
import type { ScratchPlaces } from "../postgres/scratch.ts";
import type { Repository } from "../repo/repository.ts";
import { type CopiedPoints, copiedPoints } from "./copy.ts";
import { awaitingAck } from "./acks.ts";
import { aheadFindings } from "./findings.ts";
import { heldPointFindings, lostHeldPoints } from "./held-points.ts";
import { inspectChatwoot } from "./inspect-chatwoot.ts";
import { longTransactionFindings } from "./long-transactions.ts";
import {
  type KnownRepository,
  copyFindings,
  notWholeFindings,
  passwordFindings,
  permissionFindings,
} from "./doctor-repositories.ts";
import { examineSettings } from "./doctor-chatwoot.ts";
import { examineHealth, installationFacts } from "./doctor-installation.ts";
import { lookForScratchServer } from "./doctor-scratch.ts";
import { examineStandby } from "./doctor-standby.ts";
import { examineStorage, type StorageExamination } from "./doctor-storage.ts";
import { listPoints, type Point, type PointList, pointsAhead, recoverSeconds } from "./points.ts";
import { findKeySources, readKeySamples, tryKeys } from "./prove-keys.ts";
import {
  DEFAULT_OBJECTIVES,
  type Objectives,
  overdueFindings,
  proofAge,
  proofFindings,
  recoveryFindings,
} from "./objectives.ts";
import { keptFindings, listDiscardable } from "./restore-live.ts";
import { awaitingFinding } from "./shrinkage.ts";
import { namedRoles } from "./rights.ts";
import { tryPlace } from "./doctor-store.ts";
import type { DoctorSummary, TriedPlace } from "./summaries.ts";

export interface DoctorPorts extends StorageExamination {
  config:
    | {
        path: string;
        config: {
          installation: { id: string; name: string };
          repositories: KnownRepository[];
        };
      }
    | undefined;
  openInstallation(): Promise<{ installation: Installation; findings: Finding[]; address(): ServerAddress }>;
  /** Undefined where the configuration names no standby. */
  standby?(): Promise<ServerAddress | undefined>;
  openRepository(name: string): Promise<{ repository: Repository }>;
  /** What is not said is {@link DEFAULT_OBJECTIVES}. */
  objectives?: Objectives;
  /** Where a drill's server may come from. */
  scratch?: ScratchPlaces;
  readPassword(name: string): Promise<string>;
}

interface Report {
  facts: DoctorSummary["facts"];
  places: TriedPlace[];
  findings: Finding[];
}

export async function doctor(ports: DoctorPorts): Promise<DoctorSummary> {
  const report: Report = { facts: [], places: [], findings: [] };
  ports.progress.stage("looking at the installation");
  const found = await attempt(report, () => ports.openInstallation());
  if (found !== undefined) {
    report.findings.push(...found.findings);
    report.facts.push(...installationFacts(found.installation));
    ports.progress.stage("looking at the database");
    await attempt(report, async () => await askDatabase(ports, report, found.installation, found.address()));
    await attempt(report, async () => {
      ports.progress.stage("looking at the uploaded files");
      const examined = await examineStorage(found, ports);
      report.facts.push(...examined.facts);
      report.findings.push(...examined.findings);
    });
    await attempt(report, async () => {
      ports.progress.stage("asking the web process");
      const examined = await examineHealth(found.installation, ports);
      report.facts.push(...examined.facts);
      report.findings.push(...examined.findings);
    });
    await attempt(report, async () => {
      const standby = await ports.standby?.();
      if (standby === undefined) return;
      const examined = await examineStandby(standby, found.address(), ports);
      report.facts.push(...examined.facts);
      report.findings.push(...examined.findings);
    });
  }
  ports.progress.stage("looking at the repositories");
  if (ports.config === undefined) {
    report.findings.push({
      kind: "not-set-up",
      level: "warning",
      message: "there is no configuration: nothing is backed up",
      hint: "Run 'chatkeep init'.",
    });
  } else await examineRepositories(ports, ports.config, report, found?.installation);
  const { facts, places, findings } = report;
  return { type: "summary", verb: "doctor", facts, places, findings: sortFindings(findings) };
}

/** A failure is a finding here: the other checks go on. */
async function attempt<T>(report: Report, work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (!isFailure(error) || error.code === "internal/bug" || error.code === "run/cancelled") throw error;
    // Two checks may meet the same trouble.
    if (report.findings.some(({ message }) => message === error.message)) return undefined;
    report.findings.push({
      kind: error.code.replace("/", "-"),
      level: "alarm",
      message: error.message,
      hint: error.hint ?? "Mend it, then run 'chatkeep doctor' again.",
    });
    return undefined;
  }
}

/** It may be a standby: what that ends is asked again. */
async function askDatabase(
  ports: DoctorPorts,
  report: Report,
  ...database: [Installation, ServerAddress]
): Promise<void> {
  let asked: Report = { facts: [], places: [], findings: [] };
  try {
    await withConflictRetries(async () => {
      asked = { facts: [], places: [], findings: [] };
      await examineDatabase(ports, asked, ...database);
    });
  } finally {
    report.facts.push(...asked.facts);
    report.findings.push(...asked.findings);
  }
}

async function examineDatabase(
  ports: DoctorPorts,
  report: Report,
  installation: Installation,
  address: ServerAddress,
): Promise<void> {
  await using connection = await connect(address, { signal: ports.signal });
  report.findings.push(...poolerFindings(address, await refuseSharedSessions(connection, ports)));
  const server = await readServerFacts(connection);
  const size = await databaseSize(connection);
  report.facts.push({
    name: "database",
    value: `PostgreSQL ${server.version}, ${formatBytes(size)}`,
    from: describeAddress(address),
  });
  const chatwoot = await inspectChatwoot(connection, address, { signal: ports.signal });
  if (chatwoot.failure !== undefined) throw chatwoot.failure;
  report.findings.push(...chatwoot.findings, ...(await longTransactionFindings(connection)));
  await examineRights(report, connection);
  await attempt(report, async () => {
    const programs = await findPrograms(server.major, { signal: ports.signal });
    report.facts.push({
      name: "client programs",
      value: `PostgreSQL ${programs.major}`,
      from: programs.where,
    });
  });
  report.findings.push(...keptFindings(await keptBeside(ports, address)));
  const scratch = await lookForScratchServer(server, namedRoles(await readRoles(connection)), ports);
  report.facts.push(...scratch.facts);
  report.findings.push(...scratch.findings);
  const proof = await tryKeys(
    installation.environment,
    await readKeySamples(connection, await findKeySources(connection)),
  );
  report.findings.push(...proof.findings);
  report.findings.push(...(await examineSettings(installation.environment, connection)));
}

function poolerFindings(address: ServerAddress, isBetween: boolean): Finding[] {
  if (!isBetween || !looksLikePooler(address)) return [];
  return [
    {
      kind: "pooler-between",
      level: "note",
      message: `the address of the database looks like a pooler's, and one answers there (${describeAddress(address)})`,
      hint: "It keeps sessions apart, so backups work. In transaction mode they would not: the server's own address is safer.",
    },
  ];
}

/** Where no other database may be joined, none could have been put aside. */
async function keptBeside(ports: DoctorPorts, address: ServerAddress): Promise<KeptDatabase[]> {
  try {
    return await listDiscardable(address, { signal: ports.signal });
  } catch (error) {
    if (!isFailure(error, "database/denied")) throw error;
    return [];
  }
}

async function databaseSize(connection: Connection): Promise<number> {
  const [row] = await connection.query<{ bytes: string }>("select pg_database_size(current_database())::text as bytes");
  return Number(row?.bytes ?? 0);
}

async function examineRights(report: Report, connection: Connection): Promise<void> {
  const rows = await connection.query<{ name: string }>(
    `select format('%I.%I', n.nspname, c.relname) as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p', 'S') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
       and not (has_schema_privilege(n.oid, 'usage')
                and case when c.relkind = 'S' then has_sequence_privilege(c.oid, 'select') else has_table_privilege(c.oid, 'select') end)
     order by 1`,
  );
  if (rows.length === 0) return;
  report.findings.push({
    kind: "database-denied",
    level: "alarm",
    message: `the database role may not read ${rows
      .slice(0, 3)
      .map((row) => row.name)
      .join(", ")}${rows.length > 3 ? `, and ${rows.length - 3} more` : ""}`,
    hint: "Grant it: GRANT SELECT ON ALL TABLES IN SCHEMA public TO the role (and on all sequences), or use the owner.",
  });
}

async function examineRepositories(
  ports: DoctorPorts,
  loaded: NonNullable<DoctorPorts["config"]>,
  report: Report,
  installation: Installation | undefined,
): Promise<void> {
  const { id, name: ownName } = loaded.config.installation;
  const { repositories } = loaded.config;
  report.findings.push(...(await permissionFindings(loaded.path, repositories)));
  const passwords = new Map<string, string>();
  const points = new Map<string, CopiedPoints>();
  for (const { name, location } of repositories) {
    const opened = await attempt(report, () => ports.openRepository(name));
    if (opened === undefined) continue;
    await examineDisk(report, name, location, installation);
    ports.progress.stage(`trying the place of repository '${name}'`);
    await attempt(report, async () => {
      const tried = await tryPlace(name, opened.repository.store, ports);
      report.facts.push(...tried.facts);
      report.places.push(...tried.places);
      report.findings.push(...tried.findings);
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

/** A repository on the same disk as the data goes with the disk. */
async function examineDisk(
  report: Report,
  name: string,
  location: string,
  installation: Installation | undefined,
): Promise<void> {
  const here = await stat(location).catch(() => undefined);
  const roots = [
    installation?.root,
    ...(installation?.storage ?? []).flatMap((s) => (s.kind === "local" ? s.roots : [])),
  ];
  for (const root of roots) {
    const there = root === undefined ? undefined : await stat(root).catch(() => undefined);
    if (here === undefined || there === undefined || here.dev !== there.dev) continue;
    report.findings.push({
      kind: "same-disk",
      level: "warning",
      message: `repository '${name}' lies on the same disk as ${root}`,
      hint: "If that disk dies, so do the restore points: use another disk, and copy the repository off this machine.",
    });
    return;
  }
}

async function examineRetention(
  { signal }: DoctorPorts,
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

function examinePoints(ports: DoctorPorts, report: Report, name: string, mine: readonly Point[]): void {
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
