/** Looks whether uploaded files that the database lists are where they should be: a few of them, chosen by chance. */
import { stat } from "node:fs/promises";
import { listSome, plural } from "../base/bytes.ts";
import { mapConcurrent } from "../base/concurrent.ts";
import type { Finding } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import { blobPath, isSafeBlobKey } from "../chatwoot/blobs.ts";
import type { Installation } from "../installation/installation.ts";
import type { Queries } from "./list-storage.ts";

type SampleRow = { id: string; key: string; filename: string; bytes: string };

/** Those of the last minutes may still be on their way to the disk. */
const SAMPLE_QUERY = `select id::text, key, filename, byte_size::text as bytes from active_storage_blobs
 where service_name = $1 and created_at < (now() at time zone 'UTC') - interval '15 minutes'
 order by random() limit $2`;

/** One finding for each service in a folder of which a file that was looked at is not there, or has another size. */
export async function sampleStorage(
  database: Queries,
  installation: Installation,
  { signal }: { signal: AbortSignal },
): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const service of installation.storage) {
    if (service.kind !== "local") continue;
    const rows = await database.query<SampleRow>(SAMPLE_QUERY, [service.serviceName, LIMITS.sampledFiles]);
    const looks = await mapConcurrent(
      rows,
      LIMITS.smallReads,
      async ({ key, bytes }) => isSafeBlobKey(key) && (await isInOneOf(service.roots, key, Number(bytes))),
      { signal },
    );
    const lost = rows.filter((_, at) => looks[at] === false);
    if (lost.length === 0) continue;
    const names = listSome(lost.map(({ filename, id }) => `${filename || "(no name)"} (blob ${id})`));
    findings.push({
      kind: "storage-files-lost",
      level: "alarm",
      message: `of ${plural(rows.length, "uploaded file")} of storage '${service.serviceName}' that were looked at, ${lost.length} ${lost.length === 1 ? "is" : "are"} not there or not whole: ${names}`,
      hint: `Is ${service.roots.join(" or ")} the right folder, and its disk mounted? Earlier restore points may have the files: 'chatkeep restore POINT --only storage --to DIR'.`,
    });
  }
  return findings;
}

async function isInOneOf(roots: readonly string[], key: string, bytes: number): Promise<boolean> {
  for (const root of roots) if ((await sizeOf(blobPath(root, key))) === bytes) return true;
  return false;
}

/** Undefined where there is no such file, or it may not be looked at. */
async function sizeOf(path: string): Promise<number | undefined> {
  try {
    const facts = await stat(path);
    return facts.isFile() ? facts.size : undefined;
  } catch {
    return undefined; // Whatever the reason, it is told as not there.
  }
}
