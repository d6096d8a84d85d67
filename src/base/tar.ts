/**
 * The tar format, as far as a repository in one file and a server's base backup need it. Written are plain ustar headers (POSIX.1-2017, `pax`,
 * "ustar Interchange Format"). Read is also what GNU tar and bsdtar write: pax records, long names, sizes in base 256.
 */
import { assert } from "./errors.ts";

export const TAR_BLOCK = 512;

/** How many zero bytes follow so many bytes of content. */
export function tarPadding(sizeBytes: number): number {
  return (TAR_BLOCK - (sizeBytes % TAR_BLOCK)) % TAR_BLOCK;
}

/**
 * A header of a file or a folder; owner 0, time 1970-01-01, so that equal content gives equal bytes.
 * @param path ASCII, at most 100 characters; a folder's ends with `/`.
 */
export function encodeTarHeader(path: string, sizeBytes: number): Buffer {
  const isFolder = path.endsWith("/");
  assert(/^[\x21-\x7e]{1,100}$/.test(path), `'${path}' does not fit into a tar header`);
  assert(sizeBytes < 8 ** 11 && (!isFolder || sizeBytes === 0), `${sizeBytes} bytes do not fit into a tar header`);
  const header = Buffer.alloc(TAR_BLOCK);
  const octal = (value: number, at: number, length: number) =>
    header.write(value.toString(8).padStart(length - 1, "0"), at, "ascii");
  header.write(path, 0, "ascii");
  octal(isFolder ? 0o700 : 0o600, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(sizeBytes, 124, 12);
  octal(0, 136, 12);
  header.write(isFolder ? "5" : "0", 156, "ascii");
  header.write("ustar\x0000", 257, "ascii");
  octal(0, 329, 8);
  octal(0, 337, 8);
  octal(checksumOf(header), 148, 7);
  header.write(" ", 155, "ascii");
  return header;
}

/** The sum of a header's bytes, its own field read as spaces. */
function checksumOf(header: Buffer): number {
  let sum = 8 * 0x20;
  for (let at = 0; at < 148; at += 1) sum += header[at] as number;
  for (let at = 156; at < header.length; at += 1) sum += header[at] as number;
  return sum;
}

/** Text up to the first NUL. */
export function textAt(header: Buffer, at: number, length: number): string {
  const field = header.subarray(at, at + length);
  const end = field.indexOf(0);
  return field.toString("utf8", 0, end < 0 ? length : end);
}

/** An octal number, or GNU's base 256; undefined for anything else. */
function numberAt(header: Buffer, at: number, length: number): number | undefined {
  const first = header[at] ?? 0;
  if (first === 0x80) {
    let value = 0;
    for (const byte of header.subarray(at + 1, at + length)) value = value * 256 + byte;
    return Number.isSafeInteger(value) ? value : undefined;
  }
  const text = textAt(header, at, length).trim();
  return /^[0-7]{1,12}$/.test(text) ? Number.parseInt(text, 8) : undefined;
}

export interface TarHeader {
  readonly path: string;
  readonly sizeBytes: number;
  readonly type: string;
  /** The twelve permission bits; 0 where it says none. */
  readonly mode: number;
  /** Seconds since 1970; 0 where it says none. */
  readonly mtimeSeconds: number;
  /** Where a link leads; empty for anything else. */
  readonly linkTarget: string;
}

/** Undefined when its checksum is wrong or its size no number. */
export function decodeTarHeader(header: Buffer): TarHeader | undefined {
  const sizeBytes = numberAt(header, 124, 12);
  if (sizeBytes === undefined || numberAt(header, 148, 8) !== checksumOf(header)) return undefined;
  // GNU's own headers have other things where ustar has the beginning of a long path.
  const prefix = textAt(header, 257, 8).startsWith("ustar ") ? "" : textAt(header, 345, 155);
  const name = textAt(header, 0, 100);
  const isOld = header.subarray(257, 262).toString("latin1") !== "ustar";
  const path = prefix === "" || isOld ? name : `${prefix}/${name}`;
  return {
    path,
    sizeBytes,
    type: String.fromCharCode(header[156] ?? 0),
    mode: (numberAt(header, 100, 8) ?? 0) & 0o7777,
    mtimeSeconds: numberAt(header, 136, 12) ?? 0,
    linkTarget: textAt(header, 157, 100),
  };
}

/** What pax records say about the member that follows. Unknown ones are passed over. */
export function decodePaxRecords(bytes: Buffer): { path?: string; sizeBytes?: number } | undefined {
  const found: { path?: string; sizeBytes?: number } = {};
  for (let at = 0; at < bytes.length;) {
    const space = bytes.indexOf(0x20, at);
    const digits = space < 0 ? "" : bytes.toString("latin1", at, Math.min(space, at + 12));
    const length = /^[1-9]\d{0,8}$/.test(digits) ? Number(digits) : 0;
    const end = at + length;
    if (length === 0 || end > bytes.length || end <= space || bytes[end - 1] !== 0x0a) return undefined;
    const [, keyword = "", value = ""] = /^([^=]+)=([^]*)$/.exec(bytes.toString("utf8", space + 1, end - 1)) ?? [];
    if (keyword === "path") found.path = value;
    if (keyword === "size") {
      if (!/^\d{1,15}$/.test(value)) return undefined;
      found.sizeBytes = Number(value);
    }
    at = end;
  }
  return found;
}

/** What only announces something about the member that follows it. */
export const ANNOUNCING = new Set(["x", "L"]);
/** What stands between an announcement and its member: a long link, and what holds for all that follows. */
export const BETWEEN = new Set(["K", "g"]);
/** Ordinary files. */
export const ORDINARY = new Set(["0", "\0", "7"]);
