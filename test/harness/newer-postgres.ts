/**
 * PostgreSQL 17 and 18 with pgvector on a machine whose own Debian has neither: Debian 13, and Debian's sid, in a folder
 * below `.cache`, made once (about two minutes, 700 MB each); and the client programs of 13, of Debian 11. Their programs are run from outside by their own loader and
 * libraries, so that they see this machine's files and can be started by any user, as the machine's own programs are.
 */
import { existsSync, readdirSync, statSync } from "node:fs";
import { chmod, mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { installDebian } from "./debian-folder.ts";

const CACHE = resolve(import.meta.dirname, "../../.cache");
/** Which release of Debian has which major. */
const SUITES = { 17: "trixie", 18: "sid" } as const;
export type NewerMajor = keyof typeof SUITES;

/** The release of Debian itself: what an image is made of. Only there once {@link newerPostgres} was called. */
export function debianFolder(major: NewerMajor): string {
  return join(CACHE, SUITES[major]);
}

export interface NewerPostgres {
  major: number;
  /** The folder with `initdb`, `postgres`, `pg_dump`, `psql` …: for `startPostgres`, and for PATH. */
  programs: string;
}

/** Where a release lies, and its programs in it. */
interface Place {
  root: string;
  bin: string;
}

/**
 * The programs of a newer PostgreSQL with pgvector, installed below `.cache` where they are not yet.
 * @throws Error that says what is lacking: it takes root, Debian and its packages.
 */
export async function newerPostgres(major: NewerMajor): Promise<NewerPostgres> {
  const place = { root: debianFolder(major), bin: `usr/lib/postgresql/${major}/bin` };
  await installDebian({
    folder: place.root,
    suite: SUITES[major],
    packages: [`postgresql-${major}`, `postgresql-${major}-pgvector`],
    proof: join(place.bin, "postgres"),
    async prepare(folder) {
      await mkdir(join(folder, "etc/postgresql-common"), { recursive: true });
      await writeFile(join(folder, "etc/postgresql-common/createcluster.conf"), "create_main_cluster = false\n");
    },
  });
  return { major, programs: await makePrograms(place) };
}

/** The folder with `pg_dump`, `pg_restore` and `psql` of PostgreSQL 13, the oldest that a Debian still has. @throws as {@link newerPostgres}. */
export async function olderClient(): Promise<string> {
  const place = { root: join(CACHE, "bullseye"), bin: "usr/lib/postgresql/13/bin" };
  await installDebian({
    folder: place.root,
    suite: "bullseye",
    packages: ["postgresql-client-13"],
    proof: join(place.bin, "pg_dump"),
  });
  // Its loader cannot say another name for the program; those of a client look for none beside them.
  return await makePrograms(place, { isNamed: false });
}

/**
 * Small scripts that start each program through its own loader. They lie in a folder that has the same name from
 * `usr` on, because the programs look for their files, and for each other, beside the place they were called from.
 */
async function makePrograms({ root, bin }: Place, { isNamed = true } = {}): Promise<string> {
  const base = `${root}-programs`;
  const programs = join(base, bin);
  if (existsSync(join(programs, "pg_dump"))) return programs;
  await mkdir(CACHE, { recursive: true });
  const made = await mkdtemp(`${base}-`);
  await chmod(made, 0o755);
  await mkdir(join(made, bin), { recursive: true });
  await symlink(join(root, "usr/share"), join(made, "usr/share"));
  await symlink(join(root, dirname(bin), "lib"), join(made, dirname(bin), "lib"));
  const { loader, libraries } = findLoader(root);
  for (const name of readdirSync(join(root, bin))) {
    const script = [
      "#!/bin/sh",
      `exec "${loader}"${isNamed ? ' --argv0 "$0"' : ""} --library-path "${libraries}" "${join(root, bin, name)}" "$@"`,
    ];
    await writeFile(join(made, bin, name), `${script.join("\n")}\n`, { mode: 0o755 });
  }
  try {
    await rename(made, base);
  } catch (error) {
    await rm(made, { recursive: true, force: true });
    if (!existsSync(join(programs, "pg_dump"))) throw error;
  }
  return programs;
}

function findLoader(root: string): { loader: string; libraries: string } {
  const lib = join(root, "usr/lib");
  for (const name of readdirSync(lib).filter((entry) => entry.includes("-linux-gnu"))) {
    const folder = join(lib, name);
    if (!statSync(folder).isDirectory()) continue;
    const loader = readdirSync(folder).find((file) => /^ld-linux.*\.so\.\d+$/.test(file));
    if (loader !== undefined) return { loader: join(folder, loader), libraries: folder };
  }
  throw new Error(`there is no loader below ${lib}`);
}
