/** Looking after a repository: the same one for both sides, made by restic, as it might have grown in twenty days. */
import { cpSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { FOLDERS_QUERY } from "../src/job/storage-state.ts";
import { CHATKEEP } from "../test/harness/cli.ts";
import type { Desk } from "../test/scenario/desk.ts";
import { remove, type Side } from "./measure.ts";
import { newestRestic, PASSWORD, quick, resticEnv } from "./sides.ts";

export interface GrownRepository extends AsyncDisposable {
  /** Twenty snapshots, none forgotten. */
  readonly whole: string;
  /** The same with ten of them forgotten, and nothing pruned. */
  readonly forgotten: string;
}

const SNAPSHOTS = 20;
const FILES = 400;
const FILE_BYTES = 500_000;

/** 4 GB of files: each snapshot has 400 new ones, and lacks half of the 400 of the one before it. */
export async function growingRepository(desk: Desk): Promise<GrownRepository> {
  const [whole, forgotten, folder] = ["whole", "forgotten", "grown"].map((name) => join(desk.root, name));
  if (whole === undefined || forgotten === undefined || folder === undefined)
    throw new Error("three names, three places");
  const { path } = newestRestic();
  const env = resticEnv(desk, whole);
  await quick(path, ["init", "--quiet"], env);
  for (let day = 0; day < SNAPSHOTS; day += 1) {
    mkdirSync(join(folder, `${day}`), { recursive: true });
    for (let file = 0; file < FILES; file += 1) {
      writeFileSync(join(folder, `${day}`, `${file}`), randomBytes(FILE_BYTES));
      if (day > 0 && file % 2 === 1) rmSync(join(folder, `${day - 1}`, `${file}`));
    }
    await quick(path, ["backup", "--quiet", folder], env);
  }
  cpSync(whole, forgotten, { recursive: true });
  await quick(path, ["forget", "--quiet", "--keep-last", String(SNAPSHOTS / 2)], resticEnv(desk, forgotten));
  return {
    whole,
    forgotten,
    async [Symbol.asyncDispose]() {
      for (const place of [whole, forgotten, folder]) remove(place);
    },
  };
}

function chatkeep(repository: string, ...args: string[]): Pick<Side, "command" | "env"> {
  return {
    command: [process.execPath, CHATKEEP, "--quiet", "--repository", repository, ...args],
    env: { CHATKEEP_PASSWORD: PASSWORD.RESTIC_PASSWORD },
  };
}

export function verifies(desk: Desk, { whole }: GrownRepository): Side[] {
  const { path, version } = newestRestic();
  return [
    { name: "Chatkeep verify --read-data", ...chatkeep(whole, "verify", "--read-data") },
    {
      name: `restic ${version} check --read-data`,
      command: [path, "check", "--read-data"],
      env: resticEnv(desk, whole),
    },
  ];
}

export function prunes(desk: Desk, { forgotten }: GrownRepository): Side[] {
  const { path, version } = newestRestic();
  const place = join(desk.root, "pruned");
  const prepare = () => {
    remove(place);
    cpSync(forgotten, place, { recursive: true });
  };
  return [
    { name: "Chatkeep prune", ...chatkeep(place, "prune"), prepare },
    { name: `restic ${version} prune`, command: [path, "prune", "--quiet"], env: resticEnv(desk, place), prepare },
  ];
}

/** What the database takes for the one question that tells which folders of files changed. */
export function bareQuery(desk: Desk): Side {
  const { host, port, user, password, database } = desk.installation.database;
  return {
    name: "the bare aggregate query",
    command: [join(desk.server.programs, "psql"), "-XAtq", "-c", FOLDERS_QUERY],
    env: { PGHOST: host, PGPORT: String(port), PGUSER: user, PGPASSWORD: password ?? "", PGDATABASE: database },
  };
}
