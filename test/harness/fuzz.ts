/** Every parser of what others may have written or damaged, with samples of what it reads, and damage for them. */
import { isFailure, messageOf } from "../../src/base/errors.ts";
import { parseChunkId, parsePackId } from "../../src/base/ids.ts";
import type { SeededRandom } from "../../src/demo/random.ts";
import { decodeConfig, encodeConfig, newConfig } from "../../src/format/config-file.ts";
import { seal, unseal } from "../../src/format/crypto.ts";
import { parseGoTime } from "../../src/format/go-time.ts";
import { decodeIndex, encodeIndex } from "../../src/format/index-file.ts";
import { scanIndex } from "../../src/format/index-scan.ts";
import { decodeKeyLabels } from "../../src/format/key-file.ts";
import { decodeLock, encodeLock } from "../../src/format/lock-file.ts";
import { dirNode, fileNode } from "../../src/format/node.ts";
import { decodePackHeader, encodePackHeader, type PackEntry } from "../../src/format/pack.ts";
import { quote, unquote } from "../../src/format/quote.ts";
import { decodeSnapshot, encodeSnapshot } from "../../src/format/snapshot-file.ts";
import { decodeTree, encodeTree } from "../../src/format/tree.ts";
import { decodeUnpacked, encodeUnpacked } from "../../src/format/unpacked.ts";
import { parseBundleHeader } from "../../src/installation/bundle.ts";
import { parseEnvironment } from "../../src/point/environment.ts";
import { parseHold } from "../../src/point/hold.ts";
import { parseManifest } from "../../src/point/manifest.ts";
import { parseProof } from "../../src/point/proof.ts";
import { parseShortcoming } from "../../src/point/shortcoming.ts";
import { formatFolders, formatRanges, parseFolders, parseRanges } from "../../src/point/ranges.ts";
import { parseSpan } from "../../src/policy/calendar.ts";
import { parseRestLocation } from "../../src/store/rest-location.ts";
import { parseS3Location } from "../../src/store/s3-location.ts";
import { parseSftpLocation } from "../../src/store/sftp-location.ts";
import { FIXED_KEYS, SCRAPS } from "../format/refusal.ts";

export interface FuzzTarget {
  readonly name: string;
  readonly sample: Buffer;
  /** Accepts, or throws a `Failure`; anything else is a fault. */
  readonly parse: (bytes: Buffer) => unknown;
}

const ID = "0123456789abcdef".repeat(4);
const TIME = "2026-01-02T03:04:05.678901234+01:00";
const ENTRIES: PackEntry[] = [
  { type: "data", id: parseChunkId(ID), offset: 0, length: 100, uncompressedLength: 0 },
  { type: "data", id: parseChunkId("f".repeat(64)), offset: 100, length: 60, uncompressedLength: 300 },
];
const HEADER = encodePackHeader(FIXED_KEYS, ENTRIES);
const LOCK = { time: TIME, exclusive: true, hostname: "here", username: "me", pid: 17, uid: 1, gid: 2 };
const SNAPSHOT = {
  time: TIME,
  tree: parseChunkId(ID),
  paths: ["/x"],
  hostname: "here",
  tags: ["a", "b"],
  uid: 1,
  gid: 2,
};
const NODES = [
  fileNode({ name: "file", size: 3, content: [parseChunkId(ID)] }),
  dirNode({ name: "folder", subtree: parseChunkId(ID) }),
];
const MANIFEST = {
  schema: 1,
  installation: { id: ID, name: "x" },
  server: {},
  tables: [{ schema: "public", name: "t", rows: 1 }],
  sequences: [],
  filledViews: [],
  storage: [{ name: "local", missing: [] }],
  read: {},
};
const SHORTCOMING = { schema: 1, point: ID, tree: ID, at: TIME, count: 1, lacks: [{ kind: "chunk", id: ID }] };
const HOLD = {
  schema: 1,
  program: "x",
  point: ID,
  name: "audit",
  reason: null,
  until: null,
  endsAt: null,
  at: TIME,
  by: "me@here",
};
const PROOF = {
  schema: 1,
  program: "x",
  repository: ID,
  point: ID,
  tree: ID,
  at: TIME,
  proven: true,
  checks: [],
  stages: {},
};

function text(name: string, sample: string, parse: (text: string) => unknown): FuzzTarget {
  return { name, sample: Buffer.from(sample), parse: (bytes) => parse(bytes.toString("utf8")) };
}

/** What lies sealed in a repository is damaged before it is sealed: a thief of the password, or a bug, could write it. */
function sealed(name: string, bytes: Buffer, parse: (sealed: Buffer) => unknown): FuzzTarget {
  return { name, sample: bytes, parse: (changed) => parse(seal(FIXED_KEYS, changed)) };
}

function packOf(header: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(header.length);
  return Buffer.concat([Buffer.alloc(160), header, length]);
}

