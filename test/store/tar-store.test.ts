/** A repository in a tar file: GNU tar reads what we write, we read what GNU tar writes, and nothing else passes. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFailure } from "../../src/base/errors.ts";
import { createMemoryStore } from "../../src/store/memory-store.ts";
import { openStore } from "../../src/store/open-store.ts";
import type { FileKind, Store } from "../../src/store/store.ts";
import { encodeTarHeader, TAR_BLOCK, tarPadding } from "../../src/base/tar.ts";
import { openTarStore } from "../../src/store/tar-store.ts";
import { type NewTarMember, writeTar } from "../../src/store/tar-writer.ts";
import { mustRun } from "../harness/run.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { testStore } from "./conformance.ts";

const signal = new AbortController().signal;
const KINDS = ["config", "keys", "locks", "snapshots", "index", "data"] as const satisfies readonly FileKind[];

/** path → bytes, as in a repository's folder. */
type Files = Record<string, Buffer>;

function named(kind: FileKind, bytes: Buffer): string {
  const name = createHash("sha256").update(bytes).digest("hex");
  return kind === "data" ? `data/${name.slice(0, 2)}/${name}` : `${kind}/${name}`;
}

function sample(): Files {
  const files: Files = { config: randomBytes(155) };
  for (const [kind, sizes] of [
    ["keys", [461]],
    ["snapshots", [300, 512]],
    ["index", [1024]],
    ["data", [0, 1, 511, 513, 100_000]],
  ] as const) {
    for (const size of sizes) {
      const bytes = randomBytes(size);
      files[named(kind, bytes)] = bytes;
    }
  }
  return files;
}

async function* membersOf(files: Files, folder = "small/"): AsyncGenerator<NewTarMember> {
  if (folder !== "") yield { path: folder, bytes: Buffer.alloc(0) };
  for (const [path, bytes] of Object.entries(files)) yield { path: folder + path, bytes };
}

/** Every file of a repository, read through a store. */
async function readAll(store: Store): Promise<Files> {
  const files: Files = {};
  for (const kind of KINDS) {
    for await (const { name, sizeBytes } of store.list(kind, { signal })) {
      const bytes = await store.get({ kind, name }, { signal });
      assert.equal(bytes.length, sizeBytes);
      files[kind === "config" ? kind : named(kind, bytes)] = bytes;
    }
  }
  return files;
}

function assertSame(found: Files, expected: Files): void {
  assert.deepEqual(Object.keys(found).toSorted(), Object.keys(expected).toSorted());
  for (const [path, bytes] of Object.entries(expected)) assert.ok(found[path]?.equals(bytes), path);
}

function unpackInto(folder: string, files: Files): void {
  for (const [path, bytes] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), bytes);
  }
}

/** What is written goes into memory, and what is read comes from a tar file of it. */
function openThroughTar(folder: string): Store {
  const memory = createMemoryStore();
  let version = 0;
  let packed: { version: number; reader: Promise<Store> } | undefined;
  const pack = async (path: string) => {
    const files = [...memory.files].map(([path, bytes]) => [path.replace(/^data\/(..)/, "data/$1/$1"), bytes] as const);
    await writeTar(path, membersOf(Object.fromEntries(files)), { signal });
    return openTarStore(path);
  };
  const reader = async () => {
    if (packed?.version !== version) packed = { version, reader: pack(join(folder, `${version}.tar`)) };
    return await packed.reader;
  };
  const changed = async <T>(change: Promise<T>) => {
    const result = await change;
    version += 1;
    return result;
  };
  return {
    location: "through a tar file",
    spec: undefined,
    create: async (options) => await changed(memory.create(options)),
    begin: async (kind, options) => {
      const writer = await memory.begin(kind, options);
      return { ...writer, commit: async (name) => await changed(writer.commit(name)) };
    },
    put: async (ref, bytes, options) => await changed(memory.put(ref, bytes, options)),
    remove: async (ref, options) => await changed(memory.remove(ref, options)),
    get: async (ref, options) => await (await reader()).get(ref, options),
    stat: async (ref, options) => await (await reader()).stat(ref, options),
    list: async function* (kind, options) {
      yield* (await reader()).list(kind, options);
    },
    removeLeftovers: async (options) => await memory.removeLeftovers(options),
    close: async () => await memory.close(),
  };
}

