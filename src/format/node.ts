/**
 * What a tree says of one file, folder or link. The JSON is Go's, field for field in restic's order: a tree that was
 * read must be the same bytes when it is written again.
 */
import { Buffer } from "node:buffer";
import { bug, Failure } from "../base/errors.ts";
import { type ChunkId, isId } from "../base/ids.ts";
import {
  asRecord,
  badField,
  decodeBase64,
  isRecord,
  type JsonRecord,
  optionalInteger,
  optionalString,
  optionalUint64,
  requiredString,
} from "./fields.ts";
import { encodeGoBytes, encodeGoString, encodeGoValue } from "./go-json.ts";
import { EPOCH, isGoTime } from "./go-time.ts";
import { hasEscapedBytes, nameFromBytes, nameToBytes, quote, unquote } from "./quote.ts";

const TYPES = ["file", "dir", "symlink", "dev", "chardev", "fifo", "socket", "irregular"] as const;
export type NodeType = (typeof TYPES)[number];

export interface ExtendedAttribute {
  readonly name: string;
  readonly value: Uint8Array | null;
}

/** Zero and empty are the same as absent in every optional field, and are read as absent. */
export interface TreeNode {
  /** Bytes that are not UTF-8 are escaped: see {@link nameToBytes}. */
  readonly name: string;
  readonly type: NodeType;
  /** Go's `os.FileMode`, not the system's: see {@link goMode}. */
  readonly mode: number;
  /** Instants as Go writes them. */
  readonly mtime: string;
  readonly atime: string;
  readonly ctime: string;
  readonly uid: number;
  readonly gid: number;
  readonly user?: string;
  readonly group?: string;
  readonly inode?: bigint;
  readonly deviceId?: bigint;
  readonly size?: number | bigint;
  readonly links?: number | bigint;
  /** Escaped as the name is. */
  readonly linktarget?: string;
  readonly extendedAttributes?: readonly ExtendedAttribute[];
  /** What restic keeps for Windows. */
  readonly genericAttributes?: Readonly<Record<string, unknown>>;
  readonly device?: number | bigint;
  /** A file's chunks, in order; null for everything that is not a file. */
  readonly content: readonly ChunkId[] | null;
  /** A folder's tree. */
  readonly subtree?: ChunkId;
  readonly error?: string;
}

const GO_DIR = 2 ** 31;
const GO_SYMLINK = 2 ** 27;
/** The system's bit, and Go's. */
const SPECIAL_BITS = [
  [0o4000, 2 ** 23],
  [0o2000, 2 ** 22],
  [0o1000, 2 ** 20],
] as const;

/** Go's mode of the system's twelve permission bits (set-uid, set-gid and sticky lie elsewhere in Go's). */
export function goMode(permissions: number, type: NodeType = "file"): number {
  const kind = type === "dir" ? GO_DIR : type === "symlink" ? GO_SYMLINK : 0;
  const special = SPECIAL_BITS.reduce((sum, [bit, go]) => sum + ((permissions & bit) === 0 ? 0 : go), 0);
  return kind + special + (permissions & 0o777);
}

/** The system's twelve permission bits of Go's mode. */
export function permissionsOf(mode: number): number {
  return SPECIAL_BITS.reduce((sum, [bit, go]) => sum | ((mode & go) === 0 ? 0 : bit), mode & 0o777);
}

export interface NodeOptions {
  readonly name: string;
  /** An instant as Go writes it; 1970-01-01Z when none is given. The other two times are the same. */
  readonly mtime?: string;
  /** The system's permission bits. */
  readonly mode?: number;
}

function canonical(type: NodeType, { name, mtime = EPOCH, mode = 0 }: NodeOptions) {
  return { name, type, mode: goMode(mode, type), mtime, atime: mtime, ctime: mtime, uid: 0, gid: 0 };
}

/** A file that carries no accident: mode 0644, owner 0. */
export function fileNode(
  options: NodeOptions & { readonly size: number | bigint; readonly content: readonly ChunkId[] },
): TreeNode {
  return { ...canonical("file", { mode: 0o644, ...options }), size: options.size, content: options.content };
}

