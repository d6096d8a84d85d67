/** The programs that are compared, each doing the same piece of work. */
import { mkdirSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { CHATKEEP } from "../test/harness/cli.ts";
import { resticPaths } from "../test/harness/restic.ts";
import type { Desk } from "../test/scenario/desk.ts";
import { compare, remove, type Side } from "./measure.ts";

export const PASSWORD = {
  RESTIC_PASSWORD: "bench",
  BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK: "yes",
  BORG_PASSPHRASE: "bench",
};

/** For what is not started by bin/chatkeep.js, which keeps compiled code there, too. */
export const COMPILED = { NODE_COMPILE_CACHE: join(homedir(), ".cache", "chatkeep", "compiled") };

export function newestRestic(): { path: string; version: string } {
  const found = resticPaths().toSorted((a, b) => (a.version < b.version ? 1 : -1));
  const [newest] = found;
  if (newest === undefined) throw new Error("there is no restic on this machine");
  return newest;
}

/** Chatkeep's first or next backup of the desk. A first one begins with an empty repository of the same password. */
export function ours(desk: Desk, kind: "first" | "next"): Side {
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

export function resticEnv(desk: Desk, repository: string): Record<string, string> {
  return { ...PASSWORD, RESTIC_REPOSITORY: repository, RESTIC_CACHE_DIR: join(desk.root, "restic-cache") };
}

/** How programs of PostgreSQL find the desk's database. */
export function pgEnv(desk: Desk): Record<string, string> {
  const { host, port, user, password, database } = desk.installation.database;
  return { PGHOST: host, PGPORT: String(port), PGUSER: user, PGPASSWORD: password ?? "", PGDATABASE: database };
}

/** restic's repository of the desk; a first backup begins with an empty one. */
export function resticPlace(
  desk: Desk,
  kind: "first" | "next",
): Pick<Side, "prepare"> & { env: Record<string, string> } {
  const repository = join(desk.root, "restic");
  const env = resticEnv(desk, repository);
  if (kind === "next") return { env };
  return {
    env,
    async prepare() {
      remove(repository);
      await quick(newestRestic().path, ["init", "--quiet"], env);
    },
  };
}

export function resticBackup(desk: Desk, folder: string, kind: "first" | "next"): Side {
  const { path, version } = newestRestic();
  return {
    ...resticPlace(desk, kind),
    name: `restic ${version} backup, ${kind}`,
    command: [path, "backup", "--quiet", folder],
  };
}

export function borgCreate(desk: Desk, folder: string, kind: "first" | "next"): Side {
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

export async function quick(program: string, args: readonly string[], env: Record<string, string>): Promise<void> {
  await compare([{ name: `(${args[0] ?? program})`, command: [program, ...args], env }], 1);
}

/** The files of the newest point, or of restic's newest snapshot, into an empty folder. */
export function restores(desk: Desk): Side[] {
  const [ours, theirs] = [join(desk.root, "ours-out"), join(desk.root, "restic-out")];
  const clear = () => {
    remove(ours);
    remove(theirs);
  };
  const args = ["--quiet", "restore", "latest", "--only", "storage", "--to", ours, "--yes"];
  const { path, version } = newestRestic();
  return [
    {
      name: "Chatkeep restore",
      command: [process.execPath, CHATKEEP, "--config", desk.config, ...args],
      prepare: clear,
    },
    {
      name: `restic ${version} restore`,
      command: [path, "restore", "--quiet", "latest", "--target", theirs],
      env: resticEnv(desk, join(desk.root, "restic")),
      prepare: clear,
    },
  ];
}