testStore(
  "what is read of a tar file",
  async () => {
    const folder = await temporaryFolder();
    return { store: openThroughTar(folder.path), dispose: async () => await folder[Symbol.asyncDispose]() };
  },
  { isNarrow: true },
);

test("GNU tar unpacks what we write, with the same bytes, and finds nothing odd in it", async () => {
  await using folder = await temporaryFolder();
  const files = sample();
  const path = folder.at("export.tar");
  const { sizeBytes, sha256 } = await writeTar(path, membersOf(files), { signal });
  assert.equal(statSync(path).size, sizeBytes);
  assert.equal(createHash("sha256").update(readFileSync(path)).digest("hex"), sha256);
  const { stderr } = await mustRun("tar", ["-xf", path, "-C", folder.path]);
  assert.equal(stderr, "");
  for (const [name, bytes] of Object.entries(files)) assert.ok(readFileSync(folder.at("small", name)).equals(bytes));
  const { stdout } = await mustRun("tar", ["--utc", "-tvf", path]);
  assert.match(
    stdout,
    /^drwx------ 0\/0 +0 1970-01-01 00:00 small\/\n-rw------- 0\/0 +155 1970-01-01 00:00 small\/con/,
  );
  // A function of its content.
  assert.equal((await writeTar(folder.at("again.tar"), membersOf(files), { signal })).sha256, sha256);
  assertSame(await readAll(openTarStore(path)), files);
  assertSame(await readAll(await openStore(`export:${path}`)), files);
});

const LONG = `a-folder-with-a-long-name/${"x".repeat(90)}/ünd/${"y".repeat(90)}`;

for (const [how, format, args] of [
  ["GNU's format", "gnu", ["."]],
  ["pax", "pax", ["."]],
  ["ustar", "ustar", ["."]],
  ["the oldest format", "v7", ["config", "keys", "snapshots", "index", "data"]],
  ["GNU's long names", "gnu", [`--transform=s,^\\.,${LONG},`, "."]],
  ["pax's long names", "pax", [`--transform=s,^\\.,${LONG},`, "."]],
] as const) {
  test(`a repository that GNU tar packed is read: ${how}`, async () => {
    await using folder = await temporaryFolder();
    const files = sample();
    unpackInto(folder.at("repository"), files);
    symlinkSync("config", folder.at("repository", "a-link-with-another-name"));
    const path = folder.at("packed.tar");
    await mustRun("tar", [`--format=${format}`, "-cf", path, "-C", folder.at("repository"), ...args]);
    assertSame(await readAll(openTarStore(path)), files);
  });
}

test("nothing can be written, and the tar file is told of by its name", async () => {
  await using folder = await temporaryFolder();
  const path = folder.at("export.tar");
  await writeTar(path, membersOf(sample()), { signal });
  const before = readFileSync(path);
  const store = openTarStore(path);
  const ref = { kind: "locks", name: "0".repeat(64) } as const;
  for (const call of [
    async () => await store.create({ signal }),
    async () => await store.put(ref, Buffer.from("x"), { signal }),
    async () => await store.begin("data", { signal }),
    async () => await store.remove({ kind: "config", name: "" }, { signal }),
  ]) {
    await assert.rejects(call, (error) => isFailure(error, "store/denied") && error.message.includes(path));
  }
  assert.equal(await store.removeLeftovers({ signal }), 0);
  assert.ok(readFileSync(path).equals(before));
});

test("a file that is there already is not written over", async () => {
  await using folder = await temporaryFolder();
  writeFileSync(folder.at("export.tar"), "mine");
  await assert.rejects(writeTar(folder.at("export.tar"), membersOf(sample()), { signal }));
  assert.equal(readFileSync(folder.at("export.tar"), "utf8"), "mine");
});

