/** The parts of a proof that are neither rows nor uploaded files: the code's bundle, and the keys. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { listSome, plural } from "../base/bytes.ts";
import type { Environment } from "../chatwoot/environment.ts";
import { verifyBundle } from "../installation/bundle.ts";
import { parseEnvironment, SAVED_ENVIRONMENT } from "../point/environment.ts";
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
