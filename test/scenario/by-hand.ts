/** Follows RESTORE.md as a person would: takes the commands that it prints and runs them in a shell, one after the other. */
import { mustRun, run, type RunResult } from "../harness/run.ts";
import type { TestAddress } from "../harness/postgres.ts";

/** The commands of RESTORE.md, step by step: the lines that are indented as code. */
export function commandsOf(notes: string): string[][] {
  return notes
    .split(/^## /m)
    .slice(1)
    .map((step) =>
      step
        .split("\n")
        .filter((line) => line.startsWith("    "))
        .map((line) => line.trim()),
    );
}

/** The one command among them that begins so. */
export function commandFrom(notes: string, beginning: string): string {
  const found = commandsOf(notes)
    .flat()
    .filter((line) => line.startsWith(beginning));
  if (found[0] === undefined || found.length > 1) {
    throw new Error(`RESTORE.md has ${found.length} commands that begin with '${beginning}':\n${notes}`);
  }
  return found[0];
}

/** Where psql, pg_restore and createdb go: told by the environment alone. */
export function serverEnvironment(address: TestAddress, programs: string): Record<string, string> {
  return {
    PATH: `${programs}:${process.env["PATH"] ?? ""}`,
    PGHOST: address.host,
    PGPORT: String(address.port),
    PGUSER: address.user,
    PGPASSWORD: address.password ?? "",
    LC_ALL: "C",
  };
}

export interface ShellOptions {
  cwd: string;
  env: Readonly<Record<string, string>>;
  /** Which shell; `sh` as RESTORE.md says. */
  shell?: string;
}

export async function shell(command: string, { shell: program = "sh", ...options }: ShellOptions): Promise<string> {
  return (await mustRun(program, ["-c", command], options)).stdout;
}

export async function tryShell(
  command: string,
  { shell: program = "sh", ...options }: ShellOptions,
): Promise<RunResult> {
  return await run(program, ["-c", command], options);
}
