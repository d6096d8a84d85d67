/** The command line of this process, with its signals and its exit status. Importing this file runs it; `bin/chatkeep.js` does. */
import { fstatSync } from "node:fs";
import process from "node:process";
import { systemClock } from "../base/clock.ts";
import { Run } from "./run.ts";
import { createInterrupter } from "./signals.ts";

const { stdin, stdout, stderr, env } = process;

/** systemd.exec(5): a service's JOURNAL_STREAM is device and inode of the journal's end; a terminal may have inherited one. */
function isJournal({ JOURNAL_STREAM: stream }: NodeJS.ProcessEnv): boolean {
  if (stream === undefined) return false;
  const { dev, ino } = fstatSync(stdout.fd);
  return stream === `${dev}:${ino}`;
}

const run = new Run({
  argv: process.argv.slice(2),
  env,
  cwd: process.cwd(),
  stdin,
  stdout,
  stderr,
  isJournal: isJournal(env),
});

const interrupt = createInterrupter({
  clock: systemClock,
  kept: () => run.kept,
  abort: (reason) => run.abort(reason),
  tell: (line) => run.tell(line),
  exitNow: (status) => process.exit(status),
});
const onSignal = (signal: "SIGINT" | "SIGTERM") => {
  if (!run.handOver(signal)) interrupt(signal);
};
process.on("SIGINT", onSignal);
process.on("SIGTERM", onSignal);

process.on("uncaughtException", (error: unknown) => {
  void run.reportLoose(error).then((status) => {
    if (status !== undefined) process.exit(status);
  });
});

void run.toItsEnd().then((status) => process.exit(status));
