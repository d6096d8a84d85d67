/** A line in this user's crontab, by crontab(1) and crontab(5). */
import { Failure, isFailure } from "../base/errors.ts";
import { runProgram } from "../system/process.ts";
import { DELAY_MINUTES, type DailyJob, markerOf, NICE } from "./job.ts";

export interface CrontabTools {
  signal: AbortSignal;
  /** For `PATH`. */
  env?: Readonly<Record<string, string | undefined>>;
}

/** What systemd gives its services; cron's own lacks most of it. */
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Only what needs somebody is printed, and cron mails it. Linux gives a process that is nice a lower turn at the disk, too. */
export function formatCrontab(job: DailyJob): string[] {
  const call = [...job.command, "--config", job.config, "--quiet", "run", "--delay", String(DELAY_MINUTES)];
  // Cron makes a line end of '%', also in quotes.
  const words = call.map((word) => shellWord(word).replaceAll("%", "\\%"));
  return [markerOf(job.installation.id), `${job.times.text} PATH=${PATH} nice -n ${NICE} ${words.join(" ")}`];
}

function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** The table without what is this installation's: the marker and the line below it. */
export function withoutJob(table: string, installationId: string): string {
  const lines = table.split("\n");
  const marker = markerOf(installationId);
  return lines.filter((line, index) => line !== marker && lines[index - 1] !== marker).join("\n");
}

export function withJob(table: string, job: DailyJob): string {
  const rest = withoutJob(table, job.installation.id).replace(/\n*$/, "");
  return `${rest}${rest === "" ? "" : "\n"}${formatCrontab(job).join("\n")}\n`;
}

/** This installation's line; undefined when there is none. */
export function findJob(table: string, installationId: string): string | undefined {
  const lines = table.split("\n");
  const at = lines.indexOf(markerOf(installationId));
  return at < 0 ? undefined : lines[at + 1];
}

/**
 * The user's table; empty when there is none.
 * @throws Failure `program/missing` where there is no cron, `schedule/unsuitable` when it refuses.
 */
export async function readCrontab({ signal, env }: CrontabTools): Promise<string> {
  const { status, stdout, stderr } = await runProgram("crontab", ["-l"], {
    signal,
    env: { ...env, LC_ALL: "C" },
    allowStatus: [1],
  });
  if (status === 0 || /no crontab/i.test(stderr)) return status === 0 ? stdout.toString("utf8") : "";
  throw refused(stderr);
}

export async function writeCrontab(table: string, { signal, env }: CrontabTools): Promise<void> {
  const options = { signal, ...(env === undefined ? {} : { env }) };
  try {
    if (table.trim() === "") await runProgram("crontab", ["-r"], options);
    else await runProgram("crontab", ["-"], { ...options, input: table });
  } catch (error) {
    if (!isFailure(error, "program/failed")) throw error;
    throw refused(error.hint ?? error.message);
  }
}

function refused(said: string): Failure {
  return new Failure("schedule/unsuitable", `cron refused: ${said.trim().split("\n")[0] ?? ""}`, {
    hint: "May this user have a crontab? See crontab(1).",
  });
}
