/** A package of npm's, unpacked: for programs that are tests' own and too large to be installed with the rest. */
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { mustRun } from "./run.ts";

/**
 * Fetches it, as npm would, and unpacks it into `package` below a folder that exists.
 * @param sha512 npm's own checksum of it, in base64.
 * @throws Error when npm cannot fetch it, or fetched something else than it should have.
 */
export async function fetchPackage(nameAndVersion: string, sha512: string, into: string): Promise<void> {
  await mustRun("npm", ["pack", nameAndVersion, "--pack-destination", into, "--loglevel=error"], { cwd: into });
  const [file] = (await readdir(into)).filter((entry) => entry.endsWith(".tgz"));
  if (file === undefined) throw new Error(`npm pack fetched nothing for ${nameAndVersion}`);
  const archive = join(into, file);
  const digest = createHash("sha512")
    .update(await readFile(archive))
    .digest("base64");
  if (digest !== sha512) throw new Error(`${nameAndVersion} is not what it was: its SHA-512 is ${digest}`);
  await mustRun("tar", ["-xzf", archive, "-C", into, "--no-same-owner"]);
}