/** A folder that carries no accident: mode 0755, owner 0. */
export function dirNode(options: NodeOptions & { readonly subtree: ChunkId }): TreeNode {
  return { ...canonical("dir", { mode: 0o755, ...options }), content: null, subtree: options.subtree };
}

/** A symbolic link. `linktarget` is escaped as a name is. */
export function symlinkNode(options: NodeOptions & { readonly linktarget: string }): TreeNode {
  return { ...canonical("symlink", { mode: 0o777, ...options }), linktarget: options.linktarget, content: null };
}

/** True for what a file in a folder can be called. Anything else could lead out of the folder. */
export function isUsableName(name: string): boolean {
  return name !== "" && name !== "." && name !== ".." && !name.includes("/") && !name.includes("\0");
}

function uint(value: number | bigint, name: string): string {
  if (typeof value === "bigint" ? value < 0n : !Number.isSafeInteger(value) || value < 0) {
    throw bug(`a node with ${name} ${value}`);
  }
  return value.toString();
}

/** Go leaves out zeros; what is no number at all must not pass for one. */
function isSet(value: number | bigint | undefined): value is number | bigint {
  return value !== undefined && Number(value) !== 0;
}

function time(text: string): string {
  if (text !== EPOCH && !isGoTime(text)) throw bug(`a node with time '${text}'`);
  return text;
}

/** The JSON of one node. */
export function encodeNode(node: TreeNode): string {
  const { name, type, mode, mtime, uid, gid, user, group, inode, deviceId, size, links, content, subtree } = node;
  if (!isUsableName(name)) throw bug(`a node with the name '${name}'`);
  let json = `{"name":${encodeGoString(quote(name))},"type":"${type}"`;
  if (mode !== 0) json += `,"mode":${uint(mode, "mode")}`;
  json += `,"mtime":"${time(mtime)}","atime":"${time(node.atime)}","ctime":"${time(node.ctime)}"`;
  json += `,"uid":${uint(uid, "uid")},"gid":${uint(gid, "gid")}`;
  if (user) json += `,"user":${encodeGoString(user)}`;
  if (group) json += `,"group":${encodeGoString(group)}`;
  if (isSet(inode)) json += `,"inode":${uint(inode, "inode")}`;
  if (isSet(deviceId)) json += `,"device_id":${uint(deviceId, "device_id")}`;
  if (isSet(size)) json += `,"size":${uint(size, "size")}`;
  if (isSet(links)) json += `,"links":${uint(links, "links")}`;
  if (node.linktarget) json += encodeLinkTarget(node.linktarget);
  if (node.extendedAttributes !== undefined && node.extendedAttributes.length > 0) {
    json += `,"extended_attributes":[${node.extendedAttributes.map(encodeAttribute).join(",")}]`;
  }
  if (node.genericAttributes !== undefined) json += encodeGenericAttributes(node.genericAttributes);
  if (isSet(node.device)) json += `,"device":${uint(node.device, "device")}`;
  json += content === null ? `,"content":null` : `,"content":[${content.map((id) => `"${id}"`).join(",")}]`;
  if (subtree) json += `,"subtree":"${subtree}"`;
  if (node.error) json += `,"error":${encodeGoString(node.error)}`;
  return `${json}}`;
}

function encodeLinkTarget(target: string): string {
  if (!hasEscapedBytes(target)) return `,"linktarget":${encodeGoString(target)}`;
  const bytes = nameToBytes(target);
  return `,"linktarget":${encodeGoBytes(bytes)},"linktarget_raw":"${bytes.toString("base64")}"`;
}

function encodeAttribute({ name, value }: ExtendedAttribute): string {
  const base64 = value === null ? "null" : `"${Buffer.from(value).toString("base64")}"`;
  return `{"name":${encodeGoString(name)},"value":${base64}}`;
}

/** A Go map: sorted by the keys' bytes. */
function encodeGenericAttributes(attributes: Readonly<Record<string, unknown>>): string {
  const names = Object.keys(attributes).toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  if (names.length === 0) return "";
  const fields = names.map((name) => `${encodeGoString(name)}:${encodeGoValue(attributes[name])}`);
  return `,"generic_attributes":{${fields.join(",")}}`;
}

