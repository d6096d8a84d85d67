/**
 * A physical base: the cluster's files as BASE_BACKUP sends them while the server runs, to be brought to a consistent state by
 * the log from `start` on, at least up to `end`. The log itself is not among them.
 *
 * PostgreSQL 15 sends one copy of messages that say what they are; 13 and 14 send a copy of each tablespace, the main
 * one last, and one of the manifest. Both carry a tar of each tablespace.
 *
 * Source: PostgreSQL's documentation, "Streaming Replication Protocol": BASE_BACKUP, in the editions of 13 to 18.
 */
import { bug, Failure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { ORDINARY } from "../base/tar.ts";
import { readTarEntries, type TarEntry } from "../base/tar-stream.ts";
import { isLsn, type Lsn, parseLsn } from "../wal/lsn.ts";
import { quoteLiteral } from "./names.ts";
import type { Part, ReplicationAnswer, Row } from "./replication-answer.ts";

export interface BaseBackupOptions {
  /** Shown by the server, and kept in `backup_label`. */
  readonly label: string;
  /** `fast`: a checkpoint at once, which writes much; `spread`: as the server does by itself, which takes minutes. */
  readonly checkpoint: "fast" | "spread";
  /** Bytes a second at most; from 32 KiB to 1 GiB. */
  readonly rate?: number | undefined;
  /** Whether a page whose checksum is wrong makes the base fail at its end; true without it, as the server does. */
  readonly verifyChecksums?: boolean | undefined;
  /** A part of a file's bytes may be gone when the next one is asked for, which saves a copy; they stay without it. */
  readonly lends?: boolean;
  /**
   * `backup_manifest` of an earlier base: of relations' files then come the blocks that changed since, as `INCREMENTAL.<name>`
   * (`incremental-file.ts`), and no checksum of a page is looked at. From PostgreSQL 17 on, with `summarize_wal`.
   */
  readonly since?: Buffer | undefined;
}

export interface Tablespace {
  /** Decimal; undefined for the data folder itself. */
  readonly oid: string | undefined;
  /** The folder on the server's machine; empty for the data folder. */
  readonly location: string;
  /** About. */
  readonly sizeBytes: number;
}

/** One thing in the cluster's data folder; what lies in a tablespace has its path through `pg_tblspc/<oid>`, as in the manifest. */
export type BaseEntry = {
  readonly path: string;
  /** The twelve permission bits. */
  readonly mode: number;
  readonly mtimeMs: number;
} & (
  | {
      readonly kind: "file";
      readonly size: number;
      /** Read before the next entry is asked for; what is not read is passed over. */
      readonly bytes: AsyncIterable<Buffer>;
    }
  | { readonly kind: "folder" }
  | { readonly kind: "link"; readonly target: string }
);

/** What the server says only when all files were sent. */
export interface BaseEnd {
  /** From here on the cluster is consistent: the log up to here belongs to the base. */
  readonly end: Lsn;
  readonly timeline: number;
  /** `backup_manifest`, with the SHA-256 of each file. */
  readonly manifest: Buffer;
  /** The text of `backup_label`. */
  readonly label: string;
  /** The text of `tablespace_map`; undefined where there are no tablespaces. */
  readonly tablespaceMap: string | undefined;
}

export interface BaseBackup extends AsyncDisposable {
  /** Where replaying begins: the redo position of the checkpoint that it began with. */
  readonly start: Lsn;
  readonly timeline: number;
  /** In the order in which they come. */
  readonly tablespaces: readonly Tablespace[];
  /** About how many bytes come. */
  readonly expectedBytes: number;
  /** Every file and folder, once. @throws Failure of the `database/` codes; the signal's reason. */
  files(): AsyncGenerator<BaseEntry, void, void>;
  /** To be called when {@link files} has ended. @throws Failure `database/unreadable` where a checksum was wrong. */
  finish(): Promise<BaseEnd>;
}

const FRAMED_FROM = 15;
const KIB = 1024;
const RATE = { least: 32, most: 1024 ** 2 } as const;

/** The command that asks a server of a major for a base. */
export function baseBackupCommand(
  major: number,
  { label, checkpoint, rate, verifyChecksums = true, since }: BaseBackupOptions,
): string {
  const kilobytes = rate === undefined ? undefined : Math.min(RATE.most, Math.max(RATE.least, Math.floor(rate / KIB)));
  const always = [`LABEL ${quoteLiteral(label)}`, "PROGRESS", "TABLESPACE_MAP"];
  const manifest = ["MANIFEST 'yes'", "MANIFEST_CHECKSUMS 'SHA256'"];
  const slow = kilobytes === undefined ? [] : [`MAX_RATE ${kilobytes}`];
  // The server need not wait for its archive: the log comes to us by itself.
  if (major >= FRAMED_FROM) {
    const checks = verifyChecksums ? [] : ["VERIFY_CHECKSUMS false"];
    const changed = since === undefined ? [] : ["INCREMENTAL"];
    const options = [
      ...always,
      `CHECKPOINT '${checkpoint}'`,
      "WAIT false",
      ...slow,
      ...checks,
      ...changed,
      ...manifest,
    ];
    return `BASE_BACKUP (${options.join(", ")})`;
  }
  const words = [...(checkpoint === "fast" ? ["FAST"] : []), "NOWAIT"];
  const checks = verifyChecksums ? [] : ["NOVERIFY_CHECKSUMS"];
  return ["BASE_BACKUP", ...always, ...words, ...slow, ...checks, ...manifest].join(" ");
}

/** What comes, whichever way the server sends it. */
type Arrival =
  /** A tar begins: of the tablespace of that number in the list. */
  | { readonly kind: "archive"; readonly oid: string | undefined }
  | { readonly kind: "manifest" }
  | { readonly kind: "data"; readonly bytes: Buffer }
  | { readonly kind: "rows"; readonly rows: readonly Row[] };

export interface BaseSession {
  readonly major: number;
  /** Makes a failure of what an answer throws. */
  readonly failure: (error: unknown) => unknown;
  /** Cuts the session: a copy cannot be left in its middle. */
  readonly cut: () => void;
  /** By {@link leftOutOfBase}, of what came until now. */
  readonly leftOut: () => string | undefined;
}

/** What a cluster cannot do without: `./base`, `./base/16384/2619`, and what lies in a tablespace, by whatever path. */
const NEEDED =
  /^(?:\.\/(?:base|global|pg_(?:xact|multixact|commit_ts|twophase|tblspc|logical))(?:\/|$)|(?!\.\/)(?:.*\/)?PG_\d)/;

/**
 * A server sends no links but those of its tablespaces, and no pipes or sockets: it warns, in its own language, and calls the base
 * whole.
 * @returns the path of what the data are not whole without.
 */
export function leftOutOfBase({
  message,
  routine,
}: {
  message?: string | undefined;
  routine?: string | undefined;
}): string | undefined {
  if (routine !== "sendDir") return undefined;
  const path = /(?:\.\/|\/|pg_tblspc\/)[^"»«“”„‘’]+/.exec(message ?? "")?.[0].trimEnd();
  return path !== undefined && NEEDED.test(path) ? path : undefined;
}

function refuseLeftOut(path: string | undefined): void {
  if (path === undefined) return;
  throw new Failure(
    "database/unsuitable",
    `'${path}' in the server's data folder is a link, and no base has what it leads to`,
    {
      hint: "PostgreSQL's own pg_basebackup leaves it out, too. With the server stopped, put the files back in the link's place, or mount their folder there (mount --bind). Where that cannot be, 'mode: interval' under 'watch' needs no base.",
    },
  );
}

/** Reads the beginning of the answer to {@link baseBackupCommand}: it comes when the server's checkpoint is done. */
export async function beginBaseBackup(answer: ReplicationAnswer, session: BaseSession): Promise<BaseBackup> {
  try {
    const [[begin], spaces] = [await readRows(answer), await readRows(answer)];
    const tablespaces = spaces.map(tablespaceOf);
    const expectedBytes = tablespaces.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    const arrivals =
      session.major >= FRAMED_FROM
        ? framedArrivals(answer)
        : plainArrivals(
            answer,
            tablespaces.map(({ oid }) => oid),
          );
    return {
      ...positionOf(begin),
      tablespaces,
      expectedBytes,
      ...receiveBase(new Ahead(arrivals, session.failure), session),
      [Symbol.asyncDispose]: async () => void (answer.isOver || session.cut()),
    };
  } catch (error) {
    session.cut();
    throw session.failure(error);
  }
}

async function readRows(answer: ReplicationAnswer): Promise<readonly Row[]> {
  const part = await answer.next();
  if (part?.kind !== "rows") throw unheardOf();
  return part.rows;
}

function positionOf(row: Row | undefined): { start: Lsn; timeline: number } {
  const [at, timeline] = [row?.["recptr"], row?.["tli"]];
  if (typeof at !== "string" || !isLsn(at) || typeof timeline !== "string") throw unheardOf();
  return { start: parseLsn(at), timeline: Number(timeline) };
}

function tablespaceOf(row: Row): Tablespace {
  const sizeBytes = Number(row["size"] ?? 0) * KIB;
  return { oid: row["spcoid"] ?? undefined, location: row["spclocation"] ?? "", sizeBytes };
}

/** Gives what comes, one after the other; undefined at the end. */
type NextArrival = () => Promise<Arrival | undefined>;

/** Things that come, of which the next may be looked at first. */
class Ahead {
  readonly #arrive: NextArrival;
  readonly #failure: BaseSession["failure"];
  #next: Arrival | undefined;

  constructor(arrive: NextArrival, failure: BaseSession["failure"]) {
    this.#arrive = arrive;
    this.#failure = failure;
  }

  /** Whoever reads is told of a failure here, and not as the server or the network said it. */
  async peek(): Promise<Arrival | undefined> {
    try {
      return (this.#next ??= await this.#arrive());
    } catch (error) {
      throw this.#failure(error);
    }
  }

  async take(): Promise<Arrival | undefined> {
    const arrival = await this.peek();
    this.#next = undefined;
    return arrival;
  }

  /** The data up to whatever else comes. No generator: it is called for each message. */
  data(): AsyncIterable<Buffer, void, void> {
    const iterator: AsyncIterator<Buffer, void, void> = {
      next: async () => {
        const next = await this.peek();
        if (next?.kind !== "data") return { value: undefined, done: true };
        this.#next = undefined;
        return { value: next.bytes, done: false };
      },
    };
    return { [Symbol.asyncIterator]: () => iterator };
  }
}

function receiveBase(
  arrivals: Ahead,
  { failure, cut, major, leftOut }: BaseSession,
): Pick<BaseBackup, "files" | "finish"> {
  const texts: Texts = {};
  let hasAll = false;
  return {
    async *files() {
      try {
        while ((await arrivals.peek())?.kind === "archive") {
          const archive = await arrivals.take();
          const oid = archive?.kind === "archive" ? archive.oid : undefined;
          const options = { mayEndOpen: major < FRAMED_FROM, failure: notATar };
          for await (const entry of readTarEntries(arrivals.data(), options)) {
            refuseLeftOut(leftOut());
            yield await entryOf(entry, { oid, texts });
          }
          // After its end a tar may be filled up with zeros.
          for await (const _ of arrivals.data());
        }
        hasAll = true;
      } catch (error) {
        throw failure(error);
      } finally {
        if (!hasAll) cut();
      }
    },
    async finish() {
      if (!hasAll) throw bug("a base was finished before its files were read");
      try {
        if ((await arrivals.take())?.kind !== "manifest") throw unheardOf();
        const manifest: Buffer[] = [];
        for await (const bytes of arrivals.data()) manifest.push(Buffer.from(bytes));
        const last = await arrivals.take();
        const { start: end, timeline } = positionOf(last?.kind === "rows" ? last.rows[0] : undefined);
        while ((await arrivals.take()) !== undefined);
        refuseLeftOut(leftOut());
        const label = texts["backup_label"];
        if (label === undefined) throw unheardOf();
        return { end, timeline, manifest: Buffer.concat(manifest), label, tablespaceMap: texts["tablespace_map"] };
      } catch (error) {
        cut();
        throw failure(error);
      }
    },
  };
}

type Texts = Partial<Record<string, string>>;

/** Files of the data folder's top that recovery is told by, and that are therefore kept as text, too. */
const KEPT: ReadonlySet<string> = new Set(["backup_label", "tablespace_map"]);

async function entryOf(entry: TarEntry, { oid, texts }: { oid: string | undefined; texts: Texts }): Promise<BaseEntry> {
  const inArchive = entry.path.replace(/^(\.\/)+/, "").replace(/\/+$/, "");
  const path = oid === undefined ? inArchive : `pg_tblspc/${oid}/${inArchive}`;
  const common = { path, mode: entry.mode, mtimeMs: entry.mtimeSeconds * 1000 };
  if (entry.type === "5") return { ...common, kind: "folder" };
  if (entry.type === "2") return { ...common, kind: "link", target: entry.linkTarget };
  if (!ORDINARY.has(entry.type)) throw notATar("damaged");
  if (!KEPT.has(path) || entry.sizeBytes > LIMITS.tarRecordMaxBytes) {
    return { ...common, kind: "file", size: entry.sizeBytes, bytes: entry.read() };
  }
  const parts: Buffer[] = [];
  for await (const part of entry.read()) parts.push(Buffer.from(part));
  const whole = Buffer.concat(parts);
  texts[path] = whole.toString("utf8");
  return { ...common, kind: "file", size: whole.length, bytes: once(whole) };
}

async function* once(bytes: Buffer): AsyncGenerator<Buffer, void, void> {
  yield bytes;
}

const NEW_ARCHIVE = 0x6e; // n
const MANIFEST = 0x6d; // m
const DATA = 0x64; // d

type Bytes = Extract<Part, { kind: "bytes" }>;

function framedArrivals(answer: ReplicationAnswer): NextArrival {
  let kind: number | undefined;
  let name: Buffer[] = [];
  const arrivalOf = (part: Bytes): Arrival | undefined => {
    if (part.isStart) kind = part.bytes[0];
    const bytes = part.isStart ? part.bytes.subarray(1) : part.bytes;
    if (kind === DATA && bytes.length > 0) return { kind: "data", bytes };
    if (kind === MANIFEST) return { kind: "manifest" };
    if (kind !== NEW_ARCHIVE) return undefined;
    name.push(Buffer.from(bytes));
    if (!part.isEnd) return undefined;
    const oid = oidOf(Buffer.concat(name));
    name = [];
    return { kind: "archive", oid };
  };
  return async () => {
    for (let part = await answer.next(); part !== undefined; part = await answer.next()) {
      const arrival = part.kind === "bytes" ? arrivalOf(part) : part.kind === "rows" ? part : undefined;
      if (arrival !== undefined) return arrival;
    }
    return undefined;
  };
}

/** `base.tar`, or the tablespace's oid with `.tar`, and behind it where that lies. */
function oidOf(message: Buffer): string | undefined {
  const name = message.toString("utf8", 0, Math.max(0, message.indexOf(0)));
  if (name === "base.tar") return undefined;
  const oid = /^(\d+)\.tar$/.exec(name)?.[1];
  if (oid === undefined) throw unheardOf();
  return oid;
}

function plainArrivals(answer: ReplicationAnswer, oids: readonly (string | undefined)[]): NextArrival {
  let copies = 0;
  return async () => {
    for (let part = await answer.next(); part !== undefined; part = await answer.next()) {
      if (part.kind === "rows") return part;
      if (part.kind === "bytes" && part.bytes.length > 0) return { kind: "data", bytes: part.bytes };
      if (part.kind !== "copy") continue;
      copies += 1;
      return copies <= oids.length ? { kind: "archive", oid: oids[copies - 1] } : { kind: "manifest" };
    }
    return undefined;
  };
}

function notATar(what: "no-tar" | "cut-short" | "damaged"): Failure {
  const said = { "no-tar": "are no tar", "cut-short": "end in the middle of one", damaged: "mean nothing" }[what];
  return new Failure("database/failed", `the files of the cluster that the server sent ${said}`, {
    hint: "Is this a PostgreSQL server, and nothing between that changes its answers? Try again.",
  });
}

function unheardOf(): Failure {
  return bug("the server answered BASE_BACKUP in a way that is not known");
}
