/** What of a restore point's uploaded files is in a storage service already, and right. */
import { createHash } from "node:crypto";
import { LIMITS } from "../../base/limits.ts";
import type { BlobTarget, StoredBlob } from "../../source/target.ts";
import type { WantedFile } from "./wanted-files.ts";

/** `there`: it is right, or as good as the point's. `wrong`: the point has a right one for it. */
export type Verdict = "there" | "absent" | "wrong";

/** What lies under a key; undefined where nothing does. */
export type Presence = (key: string) => Promise<StoredBlob | undefined>;

/**
 * Looks what is there: in a bucket by its list, where that takes fewer requests than asking for each file.
 * @param listKeys Gives those that will be asked for; called where they can be listed.
 */
export async function lookAt(
  target: BlobTarget,
  listKeys: () => Promise<ReadonlySet<string>>,
  { signal }: { signal: AbortSignal },
): Promise<Presence> {
  const ask: Presence = async (key) => await target.stat(key, { signal });
  if (target.list === undefined) return ask;
  const keys = await listKeys();
  if (keys.size < LIMITS.listedFrom) return ask;
  const found = new Map<string, StoredBlob>();
  let pages = 0;
  for await (const page of target.list({ signal })) {
    for (const { key, ...blob } of page) if (keys.has(key)) found.set(key, blob);
    pages += 1;
    if (pages >= keys.size) return ask;
  }
  return async (key) => found.get(key);
}

/** By size; by MD5 too where the service tells it. A file in a folder is not read for that: `scrub` does. */
export async function judge(
  target: BlobTarget,
  presence: Presence,
  file: WantedFile,
  { signal }: { signal: AbortSignal },
): Promise<Verdict> {
  const found = await presence(file.key);
  if (found === undefined) return "absent";
  const wanted = file.row ?? { bytes: file.bytes, md5: null };
  const differs = (blob: StoredBlob) =>
    blob.bytes !== wanted.bytes || (wanted.md5 !== null && blob.md5 !== undefined && blob.md5 !== wanted.md5);
  // What is no better is no reason to touch what is there.
  if (!differs(found) || !file.isRight) return "there";
  if (found.bytes !== wanted.bytes) return "wrong";
  // A list does not say whether what looks like an MD5 is one.
  const again = await target.stat(file.key, { signal });
  if (again === undefined || !differs(again)) return again === undefined ? "absent" : "there";
  return (await sumOf(target, file, { signal })) === wanted.md5 ? "there" : "wrong";
}

async function sumOf(target: BlobTarget, { key, bytes }: WantedFile, { signal }: { signal: AbortSignal }) {
  const hash = createHash("md5");
  for await (const piece of target.read(key, { expectedBytes: bytes, signal })) hash.update(piece);
  return hash.digest("base64");
}
