/** Makes large objects of the text that {@link copyLargeObjects} gives, with functions that need no superuser. */
import { Failure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { ServerAddress } from "./address.ts";
import type { Connection } from "./connect.ts";
import { connectPatiently } from "./spare-sessions.ts";

interface SavedObjectsRange {
  bucket: string;
  /** Parts, each a line. */
  rows: number;
  read(): AsyncIterable<Uint8Array>;
}

export interface SavedLargeObjects {
  ranges: readonly SavedObjectsRange[];
  /** SQL with their comments. */
  commentsSql: string;
}

/**
 * @throws Failure `database/failed` with what the server said, `point/invalid` when the text is none; the target then
 * holds a part.
 */
export async function loadLargeObjects(
  target: ServerAddress,
  { ranges, commentsSql }: SavedLargeObjects,
  { progress, signal }: { progress: { advance(bytes: number): void }; signal: AbortSignal },
): Promise<void> {
  await using connection = await connectPatiently(target, { signal });
  await connection.query("set synchronous_commit = off");
  for (const range of ranges) {
    await connection.query("begin");
    await loadRange(connection, readParts(range, progress));
    await connection.query("commit");
  }
  if (commentsSql !== "") await connection.query(commentsSql);
}

/** Statements are sent together, so that not each of them waits for its answer. */
async function loadRange(connection: Connection, parts: AsyncIterable<ObjectPart>): Promise<void> {
  let statements: string[] = [];
  let bytes = 0;
  const send = async () => {
    if (statements.length > 0) await connection.query(statements.join("\n"));
    statements = [];
    bytes = 0;
  };
  for await (const part of parts) {
    const statement = statementOf(part);
    statements.push(statement);
    bytes += statement.length;
    if (bytes >= LIMITS.packWriteBytes) await send();
  }
  await send();
}

function statementOf({ oid, offset, hex }: ObjectPart): string {
  const content = `pg_catalog.decode('${hex}', 'hex')`;
  if (offset === 0) return `select pg_catalog.lo_from_bytea('${oid}', ${content});`;
  return `select pg_catalog.lo_put('${oid}', ${offset}, ${content});`;
}

export interface ObjectPart {
  /** The object's number: 32 bits, without a sign. */
  oid: number;
  /** Where in it the part begins. */
  offset: number;
  hex: string;
}

/** The parts of a range, in its order. @throws Failure `point/invalid` when the text is none, or has another number of parts. */
export async function* readParts(
  range: SavedObjectsRange,
  progress: { advance(bytes: number): void },
): AsyncGenerator<ObjectPart, void, void> {
  let parts = 0;
  for await (const line of linesOf(range.read(), (bytes) => progress.advance(bytes))) {
    yield parsePart(line);
    parts += 1;
  }
  if (parts === range.rows) return;
  const message = `range ${range.bucket} of the large objects has ${parts} parts of ${range.rows}`;
  throw new Failure("point/invalid", message, HINT);
}

const HINT = { hint: "Use another restore point, and check this one with 'chatkeep verify --read-data'." };

function parsePart(line: string): ObjectPart {
  const [oid = "", offset = "", hex = "-"] = line.split("\t");
  if (/^\d+$/.test(oid) && /^\d+$/.test(offset) && /^[0-9a-f]*$/.test(hex)) {
    return { oid: Number(oid), offset: Number(offset), hex };
  }
  throw new Failure("point/invalid", "the text of the large objects cannot be read", HINT);
}

async function* linesOf(
  text: AsyncIterable<Uint8Array>,
  onBytes: (bytes: number) => void,
): AsyncGenerator<string, void, void> {
  let begun = "";
  for await (const chunk of text) {
    const lines = (begun + Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length).toString("latin1")).split("\n");
    begun = lines.pop() ?? "";
    yield* lines;
    onBytes(chunk.length);
  }
  if (begun !== "") throw new Failure("point/invalid", "the text of the large objects ends within a line", HINT);
}
