/** What the acts of the demo have in common: how they speak, and how they begin. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { runInit } from "../app/verbs.ts";
import type { Globals, Surroundings } from "../app/surroundings.ts";
import { formatBytes, formatCount, formatSeconds, plural } from "../base/bytes.ts";
import { shortId } from "../base/ids.ts";
import { silent } from "../base/progress.ts";
import type { BackupSummary } from "../job/summaries.ts";
import type { InstallationCounts } from "./counts.ts";
import type { DemoInstallation } from "./installation.ts";

export type Say = (line: string) => void;

export function step(say: Say, number: number, title: string, lines: readonly string[]): void {
  const [first = "", ...rest] = lines;
  say(`${number}  ${title.padEnd(21)} ${first}`);
  for (const line of rest) say(`${" ".repeat(25)}${line}`);
}

export function describe(counts: InstallationCounts): string {
  const { tables, messages, conversations, files } = counts;
  return `${plural(tables, "table")}, ${plural(messages, "message")} in ${plural(conversations, "conversation")}, ${plural(files, "file")}`;
}

/** What `chatkeep init` does, without questions. */
export async function setUp(
  root: string,
  installation: DemoInstallation,
  s: Surroundings,
): Promise<{ globals: Globals; quiet: Surroundings }> {
  const globals = { config: join(root, "chatkeep", "chatkeep.yaml") };
  const quiet = { ...s, progress: silent, person: undefined };
  await mkdir(join(root, "chatkeep"), { mode: 0o700 });
  const flags = {
    name: "demo",
    location: join(root, "repository"),
    root: installation.codeRoot,
    envFile: installation.envFile,
  };
  await runInit(globals, { ...flags, code: installation.codeRoot }, quiet);
  return { globals, quiet };
}

export function describeBackup(summary: BackupSummary): string[] {
  const { database, storage, added } = summary;
  return [
    `${shortId(summary.point ?? "")} in ${formatSeconds(summary.seconds)}: ${plural(database.rows, "row")}, ${plural(storage.blobs, "file")}, configuration, code`,
    `${formatCount(storage.copied)} files read, ${formatCount(storage.reused)} taken over; ${formatBytes(added.bytes)} added to the repository`,
  ];
}
