/**
 * A repository on a file server, over the system's `ssh`.
 *
 * As in a local folder, a file is written under another name in `chatkeep/tmp`, synced where the server offers it, and
 * renamed: so it is there whole or not at all. One connection for each thread; a connection that is gone fails what
 * was under way, and the next call opens another.
 */
import { posix } from "node:path";
import { mapConcurrent } from "../base/concurrent.ts";
import { assert, Failure, isFailure, messageOf } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { Backend, ListedKey } from "./backend.ts";
import { BESIDE } from "./beside.ts";
import { isLeftoverName, isLeftoverOver, leftoverName, LEFTOVER_KEPT_MS } from "../system/leftovers.ts";
import type { RemotePlace } from "./open-store.ts";
import { openSftp, orAborted, type SftpChannel, type SftpClient } from "./sftp-client.ts";
import { parseSftpLocation } from "./sftp-location.ts";
import type { SftpName } from "./sftp-packet.ts";
import { openSshChannel } from "./ssh-channel.ts";
import type { CallOptions } from "./store.ts";

const FOLDER_MODE = 0o700;
/** Files are never written again, so nobody needs to be able to; restic does the same. */
const FILE_MODE = 0o400;
const FOLDERS = ["keys", "locks", "snapshots", "index", "data"] as const;
const TEMPORARY = `${BESIDE}/tmp`;
const TYPE = 0o170000;
const FOLDER = 0o040000;
const FILE = 0o100000;

/** Opens nothing yet. */
export function openSftpBackend({ location, env }: RemotePlace): Backend {
  const place = parseSftpLocation(location);
  return new SftpBackend(location, place.path, () => openSshChannel(place, env));
}

type PutOptions = CallOptions & { mustBeNew: boolean };

class SftpBackend implements Backend {
  readonly location: string;
  readonly #root: string;
  readonly #connect: () => SftpChannel;
  #client: Promise<SftpClient> | undefined;
  #isClosed = false;

  /** @param connect Starts a connection; called again when one is gone. */
  constructor(location: string, root: string, connect: () => SftpChannel) {
    this.location = location;
    this.#root = root;
    this.#connect = connect;
  }

  #pathOf(key: string): string {
    return posix.join(this.#root, key);
  }

