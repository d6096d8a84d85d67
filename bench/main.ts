/**
 * `npm run bench [-- NAME…]`: whole processes, side by side, in turn. Nothing here is a test; bench/README.md keeps
 * what was measured, and on what. BENCH_RUNS says how often each side runs (3), BENCH_BLOBS how many files `blobs`
 * has (a million), BENCH_LINK_FILES `link` (50,000), BENCH_MESSAGES how many messages
 * (1,500,000), BENCH_RESTORED how many with all their indexes (300,000), BENCH_RECOVERED how many `recover` has (400,000),
 * BENCH_WAL_MIB how much of the log `wal` follows (2,048; `base` takes one of half as much), BENCH_BASE_ROWS how many rows
 * `incremental` has (2,000,000), BENCH_PGBENCH_SECONDS how long pgbench writes what `recover-wal`
 * replays (120) and BENCH_PGBENCH_SCALE into how large a database (50). BENCH_SETTLE_MS is waited before each run that begins anew (8,000).
 */
import { join } from "node:path";
import { daily, database, restore } from "./database.ts";
import { addFiles, addTexts, openBenchDesk } from "./desk.ts";
import { incremental } from "./incremental.ts";
import { recover } from "./recover.ts";
import { recoverWal } from "./recover-wal.ts";
import { compare, folderMiB, machine, print, type Side } from "./measure.ts";
import { linkSides, openLink, watched } from "./link.ts";
import { borgCreate, ours, resticBackup, restores } from "./sides.ts";
import { base, wal } from "./wal.ts";
import { bareQuery, growingRepository, prunes, verifies } from "./upkeep.ts";

const LINK_FILES = Number(process.env["BENCH_LINK_FILES"] ?? "50000");
const RUNS = Number(process.env["BENCH_RUNS"] ?? "3");

async function files(): Promise<void> {
  await using desk = await openBenchDesk();
  await addFiles(desk, 5_000, 250_000);
  const folder = desk.installation.storageRoot;
  const first = [ours(desk, "first"), resticBackup(desk, folder, "first"), borgCreate(desk, folder, "first")];
  print("First backup: 1.25 GB in 5,000 files", await compare(first, RUNS, { warm: folder }));
  const next = [ours(desk, "next"), resticBackup(desk, folder, "next"), borgCreate(desk, folder, "next")];
  print("Next backup, nothing changed: the same", await compare(next, RUNS, { warm: folder }));
  print("Restore: the same", await compare(restores(desk), RUNS));
}

async function smallFiles(): Promise<void> {
  await using desk = await openBenchDesk();
  await addFiles(desk, 50_000, 20_000);
  const folder = desk.installation.storageRoot;
  const first = [ours(desk, "first"), resticBackup(desk, folder, "first")];
  print("First backup: 1 GB in 50,000 files", await compare(first, RUNS, { warm: folder }));
  const next = [ours(desk, "next"), resticBackup(desk, folder, "next")];
  print("Next backup, nothing changed: the same", await compare(next, RUNS, { warm: folder }));
  print("Restore: the same", await compare(restores(desk), RUNS));
}

async function texts(): Promise<void> {
  await using desk = await openBenchDesk();
  await addTexts(desk, 5_000, 200_000);
  const folder = desk.installation.storageRoot;
  const first = [ours(desk, "first"), resticBackup(desk, folder, "first")];
  print("First backup: 1 GB of text in 5,000 files", await compare(first, RUNS, { warm: folder }));
  const [mine, theirs] = [folderMiB(desk.repository), folderMiB(join(desk.root, "restic"))];
  const ratio = (mine / theirs).toFixed(3);
  process.stdout.write(`Repositories: Chatkeep ${mine.toFixed(0)} MiB, restic ${theirs.toFixed(0)} MiB: ${ratio}\n\n`);
}

async function upkeep(): Promise<void> {
  await using desk = await openBenchDesk();
  await using work = await growingRepository(desk);
  print("Every byte read: 4 GB in 20 snapshots", await compare(verifies(desk, work), RUNS));
  print("Prune after 10 of the 20 were forgotten", await compare(prunes(desk, work), RUNS));
}

async function blobs(): Promise<void> {
  await using desk = await openBenchDesk();
  await addFiles(desk, Number(process.env["BENCH_BLOBS"] ?? "1000000"), 20);
  await compare([ours(desk, "first"), ours(desk, "next")], 1);
  print("Next backup, nothing changed: a million files", await compare([ours(desk, "next"), bareQuery(desk)], RUNS));
}

async function manyFiles(): Promise<void> {
  await using desk = await openBenchDesk();
  await addFiles(desk, 200_000, 2_000);
  print("200,000 files of 2 kB, first", await compare([ours(desk, "first")], 1));
  print("200,000 files of 2 kB, next", await compare([ours(desk, "next")], 1));
}

async function largeFile(): Promise<void> {
  await using desk = await openBenchDesk();
  await addFiles(desk, 1, 3_000_000_000);
  print("One file of 3 GB, first", await compare([ours(desk, "first")], 1));
}

async function link(): Promise<void> {
  await using desk = await openBenchDesk();
  await addFiles(desk, LINK_FILES, 20_000);
  await using line = await openLink();
  const { first, some, none, restore } = linkSides(desk, line);
  const titles: [string, Side[]][] = [
    [`Over a line of 50 ms and 200 Mbit/s, first backup: ${LINK_FILES} files of 20 kB`, first],
    ["Next backup, 500 new: the same", some],
    ["Next backup, nothing changed: the same", none],
    ["Restore: the same, without a cache", restore],
  ];
  for (const [title, those] of titles) {
    const { sides, told } = watched(line, those);
    print(title, await compare(sides, RUNS));
    process.stdout.write(told());
  }
}

const CASES: Record<string, () => Promise<void>> = {
  files,
  database: async () => await database(RUNS),
  daily,
  restore: async () => await restore(RUNS),
  recover: async () => await recover(RUNS),
  "recover-wal": async () => await recoverWal(RUNS),
  "many-files": manyFiles,
  "large-file": largeFile,
  "small-files": smallFiles,
  texts,
  upkeep,
  blobs,
  link,
  wal: async () => await wal(RUNS),
  incremental: async () => await incremental(RUNS),
  base: async () => await base(RUNS),
};

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !(name in CASES));
if (unknown.length > 0) {
  process.stderr.write(`unknown: ${unknown.join(", ")}; there are ${Object.keys(CASES).join(", ")}\n`);
  process.exitCode = 2;
} else {
  process.stdout.write(`${machine()}, medians of ${RUNS}\n\n`);
  for (const name of wanted.length === 0 ? Object.keys(CASES) : wanted) await CASES[name]?.();
}
