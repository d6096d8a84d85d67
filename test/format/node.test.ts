/** Nodes: restic's fields in restic's order, and nothing lost. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFailure } from "../../src/base/errors.ts";
import { parseJson } from "../../src/format/go-json.ts";
import {
  decodeNode,
  dirNode,
  encodeNode,
  fileNode,
  goMode,
  isUsableName,
  permissionsOf,
  symlinkNode,
  type TreeNode,
} from "../../src/format/node.ts";
import { refusal } from "./refusal.ts";
import { anyNode, chunkId } from "./sample-nodes.ts";

function reread(node: TreeNode): TreeNode {
  return decodeNode(parseJson(encodeNode(node), "a test"));
}

const CANONICAL = `"mtime":"1970-01-01T00:00:00Z","atime":"1970-01-01T00:00:00Z","ctime":"1970-01-01T00:00:00Z","uid":0,"gid":0`;

test("canonical nodes carry no accident, byte for byte", () => {
  assert.equal(
    encodeNode(fileNode({ name: "manifest.json", size: 3, content: [chunkId(1), chunkId(2)] })),
    `{"name":"manifest.json","type":"file","mode":420,${CANONICAL},"size":3,"content":["${chunkId(1)}","${chunkId(2)}"]}`,
  );
  assert.equal(
    encodeNode(dirNode({ name: "chatkeep", subtree: chunkId(3) })),
    `{"name":"chatkeep","type":"dir","mode":2147484141,${CANONICAL},"content":null,"subtree":"${chunkId(3)}"}`,
  );
  assert.equal(
    encodeNode(symlinkNode({ name: "current", linktarget: "releases/<1>" })),
    `{"name":"current","type":"symlink","mode":134218239,${CANONICAL},"linktarget":"releases/\\u003c1\\u003e","content":null}`,
  );
});

test("an empty file has an empty list of chunks and no size: null would make restic's check fail", () => {
  const json = encodeNode(fileNode({ name: "empty", size: 0, content: [] }));
  assert.match(json, /,"gid":0,"content":\[\]\}$/);
  assert.deepEqual(reread(fileNode({ name: "empty", size: 0, content: [] })).content, []);
});

test("every field stands where restic puts it", () => {
  const node: TreeNode = {
    error: "e",
    subtree: chunkId(9),
    content: null,
    device: 2049,
    genericAttributes: { "windows.b": 1, "windows.a": "x" },
    extendedAttributes: [
      { name: "user.a", value: Buffer.from("v") },
      { name: "user.b", value: null },
    ],
    linktarget: "t",
    links: 2,
    size: 7,
    deviceId: 64768n,
    inode: 18446744073709551615n,
    group: "g",
    user: "u",
    gid: 2,
    uid: 1,
    ctime: "2024-01-03T00:00:00Z",
    atime: "2024-01-02T00:00:00+02:00",
    mtime: "2024-01-01T00:00:00.5Z",
    mode: 1,
    type: "dev",
    name: "n",
  };
  const json = encodeNode(node);
  assert.equal(
    json,
    `{"name":"n","type":"dev","mode":1,"mtime":"2024-01-01T00:00:00.5Z","atime":"2024-01-02T00:00:00+02:00",` +
      `"ctime":"2024-01-03T00:00:00Z","uid":1,"gid":2,"user":"u","group":"g","inode":18446744073709551615,` +
      `"device_id":64768,"size":7,"links":2,"linktarget":"t",` +
      `"extended_attributes":[{"name":"user.a","value":"dg=="},{"name":"user.b","value":null}],` +
      `"generic_attributes":{"windows.a":"x","windows.b":1},"device":2049,"content":null,"subtree":"${chunkId(9)}","error":"e"}`,
  );
  assert.deepEqual(reread(node), node);
});

test("whatever a node holds comes back, and is written the same again", () => {
  fc.assert(
    fc.property(anyNode, (node) => {
      const again = reread(node);
      assert.deepEqual(again, { ...node, ...wellFormed(node) });
      assert.equal(encodeNode(again), encodeNode(node));
    }),
    { numRuns: 500 },
  );
});

/** Text that no JSON of Go's can hold is replaced on the way; names and link targets hold any bytes. */
function wellFormed(node: TreeNode): Partial<TreeNode> {
  const texts = (["user", "group", "error"] as const).filter((key) => node[key] !== undefined);
  return Object.fromEntries(texts.map((key) => [key, node[key]?.toWellFormed()]));
}

