import { type Program, runProgram } from "../system/process.ts";

/** `pg_dump (PostgreSQL) 15.20 (Debian 15.20-1)` → `15.20`; undefined for what cannot be run. */
export async function versionOf(program: Program, signal: AbortSignal): Promise<string | undefined> {
  try {
    const { stdout } = await runProgram(program, ["--version"], { signal });
    return /\(PostgreSQL\)\s+(\d+[\w.]*)/.exec(stdout.toString("utf8"))?.[1];
  } catch (error) {
    if (signal.aborted) throw error;
    // A program for another machine or with a library missing is as good as none.
    return undefined;
  }
}