export const FUZZ_TARGETS: readonly FuzzTarget[] = [
  {
    name: "pack",
    sample: HEADER,
    parse(tail) {
      const pack = Buffer.concat([Buffer.alloc(160), tail]);
      return decodePackHeader(FIXED_KEYS, pack, pack.length);
    },
  },
  sealed("pack header", unseal(FIXED_KEYS, HEADER.subarray(0, -4)), (header) => {
    const pack = packOf(header);
    return decodePackHeader(FIXED_KEYS, pack, pack.length);
  }),
  text("index", encodeIndex([{ id: parsePackId(ID), entries: ENTRIES }]), (json) => decodeIndex(json, () => {})),
  {
    name: "index, scanned",
    sample: Buffer.from(encodeIndex([{ id: parsePackId(ID), entries: ENTRIES }])),
    parse: (bytes) => scanIndex(bytes, () => {}),
  },
  { name: "tree", sample: encodeTree(NODES), parse: (bytes) => decodeTree(bytes) },
  text("snapshot", encodeSnapshot(SNAPSHOT), decodeSnapshot),
  text("lock", encodeLock(LOCK), decodeLock),
  sealed("config", unseal(FIXED_KEYS, encodeConfig(FIXED_KEYS, newConfig())), (bytes) =>
    decodeConfig(FIXED_KEYS, bytes),
  ),
  sealed("sealed file", unseal(FIXED_KEYS, encodeUnpacked(FIXED_KEYS, '{"a":[1,2,3]}')), (bytes) =>
    decodeUnpacked(FIXED_KEYS, bytes),
  ),
  {
    name: "key",
    sample: Buffer.from(
      `{"created":"${TIME}","username":"me","hostname":"here","kdf":"scrypt","N":1024,"r":8,"p":1,"salt":"AAAA","data":"AAAA"}`,
    ),
    parse: decodeKeyLabels,
  },
  text("time", TIME, parseGoTime),
  text("quoted name", quote('a "name" é \u0001'), unquote),
  text("manifest", JSON.stringify(MANIFEST), parseManifest),
  text("hold", JSON.stringify(HOLD), parseHold),
  text("shortcoming", JSON.stringify(SHORTCOMING), parseShortcoming),
  text("proof", JSON.stringify(PROOF), parseProof),
  text("list of ranges", formatRanges([{ bucket: "0", rows: 1, bytes: 2, sha256: ID }]), parseRanges),
  text(
    "list of folders",
    formatFolders([{ folder: "0", count: 1, bytes: 2, withoutChecksum: 0, hash: ID }]),
    parseFolders,
  ),
  text("environment", '{"A":"1","B":"two \\" three"}', parseEnvironment),
  {
    name: "bundle",
    sample: Buffer.from(`# v2 git bundle\n-${"a".repeat(40)} x\n${"b".repeat(40)} HEAD\n\nPACK`),
    parse: parseBundleHeader,
  },
  text("span", "1y6m7d12h", parseSpan),
  text("s3 location", "s3:https://s3.eu-central-1.amazonaws.com/bucket/a/b", (place) => parseS3Location(place, {})),
  text("rest location", "rest:https://user:secret@host.example:8000/a/", (place) => parseRestLocation(place, {})),
  text("sftp location", "sftp://user@[::1]:22//srv/restic", parseSftpLocation),
];

/** A sample with one to four kinds of damage: bits, cuts, pieces doubled or moved, scraps put in. */
export function damage(sample: Buffer, random: SeededRandom): Buffer {
  let bytes = Buffer.from(sample);
  for (let times = random.below(4); times >= 0; times -= 1) {
    const at = random.below(bytes.length + 1);
    const to = Math.min(bytes.length, at + random.below(20));
    const kind = random.below(6);
    const scrap = Buffer.from(random.pick(SCRAPS));
    if (kind === 0 && at < bytes.length) bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
    else if (kind === 1) bytes = bytes.subarray(0, at);
    else if (kind === 2) bytes = Buffer.concat([bytes.subarray(0, to), bytes.subarray(at)]);
    else if (kind === 3) bytes = Buffer.concat([bytes.subarray(0, at), scrap, bytes.subarray(to)]);
    else if (kind === 4)
      bytes = Buffer.concat([bytes.subarray(0, at), random.bytes(random.below(9)), bytes.subarray(to)]);
    else bytes = Buffer.concat([bytes.subarray(at), bytes.subarray(0, at)]);
    bytes = Buffer.from(bytes);
  }
  return bytes;
}

/** @throws when the parser does anything but accept or refuse; the message holds the bytes. */
export function fuzzOnce({ name, sample, parse }: FuzzTarget, random: SeededRandom): void {
  const bytes = damage(sample, random);
  try {
    parse(bytes);
  } catch (error) {
    if (isFailure(error) && error.code !== "internal/bug") return;
    const shown = bytes.toString("base64");
    throw new Error(`the parser of a ${name} ended with '${messageOf(error)}' on ${shown}`, { cause: error });
  }
}
