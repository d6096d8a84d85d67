/** Makes large objects of the text that {@link copyLargeObjects} gives, with functions that need no superuser. */
import { Failure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { ServerAddress } from "./address.ts";
import type { Connection } from "./connect.ts";
import { connectPatiently } from "./spare-sessions.ts";

export interface SavedLargeObjects {
  ranges: readonly { bucket: string; rows: number; read(): AsyncIterable<Uint8Array> }[];
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
    const parts = await loadRange(connection, range.read(), (bytes) => progress.advance(bytes));
    await connection.query("commit");
    if (parts === range.rows) continue;
    throw new Failure(
      "point/invalid",
      `range ${range.bucket} of the large objects has ${parts} parts of ${range.rows}`,
    );
  }
  if (commentsSql !== "") await connection.query(commentsSql);
}

/** Statements are sent together, so that not each of them waits for its answer. @returns how many parts it had. */
async function loadRange(
  connection: Connection,
  text: AsyncIterable<Uint8Array>,
  onBytes: (bytes: number) => void,
): Promise<number> {
  let parts = 0;
  let statements: string[] = [];
  let bytes = 0;
  const send = async () => {
    if (statements.length > 0) await connection.query(statements.join("\n"));
    statements = [];
    bytes = 0;
  };
  for await (const line of linesOf(text, onBytes)) {
    statements.push(statementOf(line));
    bytes += line.length;
    parts += 1;
    if (bytes >= LIMITS.packWriteBytes) await send();
  }
  await send();
  return parts;
}

function statementOf(line: string): string {
  const [oid, offset, hex] = line.split("\t");
  if (!/^\d+$/.test(oid ?? "") || !/^\d+$/.test(offset ?? "") || !/^[0-9a-f]*$/.test(hex ?? "-")) {
    throw new Failure("point/invalid", "the text of the large objects cannot be read", {
      hint: "Use another restore point, and check this one with 'chatkeep verify --read-data'.",
    });
  }
  const content = `pg_catalog.decode('${hex}', 'hex')`;
  if (offset === "0") return `select pg_catalog.lo_from_bytea('${oid}', ${content});`;
  return `select pg_catalog.lo_put('${oid}', ${offset}, ${content});`;
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
  if (begun !== "") throw new Failure("point/invalid", "the text of the large objects ends within a line");
}
