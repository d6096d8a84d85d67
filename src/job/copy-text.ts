/** Rows as COPY's text format has them: read line by line, as long as they may be, and field by field. */
import { Failure } from "../base/errors.ts";

const NEWLINE = 0x0a;
const EMPTY = Buffer.alloc(0);
const ESCAPES: Readonly<Record<string, string>> = { b: "\b", f: "\f", n: "\n", r: "\r", t: "\t", v: "\v" };

/** A field's value; null for NULL, which no text looks like: a text's own backslashes are doubled. */
export function readCopyField(field: string): string | null {
  if (field === String.raw`\N`) return null;
  return field.includes("\\") ? field.replaceAll(/\\(.)/gs, (_, char: string) => ESCAPES[char] ?? char) : field;
}

/** One row. Its fields are parted only when somebody asks for one. */
export class CopyRow {
  readonly columns: readonly string[];
  readonly line: Buffer;
  #fields: string[] | undefined;

  constructor(columns: readonly string[], line: Buffer) {
    this.columns = columns;
    this.line = line;
  }

  /** As it is written, one character a byte: enough to compare, whatever the encoding. Undefined: no such column. */
  raw(column: string): string | undefined {
    const at = this.columns.indexOf(column);
    if (at < 0) return undefined;
    this.#fields ??= this.line.toString("latin1").split("\t");
    return this.#fields[at];
  }

  /** Null for NULL, and where there is no such column. */
  value(column: string): string | null {
    const raw = this.raw(column);
    return raw === undefined ? null : readCopyField(Buffer.from(raw, "latin1").toString("utf8"));
  }
}

/** Goes from line to line of a text that comes in pieces; a row may be spread over many of them. */
export class CopyLines {
  /** The present line, valid until the next; undefined at the end. */
  line: Buffer | undefined;
  readonly #chunks: AsyncIterator<Buffer, void>;
  #chunk: Buffer = EMPTY;
  #at = 0;

  constructor(chunks: AsyncIterable<Buffer>) {
    this.#chunks = chunks[Symbol.asyncIterator]() as AsyncIterator<Buffer, void>;
  }

  /**
   * Goes to the next line. A promise only where more has to be read: most lines are there already, and to wait for each
   * of millions would cost more than to compare them.
   */
  advance(): Promise<void> | undefined {
    const end = this.#chunk.indexOf(NEWLINE, this.#at);
    if (end < 0) return this.#read();
    this.line = this.#chunk.subarray(this.#at, end);
    this.#at = end + 1;
    return undefined;
  }

  async #read(): Promise<void> {
    const begun: Buffer[] = this.#chunk.length > this.#at ? [this.#chunk.subarray(this.#at)] : [];
    for (;;) {
      const { value: chunk } = await this.#chunks.next();
      if (chunk === undefined) {
        if (begun.length > 0) throw new Failure("point/invalid", "the text of a table ends within a row");
        this.line = undefined;
        this.#chunk = EMPTY;
        this.#at = 0;
        return;
      }
      const end = chunk.indexOf(NEWLINE);
      if (end < 0) {
        begun.push(chunk);
        continue;
      }
      const tail = chunk.subarray(0, end);
      this.line = begun.length === 0 ? tail : Buffer.concat([...begun, tail]);
      this.#chunk = chunk;
      this.#at = end + 1;
      return;
    }
  }

  /** Lets go of what was read ahead. */
  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}

/** Every row of such a text. */
export async function* copyRows(
  columns: readonly string[],
  chunks: AsyncIterable<Buffer>,
): AsyncGenerator<CopyRow, void, void> {
  const lines = new CopyLines(chunks);
  try {
    for (;;) {
      await lines.advance();
      if (lines.line === undefined) return;
      yield new CopyRow(columns, lines.line);
    }
  } finally {
    await lines.close();
  }
}
