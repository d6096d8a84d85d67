/**
 * The repository: restic's format v2 over a store.
 *
 * Promises: what is read is verified (MAC, then SHA-256 against the id); a damaged copy is passed over for a whole
 * one; a damaged file never hides what others hold. Reading order is the format's: snapshots first, then the index.
 * It decides nothing about what restore points are. Words: *chunk* (restic's blob), *pack*, *index*, *snapshot*.
 */
import { hash } from "node:crypto";
import { formatInstant, type Clock } from "../base/clock.ts";
import { mapConcurrent } from "../base/concurrent.ts";
import { Failure, isFailure, messageOf } from "../base/errors.ts";
import {
  parseFileId,
  parseSnapshotId,
  shortId,
  type ChunkId,
  type FileId,
  type PackId,
  type SnapshotId,
} from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import type { ChunkType } from "../format/chunk.ts";
import { decodeConfig, encodeConfig, newConfig, type RepositoryConfig } from "../format/config-file.ts";
import { randomKeys, type Keys } from "../format/crypto.ts";
import { parseGoTime } from "../format/go-time.ts";
import type { TreeNode } from "../format/node.ts";
import { createKeyFile, type ScryptCost } from "../format/key-file.ts";
import { decodeSnapshot, encodeSnapshot, type Snapshot } from "../format/snapshot-file.ts";
import { decodeNodes, decodeTree } from "../format/tree.ts";
import { decodeUnpacked, encodeUnpacked } from "../format/unpacked.ts";
import type { FileKind, Store } from "../store/store.ts";
import { isDamage, openChunk } from "./chunk.ts";
import { ChunkIndex, type ChunkLocation } from "./index.ts";
import { readIndexFiles, recoverPacks, type DamagedFile } from "./load-index.ts";
import { findBegunKeys, openKeys } from "./open-keys.ts";
import type { PackRecord } from "./pack-record.ts";

interface CallOptions {
  signal: AbortSignal;
}

export interface ListedSnapshot {
  readonly id: SnapshotId;
  readonly snapshot: Snapshot;
}

/** A pack that an index names and that new backups must not rely on. */
export interface DistrustedPack {
  readonly pack: PackId;
  readonly reason: string;
}

/** A chunk of which no copy can be read. */
export interface UnreadableChunk {
  readonly type: ChunkType;
  readonly id: ChunkId;
  readonly reason: string;
}

export interface RepositoryParts {
  store: Store;
  keys: Keys;
  config: RepositoryConfig;
  keyId: FileId;
  /** One that was read already. */
  index?: ChunkIndex;
  /** The file of this machine in which a large index is kept. */
  keptIndex?: string;
}

export class Repository {
  readonly store: Store;
  readonly keys: Keys;
  readonly config: RepositoryConfig;
  /** The key file that the password opened. */
  readonly keyId: FileId;
  readonly #keptIndex: string | undefined;
  #index: Promise<ChunkIndex> | undefined;
  #recovering: Promise<void> | undefined;
  /** Packs that were found without an index file, and are in no index file yet. */
  #recovered: PackRecord[] = [];
  #damagedIndexes: DamagedFile[] = [];
  #indexFiles: readonly FileId[] = [];
  /** From `prepareToWrite` on: chunks that cannot be read are forgotten. */
  #isWriting = false;
  readonly #unreadable: UnreadableChunk[] = [];

  constructor(parts: RepositoryParts) {
    this.store = parts.store;
    this.keys = parts.keys;
    this.config = parts.config;
    this.keyId = parts.keyId;
    this.#keptIndex = parts.keptIndex;
    if (parts.index !== undefined) this.#index = Promise.resolve(parts.index);
  }

