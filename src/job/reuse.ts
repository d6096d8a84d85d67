/**
 * What of the parent's rows may be taken over without reading them. Stamps tell which ranges hold the rows that they held;
 * what stamps cannot see is ruled out here: whenever one of the conditions does not hold, every row is read.
 */
import { createHash } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { isFailure } from "../base/errors.ts";
import type { ChunkId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import { isGoTime, parseGoTime } from "../format/go-time.ts";
import { rangeFile, tableFolder } from "../point/layout.ts";
import { CUTTER_VERSION, type Manifest, type TableEntry } from "../point/manifest.ts";
import { parseRanges } from "../point/ranges.ts";
import { copyColumns, type TableFacts, type TableKey } from "../postgres/catalogue.ts";
import { bucketOf, type TablePlan, wholeTable } from "../postgres/ranges.ts";
import type { ServerFacts } from "../postgres/server-facts.ts";
import { STAMPS_SINCE } from "../postgres/stamps.ts";
import { isDamage } from "../repo/chunk.ts";
import type { SavedRange } from "./read-rows.ts";
import type { PointReader } from "./point-reader.ts";

/** Grows with each change in how stamps are made. */
export const STAMPS_VERSION = 2;

/** What is compared with the parent. */
export interface Present {
  server: ServerFacts;
  /** WAL position of the snapshot. */
  lsn: string;
  /** Hex: see `readTextDigest`. */
  text: string;
  /** RFC 3339: the start of the backup. */
  startedAt: string;
  /** Everything is read at least this often, in milliseconds. */
  fullEveryMs: number;
}

/** Why every row must be read, for people; undefined when ranges with equal stamps may be taken over. */
export function whyReadAll(parent: Manifest | undefined, present: Present): string | undefined {
  return whyIncomparable(parent, present) ?? whyDue(parent, present);
}

/** Why equal stamps say nothing about equal rows; undefined when they do. */
export function whyIncomparable(parent: Manifest | undefined, present: Present): string | undefined {
  const { server } = present;
  if (server.major < STAMPS_SINCE) return `PostgreSQL ${server.major} cannot tell what changed`;
  if (present.lsn === "") return "the server does not tell where its log is";
  if (parent === undefined) return "there is no earlier restore point";
  const { stamps, server: then } = parent;
  if (stamps === undefined || stamps.version !== STAMPS_VERSION) return "the parent does not tell what it read";
  if (parent.cutter !== CUTTER_VERSION) return "rows are cut in another way now";
  if (then.systemIdentifier !== server.systemIdentifier) return "it is another server";
  if (then.timeline !== server.timeline) return "the server is on another timeline";
  if ((then.standby !== undefined) !== server.isStandby) return sourceChanged(server.isStandby);
  if (then.databaseOid !== server.databaseOid) return "it is another database of that name";
  if (then.version !== server.version) return "the server has another version";
  // After a crash, or in place of a disk that was put back, numbers of transactions may be given again.
  if (then.postmasterStartedAt !== server.postmasterStartedAt) return "the server was restarted";
  if (extensionsOf(then) !== extensionsOf(server)) return "an extension changed";
  if (stamps.text !== present.text) return "values are written in another way now";
  if (parseLsn(then.lsn) > parseLsn(present.lsn)) return "the server's log is behind where it was";
  return undefined;
}

/** True when the server that holds a snapshot is what it was when it was looked at. */
export function isSameState(
  one: Pick<ServerFacts, "postmasterStartedAt" | "extensions">,
  other: Pick<ServerFacts, "postmasterStartedAt" | "extensions">,
): boolean {
  return one.postmasterStartedAt === other.postmasterStartedAt && extensionsOf(one) === extensionsOf(other);
}

/** Why every row is to be read once more although stamps tell what changed. */
function whyDue(parent: Manifest | undefined, present: Present): string | undefined {
  const stamps = parent?.stamps;
  if (stamps === undefined) return undefined;
  if (!isGoTime(stamps.fullReadAt)) return "the parent does not tell when every row was read";
  const ageMs = Number((parseGoTime(present.startedAt) - parseGoTime(stamps.fullReadAt)) / 1_000_000n);
  if (ageMs < 0) return "the clock was put back";
  if (ageMs >= present.fullEveryMs) return "the last time is longer ago than database.full-every says";
  return undefined;
}

/** Both were started at times of their own, so that this only says it better. */
function sourceChanged(isStandby: boolean): string {
  return isStandby ? "a standby is read, and it was its primary before" : "a standby was read before, and this is none";
}

function extensionsOf({ extensions }: Pick<ServerFacts, "extensions">): string {
  return extensions.map(({ name, version }) => `${name} ${version}`).join(", ");
}

/** `16/B374D848`. */
function parseLsn(text: string): bigint {
  const [high = "", low = ""] = text.split("/");
  return (BigInt(`0x${high || "0"}`) << 32n) + BigInt(`0x${low || "0"}`);
}

/**
 * True for a table whose ranges get stamps. Those that a crash empties get none: what the server says of them outlives less
 * than what it says of all others.
 */
export function isStamped(
  { bytes, isSelfContained, isUnlogged }: Pick<TableFacts, "bytes" | "isSelfContained" | "isUnlogged">,
  { major }: Pick<ServerFacts, "major">,
  minBytes: number = LIMITS.stampedTableBytes,
): boolean {
  return major >= STAMPS_SINCE && bytes >= minBytes && isSelfContained && !isUnlogged;
}

/** What orders a table's rows, as the manifest says it. */
export function keyEntry(key: TableKey): TableEntry["key"] {
  if (key.kind === "integer") return { kind: key.kind, columns: [key.column] };
  return { kind: key.kind, columns: key.kind === "columns" ? key.columns.map(({ name }) => name) : [] };
}

/** A range of the parent's that has a stamp, with what it consists of. */
export type ParentRange = SavedRange & {
  stamp: string;
  /** The parent had to take some of its rows over because the server could not give them. */
  isKept?: boolean;
};

/** What is read of the parent. */
export type RangeSource = Pick<PointReader, "folder" | "readText">;

/** Reads what the parent has of its tables. */
export class ParentRanges {
  readonly #reader: RangeSource;
  readonly #manifest: Manifest;
  readonly #isStored: (id: ChunkId) => boolean;

  constructor(reader: RangeSource, manifest: Manifest, isStored: (id: ChunkId) => boolean) {
    this.#reader = reader;
    this.#manifest = manifest;
    this.#isStored = isStored;
  }

  /**
   * The ranges of a table that may be taken over, by bucket: none when the table changed its form or is cut in another
   * way. What is damaged or no longer in the repository is not among them.
   */
  async of(facts: TableFacts, plan: TablePlan): Promise<Map<string, ParentRange>> {
    const found = new Map<string, ParentRange>();
    const { schema, name } = facts;
    const entry = this.#manifest.tables.find((table) => table.schema === schema && table.name === name);
    if (entry === undefined || !isAlike(entry, facts, plan)) return found;
    const kept = new Set((entry.unreadable ?? []).map(({ from }) => bucketNamed(from, plan)));
    try {
      const folder = tableFolder(schema, name);
      const nodes = await this.#reader.folder(`database/data/${folder}`);
      const files = new Map(nodes?.map((node) => [node.name, node]));
      for (const range of parseRanges(await this.#reader.readText(`ranges/database/${folder}.json`))) {
        const node = files.get(rangeFile(range.bucket));
        const chunks = node?.content ?? [];
        const isWhole = Number(node?.size ?? -1) === range.bytes && chunks.length > 0 && chunks.every(this.#isStored);
        const isKept = kept.has(range.bucket);
        if (range.stamp !== undefined && isWhole)
          found.set(range.bucket, { ...range, stamp: range.stamp, chunks: [...chunks], ...(isKept ? { isKept } : {}) });
      }
    } catch (error) {
      if (!isDamage(error) && !isFailure(error, "point/invalid")) throw error;
      found.clear();
    }
    return found;
  }
}

/** The range that a row lies in. */
function bucketNamed(id: string | null, { k }: TablePlan): string {
  return id === null || k === null ? wholeTable().bucket : bucketOf(BigInt(id), k).toString();
}

/** True when equal rows of equal versions would be written as the same text, in the same order, in the same files. */
function isAlike({ form, key, columns, k, j }: TableEntry, facts: TableFacts, plan: TablePlan): boolean {
  return (
    form === facts.form &&
    k === plan.k &&
    j === plan.j &&
    isDeepStrictEqual(key, keyEntry(facts.key)) &&
    isDeepStrictEqual(columns, copyColumns(facts))
  );
}

/**
 * True for the ranges whose turn it is: they are read although their stamps are equal, so that every range is read again
 * within so many points, and a stamp that should not have been trusted does not stay undetected.
 */
export function isItsTurn({ schema, name }: { schema: string; name: string }, bucket: string, turn: number): boolean {
  const hash = createHash("md5").update(`${schema}.${name}/${bucket}`).digest().readUInt32LE(0);
  return (hash + turn) % LIMITS.rereadOneIn === 0;
}
