/**
 * Takes a plain dump apart, as it comes: statements, rows of COPY, psql's own commands, comments. Nothing is run here, and
 * psql is not used at all: it would obey a backslash in a dump that somebody prepared.
 *
 * The rules are those of the server's own scanner: quotes, dollar quotes, comments in comments, and, in functions
 * written in standard SQL, the semicolons between BEGIN and END.
 */
import { Failure } from "../base/errors.ts";

export type SqlItem =
  | { kind: "statement"; sql: Buffer }
  /** Whole lines of what a COPY before it reads. */
  | { kind: "rows"; bytes: Buffer }
  | { kind: "rows-end" }
  /** A line for psql; `isAlone` where no statement was begun before it. */
  | { kind: "command"; line: string; isAlone: boolean }
  /** Between statements, without its dashes. */
  | { kind: "comment"; text: string };

/** The longest statement that is taken: one row as INSERT, or a part of a large object. */
const STATEMENT_MAX_BYTES = 512 * 1024 * 1024;

const BYTE = {
  newline: 0x0a,
  quote: 0x27,
  doubleQuote: 0x22,
  dollar: 0x24,
  dash: 0x2d,
  slash: 0x2f,
  star: 0x2a,
  backslash: 0x5c,
  open: 0x28,
  close: 0x29,
  semicolon: 0x3b,
} as const;

const COPY_FROM_STDIN = /^COPY\s[^]*\sFROM\s+stdin(?:\s+WITH\b[^;]*|\s*\([^;]*\))?\s*;$/i;
const CONFORMING = /^SET\s+standard_conforming_strings\s*(?:=|TO)\s*'?(on|off)'?\s*;$/i;
const FUNCTION = /^CREATE\s+(?:OR\s+REPLACE\s+)?(?:FUNCTION|PROCEDURE)\s/i;

function isSpace(byte: number): boolean {
  return byte === 0x20 || (byte >= 0x09 && byte <= 0x0d);
}

/** What an identifier may go on with; letters of other scripts too. */
function isWord(byte: number | undefined): boolean {
  if (byte === undefined) return false;
  return (
    (byte >= 0x30 && byte <= 0x39) ||
    (byte >= 0x41 && byte <= 0x5a) ||
    byte === 0x5f ||
    (byte >= 0x61 && byte <= 0x7a) ||
    byte >= 0x80
  );
}

type Inside = "plain" | "quote" | "escaped-quote" | "double-quote" | "dollar" | "line-comment" | "comment";

/** One dump. */
class SqlReader {
  #held: Buffer = Buffer.alloc(0);
  #isLast = false;
  #isInRows = false;
  /** Rows begin on the next line. */
  #isOnStatementsLine = false;
  /** Up to where the statement that begins `held` was looked at. */
  #at = 0;
  #inside: Inside = "plain";
  #tag: Buffer = Buffer.alloc(0);
  #comments = 0;
  #parentheses = 0;
  #blocks = 0;
  #isConforming = true;

