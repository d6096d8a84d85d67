/**
 * The journal: what of the write-ahead log is younger than the newest span, as objects beside the repository's own files. A
 * flush is one PUT, so it is durable within a second and needs no lock; whoever reads puts the objects together again.
 *
 * An object is sealed with the repository's keys, as every chunk is. Inside lie its own name, so that none can stand for
 * another, the SHA-256 of its bytes, and the bytes as zstd packed them:
 *
 *     "CKJ1" ‖ length of the head (u32, big-endian) ‖ head (JSON) ‖ zstd(bytes)
 *
 * Retention never applies to these objects: what they hold is in a span within minutes, and spans are kept as everything
 * else. Where a place lets nothing be removed they would pile up, so they are written less often there
 * ({@link LIMITS.journalKeptFlushMs}); lists read only their names, so those that stay cost no more than that.
 */
import { createHash, randomBytes } from "node:crypto";
import { promisify } from "node:util";
import { constants, zstdCompress } from "node:zlib";
import { mapConcurrent } from "../../base/concurrent.ts";
import { assert, Failure, isFailure } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import { unpackZstd } from "../../format/chunk.ts";
import { seal, tryUnseal } from "../../format/crypto.ts";
import { journalFolder, journalName, type Line, parseJournalName, type WalSpan } from "../../point/continuous.ts";
import {
  type Commit,
  type CommitSummary,
  commitsJson,
  type MinimalRecord,
  parseCommits,
  parseRecord,
  summarizeCommits,
} from "../../point/wal-facts.ts";
import type { Repository } from "../../repo/repository.ts";
import type { Beside } from "../../store/store.ts";
import { formatLsn, type Lsn } from "../../wal/lsn.ts";

interface CallOptions {
  signal: AbortSignal;
}

/** An object of the journal, as its name tells. */
export interface JournalObject extends Line {
  readonly name: string;
  readonly from: Lsn;
  readonly to: Lsn;
}

/** What an object holds, verified. */
export interface JournalBytes extends JournalObject {
  readonly commits: CommitSummary;
  /** The text of its timeline's history file; undefined where there is none. */
  readonly history: string | undefined;
  readonly bytes: Buffer;
}

export interface JournalEntry {
  readonly span: WalSpan;
  /** Those whose records end in the bytes, in the log's order. */
  readonly commits: readonly Commit[];
  /** Records that say that the server writes too little to be replayed, in order. */
  readonly minimal?: readonly MinimalRecord[];
  readonly bytes: readonly Buffer[];
  /** The text of the timeline's history file, where it has one: until a span has it, nothing else tells where it began. */
  readonly history?: string | undefined;
}

export interface JournalList {
  /** By cluster and timeline, then by position. */
  readonly objects: readonly JournalObject[];
  /** Names that are no journal's: never used. */
  readonly foreign: readonly string[];
}

const MAGIC = Buffer.from("CKJ1", "latin1");
const HEAD_AT = MAGIC.length + 4;
/** Log that is written once and read rarely: the cheapest level that packs it to a third or so. */
const LEVEL = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };
const compress = promisify(zstdCompress);

/** True where what came can be made durable within seconds. */
export function hasJournal(repository: Repository): boolean {
  return repository.store.beside !== undefined;
}

function besideOf({ store }: Repository): Beside {
  assert(store.beside !== undefined, `${store.location} takes no journal`);
  return store.beside;
}

/**
 * Makes bytes of the log durable in the journal; in several objects where they are many.
 * @param onStored Called with the position up to which they are, and the object's name, after each: what fails need not be written
 * again from the beginning.
 */
export async function writeJournal(
  repository: Repository,
  { span, commits, minimal = [], bytes, history }: JournalEntry,
  { signal, onStored }: CallOptions & { onStored?: (to: Lsn, name: string) => void },
): Promise<void> {
  const { installation } = span;
  const beside = besideOf(repository);
  // In a folder, as disks are changed there; elsewhere a flush is one request.
  if (repository.store.spec?.kind !== "remote") await repository.expectSame({ signal });
  const length = bytes.reduce((sum, part) => sum + part.length, 0);
  assert(length === Number(span.to - span.from), "bytes of the journal are not those of its span");
  let to = span.from;
  for (const part of objectsOf(bytes)) {
    const from = to;
    to += BigInt(part.length);
    const within = commits.filter(({ lsn }) => lsn > from && lsn <= to);
    const name = journalName({ ...span, from, to }, randomBytes(4).toString("hex"));
    const summary = summarizeCommits(
      within,
      minimal.filter((record) => record.to > from && record.to <= to),
    );
    const sealed = await sealObject(repository, { installation, name, history, commits: summary, bytes: part });
    await beside.put(`${journalFolder(installation)}/${name}`, sealed, { signal });
    onStored?.(to, name);
  }
}

