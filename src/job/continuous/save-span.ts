/**
 * Writes a span of the write-ahead log as a snapshot: whole segments under their own names, so that stock restic gives back
 * what PostgreSQL's `restore_command` takes, and where no journal can be had the beginning of one more.
 *
 *     chatkeep-wal/wal.json          what lies here, with checksums, and which moments
 *     chatkeep-wal/wal/<24 hex>      a segment; `<24 hex>.partial` just the bytes of its beginning
 *     chatkeep-wal/wal/<8 hex>.history
 */
import { hash } from "node:crypto";
import { mapConcurrent } from "../../base/concurrent.ts";
import { assert } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import { WAL, type WalSpan, walTags } from "../../point/continuous.ts";
import {
  type Commit,
  type CommitSummary,
  formatWalFacts,
  summarizeCommits,
  type WalFile,
} from "../../point/wal-facts.ts";
import { parseHistory } from "../../wal/history.ts";
import { historyName, segmentName, segmentStart } from "../../wal/lsn.ts";
import { PointFolder } from "../point-tree.ts";
import type { Sealing } from "../sealing.ts";
import { listIds } from "./pieces.ts";
import { type Writer, Writing, type Written } from "./writing.ts";

export const WAL_FOLDER = "wal";
export const PARTIAL = ".partial";

export interface SpanToSave {
  /** Its beginning is a segment's. */
  readonly span: WalSpan;
  /** Of those whose records end in it. */
  readonly commits: CommitSummary;
  /** Its bytes, in order; or what gives them when the repository is locked. */
  readonly bytes: readonly Buffer[] | (() => Promise<readonly Buffer[]>);
  readonly segmentBytes: number;
  /** Of the span's timeline and of those that it comes from; a timeline's number → the file's text. */
  readonly histories: ReadonlyMap<number, string>;
}

/** How a span becomes a snapshot. */
export interface SaveSpanOptions {
  readonly signal: AbortSignal;
  /** Asked when it is there, whether another one follows at once. */
  readonly goesOn?: () => boolean;
  /** Threads that seal it. */
  readonly lanes?: number;
}

/**
 * One span alone.
 * @param toSave `commits`: those whose records end in it, in the log's order.
 * @throws Failure `repo/locked`, of the store.
 */
export async function saveSpan(
  writer: Writer,
  { commits, ...toSave }: Omit<SpanToSave, "commits"> & { readonly commits: readonly Commit[] },
): Promise<Written> {
  await using writing = new Writing(writer);
  const { program, signal } = writer;
  return await writeSpan(writing, { ...toSave, commits: summarizeCommits(commits), program }, { signal });
}

/** @throws Failure `repo/locked`, of the store. */
export async function writeSpan(
  writing: Writing,
  toSave: SpanToSave & { readonly program: string },
  { signal, goesOn, lanes = 1 }: SaveSpanOptions,
): Promise<Written> {
  const { span, segmentBytes, program } = toSave;
  assert(span.from === segmentStart(span.from, segmentBytes), "a span of the log begins inside a segment");
  const expectedChunks = Math.ceil(Number(span.to - span.from) / LIMITS.walChunkBytes + 64);
  const options = { place: WAL, expectedChunks, signal, ...(goesOn === undefined ? {} : { goesOn }) };
  return await writing.write(options, async (sealing) => {
    const bytesOf = typeof toSave.bytes === "function" ? await toSave.bytes() : toSave.bytes;
    const top = new PointFolder();
    const root = top.folder(WAL.folder);
    const folder = root.folder(WAL_FOLDER);
    const segments = await mapConcurrent(
      segmentsOf(toSave, bytesOf),
      sealing.width,
      async ({ parts, ...file }) => await storeSegment(sealing, { ...file, parts, lanes }),
      { signal },
    );
    for (const { file, ids } of segments) folder.addFile(file.name, file.bytes, listIds(ids));
    const histories: WalFile[] = [];
    for (const [timeline, text] of toSave.histories) {
      const bytes = Buffer.from(text, "utf8");
      const file = { name: historyName(timeline), bytes: bytes.length, sha256: hash("sha256", bytes) };
      folder.addFile(file.name, file.bytes, await sealing.storeContent(bytes));
      histories.push(file);
    }
    const { commits } = toSave;
    const files = segments.map(({ file }) => file);
    const facts = formatWalFacts({ program, span, segmentBytes, segments: files, histories, commits });
    const bytes = Buffer.from(facts, "utf8");
    root.addFile(WAL.file, bytes.length, await sealing.storeContent(bytes));
    const tags = walTags({ ...span, ...parentsIn(toSave) });
    return { tree: await top.store(async (tree) => await sealing.storeTree(tree)), tags };
  });
}

interface SegmentToStore {
  readonly name: string;
  readonly bytes: number;
  readonly parts: readonly Buffer[];
  readonly lanes: number;
}

async function storeSegment(
  sealing: Sealing,
  { name, bytes, parts, lanes }: SegmentToStore,
): Promise<{ file: WalFile; ids: Uint8Array }> {
  const { ids, sha256 } = await sealing.storeShared(parts, { chunkBytes: LIMITS.walChunkBytes, lanes });
  return { file: { name, bytes, sha256 }, ids };
}

/** From the timeline's own history file, which names all that it comes from. */
function parentsIn({ span: { timeline }, histories }: SpanToSave): Pick<WalSpan, "parents"> {
  const text = histories.get(timeline);
  const history = text === undefined ? undefined : parseHistory(timeline, text);
  return history === undefined ? {} : { parents: history.parents };
}

/** The span's bytes by segments, as parts of the buffers given. */
function* segmentsOf(
  { span, segmentBytes }: SpanToSave,
  bytes: readonly Buffer[],
): Generator<Omit<SegmentToStore, "lanes">> {
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
    yield { name, bytes: length, parts };
  }
}
