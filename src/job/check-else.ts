/** The parts of a proof that are neither rows nor uploaded files: the code's bundle, and the keys. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { listSome, plural } from "../base/bytes.ts";
import type { Environment } from "../chatwoot/environment.ts";
import { verifyBundle } from "../installation/bundle.ts";
import { parseEnvironment, SAVED_ENVIRONMENT } from "../point/environment.ts";
import type { TreeNode } from "../format/node.ts";
import { isDamage } from "../repo/chunk.ts";
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

/** Reads every file that is neither rows nor uploads, and so is compared with nothing else. */
export async function checkOtherFiles(reader: PointReader): Promise<ProofCheck> {
  const broken: string[] = [];
  let files = 0;
  const visit = async (folder: string): Promise<void> => {
    for (const node of (await reader.folder(folder)) ?? []) {
      const path = folder === "" ? node.name : `${folder}/${node.name}`;
      if (node.type === "dir" && path !== "database/data" && path !== "storage") await visitSafely(path);
      if (node.type !== "file") continue;
      files += 1;
      if (!(await isReadable(reader, node))) broken.push(path);
    }
  };
  const visitSafely = async (path: string): Promise<void> => {
    try {
      await visit(path);
    } catch (error) {
      if (!isDamage(error)) throw error;
      broken.push(`${path}/`);
    }
  };
  await visitSafely("");
  return {
    name: "configuration-and-code",
    ok: broken.length === 0,
    detail:
      broken.length === 0
        ? `${plural(files, "other file")} read to the last byte`
        : `cannot be read: ${listSome(broken)}`,
  };
}

async function isReadable(reader: PointReader, node: TreeNode): Promise<boolean> {
  try {
    for await (const chunk of reader.readNode(node)) void chunk;
    return true;
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
export async function readSavedEnvironment(reader: PointReader): Promise<Environment> {
  return parseEnvironment(await reader.readText(`config/${SAVED_ENVIRONMENT}`));
}