  add(chunk: Buffer): void {
    this.#held = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    if (this.#held.length > STATEMENT_MAX_BYTES) {
      throw new Failure("dump/unsuitable", "the dump holds a statement or a row of more than 512 MiB", {
        hint: "pg_dump's custom format has no such bounds: dump the database again with --format=custom.",
      });
    }
  }

  end(): void {
    this.#isLast = true;
  }

  /** True where the dump ended within something. */
  get isCut(): boolean {
    return this.#isInRows || this.#held.length > 0;
  }

  /** Undefined: it takes more bytes to tell. */
  next(): SqlItem | undefined {
    if (this.#isInRows) return this.#nextRows();
    return this.#at === 0 ? this.#begin() : this.#statement();
  }

  #take(count: number): Buffer {
    const taken = this.#held.subarray(0, count);
    this.#held = this.#held.subarray(count);
    this.#at = 0;
    return taken;
  }

  /** The first line's length with its end; undefined where its end has not come. */
  #lineLength(): number | undefined {
    const end = this.#held.indexOf(BYTE.newline);
    if (end >= 0) return end + 1;
    return this.#isLast ? this.#held.length : undefined;
  }

  #nextRows(): SqlItem | undefined {
    if (this.#isOnStatementsLine) {
      const length = this.#lineLength();
      if (length === undefined) return undefined;
      this.#take(length);
      this.#isOnStatementsLine = false;
    }
    const held = this.#held;
    if (held[0] === BYTE.backslash && (held[1] === undefined || held[1] === 0x2e)) {
      const length = held.length < 2 ? undefined : this.#lineLength();
      if (length === undefined) return undefined;
      this.#take(length);
      this.#isInRows = false;
      return { kind: "rows-end" };
    }
    const end = held.indexOf("\n\\.");
    const last = end >= 0 ? end : held.lastIndexOf(BYTE.newline);
    return last < 0 ? undefined : { kind: "rows", bytes: this.#take(last + 1) };
  }

  /** Where no statement was begun. */
  #begin(): SqlItem | undefined {
    let from = 0;
    while (from < this.#held.length && (isSpace(this.#held[from] ?? 0) || this.#held[from] === BYTE.semicolon))
      from += 1;
    if (from > 0) this.#take(from);
    const [first, second] = this.#held;
    if (first === undefined) return undefined;
    if (first === BYTE.backslash) {
      const length = this.#lineLength();
      if (length === undefined) return undefined;
      return { kind: "command", line: this.#take(length).toString("utf8").trim(), isAlone: true };
    }
    if (first === BYTE.dash) {
      if (second === undefined && !this.#isLast) return undefined;
      const length = second === BYTE.dash ? this.#lineLength() : 0;
      if (length === undefined) return undefined;
      if (length > 0) return { kind: "comment", text: this.#take(length).toString("utf8").slice(2).trim() };
    }
    this.#inside = "plain";
    this.#parentheses = 0;
    this.#blocks = 0;
    return this.#statement();
  }

  #statement(): SqlItem | undefined {
    while (this.#at < this.#held.length) {
      if (this.#inside !== "plain") {
        if (!this.#leave()) return undefined;
        continue;
      }
      const found = this.#plain();
      if (found !== undefined) return found === "more" ? undefined : found;
    }
    return undefined;
  }

  /** Goes on to the end of a quote or a comment. False: more bytes are needed. */
  #leave(): boolean {
    switch (this.#inside) {
      case "quote":
        return this.#leaveQuote(BYTE.quote);
      case "double-quote":
        return this.#leaveQuote(BYTE.doubleQuote);
      case "escaped-quote":
        return this.#leaveEscapedQuote();
      case "dollar":
        return this.#leaveBy(this.#tag);
      case "line-comment":
        return this.#leaveBy(Buffer.from("\n"));
      default:
        return this.#leaveComment();
    }
  }

  #leaveBy(mark: Buffer): boolean {
    const end = this.#held.indexOf(mark, this.#at);
    if (end < 0) {
      this.#at = Math.max(this.#at, this.#held.length - mark.length + 1);
      return false;
    }
    this.#at = end + mark.length;
    this.#inside = "plain";
    return true;
  }

  #leaveQuote(mark: number): boolean {
    const end = this.#held.indexOf(mark, this.#at);
    this.#at = end < 0 ? this.#held.length : end;
    if (end < 0 || (end + 1 === this.#held.length && !this.#isLast)) return false;
    const isDoubled = this.#held[end + 1] === mark;
    this.#at = end + (isDoubled ? 2 : 1);
    if (!isDoubled) this.#inside = "plain";
    return true;
  }

  #leaveEscapedQuote(): boolean {
    while (this.#at < this.#held.length) {
      const byte = this.#held[this.#at];
      if (byte !== BYTE.quote && byte !== BYTE.backslash) {
        this.#at += 1;
        continue;
      }
      if (this.#at + 1 === this.#held.length && !this.#isLast) return false;
      if (byte === BYTE.quote && this.#held[this.#at + 1] !== BYTE.quote) {
        this.#at += 1;
        this.#inside = "plain";
        return true;
      }
      this.#at += 2;
    }
    return false;
  }

  #leaveComment(): boolean {
    for (; this.#at + 1 < this.#held.length; this.#at += 1) {
      const [one, two] = [this.#held[this.#at], this.#held[this.#at + 1]];
      if (one === BYTE.slash && two === BYTE.star) this.#comments += 1;
      else if (one === BYTE.star && two === BYTE.slash) this.#comments -= 1;
      else continue;
      this.#at += 1;
      if (this.#comments > 0) continue;
      this.#at += 1;
      this.#inside = "plain";
      return true;
    }
    return false;
  }

  /** One step outside of quotes and comments. */
  #plain(): SqlItem | "more" | undefined {
    const byte = this.#held[this.#at] ?? 0;
    const next = this.#held[this.#at + 1];
    const isUnknown = next === undefined && !this.#isLast;
    if (isWord(byte)) return this.#word();
    if (byte === BYTE.dollar) return this.#dollar();
    if ((byte === BYTE.dash || byte === BYTE.slash) && isUnknown) return "more";
    this.#at += 1;
    if (byte === BYTE.quote) this.#inside = this.#isEscaped(this.#at - 1) ? "escaped-quote" : "quote";
    else if (byte === BYTE.doubleQuote) this.#inside = "double-quote";
    else if (byte === BYTE.dash && next === BYTE.dash) this.#inside = "line-comment";
    else if (byte === BYTE.slash && next === BYTE.star) {
      this.#inside = "comment";
      this.#comments = 1;
      this.#at += 1;
    } else if (byte === BYTE.open) this.#parentheses += 1;
    else if (byte === BYTE.close) this.#parentheses -= 1;
    else if (byte === BYTE.backslash) {
      return { kind: "command", line: this.#take(this.#held.length).toString("utf8").slice(0, 80), isAlone: false };
    } else if (byte === BYTE.semicolon && this.#parentheses <= 0 && this.#blocks === 0) return this.#ended();
    return undefined;
  }

  #isEscaped(quote: number): boolean {
    const before = this.#held[quote - 1];
    const isMarked = (before === 0x45 || before === 0x65) && (quote < 2 || !isWord(this.#held[quote - 2]));
    return isMarked || !this.#isConforming;
  }

  #word(): "more" | undefined {
    let end = this.#at;
    while (isWord(this.#held[end]) || this.#held[end] === BYTE.dollar) end += 1;
    if (end === this.#held.length && !this.#isLast) return "more";
    const length = end - this.#at;
    if (length >= 3 && length <= 5) this.#countBlock(this.#held.toString("latin1", this.#at, end).toUpperCase());
    this.#at = end;
    return undefined;
  }

  #countBlock(word: string): void {
    if (word !== "BEGIN" && word !== "CASE" && word !== "END") return;
    if (word === "END") this.#blocks = Math.max(0, this.#blocks - 1);
    else if (this.#blocks > 0 || (word === "BEGIN" && FUNCTION.test(this.#held.toString("latin1", 0, 60)))) {
      this.#blocks += 1;
    }
  }

  #dollar(): "more" | undefined {
    let end = this.#at + 1;
    const first = this.#held[end];
    if (isWord(first) && !((first ?? 0) >= 0x30 && (first ?? 0) <= 0x39)) while (isWord(this.#held[end])) end += 1;
    if (end === this.#held.length && !this.#isLast) return "more";
    if (this.#held[end] === BYTE.dollar) {
      this.#tag = Buffer.from(this.#held.subarray(this.#at, end + 1));
      this.#inside = "dollar";
      end += 1;
    }
    this.#at = end;
    return undefined;
  }

  #ended(): SqlItem {
    const sql = this.#take(this.#at);
    if (sql.length < 4096) {
      const text = sql.toString("latin1");
      const conforming = CONFORMING.exec(text)?.[1];
      if (conforming !== undefined) this.#isConforming = conforming.toLowerCase() === "on";
    }
    if (isCopyFromStdin(sql)) {
      this.#isInRows = true;
      this.#isOnStatementsLine = true;
    }
    return { kind: "statement", sql };
  }
}

/** True for what is followed by rows. */
export function isCopyFromStdin(sql: Buffer): boolean {
  return (
    sql.length < 1024 * 1024 &&
    /^COPY\s/i.test(sql.toString("latin1", 0, 5)) &&
    COPY_FROM_STDIN.test(sql.toString("latin1"))
  );
}

/**
 * @param chunks A plain dump's bytes.
 * @throws Failure `dump/damaged` when it ends within a statement or within rows.
 */
export async function* readSqlItems(chunks: AsyncIterable<Buffer>): AsyncGenerator<SqlItem, void, void> {
  const reader = new SqlReader();
  for await (const chunk of chunks) {
    reader.add(chunk);
    for (let item = reader.next(); item !== undefined; item = reader.next()) yield item;
  }
  reader.end();
  for (let item = reader.next(); item !== undefined; item = reader.next()) yield item;
  if (reader.isCut) throw cutShort("it ends within a statement or within a table's rows");
}

export function cutShort(why: string, cause?: unknown): Failure {
  return new Failure("dump/damaged", `the dump is cut short: ${why}`, {
    hint: "Was the disk full, or the copying stopped? Compare its size with the original's; else use another dump.",
    cause,
  });
}