  async #open(): Promise<SftpClient> {
    assert(!this.#isClosed, "a store was used after it was closed");
    const limit = AbortSignal.timeout(LIMITS.sftpOpenMs);
    try {
      return await openSftp(this.#connect(), { signal: limit });
    } catch (error) {
      if (error !== limit.reason) throw error;
      throw new Failure("store/unreachable", `'${this.location}' does not answer`, {
        hint: "The server lets us log in, or begins to, and then says nothing: look at its own log.",
      });
    }
  }

  /** One attempt for all who wait: none of them can end it for the others. */
  async #connected(signal: AbortSignal): Promise<SftpClient> {
    signal.throwIfAborted();
    const known = this.#client;
    if (known !== undefined) {
      const client = await orAborted(known, signal).catch((error: unknown) => {
        if (this.#client === known && !signal.aborted) this.#client = undefined;
        throw error;
      });
      if (client.isOpen) return client;
      if (this.#client === known) this.#client = undefined;
    }
    const opening = (this.#client ??= this.#open());
    try {
      return await orAborted(opening, signal);
    } catch (error) {
      if (this.#client === opening && !signal.aborted) this.#client = undefined;
      throw error;
    }
  }

  /** Does something on the server, and says what it was when it fails. */
  async #do<T>(doing: string, signal: AbortSignal, work: (client: SftpClient) => Promise<T>): Promise<T> {
    const client = await this.#connected(signal);
    try {
      return await work(client);
    } catch (error) {
      throw await this.#explain(client, error, doing);
    }
  }

  async #explain(client: SftpClient, error: unknown, doing: string): Promise<unknown> {
    if (!isFailure(error) || !client.isOpen) return error;
    switch (error.code) {
      case "store/denied":
        return denied(doing, error);
      case "store/full":
        return full(doing, error);
      case "store/not-found":
        return new Failure("store/not-found", `${doing}: ${messageOf(error)}`, { cause: error });
      case "store/unreachable":
        // Version 3 has one word for every other failure; the filesystem's state tells what it means.
        return (await this.#stateOf(client, error, doing)) ?? mention(doing, error);
      default:
        return error;
    }
  }

  async #stateOf(client: SftpClient, cause: unknown, doing: string): Promise<Failure | undefined> {
    const call = { signal: AbortSignal.timeout(LIMITS.sftpCleanUpMs) };
    try {
      const state = await client.filesystem(this.#root, call);
      if (state === undefined) return undefined;
      if (state.isReadOnly) return denied(doing, cause);
      return state.freeBytes < LIMITS.packWriteBytes || !state.hasFreeFiles ? full(doing, cause) : undefined;
    } catch {
      // What cannot be asked is not known: the failure itself is told.
      return undefined;
    }
  }

  async create({ signal }: CallOptions): Promise<void> {
    const doing = `making the folders of the repository in '${this.location}'`;
    await this.#do(doing, signal, async (client) => {
      await makeFolder(client, this.#root, signal);
      for (const folder of FOLDERS) await makeFolder(client, this.#pathOf(folder), signal);
      const bytes = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));
      await mapConcurrent(
        bytes,
        LIMITS.sftpRequests,
        async (byte) => await makeFolder(client, this.#pathOf(`data/${byte}`), signal),
        { signal },
      );
      for (const folder of ["data", "."]) await syncFolder(client, this.#pathOf(folder), signal);
    });
  }

  async put(key: string, bytes: Buffer, options: PutOptions): Promise<void> {
    const client = await this.#connected(options.signal);
    const temporary = this.#pathOf(`${TEMPORARY}/${leftoverName()}`);
    try {
      await this.#write(client, temporary, bytes, options.signal);
      await this.#publish(client, temporary, key, options);
    } catch (error) {
      // Explained before the file goes: a full disk is seen by what is free now.
      const explained = await this.#explain(client, error, `writing to '${this.location}'`);
      await cleanUp(client, async (call) => await client.remove(temporary, call));
      throw explained;
    }
  }

  async #write(client: SftpClient, path: string, bytes: Buffer, signal: AbortSignal): Promise<void> {
    const handle = await client.createFile(path, FILE_MODE, { signal }).catch(async (error: unknown) => {
      if (!isFailure(error, "store/not-found")) throw error;
      await this.#makeFolderWithin(client, posix.dirname(path), signal);
      return await client.createFile(path, FILE_MODE, { signal });
    });
    try {
      const block = client.writeBlockBytes;
      await mapConcurrent(
        offsets(bytes.length, block),
        Math.ceil(LIMITS.sftpWindowBytes / block),
        async (offset) => await client.write(handle, bytes.subarray(offset, offset + block), { offset, signal }),
        { signal },
      );
      if (client.has("fsync")) await client.sync(handle, { signal });
    } catch (error) {
      await cleanUp(client, async (call) => await client.closeHandle(handle, call));
      throw error;
    }
    // A server may say only now that the bytes did not fit.
    await client.closeHandle(handle, { signal });
  }

  /** Only below a repository that is there: its root gone means an unmounted disk. */
  async #makeFolderWithin(client: SftpClient, folder: string, signal: AbortSignal): Promise<void> {
    if ((await client.stat(this.#root, { signal })) === undefined) {
      throw new Failure("store/not-found", "the repository's folder is gone");
    }
    await makeFolder(client, folder, signal);
  }

  /** Gives a synced file its name. */
  async #publish(client: SftpClient, temporary: string, key: string, options: PutOptions): Promise<void> {
    const path = this.#pathOf(key);
    const folder = posix.dirname(path);
    try {
      await place(client, temporary, path, options);
    } catch (error) {
      if (!isFailure(error, "store/not-found")) throw error;
      await this.#makeFolderWithin(client, folder, options.signal);
      await place(client, temporary, path, options);
    }
    await syncFolder(client, folder, options.signal);
  }

  async get(key: string, options: CallOptions & { offset: number; length: number | undefined }): Promise<Buffer> {
    const { offset, signal } = options;
    return await this.#do(`reading '${key}'`, signal, async (client) => {
      const handle = await client.openFile(this.#pathOf(key), { signal });
      try {
        const length = options.length ?? (await sizeOf(client, handle, signal)) - offset;
        // A length that comes from a damaged file must not make us ask for memory that the file could never fill.
        const mayBeWrong = length > LIMITS.sftpWindowBytes && options.length !== undefined;
        if (length < 0 || (mayBeWrong && offset + length > (await sizeOf(client, handle, signal)))) throw tooShort(key);
        return await readExactly(client, handle, { key, offset, length, signal });
      } finally {
        await cleanUp(client, async (call) => await client.closeHandle(handle, call));
      }
    });
  }

  async stat(key: string, { signal }: CallOptions): Promise<{ sizeBytes: number } | undefined> {
    return await this.#do(`looking at '${key}'`, signal, async (client) => {
      const found = await client.stat(this.#pathOf(key), { signal });
      return found?.sizeBytes === undefined ? undefined : { sizeBytes: found.sizeBytes };
    });
  }

