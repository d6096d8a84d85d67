/**
 * `npm run bench [-- NAME…]`: whole processes, side by side, in turn. Nothing here is a test; bench/README.md keeps
 * what was measured, and on what. Names: files, database, many-files, large-file.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { CHATKEEP } from "../test/harness/cli.ts";
import { resticPaths } from "../test/harness/restic.ts";
import type { Desk } from "../test/scenario/desk.ts";
import { addFiles, addMessages, openBenchDesk } from "./desk.ts";
import { compare, type Figure, machine, remove, type Side, table } from "./measure.ts";

const RUNS = Number(process.env["BENCH_RUNS"] ?? "3");
const PASSWORD = {
  RESTIC_PASSWORD: "bench",
  BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK: "yes",
  BORG_PASSPHRASE: "bench",
};

function print(title: string, figures: readonly Figure[]): void {
  process.stdout.write(`${table(title, figures)}\n`);
}

function newestRestic(): { path: string; version: string } {
  const found = resticPaths().toSorted((a, b) => (a.version < b.version ? 1 : -1));
  const [newest] = found;
  if (newest === undefined) throw new Error("there is no restic on this machine");
  return newest;
}

/** Chatkeep's first or next backup of the desk. A first one begins with an empty repository of the same password. */
function ours(desk: Desk, kind: "first" | "next"): Side {
  const command = [process.execPath, CHATKEEP, "--config", desk.config, "--quiet", "backup"] as const;
  if (kind === "next") return { name: "Chatkeep, next", command, allowStatus: [3] };
  return {
    name: "Chatkeep, first",
    command,
    allowStatus: [3],
    async prepare() {
      remove(desk.repository);
      remove(desk.config);
      for (const end of ["txt", "html"]) remove(join(desk.root, "chatkeep", `chatkeep-recovery-kit.${end}`));
      const { codeRoot } = desk.installation;
      await desk.chatkeep(["init", "--yes", "--name", "desk", "--root", codeRoot, "--location", desk.repository]);
    },
  };
}

function resticBackup(desk: Desk, folder: string, kind: "first" | "next"): Side {
  const { path, version } = newestRestic();
  const repository = join(desk.root, "restic");
  const env = { ...PASSWORD, RESTIC_REPOSITORY: repository, RESTIC_CACHE_DIR: join(desk.root, "restic-cache") };
  return {
    name: `restic ${version} backup, ${kind}`,
    command: [path, "backup", "--quiet", folder],
    env,
    ...(kind === "next"
      ? {}
      : {
          async prepare() {
            remove(repository);
            await quick(path, ["init", "--quiet"], env);
          },
        }),
  };
}

function borgCreate(desk: Desk, folder: string, kind: "first" | "next"): Side {
  const repository = join(desk.root, "borg");
  const env = { ...PASSWORD, BORG_BASE_DIR: join(desk.root, "borg-home") };
  return {
    name: `borg create -C lz4, ${kind}`,
    command: ["sh", "-c", `exec borg create -C lz4 "${repository}::{now:%s%f}${kind}" "$0"`, folder],
    env,
    ...(kind === "next"
      ? {}
      : {
          async prepare() {
            remove(repository);
            mkdirSync(join(desk.root, "borg-home"), { recursive: true });
            await quick("borg", ["init", "-e", "repokey-blake2", repository], env);
          },
        }),
  };
}

async function quick(program: string, args: readonly string[], env: Record<string, string>): Promise<void> {
  await compare([{ name: `(${args[0] ?? program})`, command: [program, ...args], env }], 1);
}

async function files(): Promise<void> {
  await using desk = await openBenchDesk();
  await addFiles(desk, 5_000, 250_000);
  const folder = desk.installation.storageRoot;
  const first = [ours(desk, "first"), resticBackup(desk, folder, "first"), borgCreate(desk, folder, "first")];
  print("First backup: 1.25 GB in 5,000 files", await compare(first, RUNS));
  const next = [ours(desk, "next"), resticBackup(desk, folder, "next"), borgCreate(desk, folder, "next")];
  print("Next backup, nothing changed: the same", await compare(next, RUNS));
}

async function database(): Promise<void> {
  await using desk = await openBenchDesk();
  await addMessages(desk, 1_500_000);
  const { host, port, user, password, database: name } = desk.installation.database;
  const env = { PGHOST: host, PGPORT: String(port), PGUSER: user, PGPASSWORD: password ?? "", PGDATABASE: name };
  const dump = join(desk.root, "plain.dump");
  const pgDump: Side = {
    name: "pg_dump -Fc",
    command: [join(desk.server.programs, "pg_dump"), "-Fc", "-f", dump],
    env,
    prepare: () => remove(dump),
  };
  print("First backup: a database with 1.5 M messages", await compare([ours(desk, "first"), pgDump], RUNS));
  print("Next backup, nothing changed: the same", await compare([ours(desk, "next"), pgDump], RUNS));
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

const CASES: Record<string, () => Promise<void>> = {
  files,
  database,
  "many-files": manyFiles,
  "large-file": largeFile,
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
