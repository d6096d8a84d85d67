/** The parts of a proof that are neither rows nor uploaded files: the code's bundle, and the keys. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { listSome, plural } from "../base/bytes.ts";
import type { Environment } from "../chatwoot/environment.ts";
import { verifyBundle } from "../installation/bundle.ts";
import { parseEnvironment, SAVED_ENVIRONMENT } from "../point/environment.ts";
import type { TreeNode } from "../format/node.ts";
import { isDamage } from "../repo/chunk.ts";
import type { Manifest } from "../point/manifest.ts";
import type { ProofCheck } from "../point/proof.ts";
import type { Queries } from "./list-storage.ts";
import type { PointReader } from "./point-reader.ts";
import { findKeySources, readKeySamples, tryKeys } from "./prove-keys.ts";

/** Undefined when the point holds no bundle. */
export async function checkCode(
  reader: PointReader,
  work: string,
  { signal }: { signal: AbortSignal },
): Promise<ProofCheck | undefined> {
  const bundle = (await reader.folder("code"))?.find((node) => node.name.endsWith(".bundle"));
  if (bundle === undefined) return undefined;
  const path = join(work, "commits.bundle");
  await writeFile(path, reader.readNode(bundle));
  const verdict = await verifyBundle(path, { signal });
  const how = verdict.unpacked
    ? "git unpacked every commit of it"
    : "its checksum is right; it builds on commits of its origin";
  const refs = plural(verdict.header?.refs.length ?? 0, "reference");
  return {
    name: "code-bundle",
    ok: verdict.ok,
    detail: verdict.ok ? `${refs}, ${how}` : (verdict.problem ?? "git refuses it"),
  };
}

/** What was read below a folder, file by file, to the last byte. */
interface Reading {
  files: number;
  /** Files and symbolic links by the name of the point's folder that they lie in. */
  byFolder: Map<string, number>;
  broken: string[];
}

async function readBelow(reader: PointReader, start: string, isLeftOut: (path: string) => boolean): Promise<Reading> {
  const reading: Reading = { files: 0, byFolder: new Map(), broken: [] };
  const visit = async (folder: string): Promise<void> => {
    let nodes: TreeNode[];
    try {
      nodes = (await reader.folder(folder)) ?? [];
    } catch (error) {
      if (!isDamage(error)) throw error;
      reading.broken.push(`${folder}/`);
      return;
    }
    for (const node of nodes) {
      const path = folder === "" ? node.name : `${folder}/${node.name}`;
      if (node.type === "dir" && !isLeftOut(path)) await visit(path);
      if (node.type === "dir") continue;
      const top = path.slice(0, Math.max(0, path.indexOf("/")));
      reading.byFolder.set(top, (reading.byFolder.get(top) ?? 0) + 1);
      if (node.type !== "file") continue;
      reading.files += 1;
      if (!(await isReadable(reader, node))) reading.broken.push(path);
    }
  };
  await visit(start);
  return reading;
}

/** Rows and uploaded files are compared with more than themselves. */
function isElsewhere(path: string): boolean {
  return path === "database/data" || path === "storage";
}

/** Reads every file that is neither rows nor uploads, and so is compared with nothing else. */
export async function checkOtherFiles(reader: PointReader, manifest: Manifest | undefined): Promise<ProofCheck> {
  const { files, byFolder, broken } = await readBelow(reader, "", isElsewhere);
  const problems = broken.length === 0 ? [] : [`cannot be read: ${listSome(broken)}`];
  for (const [folder, expected] of [
    ["config", manifest?.config.files ?? 0],
    ["code", manifest?.code.files ?? 0],
  ] as const) {
    const found = byFolder.get(folder) ?? 0;
    if (found < expected && !broken.some((path) => path.startsWith(`${folder}/`)))
      problems.push(`${folder} has ${found} of ${plural(expected, "file")}`);
  }
  return {
    name: "configuration-and-code",
    ok: problems.length === 0,
    detail: problems.length === 0 ? `${plural(files, "other file")} read to the last byte` : problems.join("; "),
  };
}

/** For when there is no restored database to compare the uploaded files with: whether they can be read at all. */
export async function checkFilesAlone(reader: PointReader): Promise<ProofCheck> {
  const { files, broken } = await readBelow(reader, "storage", () => false);
  const readable = `${plural(files, "file")} read, and compared with nothing: the database was not restored`;
  return {
    name: "files",
    ok: broken.length === 0,
    detail: broken.length === 0 ? readable : `cannot be read: ${listSome(broken)}`,
  };
}

async function isReadable(reader: PointReader, node: TreeNode): Promise<boolean> {
  let bytes = 0n;
  try {
    for await (const chunk of reader.readNode(node)) bytes += BigInt(chunk.length);
    return bytes === BigInt(node.size ?? 0);
  } catch (error) {
    if (!isDamage(error)) throw error;
    return false;
  }
}

/** The saved environment opens what is in the restored database. */
export async function checkKeys(reader: PointReader, database: Queries): Promise<ProofCheck[]> {
  const environment = await readSavedEnvironment(reader);
  const samples = await readKeySamples(database, await findKeySources(database));
  const { entry } = await tryKeys(environment, samples);
  const checks: ProofCheck[] = [];
  const values = entry.checks.reduce((sum, check) => sum + check.count, 0);
  const failed = entry.checks.filter((check) => check.status !== "opens");
  if (entry.encryption !== null) {
    checks.push({
      name: "encryption-keys",
      ok: entry.encryption,
      detail: entry.encryption
        ? `the saved keys open ${plural(values, "encrypted value")} in ${plural(entry.checks.length, "place")}`
        : `the saved keys do not open ${listSome([...new Set(failed.map((check) => `${check.table}.${check.column}`))])}`,
    });
  }
  if (entry.secretKeyBase !== null) {
    checks.push({
      name: "secret-key-base",
      ok: entry.secretKeyBase,
      detail: entry.secretKeyBase
        ? "signed file links in the data verify with the saved SECRET_KEY_BASE"
        : "no signed file link in the data verifies with the saved SECRET_KEY_BASE",
    });
  }
  return checks;
}

/** The environment of Chatwoot's processes as it was when the point was taken. */
async function readSavedEnvironment(reader: PointReader): Promise<Environment> {
  return parseEnvironment(await reader.readText(`config/${SAVED_ENVIRONMENT}`));
}