  async *list(folder: string, { signal }: CallOptions): AsyncGenerator<ListedKey> {
    const found = await this.#do(`listing '${folder}'`, signal, async (client) => {
      const top = await namesIn(client, this.#pathOf(folder), signal);
      const folders = top.filter((entry) => isType(entry, FOLDER)).map(({ name }) => `${folder}/${name}`);
      const below = await mapConcurrent(
        folders,
        LIMITS.sftpRequests,
        async (at) => keysOf(at, await namesIn(client, this.#pathOf(at), signal)),
        { signal },
      );
      return [keysOf(folder, top), ...below];
    });
    for (const keys of found) yield* keys;
  }

  async remove(key: string, { signal }: CallOptions): Promise<void> {
    await this.#do(`removing '${key}'`, signal, async (client) => {
      const path = this.#pathOf(key);
      try {
        await client.remove(path, { signal });
      } catch (error) {
        if (isFailure(error, "store/not-found")) return;
        throw error;
      }
      await syncFolder(client, posix.dirname(path), signal);
    });
  }

  async removeLeftovers({ signal }: CallOptions): Promise<number> {
    return await this.#do(`removing what is left in '${this.location}'`, signal, async (client) => {
      const folder = this.#pathOf(TEMPORARY);
      const names = (await namesIn(client, folder, signal)).filter(({ name }) => isLeftoverName(name));
      const isOver = names.some(({ name }) => isLeftoverOver(name) === undefined)
        ? await this.#oldOnes(client, folder, signal)
        : () => false;
      const over = names.filter((entry) => isLeftoverOver(entry.name) ?? isOver(entry));
      for (const { name } of over) {
        await client.remove(posix.join(folder, name), { signal }).catch((error: unknown) => {
          if (!isFailure(error, "store/not-found")) throw error;
        });
      }
      return over.length;
    });
  }

  /** Tells what is older than a week, by the server's own clock: that of a file made now. */
  async #oldOnes(client: SftpClient, folder: string, signal: AbortSignal): Promise<(entry: SftpName) => boolean> {
    const now = await timeIn(client, folder, signal);
    if (now === undefined) return () => false;
    return ({ modifiedAt }) => modifiedAt !== undefined && (now - modifiedAt) * 1000 > LEFTOVER_KEPT_MS;
  }

  async time({ signal }: CallOptions): Promise<number | undefined> {
    return await this.#do("asking for the time", signal, async (client) => {
      const seconds = await timeIn(client, this.#pathOf(TEMPORARY), signal);
      return seconds === undefined ? undefined : seconds * 1000;
    });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const client = await this.#client?.catch(() => undefined);
    await client?.close();
  }
}

/** Seconds since 1970 by the server's clock: that of a file made now. */
async function timeIn(client: SftpClient, folder: string, signal: AbortSignal): Promise<number | undefined> {
  const path = posix.join(folder, leftoverName());
  await client.closeHandle(await client.createFile(path, 0o600, { signal }), { signal });
  const now = (await client.stat(path, { signal }))?.modifiedAt;
  await client.remove(path, { signal });
  return now;
}

function denied(doing: string, cause: unknown): Failure {
  return new Failure("store/denied", `not allowed: ${doing}`, {
    hint: "Give the user that logs in rights to read and write the repository's folder on the server.",
    cause,
  });
}

function full(doing: string, cause: unknown): Failure {
  return new Failure("store/full", `no space left while ${doing}`, {
    hint: "Free space where the repository lies, or point to a larger place; what was saved before is intact.",
    cause,
  });
}

function mention(doing: string, cause: Failure): Failure {
  return new Failure("store/unreachable", `${doing}: ${cause.message}`, {
    hint: cause.hint ?? "Look at the server's log, and at the disk where the repository lies.",
    cause,
  });
}

function tooShort(key: string): Failure {
  return new Failure("store/not-found", `'${key}' is shorter than it should be`);
}

