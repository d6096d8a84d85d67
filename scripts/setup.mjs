/**
 * Makes this machine able to run the demo, the tests or the benchmark: `node scripts/setup.mjs --for=demo|test|bench|executable`.
 * Installs only what is missing and says each thing in one line; a second call finds everything and does nothing.
 * Where it may not install, it names what is missing and stops with status 1.
 */
import { pathToFileURL } from "node:url";
import { installPackages, putBackLeftovers } from "./setup/debian.mjs";
import { installModules } from "./setup/modules.mjs";
import { fetchNewest } from "./setup/newest.mjs";
import { fetchNodeLicence } from "./setup/node-licence.mjs";
import { fetchOlderNode } from "./setup/older-node.mjs";
import { findPostgres, findProgram, findUnprivilegedUser, hasLibrary } from "./setup/programs.mjs";
import { SetupError, say } from "./setup/say.mjs";

/** Programs that npm does not bring. `package` is Debian's name. */
const NEEDS = {
  libatomic: {
    isThere: () => hasLibrary("libatomic.so.1"),
    package: "libatomic1",
    words: "libatomic.so.1, which Node 26 is linked with",
  },
  postgres: {
    isThere: () => findPostgres() !== undefined,
    package: "postgresql",
    words: "PostgreSQL 14 or newer, server and client (initdb, postgres, pg_dump, pg_restore, psql)",
  },
  git: { isThere: () => findProgram("git") !== undefined, package: "git", words: "git" },
  restic: { isThere: () => findProgram("restic") !== undefined, package: "restic", words: "restic 0.14 or newer" },
  sshd: { isThere: () => findProgram("sshd") !== undefined, package: "openssh-server", words: "OpenSSH's sshd" },
  sftp: { isThere: () => findProgram("ssh") !== undefined, package: "openssh-client", words: "OpenSSH's ssh" },
  rclone: { isThere: () => findProgram("rclone") !== undefined, package: "rclone", words: "rclone 1.60 or newer" },
  pgbouncer: { isThere: () => findProgram("pgbouncer") !== undefined, package: "pgbouncer", words: "PgBouncer" },
  redis: { isThere: () => findProgram("redis-server") !== undefined, package: "redis-server", words: "redis-server" },
  systemd: {
    isThere: () => findProgram("systemd-analyze") !== undefined,
    package: "systemd",
    words: "systemd-analyze, of systemd 250 or newer",
  },
  borg: { isThere: () => findProgram("borg") !== undefined, package: "borgbackup", words: "borg 1.2 or newer" },
  pgbackrest: {
    isThere: () => findProgram("pgbackrest") !== undefined,
    package: "pgbackrest",
    words: "pgBackRest 2.45 or newer",
  },
};

const fetchNewestRestic = async () => await fetchNewest("restic", [], "tests use the one in PATH alone");
/** With the C library that it is linked with: the bench starts it by that one's loader. */
const fetchNewestPgBackRest = async () =>
  await fetchNewest("pgbackrest", ["libc6", "libxml2-16"], "the bench uses the one in PATH");

/** What is fetched at the same time as the node modules, and what needs them. */
const PURPOSES = {
  demo: { needs: [NEEDS.libatomic, NEEDS.postgres, NEEDS.git], beside: [], extras: [] },
  test: {
    needs: [
      NEEDS.libatomic,
      NEEDS.postgres,
      NEEDS.git,
      NEEDS.restic,
      NEEDS.sshd,
      NEEDS.sftp,
      NEEDS.rclone,
      NEEDS.pgbouncer,
      NEEDS.redis,
      NEEDS.systemd,
    ],
    beside: [fetchNewestRestic, fetchOlderNode],
    extras: [fetchNodeLicence],
  },
  bench: {
    needs: Object.values(NEEDS).filter((need) => ![NEEDS.pgbouncer, NEEDS.redis, NEEDS.systemd].includes(need)),
    beside: [fetchNewestRestic, fetchNewestPgBackRest],
    extras: [],
  },
  executable: { needs: [NEEDS.libatomic], beside: [], extras: [fetchNodeLicence] },
};

/** Sets up for one purpose. Throws a SetupError that names what is missing. */
export async function setUp(purpose) {
  const { needs, beside, extras } = PURPOSES[purpose] ?? {};
  if (needs === undefined) throw new SetupError(`unknown purpose '${purpose}': ${Object.keys(PURPOSES).join(", ")}`);
  await putBackLeftovers();
  const missing = needs.filter((need) => !need.isThere());
  if (missing.length > 0) await installPackages(missing);
  const still = missing.filter((need) => !need.isThere());
  if (still.length > 0) throw new SetupError(`still missing: ${still.map((need) => need.words).join("; ")}`);
  if (needs.includes(NEEDS.postgres) && process.getuid?.() === 0 && findUnprivilegedUser() === undefined) {
    throw new SetupError("PostgreSQL does not run as root: add a user named 'postgres' or 'nobody'");
  }
  // After the packages: from here on npm finds the project's own Node first, so that must be able to start.
  const fetching = Promise.all(beside.map(async (fetchExtra) => await fetchExtra()));
  try {
    await installModules();
  } finally {
    await fetching;
  }
  for (const fetchExtra of extras) await fetchExtra();
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const purpose = process.argv
    .slice(2)
    .find((arg) => arg.startsWith("--for="))
    ?.slice("--for=".length);
  try {
    await setUp(purpose ?? "test");
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    say(error.message);
    process.exit(1);
  }
}
