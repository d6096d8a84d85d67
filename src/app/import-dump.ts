/** `import --database`: a dump, and what came with it, into a restore point of the dump's own time. */
import { randomUUID } from "node:crypto";
import { resolve } from "node:path";
import { parseZonedInstant } from "../base/clock.ts";
import { Failure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { importDump } from "../job/import-dump.ts";
import { listPoints } from "../job/points.ts";
import type { BackupOptions } from "../job/backup.ts";
import type { DumpImportSummary } from "../job/plain-summaries.ts";
import { findUploads, unpackUploads } from "../source/old-uploads.ts";
import { lookAtFile, readBeginning, readUnpacked } from "../system/packed.ts";
import { openTemporaryFolder } from "../system/temporary.ts";
import { fallLimitsOf } from "./alarms.ts";
import { copyToOthers } from "./copies.ts";
import { scratchPlaces } from "./drills.ts";
import { openInstallation } from "./installation.ts";
import { PROGRAM } from "./program.ts";
import { backupRetained } from "./retention.ts";
import { openChosenRepository, type OpenedRepository } from "./session.ts";
import { storageSettings } from "./storage.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

export interface DumpImportFlags {
  /** A file or a folder. */
  dump: string;
  /** A folder of uploaded files, or a tar of one. */
  storage: string | undefined;
  envFile: string | undefined;
  /** When the dump was made: a time with its zone. */
  madeAt: string | undefined;
  /** Whose the point is, where no configuration says it or another one is meant. */
  name: string | undefined;
  /** A configured repository, or a location; by default the one that other verbs use. */
  to: string | undefined;
}

export async function runDumpImport(
  globals: Globals,
  flags: DumpImportFlags,
  s: Surroundings,
): Promise<DumpImportSummary> {
  const madeAtMs = parseMadeAt(flags.madeAt);
  const isNamed = (flags.to ?? globals.repository) !== undefined;
  const opened = await openChosenRepository(flags.to === undefined ? globals : { ...globals, repository: flags.to }, s);
  const { config } = opened;
  const identity = await identityOf(opened, flags.name, s);
  await using uploads = await openTemporaryFolder("chatkeep-uploads");
  const storage = await uploadsOf(flags, uploads.path, s);
  const { installation, findings } = await openInstallation(
    {
      kind: "manual",
      // Nothing asks it: the database is the one that the dump is loaded into.
      "database-url": "postgresql://localhost/imported",
      storage,
      ...(flags.envFile === undefined ? {} : { "env-file": resolve(s.cwd, flags.envFile) }),
    },
    s,
  );
  const hasEnvironment = flags.envFile !== undefined;
  if (hasEnvironment && installation.environment.size === 0) throw noEnvironment(flags.envFile ?? "");
  const settings = await storageSettings(config, s);
  const backup = async (made: Pick<BackupOptions, "address" | "imported" | "findings">) => {
    const { repository, name: repositoryName } = opened;
    const summary = await backupRetained(
      {
        ...made,
        repository,
        repositoryName,
        installation,
        identity,
        tags: [],
        full: true,
        fullEveryMs: 0,
        fallLimits: fallLimitsOf(config?.alarms),
        ownConfig: undefined,
        storageSettings: settings,
        workers: undefined,
        program: PROGRAM,
        clock: s.clock,
        progress: s.progress,
        signal: s.signal,
      },
      s,
    );
    // A repository that is named is written to, and no other.
    return isNamed ? summary : await copyToOthers(summary, { written: opened, away: new Set() }, globals, s);
  };
  return await importDump({
    dump: resolve(s.cwd, flags.dump),
    madeAtMs,
    scratch: await scratchPlaces(config, { inPlaceServer: false }, s),
    installation,
    findings: [...findings, ...lackingParts(flags)],
    hasStorage: flags.storage !== undefined,
    hasEnvironment,
    repository: opened.repository,
    backup,
    clock: s.clock,
    progress: s.progress,
    signal: s.signal,
  });
}

function parseMadeAt(given: string | undefined): number | undefined {
  const ms = given === undefined ? undefined : parseZonedInstant(given);
  if (given === undefined || ms !== undefined) return ms;
  throw new Failure("usage/invalid", `--made-at cannot be '${given}'`, {
    hint: "It is a time with its zone, as in 2025-03-31T02:15:00Z or 2025-03-31T04:15+02:00.",
  });
}

/** The configuration's, or the one of that name in the repository, or a new one. */
async function identityOf(
  { repository, config, name: repositoryName }: OpenedRepository,
  name: string | undefined,
  s: Surroundings,
): Promise<{ id: string; name: string }> {
  const configured = config?.installation;
  if (configured !== undefined && (name === undefined || name === configured.name)) {
    return { id: configured.id, name: configured.name };
  }
  if (name === undefined) {
    throw new Failure("usage/invalid", `whose restore point it becomes in '${repositoryName}' is not said`, {
      hint: "No configuration says it: give the installation's name with --name.",
    });
  }
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(name)) {
    throw new Failure("usage/invalid", `'${name}' cannot be the name of an installation`, {
      hint: "Use letters, digits, '.', '_' and '-', at most 63.",
    });
  }
  const { points } = await listPoints(repository, { signal: s.signal });
  const known = points.find(({ snapshot }) => snapshot.hostname === name);
  return { id: known?.installationId ?? randomUUID(), name };
}

/** The folder of uploaded files; of a tar, what was unpacked of it. Without any: an empty one, so that all are missing. */
async function uploadsOf({ storage }: DumpImportFlags, into: string, s: Surroundings): Promise<string> {
  if (storage === undefined) return into;
  const path = resolve(s.cwd, storage);
  const { signal, progress } = s;
  const { isFolder, bytes } = await lookAtFile(path);
  if (isFolder) {
    const found = await findUploads(path, { signal });
    if (found !== path) progress.say(`uploaded files are below ${found}`);
    return found;
  }
  const { packing } = await readBeginning(path, 512, { signal });
  progress.stage("unpacking the uploaded files", { unit: "files" });
  const chunks = readUnpacked(path, packing, { signal });
  await unpackUploads({ chunks, path, fileBytes: bytes, into, onFile: () => progress.advance(1), signal });
  return into;
}

function noEnvironment(envFile: string): Failure {
  return new Failure("installation/invalid", `there is no variable in '${envFile}'`, {
    hint: "Name Chatwoot's .env, which has SECRET_KEY_BASE; or leave out --env.",
  });
}

function lackingParts({ envFile }: DumpImportFlags): Finding[] {
  if (envFile !== undefined) return [];
  return [
    {
      kind: "imported-without-environment",
      level: "warning",
      message: "no environment came with the dump, so the restore point has no SECRET_KEY_BASE and no encryption keys",
      hint: "Without them channel passwords and two-factor logins that are encrypted stay so. Is there an old .env? Then import again with --env.",
    },
  ];
}
