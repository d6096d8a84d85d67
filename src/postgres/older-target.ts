/**
 * A target that is older than pg_restore: from 17 on that begins with a setting which servers before 17 do not know, and
 * ends there. Its own text of the same statements goes through psql then, without that setting, one after the other.
 */
import { type ProgramResult, runProgram } from "../system/process.ts";
import type { ClientPrograms } from "./programs.ts";

const SETTING = "transaction_timeout";

/** True when pg_restore ended because of that setting: before it did anything. */
export function isTooNewFor(stderr: string): boolean {
  return stderr.includes(`unrecognized configuration parameter "${SETTING}"`);
}

/** Pure: the setting stands among others, before the first statement. */
export function withoutNewSetting(sql: string): string {
  return sql.replace(new RegExp(`^SET ${SETTING} = 0;\\n`, "m"), "");
}

export interface PsqlRun {
  programs: Pick<ClientPrograms, "pgRestore" | "psql">;
  /** For pg_restore: which part of which archive. */
  args: readonly string[];
  /** What names the database to psql. */
  database: string;
  env: Record<string, string | undefined>;
  signal: AbortSignal;
}

export async function restoreThroughPsql(run: PsqlRun): Promise<Pick<ProgramResult, "status" | "stderr">> {
  const { programs, args, database, env, signal } = run;
  const { stdout } = await runProgram(programs.pgRestore, [...args, "--file=-"], { signal });
  const psql = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", `--dbname=${database}`, "--file=-"];
  // 3: a statement failed.
  return await runProgram(programs.psql, psql, {
    signal,
    env,
    // Every byte as it is, whatever the encoding.
    input: Buffer.from(withoutNewSetting(stdout.toString("latin1")), "latin1"),
    allowStatus: [1, 2, 3],
  });
}
