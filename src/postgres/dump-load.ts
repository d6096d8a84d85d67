/**
 * Loads a dump's SQL into a new and empty database, statement by statement over a session of a role that may do nothing else
 * on the server. Nothing of a dump is obeyed but by the server: what psql would do with it never happens.
 */
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { Failure, messageOf } from "../base/errors.ts";
import type { Connection } from "./connect.ts";
import { connectedTo, judgeStatement } from "./dump-statements.ts";
import { quoteIdentifier } from "./names.ts";
import { isServersOwnFault, SQLSTATE, sqlState } from "./server-errors.ts";
import { readSqlItems, type SqlItem } from "./sql-reader.ts";

export interface LoadDumpOptions {
  /** Of the role that is to own everything; nothing is left of its settings afterwards. */
  session: Connection;
  /** Of a superuser, in the same database: for extensions, and for roles that policies name. */
  admin: Connection;
  /** Which database of the dump; undefined for that of a dump that does not name one. */
  database: string | undefined;
  onBytes: (bytes: number) => void;
}

/** What the role may not do, and only a superuser could. */
export interface LeftOut {
  /** `CREATE EVENT TRIGGER x`. */
  what: string;
  why: string;
}

/** Rows that come as INSERTs are sent together. */
const BATCH_BYTES = 256 * 1024;
const UNICODE = new Set(["UTF8", "UNICODE", "SQL_ASCII"]);

/** What Node calls an encoding of PostgreSQL's. */
const DECODERS: Readonly<Record<string, string>> = {
  LATIN2: "iso-8859-2",
  LATIN9: "iso-8859-15",
  WIN1250: "windows-1250",
  WIN1251: "windows-1251",
  WIN1252: "windows-1252",
  WIN1253: "windows-1253",
  WIN1254: "windows-1254",
  WIN1256: "windows-1256",
  KOI8R: "koi8-r",
  EUC_JP: "euc-jp",
  EUC_KR: "euc-kr",
};

class Loader {
  readonly #options: LoadDumpOptions;
  readonly leftOut: LeftOut[] = [];
  #current: string | undefined;
  #encoding = "UTF8";
  #batch: Buffer[] = [];
  #batchBytes = 0;

  constructor(options: LoadDumpOptions) {
    this.#options = options;
  }

