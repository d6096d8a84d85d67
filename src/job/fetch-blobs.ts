/** Has the sealing threads read the files that rows ask for, wherever they lie, and judges what came. */
import { parseZonedInstant } from "../base/clock.ts";
import { assert } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { blobPath, isSafeBlobKey } from "../chatwoot/blobs.ts";
import type { MissingBlob } from "../point/manifest.ts";
import type { StoredFile } from "../repo/store-file.ts";
import type { LocalSpec, SourceSpec } from "../source/source.ts";
import type { StoragePorts } from "./capture-storage.ts";
import type { BlobRow } from "./storage-state.ts";

/** What is asked of a row. */
export type WantedBlob = Pick<BlobRow, "id" | "key" | "checksum" | "bytes" | "createdAt">;

export interface Fetched<T extends WantedBlob = BlobRow> {
  blob: T;
  file: StoredFile;
}

/** What this needs of the world. */
export type FetchPorts = Pick<
  StoragePorts,
  "sources" | "storeFiles" | "storeObjects" | "rereadAll" | "onFile" | "startedAt"
>;

/** What each row's file is. Where none is wanted, nobody is asked. */
export async function fetchBlobs<T extends WantedBlob>(
  ports: FetchPorts,
  service: string,
  blobs: readonly T[],
): Promise<Fetched<T>[]> {
  if (blobs.length === 0) return [];
  const place = await ports.sources.find(service);
  if (place.kind === "out") {
    const { why, hint } = place.outage;
    return blobs.map((blob) => ({ blob, file: { kind: "unavailable", reason: why, hint } }));
  }
  const { spec } = place;
  const { false: unusable = [], true: usable = [] } = Object.groupBy(blobs, ({ key }) => `${isUsable(key, spec)}`);
  const refused = { kind: "unreadable" as const, reason: "its key is not a file name" };
  const fetched =
    spec.kind === "local" ? await readFiles(ports, spec.roots, usable) : await readObjects(ports, spec, usable);
  return [...fetched, ...unusable.map((blob) => ({ blob, file: refused }))];
}

function isUsable(key: string, { kind }: SourceSpec): boolean {
  return kind === "local" ? isSafeBlobKey(key) : key !== "" && Buffer.byteLength(key) <= 1024;
}

/** What is not right in one root is looked for in the next; of files that are right nowhere the first one there counts. */
async function readFiles<T extends WantedBlob>(
  ports: FetchPorts,
  [root, ...others]: LocalSpec["roots"],
  blobs: readonly T[],
): Promise<Fetched<T>[]> {
  const fetched = await inBatches(ports, blobs, async (batch) => {
    return await ports.storeFiles(batch.map(({ key }) => ({ path: blobPath(root, key), isNew: !ports.rereadAll })));
  });
  const [next, ...rest] = others;
  const wrong = fetched.filter(({ blob, file }) => problemOf(blob, file) !== undefined).map(({ blob }) => blob);
  if (next === undefined || wrong.length === 0) return fetched;
  const elsewhere = new Map((await readFiles(ports, [next, ...rest], wrong)).map((found) => [found.blob.id, found]));
  return fetched.map((found) => {
    const other = elsewhere.get(found.blob.id);
    if (other === undefined) return found;
    const isBetter = problemOf(other.blob, other.file) === undefined || found.file.kind === "missing";
    return isBetter ? other : found;
  });
}

async function readObjects<T extends WantedBlob>(
  ports: FetchPorts,
  spec: SourceSpec,
  blobs: readonly T[],
): Promise<Fetched<T>[]> {
  const { answered } = ports.sources;
  const idOf = ({ key }: WantedBlob) => `${spec.service} ${key}`;
  const known = blobs.flatMap((blob) => {
    const file = answered.get(idOf(blob));
    return file === undefined ? [] : [{ blob, file }];
  });
  const wanted = blobs.filter((blob) => !answered.has(idOf(blob)));
  const fetched = await inBatches(ports, wanted, async (batch) => {
    const files = batch.map(({ key, bytes }) => ({ key, bytes }));
    return await ports.storeObjects({ source: spec, files, isNew: !ports.rereadAll });
  });
  for (const { blob, file } of fetched) {
    if (file.kind === "unavailable") ports.sources.lose(spec.service, { why: file.reason, hint: file.hint });
    // Each question is a request: only a young one's answer may change while this run goes on.
    if ((file.kind === "missing" || file.kind === "unreadable") && !isYoung(ports, blob))
      answered.set(idOf(blob), file);
  }
  return [...known, ...fetched];
}

function isYoung({ startedAt }: FetchPorts, { createdAt }: WantedBlob): boolean {
  const [made, began] = [parseZonedInstant(createdAt), parseZonedInstant(startedAt)];
  return made === undefined || began === undefined || made > began - LIMITS.lateFileAgeMs;
}

async function inBatches<T extends WantedBlob>(
  ports: FetchPorts,
  blobs: readonly T[],
  store: (batch: readonly T[]) => Promise<StoredFile[]>,
): Promise<Fetched<T>[]> {
  const batches: T[][] = [];
  for (let at = 0; at < blobs.length; at += LIMITS.filesPerTask) {
    batches.push(blobs.slice(at, at + LIMITS.filesPerTask));
  }
  const results = await Promise.all(
    batches.map(async (batch) => {
      const files = await store(batch);
      assert(files.length === batch.length, "a sealing thread answered for fewer files than it was asked");
      return batch.map((blob, at) => {
        ports.onFile();
        return { blob, file: files[at] ?? { kind: "missing" as const } };
      });
    }),
  );
  return results.flat();
}

/** Why a file is not what its row asks for; undefined where it is. */
export function problemOf(
  blob: Pick<BlobRow, "bytes" | "checksum">,
  file: StoredFile,
): Exclude<MissingBlob["reason"], "purged"> | undefined {
  if (file.kind === "unavailable") return "unreadable";
  if (file.kind !== "stored") return file.kind;
  if (file.size < blob.bytes) return "short";
  if (file.size > blob.bytes) return "long";
  return blob.checksum !== null && blob.checksum !== file.md5 ? "altered" : undefined;
}