const WHAT = "a node of a tree";
const MAX_UINT32 = 0xffff_ffff;

function decodeTime(record: JsonRecord, name: string): string {
  const text = record[name];
  if (text === EPOCH) return EPOCH;
  if (typeof text !== "string" || !isGoTime(text)) throw badField(WHAT, name, "an instant");
  return text;
}

function decodeContent(value: unknown): ChunkId[] | null {
  if (value === null || value === undefined) return null;
  if (!Array.isArray(value) || !value.every((id) => typeof id === "string" && isId(id))) {
    throw badField(WHAT, "content", "a list of ids");
  }
  return value as ChunkId[];
}

type WritableNode = { -readonly [K in keyof TreeNode]: TreeNode[K] };

/** Reads one node as {@link parseJson} gave it; fields that we do not know are passed over. */
export function decodeNode(value: unknown): TreeNode {
  const record = asRecord(value, WHAT);
  const name = unquote(requiredString(record, "name", WHAT));
  if (!isUsableName(name)) throw new Failure("repo/damaged", `a tree has a file with the name ${JSON.stringify(name)}`);
  const type = TYPES.find((known) => known === record["type"]);
  if (type === undefined) throw badField(WHAT, "type", "a known type");
  const node: WritableNode = {
    name,
    type,
    mode: optionalInteger(record, "mode", WHAT, MAX_UINT32) ?? 0,
    mtime: decodeTime(record, "mtime"),
    atime: decodeTime(record, "atime"),
    ctime: decodeTime(record, "ctime"),
    uid: optionalInteger(record, "uid", WHAT, MAX_UINT32) ?? 0,
    gid: optionalInteger(record, "gid", WHAT, MAX_UINT32) ?? 0,
    content: decodeContent(record["content"]),
  };
  const user = optionalString(record, "user", WHAT);
  if (user) node.user = user;
  const group = optionalString(record, "group", WHAT);
  if (group) node.group = group;
  const inode = optionalUint64(record, "inode", WHAT);
  if (inode) node.inode = BigInt(inode);
  const deviceId = optionalUint64(record, "device_id", WHAT);
  if (deviceId) node.deviceId = BigInt(deviceId);
  for (const field of ["size", "links", "device"] as const) {
    const number = optionalUint64(record, field, WHAT);
    if (number) node[field] = number;
  }
  const subtree = optionalString(record, "subtree", WHAT);
  if (subtree !== undefined && !isId(subtree)) throw badField(WHAT, "subtree", "an id");
  if (subtree !== undefined) node.subtree = subtree as ChunkId;
  const error = optionalString(record, "error", WHAT);
  if (error) node.error = error;
  return decodeRareFields(record, node);
}

function decodeRareFields(record: JsonRecord, node: WritableNode): TreeNode {
  const { extended_attributes: extended, generic_attributes: generic } = record;
  const raw = optionalString(record, "linktarget_raw", WHAT);
  const linktarget =
    raw === undefined
      ? optionalString(record, "linktarget", WHAT)?.toWellFormed()
      : nameFromBytes(decodeBase64(raw, "linktarget_raw", WHAT));
  if (linktarget) node.linktarget = linktarget;
  if (extended !== undefined && extended !== null) {
    if (!Array.isArray(extended)) throw badField(WHAT, "extended_attributes", "a list");
    if (extended.length > 0) node.extendedAttributes = extended.map(decodeAttribute);
  }
  if (generic !== undefined && generic !== null) {
    if (!isRecord(generic)) throw badField(WHAT, "generic_attributes", "an object");
    if (Object.keys(generic).length > 0) node.genericAttributes = generic;
  }
  return node;
}

function decodeAttribute(value: unknown): ExtendedAttribute {
  const what = "an extended attribute";
  const record = asRecord(value, what);
  const base64 = optionalString(record, "value", what);
  return {
    name: requiredString(record, "name", what),
    value: base64 === undefined ? null : decodeBase64(base64, "value", what),
  };
}
