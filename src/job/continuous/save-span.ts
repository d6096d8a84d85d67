/**
 * Writes a span of the write-ahead log as a snapshot: whole segments under their own names, so that stock restic gives back
 * what PostgreSQL's `restore_command` takes, and where no journal can be had the beginning of one more.
 *
 *     chatkeep-wal/wal.json          what lies here, with checksums, and which moments
 *     chatkeep-wal/wal/<24 hex>      a segment; `<24 hex>.partial` just the bytes of its beginning
 *     chatkeep-wal/wal/<8 hex>.history
 */
import { createHash } from "node:crypto";
import { assert } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import { WAL, type WalSpan, walTags } from "../../point/continuous.ts";
import { type Commit, formatWalFacts, summarizeCommits, type WalFile } from "../../point/wal-facts.ts";
import { parseHistory } from "../../wal/history.ts";
import { historyName, segmentName, segmentStart } from "../../wal/lsn.ts";
import { PointFolder } from "../point-tree.ts";
import { Pieces } from "./pieces.ts";
import { type Writer, writeSnapshot, type Written } from "./writing.ts";

export const WAL_FOLDER = "wal";
export const PARTIAL = ".partial";

export interface SpanToSave {
  /** Its beginning is a segment's. */
  readonly span: WalSpan;
  /** Those whose records end in it, in the log's order. */
  readonly commits: readonly Commit[];
  /** Its bytes, in order. */
  readonly bytes: readonly Buffer[];
  readonly segmentBytes: number;
  /** Of the span's timeline and of those that it comes from; a timeline's number → the file's text. */
  readonly histories: ReadonlyMap<number, string>;
}

/** @throws Failure `repo/locked`, of the store. */
export async function saveSpan(writer: Writer, toSave: SpanToSave): Promise<Written> {
  const { span, segmentBytes } = toSave;
  assert(span.from === segmentStart(span.from, segmentBytes), "a span of the log begins inside a segment");
  const expectedChunks = Number(span.to - span.from) / LIMITS.walChunkBytes + 64;
  const options = { place: WAL, expectedChunks: Math.ceil(expectedChunks), workers: 1 };
  return await writeSnapshot(writer, options, async (sealing) => {
    const top = new PointFolder();
    const root = top.folder(WAL.folder);
    const folder = root.folder(WAL_FOLDER);
    const pieces = new Pieces(sealing, LIMITS.walChunkBytes);
    const stored = [];
    for (const segment of segmentsOf(toSave)) {
      stored.push({
        file: segment.file,
        ids: await pieces.add({ path: segment.file.name, size: segment.file.bytes }, segment.parts),
      });
    }
    await pieces.finish();
    const segments = stored.map(({ file, ids }) => {
      folder.addFile(file.name, file.bytes, ids.list());
      return file;
    });
    const histories: WalFile[] = [];
    for (const [timeline, text] of toSave.histories) {
      const bytes = Buffer.from(text, "utf8");
      const file = { name: historyName(timeline), bytes: bytes.length, sha256: sha256Of([bytes]) };
      folder.addFile(file.name, file.bytes, await sealing.storeContent(bytes));
      histories.push(file);
    }
    const commits = summarizeCommits(toSave.commits);
    const facts = formatWalFacts({ program: writer.program, span, segmentBytes, segments, histories, commits });
    const bytes = Buffer.from(facts, "utf8");
    root.addFile(WAL.file, bytes.length, await sealing.storeContent(bytes));
    const tags = walTags({ ...span, ...parentsIn(toSave) });
    return { tree: await top.store(async (tree) => await sealing.storeTree(tree)), tags };
  });
}

/** From the timeline's own history file, which names all that it comes from. */
function parentsIn({ span: { timeline }, histories }: SpanToSave): Pick<WalSpan, "parents"> {
  const text = histories.get(timeline);
  const history = text === undefined ? undefined : parseHistory(timeline, text);
  return history === undefined ? {} : { parents: history.parents };
}

function sha256Of(parts: readonly Uint8Array[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest("hex");
}

/** The span's bytes by segments, as parts of the buffers given. */
function* segmentsOf({ span, bytes, segmentBytes }: SpanToSave): Generator<{ file: WalFile; parts: Buffer[] }> {
  let [index, within] = [0, 0];
  for (let start = span.from; start < span.to; start += BigInt(segmentBytes)) {
    const length = Math.min(segmentBytes, Number(span.to - start));
    const parts: Buffer[] = [];
    for (let filled = 0; filled < length;) {
      const next = bytes[index]?.subarray(within);
      assert(next !== undefined, "a span of the log has fewer bytes than it says");
      const part = next.subarray(0, length - filled);
      parts.push(part);
      filled += part.length;
      within += part.length;
      if (part.length === next.length) [index, within] = [index + 1, 0];
    }
    const name = `${segmentName(span.timeline, start, segmentBytes)}${length === segmentBytes ? "" : PARTIAL}`;
    yield { file: { name, bytes: length, sha256: sha256Of(parts) }, parts };
  }
}