/** The bytes in as few objects as may be; one at a time lies in memory. */
function* objectsOf(bytes: readonly Buffer[]): Generator<Buffer, void, void> {
  let parts: Buffer[] = [];
  let filled = 0;
  for (const each of bytes) {
    for (let at = 0; at < each.length;) {
      const part = each.subarray(at, at + LIMITS.journalObjectBytes - filled);
      parts.push(part);
      filled += part.length;
      at += part.length;
      if (filled < LIMITS.journalObjectBytes) continue;
      yield joined(parts);
      [parts, filled] = [[], 0];
    }
  }
  if (filled > 0) yield joined(parts);
}

function joined(parts: readonly Buffer[]): Buffer {
  const [only, ...others] = parts;
  return only !== undefined && others.length === 0 ? only : Buffer.concat(parts);
}

interface ObjectParts {
  readonly installation: string;
  readonly name: string;
  readonly history: string | undefined;
  readonly commits: CommitSummary;
  readonly bytes: Buffer;
}

async function sealObject({ keys }: Repository, { bytes, commits, history, ...names }: ObjectParts): Promise<Buffer> {
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  const head = {
    schema: 1,
    ...names,
    sha256,
    history: history ?? null,
    commits: commitsJson(commits),
  };
  const json = Buffer.from(JSON.stringify(head), "utf8");
  const length = Buffer.alloc(4);
  length.writeUInt32BE(json.length);
  return seal(keys, Buffer.concat([MAGIC, length, json, await compress(bytes, LEVEL)]));
}

/** The journal's objects by their names; none where there is no journal. */
export async function listJournal(
  repository: Repository,
  installation: string,
  { signal }: CallOptions,
): Promise<JournalList> {
  const { beside } = repository.store;
  if (beside === undefined) return { objects: [], foreign: [] };
  const objects: JournalObject[] = [];
  const foreign: string[] = [];
  for await (const { name } of beside.list(journalFolder(installation), { signal })) {
    const parsed = parseJournalName(name);
    if (parsed === undefined || parsed.to <= parsed.from) foreign.push(name);
    else objects.push({ ...parsed, installation, name });
  }
  return { objects: objects.toSorted(inOrder), foreign: foreign.toSorted() };
}

function inOrder(a: JournalObject, b: JournalObject): number {
  if (a.systemId !== b.systemId) return a.systemId < b.systemId ? -1 : 1;
  if (a.timeline !== b.timeline) return a.timeline - b.timeline;
  if (a.from !== b.from) return a.from < b.from ? -1 : 1;
  return a.to === b.to ? 0 : a.to < b.to ? -1 : 1;
}

/**
 * One object, verified to the last byte.
 * @throws Failure `repo/damaged` when it is not what its name says, or was sealed by another repository;
 * `store/not-found` when it is gone.
 */
export async function readJournal(
  repository: Repository,
  object: JournalObject,
  { signal }: CallOptions,
): Promise<JournalBytes> {
  const sealed = await besideOf(repository).get(`${journalFolder(object.installation)}/${object.name}`, { signal });
  const plain = tryUnseal(repository.keys, sealed);
  if (plain === undefined)
    throw damaged(object, "its checksum does not fit: it was changed, or is another repository's");
  if (plain.length < HEAD_AT || !plain.subarray(0, MAGIC.length).equals(MAGIC))
    throw damaged(object, "it is no journal of a version that is known");
  const end = HEAD_AT + plain.readUInt32BE(MAGIC.length);
  const head = openHead(object, plain.subarray(HEAD_AT, end).toString("utf8"));
  if (head.name !== object.name || head.installation !== object.installation) {
    throw damaged(object, `it says that it is '${head.name}' of the installation ${head.installation}`);
  }
  const bytes = unpackZstd(plain.subarray(end), { length: Number(object.to - object.from) });
  if (createHash("sha256").update(bytes).digest("hex") !== head.sha256)
    throw damaged(object, "its bytes have another checksum");
  return { ...object, commits: head.commits, history: head.history, bytes };
}

function openHead(object: JournalObject, text: string) {
  try {
    const { installation, name, sha256, commits, history } = parseRecord(text, "the head");
    return {
      installation: String(installation),
      name: String(name),
      sha256,
      commits: parseCommits(commits),
      history: typeof history === "string" ? history : undefined,
    };
  } catch (error) {
    if (!isFailure(error, "point/invalid")) throw error;
    throw damaged(object, error.message);
  }
}

