/** PostgreSQL's own client programs: those of the server's major version, else newer ones. */
import { realpath } from "node:fs/promises";
import { existsSync, readdirSync } from "node:fs";
import { delimiter, join } from "node:path";
import { Failure, isFailure } from "../base/errors.ts";
import type { Program } from "../system/process.ts";
import { versionOf } from "./program-version.ts";
import { programsInContainer } from "./programs-in-container.ts";

export interface ClientPrograms {
  pgDump: Program;
  pgRestore: Program;
  psql: Program;
  major: number;
  /** As the programs print it, for example `15.20`. */
  version: string;
  /** True when they are newer than the server: what they write may not go back into the server's own version. */
  isNewer: boolean;
  /** For people: the folder, or the image. */
  where: string;
}

const PROGRAMS = ["pg_dump", "pg_restore", "psql"] as const;

/** Folders that hold one folder a major version, and what lies in between. */
const VERSIONED = [
  { folder: "/usr/lib/postgresql", match: /^(\d+)$/ },
  { folder: "/usr", match: /^pgsql-(\d+)$/ },
  { folder: "/opt/homebrew/opt", match: /^(?:postgresql|libpq)@(\d+)$/ },
  { folder: "/usr/local/opt", match: /^(?:postgresql|libpq)@(\d+)$/ },
  { folder: "/Applications/Postgres.app/Contents/Versions", match: /^(\d+)$/ },
] as const;

/** Folders of PostgreSQL's programs in the usual versioned places, then those of PATH. */
export function programFolders(): string[] {
  const versioned = VERSIONED.flatMap(({ folder, match }) =>
    listFolder(folder)
      .filter((name) => match.test(name))
      .map((name) => join(folder, name, "bin")),
  );
  const path = (process.env["PATH"] ?? "").split(delimiter).filter((folder) => folder !== "");
  return [...new Set([...versioned, ...path, "/usr/local/pgsql/bin", "/opt/homebrew/opt/libpq/bin"])];
}

function listFolder(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}

export interface FindOptions {
  signal: AbortSignal;
  /** For people: which of the programs is wanted, and what for. Default: pg_dump for the server. */
  wanted?: { program: (typeof PROGRAMS)[number]; what: string };
}

/**
 * The programs of the server's own major version, or the next newer ones; where there are none, those of an image of that major.
 * @throws Failure `program/missing` naming the package to install.
 */
export async function findPrograms(
  serverMajor: number,
  { signal, wanted = { program: "pg_dump", what: `the server's ${serverMajor}` } }: FindOptions,
): Promise<ClientPrograms> {
  const found: ClientPrograms[] = [];
  const seen = new Set<string>();
  for (const folder of programFolders()) {
    const programs = await programsIn(folder, serverMajor, seen, signal);
    if (programs?.major === serverMajor) return programs;
    if (programs !== undefined) found.push(programs);
  }
  const newer = found.filter((programs) => programs.major > serverMajor).toSorted((a, b) => a.major - b.major)[0];
  if (newer !== undefined) return newer;
  const inside = await programsInContainer(serverMajor, { signal }).catch((error: unknown) => {
    // An engine in trouble is as good as none: what is lacking is told.
    if (signal.aborted || !isFailure(error)) throw error;
    return undefined;
  });
  if (inside !== undefined) return inside;
  const older = found.map((programs) => programs.major).toSorted((a, b) => b - a)[0];
  throw new Failure(
    "program/missing",
    older === undefined
      ? `PostgreSQL's programs (${PROGRAMS.join(", ")}) are not installed`
      : `the newest ${wanted.program} here is of PostgreSQL ${older}, too old for ${wanted.what}`,
    {
      hint: `Install the package postgresql-client-${serverMajor} (Debian, Ubuntu; apt.postgresql.org has every version) or postgresql${serverMajor} (Red Hat). An image of PostgreSQL ${serverMajor} that is on this machine will do, too, where Chatkeep may use Docker.`,
    },
  );
}

async function programsIn(
  folder: string,
  serverMajor: number,
  seen: Set<string>,
  signal: AbortSignal,
): Promise<ClientPrograms | undefined> {
  if (!PROGRAMS.every((name) => existsSync(join(folder, name)))) return undefined;
  const real = await realpath(join(folder, "pg_dump"));
  // Debian's wrapper chooses a version by itself when it runs: the versioned folders say what is really there.
  if (seen.has(real) || real.endsWith("/pg_wrapper")) return undefined;
  seen.add(real);
  const version = await versionOf(join(folder, "pg_dump"), signal);
  if (version === undefined) return undefined;
  const major = Number.parseInt(version, 10);
  const [pgDump, pgRestore, psql] = PROGRAMS.map((name) => join(folder, name)) as [string, string, string];
  return { pgDump, pgRestore, psql, major, version, isNewer: major > serverMajor, where: folder };
}
