/**
 * The key files of a repository: one for each password, each holding the same master keys.
 *
 * Promises: a new key is read back and opened before it counts; the key in use is never removed, so that one is always
 * left; a key is changed by adding the new one first and removing the old one last.
 */
import { hash } from "node:crypto";
import { formatInstant, type Clock } from "../base/clock.ts";
import { Failure, isFailure, messageOf } from "../base/errors.ts";
import { parseFileId, shortId, type FileId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import type { Keys } from "../format/crypto.ts";
import { createKeyFile, decodeKeyLabels, openKeyFile, type KeyLabels, type ScryptCost } from "../format/key-file.ts";
import { isDamage } from "./chunk.ts";
import type { DamagedFile } from "./load-index.ts";
import type { ExclusiveLock } from "./lock.ts";
import { Repository } from "./repository.ts";

interface CallOptions {
  signal: AbortSignal;
}

export interface ListedKey extends KeyLabels {
  readonly id: FileId;
  /** True for the key that this run opened the repository with. */
  readonly isCurrent: boolean;
}

export interface KeyList {
  /** Oldest first. */
  keys: ListedKey[];
  damaged: DamagedFile[];
}

/** Reads who made each key; no password but the repository's own is needed. */
export async function listKeys(repository: Repository, { signal }: CallOptions): Promise<KeyList> {
  const keys: ListedKey[] = [];
  const damaged: DamagedFile[] = [];
  for await (const { name } of repository.store.list("keys", { signal })) {
    const id = parseFileId(name);
    try {
      keys.push({
        id,
        isCurrent: id === repository.keyId,
        ...decodeKeyLabels(await repository.getNamed("keys", id, { signal })),
      });
    } catch (error) {
      if (!isDamage(error)) throw error;
      damaged.push({ id, reason: messageOf(error) });
    }
  }
  keys.sort((a, b) => (a.created < b.created || (a.created === b.created && a.id < b.id) ? -1 : 1));
  return { keys, damaged };
}

/** The key that a password opens. Half a second of scrypt for each key. */
export async function findKeyOf(
  repository: Repository,
  password: string,
  { signal }: CallOptions,
): Promise<ListedKey | undefined> {
  const { keys } = await listKeys(repository, { signal });
  for (const key of keys) {
    signal.throwIfAborted();
    if (await opensWith(repository, key.id, password, signal)) return key;
  }
  return undefined;
}

async function opensWith(repository: Repository, id: FileId, password: string, signal: AbortSignal): Promise<boolean> {
  try {
    const opened = await openKeyFile(await repository.getNamed("keys", id, { signal }), password);
    return opened !== undefined && isSame(opened, repository.keys);
  } catch (error) {
    if (isDamage(error) || isFailure(error, "repo/unsupported")) return false;
    throw error;
  }
}

function isSame(a: Keys, b: Keys): boolean {
  const [x, y] = [a, b].map(({ encrypt, macK, macR }) => Buffer.concat([encrypt, macK, macR]));
  return x !== undefined && y !== undefined && x.equals(y);
}

export interface NewKey {
  password: string;
  username: string;
  hostname: string;
  clock: Clock;
  signal: AbortSignal;
  /** Default: what restic settles on. */
  cost?: ScryptCost;
}

/**
 * Adds a key and opens it again; a shared lock is enough.
 * @throws Failure `usage/invalid` for a password that is not fit, or when the repository has as many keys as are tried;
 * `store/unreachable` when the key that was written does not open: it is taken away then.
 */
export async function addKey(repository: Repository, options: NewKey): Promise<FileId> {
  const { password, username, hostname, clock, signal, cost } = options;
  checkNewPassword(password);
  await refuseTooMany(repository, signal);
  const labels = { username, hostname, created: formatInstant(clock.now()) };
  const bytes = await createKeyFile(password, repository.keys, labels, cost);
  const id = parseFileId(hash("sha256", bytes));
  await repository.store.put({ kind: "keys", name: id }, bytes, { signal });
  if (await opensWith(repository, id, password, signal)) return id;
  await repository.store.remove({ kind: "keys", name: id }, { signal });
  throw new Failure(
    "store/unreachable",
    `key ${shortId(id)} was written, and could not be opened when it was read again`,
    {
      hint: "The key was taken away again and every other one is as it was; look at the disk, then try again.",
    },
  );
}

/**
 * @throws Failure `usage/invalid` for a password that nobody could give again: empty, with white space around it (which
 * password files lose) or with a line break in it.
 */
export function checkNewPassword(password: string): void {
  const why =
    password.trim() === ""
      ? "is empty"
      : password.trim() !== password
        ? "has white space around it"
        : /\p{Control}/u.test(password)
          ? "has a line break or a control character in it"
          : undefined;
  if (why === undefined) return;
  throw new Failure("usage/invalid", `the new password ${why}`, {
    hint: "Take one line of visible characters, or let one be made with --generate FILE. No key was changed.",
  });
}

async function refuseTooMany(repository: Repository, signal: AbortSignal): Promise<void> {
  let count = 0;
  for await (const _key of repository.store.list("keys", { signal })) count += 1;
  if (count < LIMITS.keysTried) return;
  throw new Failure(
    "usage/invalid",
    `the repository has ${count} keys, and a password is tried on ${LIMITS.keysTried} only`,
    {
      hint: "Remove one that nobody needs with 'chatkeep key remove KEY'; 'chatkeep key list' shows them.",
    },
  );
}

/**
 * The key that an id or its beginning names.
 * @throws Failure `usage/invalid` when it names none, or several.
 */
export function findKey(ids: readonly FileId[], word: string): FileId {
  const found = /^[0-9a-f]{4,64}$/.test(word) ? ids.filter((id) => id.startsWith(word)) : [];
  const [id] = found;
  if (id !== undefined && found.length === 1) return id;
  throw new Failure(
    "usage/invalid",
    id === undefined ? `there is no key '${word}'` : `'${word}' begins the names of ${found.length} keys`,
    { hint: "'chatkeep key list' shows the keys; four digits of one are enough where they are clear." },
  );
}

/**
 * Removes a key: its password opens nothing any more. A key that cannot be read may be removed as well.
 * @throws Failure `usage/invalid` for the key in use, `repo/wrong-password` when that one was removed meanwhile.
 */
export async function removeKey(
  repository: Repository,
  id: FileId,
  { signal, lock }: CallOptions & { lock: ExclusiveLock },
): Promise<void> {
  if (id === repository.keyId) {
    throw new Failure("usage/invalid", `key ${shortId(id)} is the one in use, and cannot be removed`, {
      hint: "To change it use 'chatkeep key passwd'; to remove it, open the repository with another key's password.",
    });
  }
  // Somebody may have removed ours before we were alone: then the other one may be the last.
  if ((await repository.store.stat({ kind: "keys", name: repository.keyId }, { signal })) === undefined) {
    throw new Failure(
      "repo/wrong-password",
      `key ${shortId(repository.keyId)}, which this run used, was removed meanwhile`,
      {
        hint: "Nothing was changed. Run the command again with the password of a key that is left.",
      },
    );
  }
  await lock.confirm({ signal });
  await repository.store.remove({ kind: "keys", name: id }, { signal });
}

export interface ChangePasswordOptions extends NewKey {
  lock: ExclusiveLock;
  /** Called while both passwords open the repository: whatever keeps the password takes the new one now. */
  onBoth: () => Promise<void>;
}

/**
 * Puts a new key in the place of the one in use: added, opened, told about, and only then is the old one removed.
 * A run that is stopped in between leaves both, and the next one takes up the new key that it finds.
 * @returns the new key.
 * @throws Failure as {@link addKey}, `usage/invalid` when the password is somebody's already, and `store/denied` where
 * keys can be added and not removed: then both open the repository.
 */
export async function changePassword(repository: Repository, options: ChangePasswordOptions): Promise<FileId> {
  const { password, username, hostname, signal, lock, onBoth } = options;
  checkNewPassword(password);
  const known = await findKeyOf(repository, password, { signal });
  const isLeftBehind = known?.isCurrent === false && known.username === username && known.hostname === hostname;
  if (known !== undefined && !isLeftBehind) throw takenPassword(known);
  const added = known?.id ?? (await addKey(repository, options));
  await onBoth();
  const { store, keys, config, keyId } = repository;
  try {
    await removeKey(new Repository({ store, keys, config, keyId: added }), keyId, { signal, lock });
  } catch (error) {
    if (!isFailure(error, "store/denied")) throw error;
    throw new Failure(
      "store/denied",
      `the new password is in use, but the old one still opens the repository: its key ${shortId(keyId)} may not be removed with these credentials`,
      { hint: `Remove it where deleting is allowed: 'chatkeep key remove ${shortId(keyId)}'.`, cause: error },
    );
  }
  return added;
}

/** Two keys with one password look like two people, and removing one of them takes nothing away. */
export function takenPassword({ id, isCurrent }: ListedKey): Failure {
  return new Failure(
    "usage/invalid",
    `the new password opens the repository already, with key ${shortId(id)}${isCurrent ? ", the one in use" : ""}`,
    { hint: "Each key needs a password of its own: take another, or let one be made with --generate FILE." },
  );
}