  /** The same repository before anything of it was read: for whoever goes on for days, while others add and prune. */
  anew(): Repository {
    const { store, keys, config, keyId } = this;
    return new Repository({
      store,
      keys,
      config,
      keyId,
      ...(this.#keptIndex === undefined ? {} : { keptIndex: this.#keptIndex }),
    });
  }

  /**
   * Who holds a repository open for weeks may meet another one in its place: another disk is mounted there, or it was made anew. What is
   * written with the keys of the one before is of no use to anybody, and can be read by nobody there.
   * @throws Failure `store/unreachable` then.
   */
  async expectSame({ signal }: CallOptions): Promise<void> {
    const { store, keys, keyId } = this;
    const bytes = await readConfig(store, signal);
    // What is not there at all the store tells.
    if (bytes === undefined || idIn(keys, bytes) === this.config.id) return;
    // A config that is damaged, in the very same.
    if ((await store.stat({ kind: "keys", name: keyId }, { signal })) !== undefined) return;
    throw new Failure("store/unreachable", `in '${store.location}' lies another repository than before`, {
      hint: "Was another disk mounted there, or the repository made anew? Nothing is written into it. If it is the right one from now on, start this anew.",
    });
  }

  /** Index files that could not be read when the index was loaded; what they named was read from the packs instead. */
  get damagedIndexes(): readonly DamagedFile[] {
    return this.#damagedIndexes;
  }

  /**
   * The index files of which the index consists, in order; none when packs were found that no index file names, or that
   * are gone: while all of these are there, nothing that the index holds now can be lacking later.
   */
  get indexFiles(): readonly FileId[] {
    return this.#recovered.length === 0 ? this.#indexFiles : [];
  }

  /** Chunks that were found unreadable since `prepareToWrite`, and are stored anew by whoever has their bytes. */
  get unreadable(): readonly UnreadableChunk[] {
    return this.#unreadable;
  }

  /** Reads all index files once. A damaged one is made up for by the headers of the packs that no other names. */
  async loadIndex({ signal }: CallOptions): Promise<ChunkIndex> {
    this.#index ??= (async () => {
      const { index, files, damaged } = await readIndexFiles(this, { kept: this.#keptIndex, signal });
      this.#damagedIndexes = damaged;
      this.#indexFiles = damaged.length === 0 ? files.toSorted() : [];
      if (damaged.length > 0) await this.#recover(index, signal);
      return index;
    })();
    const loading = this.#index;
    loading.catch(() => {
      // A failed or cancelled load must not be everybody's for ever.
      if (this.#index === loading) this.#index = undefined;
    });
    return await loading;
  }

  async #recover(index: ChunkIndex, signal: AbortSignal): Promise<void> {
    const { records } = await recoverPacks(this, index, { signal });
    for (const record of records) index.add(record);
    this.#recovered.push(...records);
  }

  /** Looks, once, for chunks in packs that no index file names. */
  async recoverIndex({ signal }: CallOptions): Promise<void> {
    const index = await this.loadIndex({ signal });
    this.#recovering ??= this.#recover(index, signal);
    const recovering = this.#recovering;
    recovering.catch(() => {
      if (this.#recovering === recovering) this.#recovering = undefined;
    });
    await recovering;
  }

  /** Hands over the packs that need an index file: whoever calls this writes one. */
  takeRecovered(): PackRecord[] {
    return this.#recovered.splice(0);
  }

  /**
   * Makes the index fit for a backup: chunks of packs that are gone or cut are forgotten, so that they are stored
   * anew, and packs of interrupted runs are adopted (`IndexWriter.finish` gives them an index file); what such runs
   * left half-written goes. From here on a chunk that is read and found damaged is forgotten too: or the same bytes
   * would be taken for stored, and what is written next would lack them in silence. To be called under a lock.
   */
  async prepareToWrite({ signal }: CallOptions): Promise<{ distrusted: DistrustedPack[]; adopted: number }> {
    this.#isWriting = true;
    await this.store.removeLeftovers({ signal });
    let [index, sizes] = await Promise.all([this.loadIndex({ signal }), this.#listPacks({ signal })]);
    // Others may have added a pack and its index file between the two lists: what is lacking must be lacking now.
    if (distrustedPacks(index, sizes).length > 0) sizes = await this.#listPacks({ signal });
    const distrusted = distrustedPacks(index, sizes);
    if (distrusted.length > 0) {
      const left = new ChunkIndex();
      const bad = new Set(distrusted.map(({ pack }) => pack));
      for (const record of index.packs()) if (!bad.has(record.id)) left.add(record);
      this.#index = Promise.resolve(left);
      this.#indexFiles = [];
      index = left;
      for (const { pack } of distrusted) sizes.delete(pack);
    }
    const before = this.#recovered.length;
    const listed = [...sizes].map(([name, sizeBytes]) => ({ name, sizeBytes }));
    const { records } = await recoverPacks(this, index, { signal, listed });
    for (const record of records) index.add(record);
    this.#recovered.push(...records);
    return { distrusted, adopted: this.#recovered.length - before };
  }

  async #listPacks({ signal }: CallOptions): Promise<Map<string, number>> {
    const sizes = new Map<string, number>();
    for await (const file of this.store.list("data", { signal })) sizes.set(file.name, file.sizeBytes);
    return sizes;
  }

  /** Every snapshot, oldest first; files that cannot be read are named beside them. */
  async listSnapshots({ signal }: CallOptions): Promise<{ snapshots: ListedSnapshot[]; damaged: DamagedFile[] }> {
    const snapshots: ListedSnapshot[] = [];
    const damaged: DamagedFile[] = [];
    await mapConcurrent(
      this.store.list("snapshots", { signal }),
      LIMITS.smallReads,
      async ({ name }) => {
        const id = parseSnapshotId(name);
        try {
          const snapshot = decodeSnapshot(await this.getUnpacked("snapshots", id, { signal }));
          snapshots.push({ id, snapshot });
        } catch (error) {
          if (!isDamage(error)) throw error;
          damaged.push({ id, reason: messageOf(error) });
        }
      },
      { signal },
    );
    snapshots.sort((a, b) => {
      const [timeA, timeB] = [parseGoTime(a.snapshot.time), parseGoTime(b.snapshot.time)];
      return timeA < timeB || (timeA === timeB && a.id < b.id) ? -1 : 1;
    });
    return { snapshots, damaged };
  }

  async saveSnapshot(snapshot: Snapshot, { signal }: CallOptions): Promise<SnapshotId> {
    const id = await this.putUnpacked("snapshots", encodeSnapshot(snapshot), { signal });
    return parseSnapshotId(id);
  }

  /**
   * The chunk's bytes, verified. Another copy is tried when one is damaged.
   * @throws Failure `repo/damaged` when no copy is whole.
   */
  async readChunk(type: ChunkType, id: ChunkId, { signal }: CallOptions): Promise<Buffer> {
    const index = await this.loadIndex({ signal });
    let locations = index.find(type, id);
    if (locations.length === 0) {
      // An index file was deleted, or an older run did not come to write it: the packs know.
      await this.recoverIndex({ signal });
      locations = index.find(type, id);
    }
    const damages: string[] = [];
    for (const location of locations) {
      try {
        return await this.#readCopy(type, id, { location, signal });
      } catch (error) {
        if (!isDamage(error)) throw error;
        damages.push(`pack ${location.pack}: ${messageOf(error)}`);
      }
    }
    const what = type === "tree" ? "tree" : "chunk";
    const reason =
      damages.length === 0
        ? `${what} ${id} is in no pack of the repository`
        : `${what} ${id} cannot be read (${damages.join("; ")})`;
    if (this.#isWriting && damages.length > 0) {
      index.distrust(type, id);
      this.#unreadable.push({ type, id, reason });
    }
    throw new Failure("repo/damaged", reason, {
      hint: "Run 'chatkeep verify --read-data' to see which restore points it touches.",
    });
  }

  async #readCopy(
    type: ChunkType,
    id: ChunkId,
    { location, signal }: { location: ChunkLocation; signal: AbortSignal },
  ): Promise<Buffer> {
    const { pack, offset, length, uncompressedLength } = location;
    const read = async (more: { tree?: "any" | "anew" }) => {
      const sealed = await this.store.get({ kind: "data", name: pack }, { signal, offset, length, ...more });
      return openChunk(this.keys, { id, sealed, uncompressedLength });
    };
    if (type !== "tree" || this.store.keepsTrees !== true) return await read({});
    try {
      return await read({ tree: "any" });
    } catch (error) {
      if (!isDamage(error)) throw error;
      // It may be this machine's own copy that is damaged.
      return await read({ tree: "anew" });
    }
  }

  async readTree(id: ChunkId, { signal }: CallOptions): Promise<TreeNode[]> {
    return decodeTree(await this.readChunk("tree", id, { signal }));
  }

  /** {@link readTree} for a folder whose nodes together are large: each is decoded when it is asked for. */
  async readNodes(id: ChunkId, { signal }: CallOptions): Promise<Iterable<TreeNode>> {
    return decodeNodes(await this.readChunk("tree", id, { signal }));
  }

  /** Seals and stores an index, snapshot or lock. */
  async putUnpacked(kind: FileKind, json: string, { signal }: CallOptions): Promise<FileId> {
    const bytes = encodeUnpacked(this.keys, json);
    const id = parseFileId(hash("sha256", bytes));
    await this.store.put({ kind, name: id }, bytes, { signal, isNew: true });
    return id;
  }

  /** @throws Failure `repo/damaged` when the file is not what its name says, `store/not-found` when it is gone. */
  async getUnpacked(kind: FileKind, id: FileId, { signal }: CallOptions): Promise<string> {
    return decodeUnpacked(this.keys, await this.getNamed(kind, id, { signal }));
  }

  /**
   * A file whose name is its checksum. Bytes that do not match it are read once more, as restic does: what was changed on
   * its way must not pass for damage, by which people and verbs decide.
   * @throws Failure `repo/damaged` when the file is not what its name says, `store/not-found` when it is gone.
   */
  async getNamed(kind: FileKind, id: FileId, { signal }: CallOptions): Promise<Buffer> {
    for (let tries = 0; tries < 2; tries += 1) {
      const bytes = await this.store.get({ kind, name: id }, { signal });
      if (hash("sha256", bytes) === id) return bytes;
    }
    throw new Failure("repo/damaged", `${kind}/${shortId(id)} does not match its checksum`);
  }
}

/** Packs that the index names and that are not there as they were written. */
function distrustedPacks(index: ChunkIndex, sizes: ReadonlyMap<string, number>): DistrustedPack[] {
  const distrusted: DistrustedPack[] = [];
  for (const { id, sizeBytes } of index.packSizes()) {
    const found = sizes.get(id);
    if (found === undefined) distrusted.push({ pack: id, reason: "it is gone" });
    else if (found !== sizeBytes) distrusted.push({ pack: id, reason: `it has ${found} bytes, not ${sizeBytes}` });
  }
  return distrusted;
}

const CONFIG = { kind: "config", name: "" } as const;

export interface CreateRepositoryOptions {
  password: string;
  clock: Clock;
  hostname: string;
  username: string;
  /** By which restic cuts files: that of the repository whose copies will lie here. */
  chunkerPolynomial?: string | undefined;
  /** Default: what restic settles on. */
  cost?: ScryptCost;
  signal: AbortSignal;
}

/**
 * Makes a new repository with new keys in an empty place, or ends what a run with the same password began there.
 * @throws Failure `repo/exists` when a repository, or a part of one, is there.
 */
export async function createRepository(store: Store, options: CreateRepositoryOptions): Promise<Repository> {
  const { password, signal } = options;
  if (password === "") throw new Failure("usage/invalid", "a repository's password cannot be empty");
  await refuseUsedPlace(store, signal);
  const begun = await findBegunKeys(store, { password, signal });
  if (begun === undefined) await refuseKinds(store, ["keys"], signal);
  await store.create({ signal });
  const { keys, keyId } = begun ?? (await putNewKeys(store, options));
  const config = newConfig(options.chunkerPolynomial);
  const configBytes = encodeConfig(keys, config);
  await store.put(CONFIG, configBytes, { signal });
  // A name is written once: when someone else made a repository here at the same moment, their config is the one.
  const found = await store.get(CONFIG, { signal });
  if (!found.equals(configBytes)) {
    // They may have ended what we began: then it is their key, too.
    if (!opensConfig(keys, found)) await store.remove({ kind: "keys", name: keyId }, { signal });
    throw usedPlace(store, "a repository was made there at this moment");
  }
  return new Repository({ store, keys, config, keyId });
}

async function putNewKeys(
  store: Store,
  { password, clock, hostname, username, cost, signal }: CreateRepositoryOptions,
): Promise<{ keys: Keys; keyId: FileId }> {
  const keys = randomKeys();
  const created = formatInstant(clock.now());
  const bytes = await createKeyFile(password, keys, { username, hostname, created }, cost);
  const keyId = parseFileId(hash("sha256", bytes));
  await store.put({ kind: "keys", name: keyId }, bytes, { signal });
  return { keys, keyId };
}

function idIn(keys: Keys, bytes: Buffer): string | undefined {
  try {
    return decodeConfig(keys, bytes).id;
  } catch (error) {
    if (!isFailure(error)) throw error;
    return undefined;
  }
}

function opensConfig(keys: Keys, bytes: Buffer): boolean {
  try {
    openConfig(keys, bytes);
    return true;
  } catch (error) {
    return isFailure(error, "repo/unsupported");
  }
}

async function refuseUsedPlace(store: Store, signal: AbortSignal): Promise<void> {
  if ((await store.stat(CONFIG, { signal })) !== undefined) throw usedPlace(store, "a repository is there already");
  await refuseKinds(store, ["snapshots", "index", "data"], signal);
}

async function refuseKinds(store: Store, kinds: readonly FileKind[], signal: AbortSignal): Promise<void> {
  for (const kind of kinds) {
    for await (const { name } of store.list(kind, { signal })) {
      throw usedPlace(store, `there is no config, but ${kind}/${shortId(name)}`, kind === "keys" ? BEGUN : LOST);
    }
  }
}

const USED = "Use an empty place, or open what is there with its password.";
const BEGUN =
  "Use an empty place; after an 'init' that was interrupted, run it again with the same password file, or remove the 'keys' folder that it left.";
const LOST = "Use an empty place. To have that repository again, put its file 'config' back from a copy of it.";

function usedPlace(store: Store, why: string, hint = USED): Failure {
  return new Failure("repo/exists", `cannot make a repository in '${store.location}': ${why}`, { hint });
}

/**
 * Opens a repository. Every key file is tried; scrypt, the slow part, begins before anything else is asked.
 * @throws Failure `repo/missing`, `repo/wrong-password`, `repo/unsupported`, `repo/damaged`, or of the store.
 */
export async function openRepository(
  store: Store,
  { password, signal }: { password: string; signal: AbortSignal },
): Promise<Repository> {
  const reading = readConfig(store, signal);
  // It is awaited below; until then its failure must not count as unhandled.
  reading.catch(() => {});
  const opened = await openKeys(store, {
    password,
    openConfig: async (keys) => openConfig(keys, (await reading) ?? lostConfig(store)),
    signal,
  });
  if (opened === "no key files") {
    if ((await reading) === undefined) {
      throw new Failure("repo/missing", `there is no repository in '${store.location}'`, {
        hint: missingHint(store),
      });
    }
    throw new Failure("repo/damaged", `the repository in '${store.location}' has lost its key files`, {
      hint: "Put the folder 'keys' back from a copy of the repository; no password opens anything without it.",
    });
  }
  return new Repository({ store, ...opened });
}

/** Where a disk is not mounted its empty folder is there: a new repository in it would be the wrong advice. */
function missingHint({ spec }: Store): string {
  const ask = spec?.kind === "remote" ? "Is the location right?" : "Is its disk mounted, and the location right?";
  return `${ask} Only where nothing was ever saved there, make a repository: 'chatkeep init'.`;
}

function lostConfig(store: Store): never {
  throw new Failure("repo/damaged", `the repository in '${store.location}' has lost its file 'config'`, {
    hint: "Put the file back from a copy of the repository; everything else is of no use without it.",
  });
}

function openConfig(keys: Keys, bytes: Uint8Array): RepositoryConfig {
  try {
    return decodeConfig(keys, bytes);
  } catch (error) {
    if (!isFailure(error, "repo/damaged")) throw error;
    throw new Failure("repo/damaged", `the repository's file 'config' is damaged: ${error.message}`, {
      hint: "Put the file 'config' back from a copy of the repository.",
      cause: error,
    });
  }
}

async function readConfig(store: Store, signal: AbortSignal): Promise<Buffer | undefined> {
  try {
    return await store.get(CONFIG, { signal });
  } catch (error) {
    if (isFailure(error, "store/not-found")) return undefined;
    throw error;
  }
}