test("zero and empty are written as absent, as Go's omitempty does", () => {
  const file = fileNode({ name: "n", size: 1, content: [] });
  const node = {
    ...file,
    mode: 0,
    user: "",
    group: "",
    inode: 0n,
    deviceId: 0n,
    size: 0,
    links: 0,
    linktarget: "",
    extendedAttributes: [],
    genericAttributes: {},
    device: 0,
    error: "",
  };
  assert.equal(encodeNode(node), `{"name":"n","type":"file",${CANONICAL},"content":[]}`);
});

test("a link to bytes that are no text keeps them beside the text", () => {
  const node = symlinkNode({ name: "l", linktarget: "a\udcff" });
  assert.match(encodeNode(node), /"linktarget":"a\\ufffd","linktarget_raw":"Yf8=",/);
  assert.equal(reread(node).linktarget, "a\udcff");
});

test("fields that we do not know, and null in those we do, are passed over", () => {
  const base = JSON.parse(encodeNode(fileNode({ name: "n", size: 4, content: [] }))) as object;
  const extra = {
    ...base,
    future: { x: [1] },
    user: null,
    inode: null,
    size: 4,
    extended_attributes: null,
    generic_attributes: null,
    subtree: null,
  };
  assert.deepEqual(decodeNode(extra), fileNode({ name: "n", size: 4, content: [] }));
});

test("modes are Go's: folders, links and the special bits lie elsewhere than the system has them", () => {
  assert.equal(goMode(0o755, "dir"), 0x8000_0000 + 0o755);
  assert.equal(goMode(0o7777), 0xd0_0000 + 0o777);
  assert.equal(goMode(0o4755), 0x80_0000 + 0o755);
  for (let bits = 0; bits <= 0o7777; bits++) {
    for (const type of ["file", "dir", "symlink"] as const) assert.equal(permissionsOf(goMode(bits, type)), bits);
  }
  assert.equal(fileNode({ name: "n", size: 1, content: [], mode: 0o4755 }).mode, 0x80_0000 + 0o755);
});

test("a name that leads out of its folder is refused when read, and is our fault when written", () => {
  for (const name of ["", ".", "..", "a/b", "/", "a\0b"]) {
    assert.equal(isUsableName(name), false);
    assert.throws(
      () => encodeNode(fileNode({ name, size: 0, content: [] })),
      (error) => isFailure(error, "internal/bug"),
    );
    refusal(() => decodeNode({ ...fileFields(), name: name.replace("\0", "\\x00") }));
  }
  for (const name of ["...", "a\\b", " ", "~", "-rf"]) assert.equal(isUsableName(name), true);
});

function fileFields(): Record<string, unknown> {
  return JSON.parse(encodeNode(fileNode({ name: "n", size: 1, content: [] }))) as Record<string, unknown>;
}

test("a field of another kind is refused, each with its name", () => {
  const bad: Record<string, readonly unknown[]> = {
    name: [1, null, {}],
    type: ["", "File", 1, null],
    mode: [-1, 2 ** 32, 1.5, "1"],
    mtime: [null, "", "yesterday", 1],
    uid: [-1, 2 ** 32],
    inode: [-1, 1.5, "1", 1n << 64n, -(1n << 60n), 1e300],
    size: [-1, "1"],
    content: [{}, [1], ["xyz"], [null]],
    subtree: ["", "xyz", 1],
    linktarget: [1],
    linktarget_raw: ["*", "YQ"],
    extended_attributes: [{}, [1], [{ name: 1, value: null }], [{ name: "a", value: "*" }]],
    generic_attributes: [[], "x"],
    user: [1],
  };
  for (const [field, values] of Object.entries(bad)) {
    for (const value of values) {
      const message = refusal(() => decodeNode({ ...fileFields(), [field]: value }));
      assert.match(message, /has no usable|is not a JSON object/, field);
    }
  }
  for (const value of [null, 1, "x", []]) refusal(() => decodeNode(value));
});

test("a node with an impossible number or time is our fault", () => {
  const file = fileNode({ name: "n", size: 1, content: [] });
  const wrong = [{ size: -1 }, { size: Number.NaN }, { mode: 1.5 }, { inode: -1n }, { mtime: "today" }, { atime: "" }];
  for (const fields of wrong) {
    assert.throws(
      () => encodeNode({ ...file, ...fields }),
      (error) => isFailure(error, "internal/bug"),
    );
  }
});