function damaged({ name }: JournalObject, reason: string): Failure {
  return new Failure("repo/damaged", `the journal's object '${name}' cannot be used: ${reason}`, {
    hint: "What it held is lost unless another object or span has it: 'chatkeep status' shows the gap.",
  });
}

/** An object that cannot be used, and why. */
export interface RefusedObject {
  readonly name: string;
  readonly reason: string;
}

/**
 * Objects, in the order given, some read ahead. One that is gone meanwhile, because a span has it now, is told to `onGone` and left
 * out; one that cannot be used is told to `onRefused` and left out.
 */
export async function* readJournals(
  repository: Repository,
  objects: readonly JournalObject[],
  {
    signal,
    onRefused,
    onGone = () => {},
  }: CallOptions & { onRefused: (refused: RefusedObject) => void; onGone?: (() => void) | undefined },
): AsyncGenerator<JournalBytes> {
  const read = async (object: JournalObject) => {
    try {
      return await readJournal(repository, object, { signal });
    } catch (error) {
      if (isFailure(error, "store/not-found")) return undefined;
      if (!isFailure(error, "repo/damaged")) throw error;
      return { name: object.name, reason: error.message };
    }
  };
  for (let at = 0; at < objects.length; at += LIMITS.journalReads) {
    const some = objects.slice(at, at + LIMITS.journalReads);
    for (const found of await mapConcurrent(some, LIMITS.journalReads, read, { signal })) {
      if (found === undefined) onGone();
      else if ("reason" in found) onRefused(found);
      else yield found;
    }
  }
}

/** What a span has just been given. */
export interface Swept {
  readonly within: Pick<WalSpan, "installation" | "systemId" | "timeline" | "from" | "to">;
  /** Tells by its name whether whoever sweeps has written an object: these lie in the span, or in one before it. */
  readonly own: { has(name: string): boolean };
  /**
   * The bytes of the newest span. Of others only what is the same there goes, and nothing behind what differs: they may be of another
   * log.
   */
  readonly saved: { readonly from: Lsn; readonly bytes: readonly Buffer[] };
}

/**
 * Removes objects of a line that lie wholly between two positions: what a span has now.
 * @returns how many, and whether the place refused: then the rest stays, and does no harm.
 */
export async function sweepJournal(
  repository: Repository,
  { within, own, saved }: Swept,
  { signal }: CallOptions,
): Promise<{ removed: number; isRefused: boolean }> {
  const { objects } = await listJournal(repository, within.installation, { signal });
  const there = objects.filter(
    ({ systemId, timeline, from, to }) =>
      systemId === within.systemId && timeline === within.timeline && from >= within.from && to <= within.to,
  );
  const over = new Set(there.filter(({ name }) => own.has(name)).map(({ name }) => name));
  const others = there.filter(({ name, from }) => !over.has(name) && from >= saved.from);
  for await (const { name, from, bytes } of readJournals(repository, others, { signal, onRefused() {} })) {
    if (!hasAt(saved.bytes, Number(from - saved.from), bytes)) break;
    over.add(name);
  }
  return await removeJournal(
    repository,
    there.filter(({ name }) => over.has(name)),
    { signal },
  );
}

/** Whether bytes that lie in parts have others at a position. */
function hasAt(parts: readonly Buffer[], at: number, bytes: Buffer): boolean {
  let [begin, left] = [0, bytes];
  for (const part of parts) {
    const within = at - begin;
    begin += part.length;
    if (within >= part.length || left.length === 0) continue;
    const there = part.subarray(within, within + left.length);
    if (!there.equals(left.subarray(0, there.length))) return false;
    left = left.subarray(there.length);
    at += there.length;
  }
  return left.length === 0;
}

/** As {@link sweepJournal}, of objects that the caller names. */
export async function removeJournal(
  repository: Repository,
  objects: readonly JournalObject[],
  { signal }: CallOptions,
): Promise<{ removed: number; isRefused: boolean }> {
  let removed = 0;
  try {
    await mapConcurrent(
      objects,
      LIMITS.removals,
      async ({ installation, name }) => {
        await besideOf(repository).remove(`${journalFolder(installation)}/${name}`, { signal });
        removed += 1;
      },
      { signal },
    );
  } catch (error) {
    if (!isFailure(error, "store/denied")) throw error;
    return { removed, isRefused: true };
  }
  return { removed, isRefused: false };
}

/** Two writers wrote the same stretch of one timeline, and not the same bytes. */
export function differs(lsn: Lsn): Failure {
  return new Failure("repo/damaged", `the repository has two different versions of the log at ${formatLsn(lsn)}`, {
    hint: "Two servers wrote the same timeline: only one of them may be watched. Recover to a moment before this position.",
  });
}