/** What is done after a failure, or for a file that was only read: it changes nothing about the outcome. */
async function cleanUp(client: SftpClient, work: (call: CallOptions) => Promise<void>): Promise<void> {
  if (!client.isOpen) return;
  await work({ signal: AbortSignal.timeout(LIMITS.sftpCleanUpMs) }).catch(() => {});
}

function* offsets(length: number, block: number): Generator<number> {
  for (let offset = 0; offset < length; offset += block) yield offset;
}

/** With its parents. */
async function makeFolder(client: SftpClient, path: string, signal: AbortSignal): Promise<void> {
  try {
    await client.makeFolder(path, FOLDER_MODE, { signal });
  } catch (error) {
    if (!isFailure(error) || !client.isOpen) throw error;
    const found = await client.stat(path, { signal });
    if (found?.mode !== undefined && (found.mode & TYPE) === FOLDER) return;
    if (error.code !== "store/not-found" || posix.dirname(path) === path) throw error;
    await makeFolder(client, posix.dirname(path), signal);
    await makeFolder(client, path, signal);
  }
}

/** Makes names durable where the server can: OpenSSH opens a folder as a file. Others promise nothing. */
async function syncFolder(client: SftpClient, path: string, signal: AbortSignal): Promise<void> {
  if (!client.has("fsync")) return;
  try {
    const handle = await client.openFile(path, { signal });
    await client.sync(handle, { signal }).finally(async () => {
      await cleanUp(client, async (call) => await client.closeHandle(handle, call));
    });
  } catch (error) {
    if (!isFailure(error) || !client.isOpen) throw error;
  }
}

/** A name that is a hash takes the place of what is there; `config` never does. */
async function place(client: SftpClient, temporary: string, path: string, options: PutOptions): Promise<void> {
  const { mustBeNew, signal } = options;
  if (!mustBeNew && client.has("posixRename")) return await client.replace(temporary, path, { signal });
  try {
    if (mustBeNew && client.has("hardlink")) await client.link(temporary, path, { signal });
    else return await client.rename(temporary, path, { signal });
  } catch (error) {
    if (!isFailure(error, "store/unreachable") || !client.isOpen) throw error;
    if ((await client.stat(path, { signal })) !== undefined) {
      if (mustBeNew) return await client.remove(temporary, { signal });
      await client.remove(path, { signal });
    }
    return await client.rename(temporary, path, { signal });
  }
  await client.remove(temporary, { signal });
}

async function sizeOf(client: SftpClient, handle: Buffer, signal: AbortSignal): Promise<number> {
  const { sizeBytes } = await client.statHandle(handle, { signal });
  if (sizeBytes === undefined) throw new Failure("store/unreachable", "the server does not say how long a file is");
  return sizeBytes;
}

interface Span {
  key: string;
  offset: number;
  length: number;
  signal: AbortSignal;
}

async function readExactly(client: SftpClient, handle: Buffer, { key, offset, length, signal }: Span): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(length);
  const block = client.readBlockBytes;
  const readBlock = async (start: number) => {
    const end = Math.min(length, start + block);
    for (let at = start; at < end;) {
      const part = await client.read(handle, { offset: offset + at, length: end - at, signal });
      if (part.length === 0) throw tooShort(key);
      at += part.copy(bytes, at);
    }
  };
  await mapConcurrent(offsets(length, block), Math.ceil(LIMITS.sftpWindowBytes / block), readBlock, { signal });
  return bytes;
}

/** What is in a folder; nothing when it is not there. */
async function namesIn(client: SftpClient, path: string, signal: AbortSignal): Promise<SftpName[]> {
  let handle: Buffer;
  try {
    handle = await client.openFolder(path, { signal });
  } catch (error) {
    if (isFailure(error, "store/not-found")) return [];
    throw error;
  }
  const names: SftpName[] = [];
  try {
    for (;;) {
      const more = await client.readFolder(handle, { signal });
      if (more === undefined) return names;
      for (const entry of more) if (entry.name !== "." && entry.name !== "..") names.push(entry);
    }
  } finally {
    await cleanUp(client, async (call) => await client.closeHandle(handle, call));
  }
}

function isType({ mode }: SftpName, type: number): boolean {
  return mode !== undefined && (mode & TYPE) === type;
}

function keysOf(folder: string, names: readonly SftpName[]): ListedKey[] {
  return names.flatMap((entry) =>
    isType(entry, FILE) && entry.sizeBytes !== undefined
      ? [{ key: `${folder}/${entry.name}`, sizeBytes: entry.sizeBytes }]
      : [],
  );
}
