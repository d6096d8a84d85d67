/**
 * Trees: what one folder holds. A tree is stored as a chunk and named by the hash of its bytes, so equal folders must
 * be equal bytes: nodes in the order of their names' bytes, JSON as Go writes it, and a newline at the end.
 */
import { Buffer, constants } from "node:buffer";
import { releaseBytes } from "../base/bytes.ts";
import { bug, Failure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { parseRecord } from "./fields.ts";
import { parseJson } from "./go-json.ts";
import { decodeNode, encodeNode, type TreeNode } from "./node.ts";
import { nameToBytes } from "./quote.ts";

const HEAD = Buffer.from('{"nodes":[');
const TAIL = Buffer.from("]}\n");

/** What {@link decodeTree} can be given. */
const MOST_BYTES = Math.min(LIMITS.unpackedMaxBytes, constants.MAX_STRING_LENGTH);

/** Beyond the basic plane, JavaScript's own order of strings is not that of their bytes. */
const SURROGATE = /[\ud800-\udfff]/;

/** Compares two names by their bytes: the order of a tree's nodes. */
export function compareNames(a: string, b: string): number {
  if (SURROGATE.test(a) || SURROGATE.test(b)) return Buffer.compare(nameToBytes(a), nameToBytes(b));
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The bytes of the tree that holds these nodes, in whatever order they are given. No name may occur twice. */
export function encodeTree(nodes: readonly TreeNode[]): Buffer {
  const sorted = nodes.toSorted((a, b) => compareNames(a.name, b.name));
  for (const [at, { name }] of sorted.entries()) {
    if (at > 0 && sorted[at - 1]?.name === name) throw bug(`a tree with two nodes named '${name}'`);
  }
  return Buffer.from(`{"nodes":[${sorted.map(encodeNode).join(",")}]}\n`, "utf8");
}

/**
 * {@link encodeTree} for a folder whose nodes together are large: each is asked for when its turn has come, in the order of
 * names' bytes, and only its JSON is kept; the tree lies in memory that threads share, so that none has to have a copy.
 * @param mostBytes what can be read back.
 * @returns undefined where it would be longer than that.
 */
export function encodeTreeInOrder(nodes: Iterable<TreeNode>, mostBytes: number = MOST_BYTES): Buffer | undefined {
  const parts: Buffer[] = [];
  let length = HEAD.length + TAIL.length;
  let before: string | undefined;
  for (const node of nodes) {
    if (before !== undefined && compareNames(before, node.name) >= 0)
      throw bug(`a tree with '${node.name}' out of order`);
    const part = Buffer.from(`${before === undefined ? "" : ","}${encodeNode(node)}`, "utf8");
    length += part.length;
    if (length > mostBytes) return undefined;
    parts.push(part);
    before = node.name;
  }
  const tree = Buffer.from(new SharedArrayBuffer(length));
  tree.set(HEAD);
  let at = HEAD.length;
  for (const part of parts) {
    tree.set(part, at);
    at += part.length;
    // Of a folder with a large database everything would lie in memory twice.
    releaseBytes(part);
  }
  tree.set(TAIL, at);
  return tree;
}

/**
 * The nodes of a tree, in the order in which they are written (older restic did not always sort by bytes).
 * @throws {Failure} `repo/damaged` when the bytes are no tree, or a name occurs twice.
 */
export function decodeTree(bytes: Uint8Array): TreeNode[] {
  if (bytes.length > constants.MAX_STRING_LENGTH) {
    throw new Failure("repo/damaged", `a tree of ${bytes.length} bytes is too long`);
  }
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8");
  const list = parseRecord(text, "a tree")["nodes"] ?? [];
  if (!Array.isArray(list)) throw new Failure("repo/damaged", "a tree has no list of nodes");
  const nodes = list.map(decodeNode);
  if (new Set(nodes.map(({ name }) => name)).size !== nodes.length) {
    throw new Failure("repo/damaged", "a tree has two nodes of one name");
  }
  return nodes;
}

const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;
const OPENING: ReadonlySet<number | undefined> = new Set([0x5b, 0x7b]);
const CLOSING: ReadonlySet<number | undefined> = new Set([0x5d, 0x7d]);

/**
 * {@link decodeTree} for a folder whose nodes together are large: each is read when it is asked for, and no text is made of all of them.
 * For trees as {@link encodeTree} and restic lay them out; what is laid out in another way is refused.
 * @throws {Failure} `repo/damaged` when that node is reached which is none, or which has the name of an earlier one.
 */
export function* decodeNodes(bytes: Buffer): Generator<TreeNode, void, void> {
  if (!bytes.subarray(0, HEAD.length).equals(HEAD)) throw notLaidOut();
  const names = new Set<string>();
  let at = HEAD.length;
  while (names.size > 0 ? bytes[at] === COMMA : !isTail(bytes, at)) {
    const from = at + (names.size > 0 ? 1 : 0);
    at = endOfValue(bytes, from);
    const node = decodeNode(parseJson(bytes.toString("utf8", from, at), "a tree"));
    if (names.has(node.name)) throw new Failure("repo/damaged", "a tree has two nodes of one name");
    names.add(node.name);
    yield node;
  }
  if (!isTail(bytes, at)) throw notLaidOut();
}

function isTail(bytes: Buffer, at: number): boolean {
  return bytes.subarray(at).equals(TAIL);
}

/** Where the object or list that begins at a place ends. */
function endOfValue(bytes: Buffer, from: number): number {
  for (let at = from, depth = 0; at < bytes.length; at += 1) {
    if (bytes[at] === QUOTE) at = endOfString(bytes, at);
    else if (OPENING.has(bytes[at])) depth += 1;
    else if (CLOSING.has(bytes[at])) depth -= 1;
    if (depth <= 0) return at + 1;
  }
  throw notLaidOut();
}

/** The quote that ends the string whose first one is at a place. */
function endOfString(bytes: Buffer, from: number): number {
  for (let at = bytes.indexOf(QUOTE, from + 1); at >= 0; at = bytes.indexOf(QUOTE, at + 1)) {
    let escapes = 0;
    while (bytes[at - 1 - escapes] === BACKSLASH) escapes += 1;
    if (escapes % 2 === 0) return at;
  }
  throw notLaidOut();
}

function notLaidOut(): Failure {
  return new Failure("repo/damaged", "a tree is not laid out as one");
}
