/** Uploaded files in a tar, read as it comes: from a file that is packed nothing else can be done. */
import { Failure } from "../base/errors.ts";
import { ORDINARY } from "../base/tar.ts";
import { readTarEntries, type TarEntry } from "../base/tar-stream.ts";

export type StreamedMember = Pick<TarEntry, "path" | "sizeBytes" | "read">;

/**
 * Every ordinary file of a tar; links, devices and folders are passed over.
 * @param chunks Unpacked.
 * @throws Failure `dump/unsuitable` when it is no tar, `dump/damaged` when it is cut short or damaged.
 */
export async function* readTarStream(
  chunks: AsyncIterable<Buffer>,
  { path }: { path: string },
): AsyncGenerator<StreamedMember, void, void> {
  const make = { "no-tar": noTar, "cut-short": cutShort, damaged };
  for await (const entry of readTarEntries(chunks, { failure: (what) => make[what](path) })) {
    if (ORDINARY.has(entry.type) && !entry.path.endsWith("/")) yield entry;
  }
}

function noTar(path: string): Failure {
  return new Failure("dump/unsuitable", `'${path}' is no tar file`, {
    hint: "Name the folder of uploaded files, or a tar of it, which may be packed with gzip or zstd.",
  });
}

function cutShort(path: string): Failure {
  return new Failure("dump/damaged", `'${path}' is cut short`, {
    hint: "Was the disk full, or the copying stopped? Compare its size with the original's; else unpack what there is, and name the folder.",
  });
}

function damaged(path: string): Failure {
  return new Failure("dump/damaged", `'${path}' is damaged: a part of it means nothing`, {
    hint: "Compare its SHA-256 with the original's; else unpack what there is with tar, and name the folder.",
  });
}
