/**
 * What can be proven of a cluster that was recovered and of no restore point: that the base's files are those that the server
 * sent, that every page has the checksum that it carries, and that tables and indexes fit together.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { listSome, plural } from "../base/bytes.ts";
import { isFailure } from "../base/errors.ts";
import type { Progress } from "../base/progress.ts";
import type { ProofCheck } from "../point/proof.ts";
import type { ServerAddress } from "../postgres/address.ts";
import { checkStructure } from "../postgres/amcheck.ts";
import { compareBase } from "../postgres/base-manifest.ts";
import { connect } from "../postgres/connect.ts";
import { checkPages } from "../postgres/page-checksums.ts";
import { BASE_MANIFEST } from "./continuous/save-base.ts";

interface CheckOptions {
  progress: Progress;
  signal: AbortSignal;
}

/** Before anything is changed in them. @param data the cluster's folder, with PostgreSQL's manifest in it. */
export async function checkBaseFiles(data: string, { progress, signal }: CheckOptions): Promise<ProofCheck> {
  progress.stage("comparing the base with its manifest");
  const name = "base-files";
  try {
    const manifest = await readFile(join(data, BASE_MANIFEST));
    const problems = await compareBase(data, manifest, { signal });
    if (problems.length === 0) return { name, ok: true, detail: "the base is what the server sent, by its manifest" };
    const shown = problems.map(({ path, reason }) => `${path} (${reason})`);
    return { name, ok: false, detail: `of the base differ: ${listSome(shown)}` };
  } catch (error) {
    if (!isFailure(error, "recovery/damaged")) throw error;
    return { name, ok: false, detail: error.message };
  }
}

/**
 * Of a server that nobody else changes anything on. What cannot be looked at (no checksums in the cluster, no amcheck with the
 * server, files that are another user's) is told to the progress, and is no check.
 * @throws Failure of the database.
 */
export async function checkRecovered(
  address: ServerAddress,
  data: string,
  { progress, signal }: CheckOptions,
): Promise<ProofCheck[]> {
  await using connection = await connect(address, { signal });
  const checks: ProofCheck[] = [];
  progress.stage("checking every page");
  const pages = await unlessForbidden(async () => await checkPages(connection, data, { signal }));
  if (pages === undefined) progress.say("pages are not checked: the cluster has no checksums, or they cannot be read");
  else {
    const wrong = pages.wrong.map(({ file, page }) => `${file}, page ${page}`);
    const detail =
      wrong.length === 0 ? `${plural(pages.pages, "page")} as their checksums say` : `damaged: ${listSome(wrong)}`;
    checks.push({ name: "page-checksums", ok: wrong.length === 0, detail });
  }
  progress.stage("checking tables with their indexes");
  const structure = await checkStructure(connection);
  if (structure === undefined) progress.say("indexes are not checked: the server has no amcheck");
  else {
    const { tables, indexes, problems } = structure;
    const detail =
      problems.length === 0
        ? `${plural(tables, "table")} and ${plural(indexes, "index", "indexes")} fit together`
        : listSome(problems);
    checks.push({ name: "table-structure", ok: problems.length === 0, detail });
  }
  return checks;
}

/** In a container the files may be its server's alone. */
async function unlessForbidden<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EACCES" || code === "EPERM") return undefined;
    throw error;
  }
}
