/**
 * A dump that pg_dump or pg_dumpall made, in whichever format: known by its content, and read as SQL. pg_restore itself
 * turns archives into SQL, without touching a server.
 */
import { join } from "node:path";
import { Failure, isFailure } from "../base/errors.ts";
import { foreignUnpacker, lookAtFile, type Packing, readBeginning, readUnpacked } from "../system/packed.ts";
import { type Program, readProgram } from "../system/process.ts";
import { ARCHIVE_MAGIC, decodeDumpHead, type DumpHead, majorOf } from "./dump-head.ts";
import { findPrograms } from "./programs.ts";
import { cutShort } from "./sql-reader.ts";

export const DUMP_FILE_FORMATS = ["custom", "tar", "directory", "plain"] as const;
export type DumpFileFormat = (typeof DUMP_FILE_FORMATS)[number];

export interface DumpFile {
  path: string;
  format: DumpFileFormat;
  packing: Packing | undefined;
  /** Of an archive; a plain dump says it in its comments, if at all. */
  head: DumpHead | undefined;
  /** When the file was last written. */
  writtenMs: number;
  /** Its SQL. @throws Failure `dump/damaged` after the last chunk when it is cut short. */
  read(options: { signal: AbortSignal }): AsyncGenerator<Buffer, void, void>;
}

const LOOKED_AT = 64 * 1024;
const PLAIN = /^-- PostgreSQL database (?:cluster )?dump\r?$/m;

/**
 * @throws Failure `dump/unsuitable` for what is no dump, `source/unreadable`, `dump/damaged`, `program/missing` for an
 * archive that only a newer pg_restore reads.
 */
export async function openDumpFile(path: string, { signal }: { signal: AbortSignal }): Promise<DumpFile> {
  const { isFolder, writtenMs } = await lookAtFile(path);
  if (isFolder) return await openFolder(path, signal);
  const { packing, raw, bytes } = await readBeginning(path, LOOKED_AT, { signal });
  const file = { path, packing, writtenMs };
  if (bytes.toString("latin1", 0, ARCHIVE_MAGIC.length) === ARCHIVE_MAGIC) {
    return await openArchive({ ...file, format: "custom" }, bytes, signal);
  }
  if (isTar(bytes)) {
    if (nameInTar(bytes) !== "toc.dat") throw noDump(path, "it is a tar of something else", UNPACK);
    return await openArchive({ ...file, format: "tar" }, bytes.subarray(512), signal);
  }
  if (PLAIN.test(bytes.toString("latin1"))) {
    return { ...file, format: "plain", head: undefined, read: (options) => readPlain(file, options) };
  }
  if (packing !== undefined && bytes.length === 0) throw cutShort("nothing of it can be unpacked");
  throw noDump(path, ...whatElse(raw, bytes));
}

async function openFolder(path: string, signal: AbortSignal): Promise<DumpFile> {
  const contents = join(path, "toc.dat");
  const hasContents = await lookAtFile(contents).catch((error: unknown) => {
    if (!isFailure(error, "source/unreadable")) throw error;
    return undefined;
  });
  if (hasContents === undefined) {
    throw noDump(
      path,
      "the folder has no toc.dat",
      "Name the dump itself; a folder that pg_dump made has a file toc.dat.",
    );
  }
  const { bytes } = await readBeginning(contents, LOOKED_AT, { signal });
  const file = { path, packing: undefined, writtenMs: hasContents.writtenMs };
  return await openArchive({ ...file, format: "directory" }, bytes, signal);
}

type Known = Pick<DumpFile, "path" | "packing" | "writtenMs" | "format">;

async function openArchive(file: Known, beginning: Buffer, signal: AbortSignal): Promise<DumpFile> {
  const head = decodeDumpHead(beginning);
  if (head === undefined) throw cutShort("its first lines are not whole");
  const major = Math.max(majorOf(head.programVersion) ?? 0, majorOf(head.serverVersion) ?? 0);
  const what = `the dump, which pg_dump ${major} made`;
  const { pgRestore } = await findPrograms(major, { signal, wanted: { program: "pg_restore", what } });
  return { ...file, head, read: (options) => readArchive(file, pgRestore, options) };
}

async function* readPlain(
  { path, packing }: Pick<DumpFile, "path" | "packing">,
  options: { signal: AbortSignal },
): AsyncGenerator<Buffer, void, void> {
  let isFirst = true;
  for await (const chunk of readUnpacked(path, packing, options)) {
    // A mark that Windows puts before UTF-8.
    yield isFirst && chunk.toString("hex", 0, 3) === "efbbbf" ? chunk.subarray(3) : chunk;
    isFirst = false;
  }
}

/** `--create` says what the database was called and how it ordered text. */
const AS_SQL = ["--create", "--no-owner", "--no-acl", "--no-tablespaces", "--file=-"];

async function* readArchive(
  { path, packing, format }: Known,
  pgRestore: Program,
  { signal }: { signal: AbortSignal },
): AsyncGenerator<Buffer, void, void> {
  const input = packing === undefined ? undefined : readUnpacked(path, packing, { signal });
  const args = [...AS_SQL, `--format=${format}`, ...(input === undefined ? [path] : [])];
  try {
    yield* readProgram(pgRestore, args, { signal, ...(input === undefined ? {} : { input }) });
  } catch (error) {
    signal.throwIfAborted();
    if (isFailure(error, "program/failed")) throw damaged(path, error);
    throw error;
  }
}

function damaged(path: string, error: Failure): Failure {
  const said = /pg_restore: (?:error: |\[.*?\] )?(.*)/.exec(error.hint ?? "")?.[1] ?? error.message;
  return new Failure("dump/damaged", `'${path}' is cut short or damaged: pg_restore says "${said}"`, {
    hint: "Compare its size and SHA-256 with the original's; a dump that went through a terminal ('docker exec -t') is spoilt. Else use another dump.",
    cause: error,
  });
}

function isTar(bytes: Buffer): boolean {
  return bytes.toString("latin1", 257, 262) === "ustar" || nameInTar(bytes) === "toc.dat";
}

function nameInTar(bytes: Buffer): string {
  return bytes.toString("latin1", 0, 100).split("\0")[0] ?? "";
}

const UNPACK = "Unpack it, and name the dump that is in it.";

function whatElse(raw: Buffer, bytes: Buffer): [why: string, hint: string] {
  const unpacker = foreignUnpacker(bytes) ?? foreignUnpacker(raw);
  if (unpacker !== undefined)
    return ["it is packed in a way that is not read here", `Unpack it with '${unpacker}', and name what comes out.`];
  if (/^(?:fffe|feff)/.test(bytes.toString("hex", 0, 2))) {
    return [
      "it is UTF-16, as PowerShell writes what is sent into a file with '>'",
      "Such a dump may have lost characters: make a new one with pg_dump's own option --file.",
    ];
  }
  if (bytes.length === 0) return ["it is empty", "The dump failed when it was made: use another one."];
  if (/^-- (?:MySQL|MariaDB) dump/m.test(bytes.toString("latin1")))
    return ["it is a dump of MySQL", "Chatwoot's database is PostgreSQL."];
  return [
    "it is neither an archive nor SQL of pg_dump or pg_dumpall",
    "Name the file or folder that pg_dump wrote; it may be packed with gzip or zstd. A copy of the server's data folder is no dump.",
  ];
}

function noDump(path: string, why: string, hint: string): Failure {
  return new Failure("dump/unsuitable", `'${path}' is no dump: ${why}`, { hint });
}
