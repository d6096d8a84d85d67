/**
 * PostgreSQL 17 with pgvector on a machine whose own Debian has neither: Debian 13 in a folder below `.cache`, made
 * once (about two minutes, 700 MB). Its programs are run from outside by its own loader and libraries, so that they
 * see this machine's files and can be started by any user, as the machine's own programs are.
 */
import { existsSync, readdirSync, statSync } from "node:fs";
import { chmod, mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { installDebian } from "./debian-folder.ts";

const SUITE = "trixie";
const MAJOR = 17;
const CACHE = resolve(import.meta.dirname, "../../.cache");
const ROOT = join(CACHE, SUITE);

/** Debian 13 itself: what an image is made of. Only there once {@link trixiePostgres} was called. */
export const trixieFolder = ROOT;

const BIN = `usr/lib/postgresql/${MAJOR}/bin`;
const PACKAGES = [`postgresql-${MAJOR}`, `postgresql-${MAJOR}-pgvector`];

export interface NewerPostgres {
  major: number;
  /** The folder with `initdb`, `postgres`, `pg_dump`, `psql` …: for `startPostgres`, and for PATH. */
  programs: string;
}

/**
 * The programs of PostgreSQL 17, installed below `.cache` where they are not yet.
 * @throws Error that says what is lacking: it takes root, Debian and its packages.
 */
export async function trixiePostgres(): Promise<NewerPostgres> {
  await install();
  return { major: MAJOR, programs: await makePrograms() };
}

async function install(): Promise<void> {
  await installDebian({
    folder: ROOT,
    suite: SUITE,
    packages: PACKAGES,
    proof: join(BIN, "postgres"),
    async prepare(folder) {
      await mkdir(join(folder, "etc/postgresql-common"), { recursive: true });
      await writeFile(join(folder, "etc/postgresql-common/createcluster.conf"), "create_main_cluster = false\n");
    },
  });
}

/**
 * Small scripts that start each program through its own loader. They lie in a folder that has the same name from
 * `usr` on, because the programs look for their files, and for each other, beside the place they were called from.
 */
async function makePrograms(): Promise<string> {
  const base = join(CACHE, `${SUITE}-programs`);
  const programs = join(base, BIN);
  if (existsSync(join(programs, "postgres"))) return programs;
  await mkdir(CACHE, { recursive: true });
  const made = await mkdtemp(`${base}-`);
  await chmod(made, 0o755);
  await mkdir(join(made, BIN), { recursive: true });
  await symlink(join(ROOT, "usr/share"), join(made, "usr/share"));
  await symlink(join(ROOT, dirname(BIN), "lib"), join(made, dirname(BIN), "lib"));
  const { loader, libraries } = findLoader();
  for (const name of readdirSync(join(ROOT, BIN))) {
    const script = [
      "#!/bin/sh",
      `exec "${loader}" --argv0 "$0" --library-path "${libraries}" "${join(ROOT, BIN, name)}" "$@"`,
    ];
    await writeFile(join(made, BIN, name), `${script.join("\n")}\n`, { mode: 0o755 });
  }
  try {
    await rename(made, base);
  } catch (error) {
    await rm(made, { recursive: true, force: true });
    if (!existsSync(join(programs, "postgres"))) throw error;
  }
  return programs;
}

function findLoader(): { loader: string; libraries: string } {
  const lib = join(ROOT, "usr/lib");
  for (const name of readdirSync(lib).filter((entry) => entry.includes("-linux-gnu"))) {
    const folder = join(lib, name);
    if (!statSync(folder).isDirectory()) continue;
    const loader = readdirSync(folder).find((file) => /^ld-linux.*\.so\.\d+$/.test(file));
    if (loader !== undefined) return { loader: join(folder, loader), libraries: folder };
  }
  throw new Error(`there is no loader below ${lib}`);
}
