/** Makes the manifest of a restore point from what was captured. */
import type { Finding } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import type { Installation } from "../installation/installation.ts";
import {
  countsOf,
  CUTTER_VERSION,
  type ImportedEntry,
  type MomentEntry,
  MANIFEST_SCHEMA,
  type Manifest,
  type ServiceEntry,
} from "../point/manifest.ts";
import type { ClientPrograms } from "../postgres/programs.ts";
import type { ServerFacts } from "../postgres/server-facts.ts";
import type { DatabaseCapture } from "./capture-database.ts";
import type { ElseCapture } from "./capture-else.ts";
import type { StorageCapture } from "./capture-storage.ts";
import type { Shrinkage } from "./shrinkage.ts";
import type { StorageState } from "./storage-state.ts";

export interface ManifestParts {
  program: string;
  identity: { id: string; name: string };
  installation: Installation;
  imported: ImportedEntry | undefined;
  moment: MomentEntry | undefined;
  startedAt: string;
  endedAt: string;
  parent: string | null;
  server: ServerFacts;
  programs: ClientPrograms;
  database: DatabaseCapture;
  storage: StorageState;
  looks: StorageCapture[];
  purged: number;
  other: ElseCapture;
  /** Of the repository, when the run began. */
  indexFiles: readonly string[];
  shrinkage: Pick<Shrinkage, "accounts" | "peaks">;
  findings: Finding[];
}

export function buildManifest(parts: ManifestParts): Manifest {
  const { server, programs, database, other, installation, imported } = parts;
  const storage = [...parts.storage.values()].map((service) => serviceEntry(service, installation));
  return {
    // What an earlier Chatkeep would not understand is rare.
    schema: storage.some(({ missingInAll }) => missingInAll !== undefined) ? MANIFEST_SCHEMA : 1,
    program: parts.program,
    installation: { id: parts.identity.id, name: parts.identity.name, kind: installation.kind },
    startedAt: parts.startedAt,
    endedAt: parts.endedAt,
    parent: parts.parent,
    cutter: CUTTER_VERSION,
    server: {
      version: server.version,
      major: server.major,
      systemIdentifier: server.systemIdentifier,
      timeline: server.timeline,
      postmasterStartedAt: server.postmasterStartedAt,
      database: server.database,
      databaseOid: server.databaseOid,
      encoding: server.encoding,
      ...localeOf(imported?.locale ?? server),
      databaseBytes: server.sizeBytes,
      lsn: database.lsn,
      ...standbyOf(database),
      extensions: server.extensions.map(({ name, version, schema }) => ({ name, version, schema })),
      clientMajor: programs.major,
      clientIsNewer: programs.major > server.major,
    },
    chatwoot: other.chatwoot,
    tables: database.tables.map((table) => table.entry),
    sequences: database.sequences,
    forSuperusers: database.rights.forSuperusers,
    roles: database.rights.roles.map(({ name, isNamed }) => ({ name, isNamed })),
    ...(database.largeObjects === undefined ? {} : { largeObjects: database.largeObjects.entry }),
    filledViews: database.filledViews,
    storage,
    secrets: other.secrets,
    keyProof: other.keyProof,
    config: { files: other.config.length },
    code: other.codeEntry,
    read: readCounts(parts),
    indexFiles: [...parts.indexFiles],
    ...(database.stamps === undefined ? {} : { stamps: database.stamps }),
    accounts: parts.shrinkage.accounts,
    peaks: parts.shrinkage.peaks,
    ...(imported === undefined ? {} : { imported }),
    ...(parts.moment === undefined ? {} : { moment: parts.moment }),
    findings: parts.findings,
  };
}

/** Of what was imported the dump's own: the server that it was loaded into is thrown away. */
function localeOf({
  collate,
  ctype,
  provider,
}: Pick<ServerFacts, "collate" | "ctype"> & Partial<Pick<ServerFacts, "provider">>): Pick<
  Manifest["server"],
  "collate" | "ctype" | "localeProvider"
> {
  return { collate, ctype, ...(provider === undefined ? {} : { localeProvider: provider }) };
}

function standbyOf({ standby }: DatabaseCapture): Pick<Manifest["server"], "standby"> {
  return standby === undefined ? {} : { standby: { lagSeconds: standby.lagSeconds } };
}

function serviceEntry(
  service: StorageState extends Map<string, infer S> ? S : never,
  installation: Installation,
): ServiceEntry {
  const folders = [...service.folders.values()];
  const missing = [...service.missing.values()];
  return {
    name: service.name,
    kind: installation.storage.find((known) => known.serviceName === service.name)?.kind ?? "unknown",
    blobs: folders.reduce((sum, folder) => sum + folder.count, 0),
    bytes: folders.reduce((sum, folder) => sum + folder.bytes, 0),
    withoutChecksum: folders.reduce((sum, folder) => sum + folder.withoutChecksum, 0),
    missing: missing.slice(0, LIMITS.missingNamed),
    ...(missing.length > LIMITS.missingNamed ? { missingInAll: countsOf(missing) } : {}),
  };
}

function readCounts({ database, storage, looks, purged }: ManifestParts): Manifest["read"] {
  const copied = looks.reduce((sum, look) => sum + look.blobsCopied, 0);
  const blobs = [...storage.values()].reduce(
    (sum, service) =>
      sum + [...service.folders.values()].reduce((part, folder) => part + folder.count, 0) - service.missing.size,
    0,
  );
  return {
    rangesRead: database.tables.reduce((sum, table) => sum + table.ranges.length, 0) - database.rangesReused,
    rangesReused: database.rangesReused,
    blobsCopied: copied,
    blobsReused: Math.max(0, blobs - copied),
    foldersReused: looks.at(-1)?.foldersReused ?? 0,
    purged,
  };
}
