/** Trees: the same folder is the same bytes. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFailure } from "../../src/base/errors.ts";
import { dirNode, fileNode, symlinkNode, type TreeNode } from "../../src/format/node.ts";
import { nameToBytes } from "../../src/format/quote.ts";
import { compareNames, decodeNodes, decodeTree, encodeTree, encodeTreeInOrder } from "../../src/format/tree.ts";
import { hostile, refusal, survives, withEachFieldReplaced } from "./refusal.ts";
import { anyNode, chunkId } from "./sample-nodes.ts";

function file(name: string): TreeNode {
  return fileNode({ name, size: 1, content: [chunkId(1)] });
}

const SAMPLE = encodeTree([
  file("b"),
  dirNode({ name: "a", subtree: chunkId(2) }),
  symlinkNode({ name: "c\u200b", linktarget: "b" }),
]).toString();

test("a canonical tree has the id that it had in version 0.1.0", () => {
  assert.equal(
    createHash("sha256").update(SAMPLE).digest("hex"),
    "5215cd6e0e10d474613f50b961beb446c1d57212ec326a608da483dbac8b83e9",
  );
  assert.equal(encodeTree([]).toString(), '{"nodes":[]}\n');
});

test("nodes stand in the order of their names' bytes, which is not JavaScript's", () => {
  const ordered = [
    "A",
    "a",
    "a b",
    "a!",
    "a0",
    "ab",
    "z",
    "é",
    "\u07ff",
    "\u0800",
    "\ue000",
    "\uffff",
    "\u{10000}",
    "\u{10ffff}",
  ].toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  assert.notDeepEqual(ordered.toSorted(), ordered);
  const names = decodeTree(encodeTree(ordered.toReversed().map(file))).map(({ name }) => name);
  assert.deepEqual(names, ordered);
});

test("names compare as their bytes do, also where they are no text", () => {
  const scraps = fc.constantFrom("a", "é", "\ue000", "\uffff", "\u{10000}", "\u{1f600}", "\udc80", "\udcff", "\u007f");
  const name = fc.array(scraps, { maxLength: 5 }).map((parts) => parts.join(""));
  fc.assert(
    fc.property(name, name, (a, b) => {
      assert.equal(Math.sign(compareNames(a, b)), Buffer.compare(nameToBytes(a), nameToBytes(b)));
    }),
    { numRuns: 1000 },
  );
});

test("the order in which nodes are given does not matter, and reading gives them back", () => {
  const nodes = fc.uniqueArray(anyNode, { selector: ({ name }) => name, maxLength: 8 });
  fc.assert(
    fc.property(nodes, (given) => {
      const bytes = encodeTree(given);
      assert.ok(encodeTree(given.toReversed()).equals(bytes));
      const read = decodeTree(bytes);
      assert.equal(read.length, given.length);
      assert.ok(encodeTree(read).equals(bytes));
    }),
    { numRuns: 200 },
  );
});

test("two nodes of one name are refused when read, and are our fault when written", () => {
  assert.throws(
    () => encodeTree([file("a"), file("b"), file("a")]),
    (error) => isFailure(error, "internal/bug"),
  );
  const twice = encodeTree([file("a"), file("b")]).toString();
  refusal(() => decodeTree(Buffer.from(twice.replace('"b"', '"a"'))));
  refusal(() => decodeTree(Buffer.from(twice.replace('"b"', '"\\\\x61"'))));
});

test("a tree in another order is read as it stands", () => {
  const [a, b] = [file("a"), file("b")].map((node) => encodeTree([node]).toString().slice(10, -3));
  assert.deepEqual(
    decodeTree(Buffer.from(`{"nodes":[${b},${a}]}\n`)).map(({ name }) => name),
    ["b", "a"],
  );
});

test("inodes of 64 bits survive among a thousand nodes whose ids look like numbers", () => {
  const nodes = Array.from({ length: 1024 }, (_, at) => ({
    ...fileNode({
      name: `f${at}`,
      size: at,
      content: ["1234567890".repeat(7).slice(0, 64) as ReturnType<typeof chunkId>],
    }),
    inode: 18446744073709551615n - BigInt(at),
  }));
  const read = decodeTree(encodeTree(nodes));
  assert.equal(new Set(read.map(({ inode }) => inode)).size, 1024);
  assert.equal(read.find(({ name }) => name === "f7")?.inode, 18446744073709551608n);
});

test("a view into other memory is read within its bounds", () => {
  const around = Buffer.from(`xx${SAMPLE}yy`);
  assert.equal(decodeTree(new Uint8Array(around.buffer, around.byteOffset + 2, SAMPLE.length)).length, 3);
});

test("hostile trees are refused or read, and nothing else", () => {
  for (const changed of withEachFieldReplaced(SAMPLE)) survives(() => decodeTree(Buffer.from(changed)));
  for (const json of ["", "null", "[]", '"x"', '{"nodes":1}', '{"nodes":{}}', '{"nodes":[null]}', '{"nodes":[[]]}']) {
    refusal(() => decodeTree(Buffer.from(json)));
  }
  fc.assert(
    fc.property(hostile(SAMPLE), (json) => {
      survives(() => {
        const nodes = decodeTree(Buffer.from(json));
        // What was accepted can be written again.
        encodeTree(nodes);
      });
    }),
    { numRuns: 1000 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => survives(() => decodeTree(bytes))),
    { numRuns: 200 },
  );
});

test("a tree that is longer than what can be read back is not made, and no node is asked for that is behind that", () => {
  const names = ["a", "b", "c", "d"];
  const whole = encodeTree(names.map(file));
  assert.deepEqual(encodeTreeInOrder(names.map(file), whole.length), whole);
  const asked: string[] = [];
  function* nodes() {
    for (const name of names) {
      asked.push(name);
      yield file(name);
    }
  }
  assert.equal(encodeTreeInOrder(nodes(), encodeTree([file("a"), file("b")]).length), undefined);
  assert.deepEqual(asked, ["a", "b", "c"]);
});

test("read one by one, a tree has the nodes that it has at once", () => {
  const nodes = fc.uniqueArray(anyNode, { selector: ({ name }) => name, maxLength: 8 });
  fc.assert(
    fc.property(nodes, (given) => {
      const bytes = encodeTree(given);
      assert.deepEqual([...decodeNodes(bytes)], decodeTree(bytes));
    }),
    { numRuns: 200 },
  );
});

test("read one by one, a node comes before the next one is looked at; whatever is no tree is refused", () => {
  const [a, b] = [file("a"), file("b")].map((node) => encodeTree([node]).toString().slice(10, -3));
  const nodes = decodeNodes(Buffer.from(`{"nodes":[${a},${b?.replace("file", "none")}]}\n`));
  assert.equal(nodes.next().value?.name, "a");
  refusal(() => nodes.next());
  const others = [
    `[${a},${a}]`,
    `[${a},]`,
    `[,${a}]`,
    `[${a}${b}]`,
    `[${a},${b}`,
    `[${a}],"x":1`,
    "[null]",
    "[1]",
    "[[]]",
  ];
  for (const list of others) refusal(() => [...decodeNodes(Buffer.from(`{"nodes":${list}}\n`))]);
  for (const json of ["", "null", "{}", '{"nodes":1}', `{"nodes":[${a}]}`, `{"nodes":[${a}]}\n\n`, `{"nodes":["a`])
    refusal(() => [...decodeNodes(Buffer.from(json))]);
  for (const changed of withEachFieldReplaced(SAMPLE)) survives(() => [...decodeNodes(Buffer.from(changed))]);
  fc.assert(
    fc.property(hostile(SAMPLE), (json) => {
      const read = (parse: (bytes: Buffer) => Iterable<TreeNode>) => {
        let found: TreeNode[] | undefined;
        survives(() => (found = [...parse(Buffer.from(json))]));
        return found;
      };
      const found = read(decodeNodes);
      if (found !== undefined) assert.deepEqual(found, read(decodeTree));
    }),
    { numRuns: 500 },
  );
});
