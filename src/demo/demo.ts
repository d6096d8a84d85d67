/**
 * `chatkeep demo`: a throwaway installation is backed up, works for a day, is backed up again, destroyed, brought back
 * and proven, before your eyes. Every verb runs as it does for a real one; nothing outside a temporary folder is touched.
 */
import { rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { runBackup, runDrill, runRestore, runVerify } from "../app/verbs.ts";
import type { Globals, Surroundings } from "../app/surroundings.ts";
import { formatBytes, formatCount, formatSeconds, plural } from "../base/bytes.ts";
import { restoreCode } from "../installation/restore-code.ts";
import type { BackupSummary, DrillSummary } from "../job/summaries.ts";
import { findServerMajor, openScratchServer } from "../postgres/scratch.ts";
import { openTemporaryFolder } from "../system/temporary.ts";
import { countInstallation } from "./counts.ts";
import { dayOfWork } from "./day-of-work.ts";
import { buildInstallation, type DemoInstallation, destroyInstallation } from "./installation.ts";
import { describe, describeBackup, type Say, setUp, step } from "./stage.ts";

export interface DemoSummary {
  proven: boolean;
  seconds: number;
  /** Where everything lies; null when it was removed. */
  kept: string | null;
}

export interface DemoFlags {
  /** Everything it made stays where it is. */
  keep: boolean;
  /** The second act: continuous protection, and a database that is destroyed under load. */
  continuous: boolean;
}

export async function runDemo(flags: DemoFlags, s: Surroundings, say: Say): Promise<DemoSummary> {
  const started = s.clock.monotonic();
  const folder = await openTemporaryFolder("chatkeep-demo");
  try {
    const proven = flags.continuous
      ? await (await import("./second-act.ts")).playSecondAct(folder.path, s, say)
      : await play(folder.path, s, say);
    const seconds = (s.clock.monotonic() - started) / 1000;
    say("");
    if (flags.keep) say(`All of it is kept in ${folder.path}; the database server was stopped.`);
    else say(`The demo took ${formatSeconds(seconds)}, and everything it made is removed. Keep it with --keep.`);
    return { proven, seconds, kept: flags.keep ? folder.path : null };
  } finally {
    if (!flags.keep) await folder[Symbol.asyncDispose]();
  }
}

async function play(root: string, s: Surroundings, say: Say): Promise<boolean> {
  const { signal, progress } = s;
  const major = await findServerMajor({ signal });
  await using server = await openScratchServer({ kinds: ["programs", "embedded"], major, extensions: [], signal });
  say("A throwaway Chatwoot is backed up, destroyed, brought back, and proven the same.");
  say("");
  const installation = await buildInstallation({ root: join(root, "home"), address: server.address, signal, progress });
  const first = await countInstallation(installation);
  step(say, 1, "An installation", [
    `Chatwoot ${installation.version}'s shape on PostgreSQL ${server.version}: ${describe(first)}`,
    ...installation.notes,
  ]);
  const { globals, quiet } = await setUp(root, installation, s);
  const one = await runBackup(globals, { full: false, tags: [], dryRun: false }, s);
  step(say, 2, "First restore point", describeBackup(one));
  const day = await dayOfWork(installation, { seed: 1, signal });
  const before = await countInstallation(installation);
  step(say, 3, "A day of work", [
    `${plural(day.messages, "message")}, ${plural(day.files, "file")} added and ${formatCount(day.purged)} deleted, ${plural(day.updated, "row")} changed, code edited`,
  ]);
  const two = await runBackup(globals, { full: false, tags: [], dryRun: false }, s);
  step(say, 4, "Second restore point", describeBackup(two));
  await destroyInstallation(installation);
  step(say, 5, "Disaster", ["the database is dropped, uploaded files, configuration and code are deleted"]);
  const seconds = await bringBack(root, installation, globals, s);
  const after = await countInstallation(installation);
  const isSame = describe(after) === describe(before);
  step(say, 6, "Brought back", [
    `in ${formatSeconds(seconds)}: ${describe(after)}${isSame ? ", as before the disaster" : ""}`,
  ]);
  const proof = await runDrill(globals, undefined, { all: true, inPlaceServer: false }, s);
  step(say, 7, proof.proven ? "Proven" : "NOT PROVEN", describeProof(proof));
  const check = await runVerify(globals, { readData: "all" }, quiet);
  closing(say, { one, two, proof, errors: check.errors, restoreSeconds: seconds });
  return proof.proven && isSame && check.errors === 0;
}

/** Back to where it was: database by the same name, files, environment and code in the same folder. */
async function bringBack(
  root: string,
  installation: DemoInstallation,
  globals: Globals,
  s: Surroundings,
): Promise<number> {
  const to = join(root, "restored");
  const { host, port, user, password, database } = installation.database;
  const databaseUrl = `postgresql://${user}:${encodeURIComponent(password ?? "")}@${encodeURIComponent(host)}:${port}/${database}`;
  const summary = await runRestore(globals, "latest", { to, databaseUrl }, s);
  await rm(installation.codeRoot, { recursive: true, force: true });
  await restoreCode(join(to, "code"), installation.codeRoot, { fetch: true, signal: s.signal });
  await rename(join(to, "storage"), installation.storageRoot);
  await rename(join(to, "config", "env"), installation.envFile);
  return summary.seconds;
}

function describeProof(proof: DrillSummary): string[] {
  return [
    `restored once more, into ${proof.server}, and compared in ${formatSeconds(proof.seconds)}:`,
    ...proof.checks.map((check) => `${check.ok ? "ok     " : "FAILED "} ${check.name}: ${check.detail}`),
  ];
}

interface Numbers {
  one: BackupSummary;
  two: BackupSummary;
  proof: DrillSummary;
  errors: number;
  restoreSeconds: number;
}

/** The page at the end: what was measured, and what to do next. */
function closing(say: Say, { one, two, proof, errors, restoreSeconds }: Numbers): void {
  const whole = one.added.bytes + two.added.bytes;
  const rows = [
    ["first restore point", `${formatSeconds(one.seconds)}, ${formatBytes(one.added.bytes)} stored`],
    [
      "second restore point",
      `${formatSeconds(two.seconds)}, ${formatBytes(two.added.bytes)} stored (${((100 * two.added.bytes) / whole).toFixed(1)} % of both)`,
    ],
    ["everything brought back", formatSeconds(restoreSeconds)],
    ["restored and proven again", formatSeconds(proof.seconds)],
    ["the repository, every byte", errors === 0 ? "read and found sound" : `${errors} errors`],
  ];
  say("");
  say("What was measured on this machine:");
  for (const [what = "", value = ""] of rows) say(`   ${what.padEnd(28)} ${value}`);
  say("");
  say("Next, for a real Chatwoot:");
  for (const line of [
    "chatkeep init               finds it, makes a repository and a recovery kit to print",
    "chatkeep doctor             says what would make a backup or a restore fail",
    "chatkeep backup             makes a restore point",
    "chatkeep drill              proves it",
    "chatkeep schedule install   has it done every night",
  ]) {
    say(`   ${line}`);
  }
}
