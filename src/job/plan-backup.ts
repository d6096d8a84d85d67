/** What a backup would save, without saving anything: `backup --dry-run`. */
import { type Finding, sortFindings } from "../base/findings.ts";
import { readTables } from "../postgres/catalogue.ts";
import { withConflictRetries } from "../postgres/conflict.ts";
import { connect } from "../postgres/connect.ts";
import { refuseSharedSessions } from "../postgres/pooler.ts";
import { planTable } from "../postgres/range-plan.ts";
import { openSnapshot } from "../postgres/snapshot.ts";
import { readStandbyState } from "../postgres/standby.ts";
import type { BackupOptions } from "./backup.ts";
import { outageFinding } from "./findings.ts";
import { listStorage, type StorageListing } from "./list-storage.ts";
import { inspectChatwoot } from "./inspect-chatwoot.ts";
import { findParent, type Parent } from "./parent.ts";
import { findKeySources, readKeySamples, tryKeys } from "./prove-keys.ts";
import { quietTold } from "./quiet.ts";
import { sourceOf } from "./sources.ts";
import { lagFindings, noStandbyFinding, unloggedFindings, unloggedOf } from "./standby-findings.ts";
import type { BackupSummary } from "./summaries.ts";

/** Reads what the database lists, takes no lock in the repository and writes nothing. What a standby ends is read again. */
export async function planBackup(options: BackupOptions): Promise<BackupSummary> {
  const { clock, signal, address } = options;
  const started = clock.monotonic();
  await using connection = await connect(address, { signal });
  await refuseSharedSessions(connection, { signal });
  const chatwoot = await withConflictRetries(async () => await inspectChatwoot(connection, address, { signal }));
  if (chatwoot.failure !== undefined) throw chatwoot.failure;
  const { parent, findings: parentFindings } = await findParent(options);
  options.progress.stage("reading what the database lists");
  const look = await withConflictRetries(async () => await lookInSnapshot(options, parent));
  return {
    type: "summary",
    verb: "backup",
    point: null,
    parent: parent?.point.id ?? null,
    seconds: (clock.monotonic() - started) / 1000,
    database: look.database,
    storage: look.storage,
    added: { bytes: 0, packs: 0 },
    repository: options.repositoryName,
    copies: [],
    findings: sortFindings(
      quietTold(
        [...options.findings, ...chatwoot.findings, ...look.findings, ...parentFindings],
        parent?.manifest.findings ?? [],
      ),
    ),
  };
}

async function lookInSnapshot(
  options: BackupOptions,
  parent: Parent | undefined,
): Promise<Pick<BackupSummary, "database" | "storage" | "findings">> {
  const { address, signal } = options;
  await using snapshot = await openSnapshot(address, { signal });
  const { tables, problems } = await readTables(snapshot.connection);
  const standby = await readStandbyState(snapshot.connection);
  let ranges = 0;
  for (const facts of tables) {
    const before = parent?.manifest.tables.find((table) => table.schema === facts.schema && table.name === facts.name);
    if (standby !== undefined && facts.isUnlogged) continue;
    ranges += (await planTable(snapshot.connection, facts, before)).ranges.length;
  }
  const listing = await listStorage(snapshot.connection);
  const storage = countFiles(listing, parent);
  const keys = await tryKeys(
    options.installation.environment,
    await readKeySamples(snapshot.connection, await findKeySources(snapshot.connection)),
  );
  return {
    database: {
      tables: tables.length,
      rows: tables.reduce((sum, table) => sum + Math.max(0, table.rowsEstimate), 0),
      ranges,
      rangesRead: ranges,
      rangesReused: 0,
      bytesRead: tables.reduce((sum, table) => sum + table.bytes, 0),
      ...(standby === undefined ? {} : { standby: { lagSeconds: standby.lagSeconds } }),
    },
    storage,
    findings: [
      ...problems,
      ...(standby === undefined ? [] : [...lagFindings(standby), ...unloggedFindings(unloggedOf(tables), "standby")]),
      ...(options.fromStandby === true && standby === undefined ? [noStandbyFinding(address)] : []),
      ...keys.findings,
      ...unreachable(options, listing),
    ],
  };
}

/** Services of which the environment alone says that they cannot be read; no bucket is asked. */
function unreachable({ installation, storageSettings }: BackupOptions, { folders }: StorageListing): Finding[] {
  const services = Map.groupBy(folders, ({ service }) => service);
  return [...services].flatMap(([service, own]) => {
    const found = sourceOf(service, { installation, settings: storageSettings });
    if ("spec" in found) return [];
    const files = own.reduce((sum, { count }) => sum + count, 0);
    return [outageFinding(service, files, found.outage, "not to be had")];
  });
}

function countFiles({ folders }: StorageListing, parent: Parent | undefined): BackupSummary["storage"] {
  let copied = 0;
  for (const folder of folders) {
    const known = parent?.storage.get(folder.service)?.folders.get(folder.folder);
    if (known?.hash !== folder.hash) copied += Math.max(0, folder.count - (known?.count ?? 0));
  }
  const blobs = folders.reduce((sum, folder) => sum + folder.count, 0);
  const bytes = folders.reduce((sum, folder) => sum + folder.bytes, 0);
  return { blobs, bytes, copied, reused: blobs - copied, missing: 0, purged: 0 };
}
