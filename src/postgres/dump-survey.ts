/** What a dump holds, by reading it to its end once: nothing is loaded from one that turns out to be cut short. */
import { Failure } from "../base/errors.ts";
import {
  connectedTo,
  createdDatabase,
  type DatabaseLocale,
  isHarmlessCommand,
  judgeStatement,
  mentionedTable,
} from "./dump-statements.ts";
import { majorOf, parseDumpTime } from "./dump-head.ts";
import { cutShort, readSqlItems, type SqlItem } from "./sql-reader.ts";

export interface DumpedTable {
  isCreated: boolean;
  /** Rows of COPY; undefined where there is no COPY of it, 1 at least where there are INSERTs. */
  rows: number | undefined;
  /** It is of a kind that holds no rows of its own. */
  isBare: boolean;
}

export interface DumpedDatabase {
  /** Undefined in a plain dump of one database, which does not say it. */
  name: string | undefined;
  locale: DatabaseLocale | undefined;
  encoding: string | undefined;
  /** Major version of its server. */
  major: number | undefined;
  extensions: Set<string>;
  /** Those of the schema public by their bare names. */
  tables: Map<string, DumpedTable>;
  isByInserts: boolean;
}

export interface DumpSurvey {
  databases: DumpedDatabase[];
  serverVersion: string | undefined;
  programVersion: string | undefined;
  /** When it was begun, where its comments say it. */
  madeAtMs: number | undefined;
  /** Of its SQL. */
  bytes: number;
}

/** Of the whole dump, at its beginning; and at its end. */
const CLUSTER = "PostgreSQL database cluster dump";
const ENDS = /^PostgreSQL database (cluster )?dump complete$/;

/** Encodings in which a byte of a letter may look like a quote or a backslash: no server has its databases in them. */
const UNSAFE = new Set(["SJIS", "SHIFT_JIS_2004", "BIG5", "GBK", "UHC", "GB18030", "JOHAB"]);

class Survey {
  readonly databases: DumpedDatabase[] = [];
  readonly #locales = new Map<string, DatabaseLocale | undefined>();
  #current: DumpedDatabase | undefined;
  #table: DumpedTable | undefined;
  #isCluster = false;
  isComplete = false;
  serverVersion: string | undefined;
  programVersion: string | undefined;
  madeAtMs: number | undefined;

  add(item: SqlItem): void {
    switch (item.kind) {
      case "comment":
        this.#comment(item.text);
        break;
      case "command":
        this.#command(item.line, item.isAlone);
        break;
      case "rows":
        if (this.#table !== undefined) this.#table.rows = (this.#table.rows ?? 0) + countLines(item.bytes);
        break;
      case "rows-end":
        this.#table = undefined;
        break;
      default:
        this.isComplete = false;
        this.#statement(item.sql);
    }
  }

  #comment(text: string): void {
    if (text === CLUSTER) this.#isCluster = true;
    const end = ENDS.exec(text);
    if (end !== null) this.isComplete = !this.#isCluster || end[1] !== undefined;
    const server = /^Dumped from database version (.+)$/.exec(text)?.[1];
    if (server !== undefined) {
      this.serverVersion ??= server;
      if (this.#current !== undefined) this.#current.major ??= majorOf(server);
    }
    this.programVersion ??= /^Dumped by pg_dump version (.+)$/.exec(text)?.[1];
    const started = /^Started on (.+)$/.exec(text)?.[1];
    if (started !== undefined) this.madeAtMs ??= parseDumpTime(started);
  }

  #command(line: string, isAlone: boolean): void {
    const database = isAlone ? connectedTo(line) : undefined;
    if (database !== undefined) this.#connect(database);
    else if (!isAlone || !isHarmlessCommand(line)) {
      throw refused(
        isAlone ? `the command ${JSON.stringify(line.slice(0, 60))} for psql` : "a command for psql within a statement",
      );
    }
  }

  #connect(name: string): void {
    this.isComplete = false;
    this.#current = this.databases.find((known) => known.name === name);
    if (this.#current !== undefined) return;
    this.#current = emptyDatabase(name, this.#locales.get(name));
    this.databases.push(this.#current);
  }

  #statement(sql: Buffer): void {
    const made = createdDatabase(sql);
    if (made !== undefined) this.#locales.set(made.name, made.locale);
    const verdict = judgeStatement(sql);
    if (verdict.kind === "refuse") throw refused(verdict.why);
    if (verdict.kind === "leave") return;
    if (this.#current === undefined) {
      this.#current = emptyDatabase(undefined, undefined);
      this.#current.major = majorOf(this.serverVersion);
      this.databases.push(this.#current);
    }
    if (verdict.kind === "extension") this.#current.extensions.add(verdict.name);
    else if (verdict.kind === "encoding") this.#encoding(this.#current, verdict.name);
    else this.#mention(this.#current, sql, verdict.kind === "copy");
  }

  #encoding(database: DumpedDatabase, name: string): void {
    if (UNSAFE.has(name)) {
      throw new Failure("dump/unsuitable", `the dump is written in ${name}, which is not read`, {
        hint: "Dump the database again with --encoding=UTF8.",
      });
    }
    database.encoding ??= name;
  }

  #mention(database: DumpedDatabase, sql: Buffer, isCopy: boolean): void {
    const mention = mentionedTable(sql);
    if (mention === undefined) return;
    const known = database.tables.get(mention.table) ?? { isCreated: false, rows: undefined, isBare: false };
    database.tables.set(mention.table, known);
    if (mention.isCreated) Object.assign(known, { isCreated: true, isBare: mention.isBare });
    else {
      known.rows = (known.rows ?? 0) + (isCopy ? 0 : 1);
      if (!isCopy) database.isByInserts = true;
    }
    this.#table = isCopy ? known : undefined;
  }
}

function emptyDatabase(name: string | undefined, locale: DatabaseLocale | undefined): DumpedDatabase {
  return {
    name,
    locale,
    encoding: undefined,
    major: undefined,
    extensions: new Set(),
    tables: new Map(),
    isByInserts: false,
  };
}

function countLines(bytes: Buffer): number {
  let lines = 0;
  for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, at + 1)) lines += 1;
  return lines;
}

function refused(what: string): Failure {
  return new Failure(
    "dump/unsuitable",
    `the dump holds ${what}: no dump of pg_dump has that, and nothing of it was run`,
    {
      hint: "Was it altered by hand, or by somebody else? Look at it before you trust it, and import the dump as pg_dump wrote it.",
    },
  );
}

/**
 * @param chunks Its SQL.
 * @throws Failure `dump/damaged` when it is cut short, `dump/unsuitable` when it holds what no dump has.
 */
export async function surveyDump(
  chunks: AsyncIterable<Buffer>,
  { onBytes }: { onBytes: (bytes: number) => void },
): Promise<DumpSurvey> {
  const survey = new Survey();
  let bytes = 0;
  const counted = async function* () {
    for await (const chunk of chunks) {
      bytes += chunk.length;
      onBytes(chunk.length);
      yield chunk;
    }
  };
  for await (const item of readSqlItems(counted())) survey.add(item);
  if (!survey.isComplete) throw cutShort("the line with which pg_dump ends it is not there");
  const { databases, serverVersion, programVersion, madeAtMs } = survey;
  return { databases, serverVersion, programVersion, madeAtMs, bytes };
}