async function openCode(path: string): Promise<string> {
  try {
    await readAll(openTarStore(path));
    return "read";
  } catch (error) {
    if (!isFailure(error)) throw error;
    return error.code;
  }
}

test("cut anywhere before its end, a tar file is refused as cut off", async () => {
  await using folder = await temporaryFolder();
  const path = folder.at("export.tar");
  const { sizeBytes } = await writeTar(path, membersOf(sample()), { signal });
  for (let at = sizeBytes - 2 * TAR_BLOCK; at > 0; at -= at % TAR_BLOCK === 0 && at > 4000 ? 4 * TAR_BLOCK - 1 : 511) {
    truncateSync(path, at);
    assert.equal(await openCode(path), at < TAR_BLOCK ? "repo/missing" : "repo/damaged", `cut to ${at} bytes`);
  }
});

test("a bit that flips anywhere in a header is seen, or changes nothing", async () => {
  await using folder = await temporaryFolder();
  const bytes = randomBytes(100);
  const files = { config: randomBytes(155), [named("keys", bytes)]: bytes };
  const path = folder.at("export.tar");
  await writeTar(path, membersOf(files, ""), { signal });
  const whole = readFileSync(path);
  const second = TAR_BLOCK + 155 + tarPadding(155);
  for (let place = 0; place < TAR_BLOCK; place += 1) {
    const flipped = Buffer.from(whole);
    flipped[second + place] = (flipped[second + place] ?? 0) ^ (1 << (place & 7));
    writeFileSync(path, flipped);
    // The checksum's own field has places that nobody reads.
    const isOwnField = place >= 148 && place < 156;
    const code = await openCode(path);
    assert.ok(code === "repo/damaged" || (isOwnField && code === "read"), `byte ${place}: ${code}`);
  }
});

