/** Captures of a database, each built upon the one before, kept in memory: what a backup does with rows, without a repository. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { type ChunkId, parseChunkId } from "../../src/base/ids.ts";
import type { Line } from "../../src/base/line.ts";
import { silent } from "../../src/base/progress.ts";
import type { TreeNode } from "../../src/format/node.ts";
import { captureDatabase, type DatabaseCapture, type DatabasePorts } from "../../src/job/capture-database.ts";
import type { SavedRange } from "../../src/job/read-rows.ts";
import { ParentRanges, type RangeSource, whyReadAll } from "../../src/job/reuse.ts";
import type { RangeResult } from "../../src/job/sealing-tasks.ts";
import { CUTTER_VERSION, type Manifest } from "../../src/point/manifest.ts";
import { formatRanges } from "../../src/point/ranges.ts";
import type { ServerAddress } from "../../src/postgres/address.ts";
import { readTables } from "../../src/postgres/catalogue.ts";
import { connect } from "../../src/postgres/connect.ts";
import type { ClientPrograms } from "../../src/postgres/programs.ts";
import { planTable } from "../../src/postgres/range-plan.ts";
import { LARGE_OBJECTS } from "../../src/postgres/large-objects.ts";
import { RangeReader, type RowsPlan } from "../../src/postgres/range-reader.ts";
import type { RangePlan } from "../../src/postgres/ranges.ts";
import { readServerFacts, type ServerFacts } from "../../src/postgres/server-facts.ts";
import { openSnapshot } from "../../src/postgres/snapshot.ts";
import { scanTables } from "../../src/postgres/stamps.ts";

export const signal = new AbortController().signal;

/** The schema is nobody's business here: a program that prints nothing stands for those that dump it. */
const NO_PROGRAMS: ClientPrograms = {
  pgDump: "true",
  pgRestore: "true",
  psql: "true",
  where: "/usr/bin",
  major: 0,
  version: "0",
  isNewer: false,
};

export const DAY = 24 * 3_600_000;
const WEEK = 7 * DAY;

/** A capture, as a later one finds it. */
export interface Taken {
  capture: DatabaseCapture;
  manifest: Manifest;
}

export function idOf(bytes: Uint8Array): ChunkId {
  return parseChunkId(createHash("sha256").update(bytes).digest("hex"));
}

/** How long each chunk is that any capture has seen. */
export const chunkBytes = new Map<ChunkId, number>();

/** Sessions that read ranges: as many as are needed at once. */
class Readers implements AsyncDisposable {
  readonly #address: ServerAddress;
  readonly #all: RangeReader[] = [];
  readonly #idle: RangeReader[] = [];

  constructor(address: ServerAddress) {
    this.#address = address;
  }

