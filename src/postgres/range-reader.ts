/**
 * Reads ranges of tables as COPY text. Each range is a transaction of its own, so that a table is locked for no
 * longer than one of its ranges takes; all of them see the snapshot that the control session exported.
 */
import { createHash } from "node:crypto";
import { assert } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { ServerAddress } from "./address.ts";
import type { connect, Connection } from "./connect.ts";
import { copyLargeObjects, LARGE_OBJECTS } from "./large-objects.ts";
import { qualifiedName, quoteIdentifier, shownName } from "./names.ts";
import type { RangePlan, TablePlan } from "./ranges.ts";
import { RowCutter } from "./row-cutter.ts";
import { importSnapshot } from "./snapshot.ts";
import { connectPatiently } from "./spare-sessions.ts";
import { guardTable, tableFailure, withLockRetries } from "./table-guard.ts";
import { findUnreadable, partsWithout, type UnreadableRows, whyUnreadable } from "./unreadable-rows.ts";

export interface RangeDigest {
  rows: number;
  bytes: number;
  /** Hex, over the range's COPY text. */
  sha256: string;
}

export interface ReadOptions {
  /** Rows of the range that are left out, where some cannot be read. */
  without?: readonly UnreadableRows[];
}

/** What a range is of. */
export type RowsPlan = TablePlan | typeof LARGE_OBJECTS;

/** `COPY (SELECT …) TO STDOUT` for a range: the same rows always give the same text. */
function copyStatement(table: RowsPlan, range: RangePlan & { isCareful?: boolean }): string {
  if (table === LARGE_OBJECTS) return copyLargeObjects(range);
  const columns = table.columns.map((name) => `t.${quoteIdentifier(name)}`).join(", ");
  return `copy (select ${columns} from only ${qualifiedName(table)} t ${condition(table, range)} order by ${order(table)}) to stdout`;
}

function nameOf(table: RowsPlan): string {
  return table === LARGE_OBJECTS ? "the large objects" : `table ${shownName(table)}`;
}

function condition({ key }: TablePlan, { from, to, isCareful }: RangePlan & { isCareful?: boolean }): string {
  if (from === undefined || to === undefined) return "";
  assert(key.kind === "integer", "a range of ids of a table without them");
  // The last bucket ends at 2^63, which is no bigint of PostgreSQL's: so the last id is named, not the one after it. Quoted, as a minus binds weaker than a cast.
  const [low, high] = [`'${from}'::int8`, `'${to - 1n}'::int8`];
  // A planner that knows the numbers looks at the table's first and last row, which may be those that cannot be read.
  const span = isCareful === true ? `(select ${low}) and (select ${high})` : `${low} and ${high}`;
  return `where t.${quoteIdentifier(key.column)} between ${span}`;
}

function order({ key }: TablePlan): string {
  switch (key.kind) {
    case "integer":
      return `t.${quoteIdentifier(key.column)}`;
    case "columns":
      return key.columns
        .map(({ name, isText }) => `t.${quoteIdentifier(name)}${isText ? ' collate "C"' : ""}`)
        .join(", ");
    case "none":
      return `(t.*)::text collate "C"`;
    default:
      throw key satisfies never;
  }
}

/** A range, and what of it is read. */
interface PartedRange {
  range: RangePlan;
  parts: readonly RangePlan[];
  isCareful: boolean;
}

/** Has one connection of its own, made when it is first needed and again after a failure. Not for two ranges at once. */
export class RangeReader implements AsyncDisposable {
  readonly #address: ServerAddress;
  readonly #signal: AbortSignal;
  readonly #buffer = Buffer.allocUnsafeSlow(LIMITS.cutterBufferBytes);
  #connection: Connection | undefined;
  #isReading = false;

  constructor(address: ServerAddress, { signal }: { signal: AbortSignal }) {
    this.#address = address;
    this.#signal = signal;
  }

