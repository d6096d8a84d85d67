/** Nodes of every shape, for the tests of nodes and trees. */
import * as fc from "fast-check";
import type { ChunkId } from "../../src/base/ids.ts";
import { formatGoTime } from "../../src/format/go-time.ts";
import { isUsableName, type TreeNode } from "../../src/format/node.ts";
import { nameFromBytes } from "../../src/format/quote.ts";

export function chunkId(byte: number): ChunkId {
  return byte.toString(16).padStart(2, "0").repeat(32) as ChunkId;
}

const id = fc
  .uint8Array({ minLength: 32, maxLength: 32 })
  .map((bytes) => Buffer.from(bytes).toString("hex") as ChunkId);
const time = fc.bigInt({ min: -62135596800000000000n, max: 253402300799999999999n }).map(formatGoTime);
const text = fc.string({ unit: "binary", minLength: 1, maxLength: 12 });
const uint32 = fc.integer({ min: 0, max: 0xffff_ffff });
const inode = fc.bigInt({ min: 1n, max: (1n << 64n) - 1n });
const count = fc.oneof(
  fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  fc.bigInt({ min: 1n << 53n, max: (1n << 64n) - 1n }),
);
/** Text, or bytes that are none. */
const name = fc.oneof(text, fc.uint8Array({ minLength: 1, maxLength: 12 }).map(nameFromBytes)).filter(isUsableName);
const attribute = fc.record(
  {
    name: text,
    value: fc.oneof(
      fc.constant(null),
      fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
    ),
  },
  { noNullPrototype: true },
);

export const anyNode: fc.Arbitrary<TreeNode> = fc.record(
  {
    name,
    type: fc.constantFrom("file", "dir", "symlink", "dev", "chardev", "fifo", "socket", "irregular"),
    mode: uint32,
    mtime: time,
    atime: time,
    ctime: time,
    uid: uint32,
    gid: uint32,
    content: fc.oneof(fc.constant(null), fc.array(id, { maxLength: 4 })),
    user: text,
    group: text,
    inode,
    deviceId: inode,
    size: count,
    links: count,
    linktarget: name,
    extendedAttributes: fc.array(attribute, { minLength: 1, maxLength: 3 }),
    genericAttributes: fc.dictionary(
      fc.stringMatching(/^windows\.[a-z_]{1,9}$/),
      fc.oneof(text, fc.nat(), fc.bigInt({ min: 1n << 60n, max: 1n << 63n })),
      { minKeys: 1, noNullPrototype: true },
    ),
    device: count,
    subtree: id,
    error: text,
  },
  { noNullPrototype: true, requiredKeys: ["name", "type", "mode", "mtime", "atime", "ctime", "uid", "gid", "content"] },
);