  async read(
    snapshot: string,
    table: RowsPlan,
    range: RangePlan,
    during?: (table: RowsPlan) => Promise<void>,
  ): Promise<RangeResult> {
    const reader = this.#idle.pop() ?? new RangeReader(this.#address, { signal });
    if (!this.#all.includes(reader)) this.#all.push(reader);
    const chunks: ChunkId[] = [];
    const sink = async (chunk: Buffer) => {
      chunkBytes.set(idOf(chunk), chunk.length);
      if (chunks.push(idOf(chunk)) === 1) await during?.(table);
    };
    const again = () => void (chunks.length = 0);
    const digest =
      table === LARGE_OBJECTS
        ? await reader.readRange(snapshot, table, range, sink)
        : await reader.readAround(snapshot, table, range, { sink, again });
    this.#idle.push(reader);
    return { ...digest, chunks };
  }

  async close(): Promise<void> {
    for (const reader of this.#all) await reader.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

export async function factsOf(address: ServerAddress): Promise<ServerFacts> {
  await using connection = await connect(address, { signal });
  return await readServerFacts(connection);
}

/** The fields of a manifest that a later capture looks at. */
export function manifestOf(capture: DatabaseCapture, server: ServerFacts): Manifest {
  return {
    cutter: CUTTER_VERSION,
    server: { ...server, lsn: capture.lsn, ...(capture.standby === undefined ? {} : { standby: capture.standby }) },
    tables: capture.tables.map(({ entry }) => entry),
    ...(capture.stamps === undefined ? {} : { stamps: capture.stamps }),
  } as unknown as Manifest;
}

function nodeOf({ bucket, bytes, chunks }: SavedRange): TreeNode {
  return { name: `${bucket}.copy`, type: "file", size: bytes, content: chunks } as unknown as TreeNode;
}

/** A capture's ranges, as they would lie in a restore point. */
export function sourceOf({ tables }: DatabaseCapture): RangeSource {
  const rangesOf = (path: string, prefix: string, suffix: string) =>
    tables.find(({ entry }) => `${prefix}${entry.schema}.${entry.name}${suffix}` === path)?.ranges;
  return {
    folder: async (path) => rangesOf(path, "database/data/", "")?.map(nodeOf),
    readText: async (path) => formatRanges(rangesOf(path, "ranges/database/", ".json") ?? []),
  };
}

export interface CaptureOptions {
  /** When the backup begins, in milliseconds since 1970. */
  at?: number;
  fullEveryMs?: number;
  /** Reads everything. */
  full?: boolean;
  stampedTableBytes?: number;
  readers?: number;
  pace?: Line;
  /** What the server says of itself, in place of what it does say. */
  server?: ServerFacts;
  /** Runs before a range is read. */
  beforeRange?: (table: RowsPlan, range: RangePlan, snapshot: string) => Promise<void>;
  /** Runs when the first rows of a range have come. */
  duringRange?: (table: RowsPlan) => Promise<void>;
  /** Reads in the snapshot, too. */
  alsoIn?: DatabasePorts["alsoIn"];
}

const BEGAN = Date.parse("2026-11-01T00:00:00Z");

export async function take(address: ServerAddress, parent?: Taken, options: CaptureOptions = {}): Promise<Taken> {
  const server = options.server ?? (await factsOf(address));
  const known =
    parent === undefined ? undefined : new ParentRanges(sourceOf(parent.capture), parent.manifest, () => true);
  await using readers = new Readers(address);
  await using connection = await connect(address, { signal });
  const capture = await captureDatabase({
    address,
    connection,
    readers: options.readers ?? 2,
    pace: options.pace,
    leaveDatabase: async () => await readers.close(),
    server,
    programs: NO_PROGRAMS,
    parent: parent?.manifest,
    parentRanges: known,
    readsAll: options.full === true,
    isDoubtful: false,
    startedAt: new Date(options.at ?? BEGAN).toISOString(),
    fullEveryMs: options.fullEveryMs ?? WEEK,
    stampedTableBytes: options.stampedTableBytes ?? 0,
    async readRange(snapshot, table, range) {
      await options.beforeRange?.(table, range, snapshot);
      return await readers.read(snapshot, table, range, options.duringRange);
    },
    alsoIn: options.alsoIn ?? (async () => {}),
    progress: silent,
    signal,
  });
  return { capture, manifest: manifestOf(capture, server) };
}

type Contents = Record<string, { bucket: string; rows: number; bytes: number; sha256: string; chunks: ChunkId[] }[]>;

/** What a restore would find, by table. */
export function contentsOf({ capture }: Taken): Contents {
  return Object.fromEntries(
    capture.tables.map(({ entry, ranges }) => [
      `${entry.schema}.${entry.name}`,
      ranges.map(({ bucket, rows, bytes, sha256, chunks }) => ({ bucket, rows, bytes, sha256, chunks: [...chunks] })),
    ]),
  );
}

/** The stamps of a table's ranges, by bucket. */
export function stampsOf({ capture }: Taken, table: string): Record<string, string | undefined> {
  const found = capture.tables.find(({ entry }) => entry.name === table);
  assert.ok(found, `no table ${table}`);
  return Object.fromEntries(found.ranges.map(({ bucket, stamp }) => [bucket, stamp]));
}

/** Holds that a capture which may take ranges over has the very content of one that reads everything. */
export async function assertSameAsFull(address: ServerAddress, taken: Taken, parent: Taken): Promise<void> {
  const full = await take(address, parent, { full: true });
  assert.equal(full.capture.rangesReused, 0);
  assert.deepEqual(contentsOf(taken), contentsOf(full));
}

/** The stamps of a table's ranges now, without a capture, and without the wait until what it saw is durable. */
export async function scanNow(address: ServerAddress, table: string): Promise<Record<string, string>> {
  await using snapshot = await openSnapshot(address, { signal });
  const { tables } = await readTables(snapshot.connection);
  const facts = tables.find(({ name }) => name === table);
  assert.ok(facts, `no table ${table}`);
  const plan = await planTable(snapshot.connection, facts);
  const [scan] = await scanTables(address, snapshot.id, [{ facts, plan }], { connections: 1, signal });
  return Object.fromEntries(scan?.stamps ?? []);
}

/** Holds that by its stamps alone the table would have been taken over, although its text is another one. */
export function assertWouldBeStale(before: Taken, now: Taken, table: string): void {
  const stamps = stampsOf(now, table);
  assert.ok(Object.values(stamps).some((stamp) => stamp !== undefined));
  assert.deepEqual(stamps, stampsOf(before, table));
  assert.notDeepEqual(contentsOf(now)[`public.${table}`], contentsOf(before)[`public.${table}`]);
}

/** Why a capture reads everything; undefined when it does not. */
export async function reasonOf(address: ServerAddress, parent: Taken, now: Taken): Promise<string | undefined> {
  const { stamps } = now.manifest;
  return whyReadAll(parent.manifest, {
    server: await factsOf(address),
    lsn: now.capture.lsn,
    text: stamps?.text ?? "",
    startedAt: stamps?.fullReadAt ?? "",
    fullEveryMs: WEEK,
  });
}
