/** Looks whether uploaded files that the database lists are where they should be: a few of them, chosen by chance. */
import { listSome, plural } from "../base/bytes.ts";
import { mapConcurrent } from "../base/concurrent.ts";
import type { Finding } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import { isSafeBlobKey } from "../chatwoot/blobs.ts";
import type { SourceSpec } from "../source/source.ts";
import type { Queries } from "./list-storage.ts";
import type { StorageSources } from "./sources.ts";

type SampleRow = { id: string; key: string; filename: string; bytes: string };

/** Those of the last minutes may still be on their way, and those that are known to be lost are told as such. */
const SAMPLE_QUERY = `select id::text, key, filename, byte_size::text as bytes from active_storage_blobs
 where service_name = $1 and created_at < (now() at time zone 'UTC') - interval '15 minutes'
   and not exists (select from pg_catalog.unnest($3::bigint[]) as known (blob) where known.blob = active_storage_blobs.id)
 order by random() limit $2`;

export interface Sample {
  /** A key that is there, where one was found. */
  there: string | undefined;
  findings: Finding[];
}

export interface SampleOptions {
  spec: SourceSpec;
  /** Ids of blobs that are known to be lost: they are not looked at again. */
  knownLost: readonly string[];
  signal: AbortSignal;
}

/** One finding where a file that was looked at is not there, or has another size. */
export async function sampleStorage(
  database: Queries,
  sources: Pick<StorageSources, "has">,
  { spec, knownLost, signal }: SampleOptions,
): Promise<Sample> {
  const isHere = spec.kind === "local";
  const count = isHere ? LIMITS.sampledFiles : LIMITS.sampledObjects;
  const rows = await database.query<SampleRow>(SAMPLE_QUERY, [spec.service, count, knownLost]);
  const looks = await mapConcurrent(
    rows,
    isHere ? LIMITS.smallReads : LIMITS.objectsInFlight,
    async ({ key, bytes }) => (!isHere || isSafeBlobKey(key)) && (await sources.has(spec.service, key, Number(bytes))),
    { signal },
  );
  const lost = rows.filter((_, at) => looks[at] === false);
  const there = rows.find((_, at) => looks[at])?.key;
  if (lost.length === 0) return { there, findings: [] };
  const describe = (nameOf: (row: SampleRow) => string) =>
    `of ${plural(rows.length, "uploaded file")} of storage '${spec.service}' that were looked at, ${lost.length} ${lost.length === 1 ? "is" : "are"} not there or not whole: ${listSome(lost.map(nameOf))}`;
  const where = isHere
    ? `Is ${spec.roots.join(" or ")} the right folder, and its disk mounted?`
    : `Is '${spec.bucket}' the right bucket, and may these credentials see all of it?`;
  return {
    there,
    findings: [
      {
        kind: "storage-files-lost",
        level: "alarm",
        message: describe(({ filename, id }) => `${filename || "(no name)"} (blob ${id})`),
        discreet: describe(({ id }) => `blob ${id}`),
        hint: `${where} If they are gone, 'chatkeep restore latest --only storage --missing' puts back what is not there. 'chatkeep scrub --all' looks at every file.`,
      },
    ],
  };
}
