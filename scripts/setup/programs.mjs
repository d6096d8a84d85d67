/** Finds programs in PATH and where distributions keep PostgreSQL. */
import { spawnSync } from "node:child_process";
import { accessSync, constants, readFileSync, readdirSync } from "node:fs";
import { delimiter, join } from "node:path";

const POSTGRES_PROGRAMS = ["initdb", "postgres", "pg_dump", "pg_restore", "psql"];
/** Debian and Ubuntu; others keep the programs in PATH. */
const POSTGRES_FOLDER = "/usr/lib/postgresql";
/** A user's PATH often lacks these. */
const SYSTEM_FOLDERS = ["/usr/sbin", "/sbin"];

function isProgram(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function pathFolders() {
  return [...(process.env.PATH ?? "").split(delimiter), ...SYSTEM_FOLDERS].filter((folder) => folder !== "");
}

/** The full path of a program, or undefined. */
export function findProgram(name) {
  return pathFolders()
    .map((folder) => join(folder, name))
    .find(isProgram);
}

/** False where the dynamic linker does not know a library; systems without glibc's list are taken at their word. */
export function hasLibrary(name) {
  const { status, stdout } = spawnSync(findProgram("ldconfig") ?? "ldconfig", ["-p"], { encoding: "utf8" });
  return status !== 0 || stdout.includes(name);
}

/** A folder that holds PostgreSQL's server and client programs, or undefined. */
export function findPostgres() {
  let majors = [];
  try {
    majors = readdirSync(POSTGRES_FOLDER).toSorted((a, b) => Number(b) - Number(a));
  } catch {
    // No PostgreSQL from packages here: PATH is left.
  }
  const folders = [...majors.map((major) => join(POSTGRES_FOLDER, major, "bin")), ...pathFolders()];
  return folders.find((folder) => POSTGRES_PROGRAMS.every((name) => isProgram(join(folder, name))));
}

/** The user that a PostgreSQL started by root runs as, or undefined. */
export function findUnprivilegedUser() {
  const names = readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .map((line) => line.split(":")[0]);
  return ["postgres", "nobody"].find((name) => names.includes(name));
}