  async load(items: AsyncGenerator<SqlItem, void, void>): Promise<void> {
    for (let next = await items.next(); next.done !== true; next = await items.next()) {
      const item = next.value;
      if (item.kind === "command") this.#current = connectedTo(item.line) ?? this.#current;
      else if (item.kind === "statement" && this.#current === this.#options.database)
        await this.#statement(item.sql, items);
    }
    await this.#flush();
  }

  async #statement(sql: Buffer, items: AsyncGenerator<SqlItem, void, void>): Promise<void> {
    const verdict = judgeStatement(sql);
    if (verdict.kind === "run" && /^INSERT\s/i.test(sql.toString("latin1", 0, 7))) {
      this.#batch.push(sql);
      this.#batchBytes += sql.length;
      if (this.#batchBytes >= BATCH_BYTES) await this.#flush();
      return;
    }
    await this.#flush();
    if (verdict.kind === "copy") await this.#copy(this.#decode(sql), items);
    else if (verdict.kind === "encoding") this.#encoding = verdict.name;
    else if (verdict.kind === "extension") await this.#extension(verdict);
    else if (verdict.kind === "run") await this.#run(this.#decode(sql));
    else if (verdict.kind === "refuse") throw new Failure("dump/unsuitable", `the dump holds ${verdict.why}`);
  }

  async #flush(): Promise<void> {
    if (this.#batch.length === 0) return;
    const sql = this.#decode(Buffer.concat(this.#batch));
    this.#batch = [];
    this.#batchBytes = 0;
    await this.#run(sql);
  }

  #decode(sql: Buffer): string {
    if (UNICODE.has(this.#encoding)) return decodeWith("utf-8", sql, this.#encoding);
    if (this.#encoding === "LATIN1") return sql.toString("latin1");
    return decodeWith(DECODERS[this.#encoding], sql, this.#encoding);
  }

  async #run(sql: string, isRetried = false): Promise<void> {
    try {
      await this.#options.session.query(sql);
    } catch (error) {
      const state = sqlState(error);
      if (state === undefined || isServersOwnFault(error)) throw error;
      if (state === "42P06" && /^CREATE\s+SCHEMA\s/i.test(sql)) return;
      const role = /role "([^"]+)" does not exist/.exec(messageOf(error))?.[1];
      if (state === "42704" && role !== undefined && !isRetried) {
        await this.#options.admin.query(`create role ${quoteIdentifier(role)} nologin`);
        await this.#run(sql, true);
      } else if (state === SQLSTATE.denied) this.leftOut.push({ what: headOf(sql), why: messageOf(error) });
      else throw refusal(sql, error);
    }
  }

  async #extension({ name, schema }: { name: string; schema: string | undefined }): Promise<void> {
    const place = schema === undefined ? "" : ` schema ${quoteIdentifier(schema)}`;
    const sql = `create extension if not exists ${quoteIdentifier(name)}${place} cascade`;
    try {
      await this.#options.admin.query(sql);
    } catch (error) {
      throw sqlState(error) === undefined || isServersOwnFault(error) ? error : refusal(sql, error);
    }
  }

  async #copy(sql: string, items: AsyncGenerator<SqlItem, void, void>): Promise<void> {
    const { session } = this.#options;
    const isOther = !UNICODE.has(this.#encoding);
    if (isOther) await session.query(`set client_encoding = '${this.#encoding.replaceAll("'", "")}'`);
    try {
      await pipeline(Readable.from(rowsOf(items), { objectMode: false }), session.copyFrom(sql));
    } catch (error) {
      const failure = session.failure(error);
      throw sqlState(failure) === undefined || isServersOwnFault(failure) ? failure : refusal(sql, failure);
    }
    if (isOther) await session.query("set client_encoding = 'UTF8'");
  }
}

async function* rowsOf(items: AsyncGenerator<SqlItem, void, void>): AsyncGenerator<Buffer, void, void> {
  for (let next = await items.next(); next.done !== true; next = await items.next()) {
    if (next.value.kind !== "rows") return;
    yield next.value.bytes;
  }
}

function decodeWith(label: string | undefined, sql: Buffer, encoding: string): string {
  const text = sql.toString("latin1");
  if (/^\p{ASCII}*$/u.test(text)) return text;
  try {
    if (label !== undefined) return new TextDecoder(label, { fatal: true, ignoreBOM: true }).decode(sql);
  } catch {
    // Told below, as what has no decoder is.
  }
  throw new Failure(
    "dump/unsuitable",
    `a statement of the dump is not in ${encoding}, which it says that it is written in`,
    {
      hint: `It begins with: ${headOf(text)}. Dump the database again with --encoding=UTF8.`,
    },
  );
}

/** What a statement is about, without any data that stands in it. */
function headOf(sql: string): string {
  return (/^[^('$;]{1,80}/.exec(sql.trim())?.[0] ?? "").replaceAll(/\s+/g, " ").trim();
}

function refusal(sql: string, error: unknown): Failure {
  return new Failure("dump/unsuitable", `the dump cannot be loaded: ${messageOf(error)}`, {
    hint: `The server said it of: ${headOf(sql)}. Was the dump altered, or made of a part of a database?`,
    cause: error,
  });
}

/**
 * @param chunks The dump's SQL, looked through before by `surveyDump`.
 * @throws Failure `dump/unsuitable` with what the server said, `dump/damaged`; the database then holds a part of it.
 */
export async function loadDump(chunks: AsyncIterable<Buffer>, options: LoadDumpOptions): Promise<LeftOut[]> {
  const loader = new Loader(options);
  const counted = async function* () {
    for await (const chunk of chunks) {
      options.onBytes(chunk.length);
      yield chunk;
    }
  };
  await loader.load(readSqlItems(counted()));
  await options.session.query("reset all");
  await options.session.query("analyze");
  return loader.leftOut;
}