  /**
   * Reads a range in the exported snapshot and gives it to `sink` in chunks; each is valid until the sink's promise
   * resolves, and the next is not read before.
   * @throws Failure `database/changed` when the table is no longer what the snapshot sees: begin again with a new
   * snapshot; `database/unreadable` when the server cannot give some of the rows; `database/denied`, `database/unreachable`,
   * `database/failed`; whatever the sink throws.
   */
  async readRange(
    snapshotId: string,
    table: RowsPlan,
    range: RangePlan,
    sink: (chunk: Buffer) => Promise<void>,
    { without }: ReadOptions = {},
  ): Promise<RangeDigest> {
    assert(!this.#isReading, "a reader was given two ranges at once");
    this.#isReading = true;
    try {
      const parts = partsWithout(range, without ?? []);
      return await this.#read(snapshotId, table, { range, parts, isCareful: without !== undefined }, sink);
    } finally {
      this.#isReading = false;
    }
  }

  /**
   * Reads what the server can give of a range: `again` is called where that begins anew, and what the sink got counts no more.
   * @throws Failure as {@link readRange} does; for rows that cannot be read only where what was found readable was not after
   * all, in each of `LIMITS.unreadableLooks` looks.
   */
  async readAround(
    snapshotId: string,
    table: TablePlan,
    range: RangePlan,
    { sink, again }: { sink: (chunk: Buffer) => Promise<void>; again: () => void },
  ): Promise<RangeDigest & { unreadable?: UnreadableRows[] }> {
    let unreadable: UnreadableRows[] | undefined;
    for (let looks = 0; ; looks += 1) {
      try {
        const options = unreadable === undefined ? {} : { without: unreadable };
        const digest = await this.readRange(snapshotId, table, range, sink, options);
        // It may have been a trouble that passed.
        return unreadable === undefined || unreadable.length === 0 ? digest : { ...digest, unreadable };
      } catch (error) {
        const why = whyUnreadable(error);
        // A disk that fails now and then gives other rows each time.
        if (why === undefined || looks === LIMITS.unreadableLooks) throw error;
        unreadable = await findUnreadable(range, why, async (part) => await this.#whyNot(snapshotId, table, part));
        again();
      }
    }
  }

  /** Undefined where all of it can be read. */
  async #whyNot(snapshotId: string, table: TablePlan, part: RangePlan): Promise<string | undefined> {
    try {
      await this.readRange(snapshotId, table, part, async () => {}, { without: [] });
      return undefined;
    } catch (error) {
      const why = whyUnreadable(error);
      if (why === undefined) throw error;
      return why;
    }
  }

  async #read(
    snapshotId: string,
    table: RowsPlan,
    range: PartedRange,
    sink: (chunk: Buffer) => Promise<void>,
  ): Promise<RangeDigest> {
    return await withLockRetries(nameOf(table), async () => {
      const connection = await this.#connect();
      try {
        await importSnapshot(connection, snapshotId);
        if (table !== LARGE_OBJECTS) await guardTable(connection, table);
        return await this.#copy(connection, table, range, sink);
      } catch (error) {
        if (whyUnreadable(error) !== undefined && (await isOver(connection))) throw error;
        // In the middle of a COPY there is no other way to end it, and a new session costs little.
        connection.destroy();
        this.#connection = undefined;
        throw error;
      }
    });
  }

  /** Opens the connection now. */
  async open(connectBy: typeof connect): Promise<void> {
    await this.#connect(connectBy);
  }

  async #connect(connectBy: typeof connect = connectPatiently): Promise<Connection> {
    if (this.#connection?.isOpen !== true) {
      this.#connection = await connectBy(this.#address, { signal: this.#signal });
      await this.#connection.query(READING);
    }
    return this.#connection;
  }

  async #copy(
    connection: Connection,
    table: RowsPlan,
    { range, parts, isCareful }: PartedRange,
    sink: (chunk: Buffer) => Promise<void>,
  ): Promise<RangeDigest> {
    const hash = createHash("sha256");
    let bytes = 0;
    const cutter = new RowCutter({
      j: table === LARGE_OBJECTS || range.from === undefined ? undefined : (table.j ?? undefined),
      buffer: this.#buffer,
      sink: async (chunk) => {
        hash.update(chunk);
        bytes += chunk.length;
        await sink(chunk);
      },
    });
    const streams: { readonly rowCount: number }[] = [];
    for (const part of parts) {
      const stream = connection.copyTo(copyStatement(table, { ...part, isCareful }));
      streams.push(stream);
      const data = stream[Symbol.asyncIterator]();
      for (;;) {
        const piece = await next(data, table, connection);
        if (piece.done === true) break;
        await cutter.write(piece.value);
      }
    }
    await cutter.end();
    await connection.query("commit");
    // What the server says that it sent, against what we took: the last defence against losing rows in silence.
    const sent = streams.reduce((sum, { rowCount }) => sum + rowCount, 0);
    assert(sent === cutter.rows, `${cutter.rows} rows came of ${sent} of ${nameOf(table)}`);
    return { rows: cutter.rows, bytes, sha256: hash.digest("hex") };
  }

  async close(): Promise<void> {
    await this.#connection?.close();
    this.#connection = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** True when the session can be used again after a statement of the server's own ended in an error. */
async function isOver(connection: Connection): Promise<boolean> {
  return await connection.query("rollback").then(
    () => true,
    () => false,
  );
}

/** Only the server's own errors are explained; what the sink throws passes unchanged. */
async function next(
  data: AsyncIterator<Buffer>,
  table: RowsPlan,
  connection: Connection,
): Promise<IteratorResult<Buffer, unknown>> {
  try {
    return await data.next();
  } catch (error) {
    const failure = connection.failure(error);
    throw table === LARGE_OBJECTS ? failure : tableFailure(failure, table, connection);
  }
}

/**
 * Names of objects within values (`regclass` …) are written with their schema. Rows come straight from the index in
 * order; a sort would spill to the server's disk.
 */
const READING = "set search_path = ''; set work_mem = '32MB'; set enable_sort = off";

/** A reader with its connection open, so that a wrong address shows at once. */
export async function openRangeReader(
  address: ServerAddress,
  options: { signal: AbortSignal; connectBy?: typeof connect },
): Promise<RangeReader> {
  const reader = new RangeReader(address, options);
  await reader.open(options.connectBy ?? connectPatiently);
  return reader;
}