/** A header with fields of our choice, and a checksum that fits. */
function header(path: string, size: string | Buffer, type = "0"): Buffer {
  const block = encodeTarHeader(path, 0);
  block.fill(0, 124, 136);
  if (typeof size === "string") block.write(size, 124, "latin1");
  else size.copy(block, 124);
  block.write(type, 156, "latin1");
  block.fill(" ", 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}

function announced(type: string, text: string): Buffer[] {
  const bytes = Buffer.from(text);
  return [header("pax", bytes.length.toString(8), type), bytes, Buffer.alloc(tarPadding(bytes.length))];
}

const END = Buffer.alloc(2 * TAR_BLOCK);
const KEY = `keys/${"0".repeat(64)}`;

const HOSTILE: Record<string, readonly [code: string, parts: Buffer[]]> = {
  "a size beyond the file": ["repo/damaged", [header("config", "77777777777")]],
  "a size in base 256 beyond all numbers": ["repo/damaged", [header("a", "0"), header("b", Buffer.alloc(12, 0xff))]],
  "a size of 2^88": ["repo/damaged", [header("a", "0"), header("b", Buffer.from("80ffffffffffffffffffffff", "hex"))]],
  "a size that is no number": ["repo/damaged", [header("a", "0"), header("b", "12x")]],
  "a negative size": ["repo/damaged", [header("a", "0"), header("b", "-1")]],
  "a pax size beyond the file": ["repo/damaged", [...announced("x", "17 size=99999999\n"), header("config", "0")]],
  "a pax size that is no number": ["repo/damaged", [...announced("x", "11 size=1e9\n".replace("11", "12")), END]],
  "a pax record longer than it says": ["repo/damaged", [...announced("x", "9999 path=config\n"), END]],
  "a pax record shorter than its number": ["repo/damaged", [...announced("x", "2 path=config\n"), END]],
  "a pax record of length 0": ["repo/damaged", [...announced("x", "0 path=config\n"), END]],
  "pax records of 2 MiB": ["repo/damaged", [header("x", (2 ** 21).toString(8), "x"), Buffer.alloc(2 ** 21), END]],
  "two repositories": [
    "usage/invalid",
    [header("a/config", "0"), header(`a/${KEY}`, "0"), header("b/config", "0"), header(`b/${KEY}`, "0"), END],
  ],
  "nothing but zeros": ["repo/missing", [END]],
  "no bytes at all": ["repo/missing", []],
  "a gzipped file": ["repo/missing", [Buffer.from("1f8b0800", "hex"), END]],
  text: ["repo/missing", [Buffer.from("version: 1\n".repeat(200))]],
};

for (const [what, [code, parts]] of Object.entries(HOSTILE)) {
  test(`refused: ${what}`, async () => {
    await using folder = await temporaryFolder();
    const path = folder.at("hostile.tar");
    writeFileSync(path, Buffer.concat(parts));
    assert.equal(await openCode(path), code);
  });
}

test("links, devices and paths that lead elsewhere are no files of a repository, and nothing is unpacked", async () => {
  await using folder = await temporaryFolder();
  const path = folder.at("hostile.tar");
  const links = ["1", "2", "3", "4", "6", "S"].map((type) => header("config", "0", type));
  writeFileSync(path, Buffer.concat([...links, header("../../config", "0"), header("/etc/passwd", "0"), END]));
  assertSame(await readAll(openTarStore(path)), { config: Buffer.alloc(0) });
  assert.deepEqual(readdirSync(folder.path), ["hostile.tar"]);
});

test("of a path that comes twice the last one counts, as for tar x; another config is in nobody's way", async () => {
  await using folder = await temporaryFolder();
  const path = folder.at("twice.tar");
  const old = { config: Buffer.from("old") };
  const files = { config: Buffer.from("new"), [named("keys", Buffer.from("key"))]: Buffer.from("key") };
  const members = async function* () {
    yield { path: "etc/config", bytes: Buffer.from("another program's") };
    yield* membersOf(old);
    yield* membersOf(files);
  };
  await writeTar(path, members(), { signal });
  assertSame(await readAll(openTarStore(path)), files);
});

test("whatever files there are, they come back through our tar and through GNU's", async () => {
  await using folder = await temporaryFolder();
  const kind = fc.constantFrom("keys", "snapshots", "index", "data", "locks");
  const contents = fc.uint8Array({ maxLength: 1600 });
  let count = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(kind, contents), { maxLength: 12 }), contents, async (list, config) => {
      const files: Files = { config: Buffer.from(config) };
      for (const [of, bytes] of [["keys", Buffer.from("key")] as const, ...list]) {
        files[named(of, Buffer.from(bytes))] = Buffer.from(bytes);
      }
      count += 1;
      const path = folder.at(`${count}.tar`);
      await writeTar(path, membersOf(files), { signal });
      assertSame(await readAll(openTarStore(path)), files);
      if (count % 10 > 0) return;
      await mustRun("tar", ["-xf", path, "-C", folder.path, "--transform", `s,^small,${count},`]);
      await mustRun("tar", ["-cf", path, "-C", folder.path, String(count)]);
      assertSame(await readAll(openTarStore(path)), files);
    }),
    { numRuns: 100 },
  );
});

test("bytes of any kind in the place of headers are read or refused, and never more than that", async () => {
  await using folder = await temporaryFolder();
  const path = folder.at("fuzzed.tar");
  await writeTar(path, membersOf(sample()), { signal });
  const whole = readFileSync(path);
  const edits = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.uint8Array({ minLength: 1, maxLength: 40 })), {
    minLength: 1,
    maxLength: 4,
  });
  const seen = new Set<string>();
  await fc.assert(
    fc.asyncProperty(edits, async (list) => {
      const bytes = Buffer.from(whole);
      for (const [at, patch] of list) bytes.set(patch.subarray(0, bytes.length - at), at);
      writeFileSync(path, bytes);
      // Contents are somebody else's to check: here only what is found counts.
      const store = openTarStore(path);
      try {
        for (const kind of KINDS)
          for await (const { name } of store.list(kind, { signal })) await store.stat({ kind, name }, { signal });
        seen.add("read");
      } catch (error) {
        if (!isFailure(error)) throw error;
        seen.add(error.code);
      }
    }),
    { numRuns: 400 },
  );
  for (const code of seen) assert.ok(["read", "repo/damaged", "repo/missing"].includes(code), code);
});
