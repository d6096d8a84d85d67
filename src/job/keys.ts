/** The keys of a repository as verbs: who holds one, and how one is added, removed and changed. */
import type { Clock } from "../base/clock.ts";
import type { Finding } from "../base/findings.ts";
import { shortId, type FileId } from "../base/ids.ts";
import type { ScryptCost } from "../format/key-file.ts";
import { fingerprintOf } from "../point/recovery-kit.ts";
import {
  addKey,
  changePassword,
  checkNewPassword,
  findKey,
  findKeyOf,
  listKeys,
  removeKey,
  takenPassword,
} from "../repo/keys.ts";
import type { Repository } from "../repo/repository.ts";
import { lockAlone, lockToRead, lockToWrite } from "./lock.ts";
import type { KeyLine, KeySummary } from "./summaries.ts";

export interface KeyOptions {
  repository: Repository;
  repositoryName: string;
  clock: Clock;
  signal: AbortSignal;
}

export interface NewKeyOptions extends KeyOptions {
  password: string;
  username: string;
  hostname: string;
  /** Called once nothing stands in the way, before anything is written: keeps a password that was made. */
  beforeWriting: () => Promise<void>;
  /** scrypt's; the default is restic's. */
  cost?: ScryptCost;
}

export async function listKeysVerb(options: KeyOptions): Promise<KeySummary> {
  await using lock = await lockToRead(options.repository, options);
  return await summarize(options, "list", { signal: AbortSignal.any([options.signal, lock.signal]) });
}

/** @throws Failure `usage/invalid` when the password is not fit, or is somebody's already. */
export async function addKeyVerb(options: NewKeyOptions): Promise<KeySummary> {
  const { repository, password } = options;
  checkNewPassword(password);
  await using lock = await lockToWrite(repository, options);
  const signal = AbortSignal.any([options.signal, lock.signal]);
  const known = await findKeyOf(repository, password, { signal });
  if (known !== undefined) throw takenPassword(known);
  await options.beforeWriting();
  const added = await addKey(repository, { ...options, signal });
  return await summarize(options, "add", { signal, added });
}

/** @throws Failure `usage/invalid` when the word names no key, or the one in use. */
export async function removeKeyVerb(options: KeyOptions & { key: string }): Promise<KeySummary> {
  const { repository } = options;
  await using lock = await lockAlone(repository, options);
  const signal = AbortSignal.any([options.signal, lock.signal]);
  const { keys, damaged } = await listKeys(repository, { signal });
  const removed = findKey(
    [...keys, ...damaged].map(({ id }) => id),
    options.key,
  );
  await removeKey(repository, removed, { signal, lock });
  return await summarize(options, "remove", { signal, removed });
}

export interface ChangeKeyOptions extends Omit<NewKeyOptions, "username" | "hostname"> {
  /** Undefined keeps what stands on the key in use. */
  username: string | undefined;
  hostname: string | undefined;
  /** Called when both passwords open the repository. */
  onBoth: () => Promise<void>;
}

/** @throws Failure `usage/invalid` when the password is not fit, or is somebody's already. */
export async function changePasswordVerb(options: ChangeKeyOptions): Promise<KeySummary> {
  const { repository } = options;
  checkNewPassword(options.password);
  await using lock = await lockAlone(repository, options);
  const signal = AbortSignal.any([options.signal, lock.signal]);
  const { keys } = await listKeys(repository, { signal });
  const current = keys.find((key) => key.isCurrent);
  const username = options.username ?? current?.username ?? "";
  const hostname = options.hostname ?? current?.hostname ?? "";
  const onBoth = async () => {
    signal.throwIfAborted();
    await options.onBoth();
  };
  await options.beforeWriting();
  const added = await changePassword(repository, { ...options, username, hostname, lock, onBoth, signal });
  return await summarize(options, "passwd", { signal, added, removed: repository.keyId });
}

interface Changed {
  signal: AbortSignal;
  added?: FileId;
  removed?: FileId;
}

async function summarize(
  { repository, repositoryName }: KeyOptions,
  action: KeySummary["action"],
  { signal, added, removed }: Changed,
): Promise<KeySummary> {
  const { keys, damaged } = await listKeys(repository, { signal });
  const inUse = action === "passwd" ? added : repository.keyId;
  const lines = keys.map(({ id, username, hostname, created }): KeyLine => ({
    key: id,
    user: username,
    host: hostname,
    created,
    current: id === inUse,
    fingerprint: fingerprintOf(repository.config.id, id),
  }));
  return {
    type: "summary",
    verb: "key",
    action,
    repository: repositoryName,
    repositoryId: repository.config.id,
    keys: lines,
    damaged: damaged.map(({ id, reason }) => ({ name: id, message: reason })),
    added: added ?? null,
    removed: removed ?? null,
    staleKit: removed === undefined ? null : fingerprintOf(repository.config.id, removed),
    renewedKits: [],
    files: [],
    findings: removed === undefined ? [] : [staleKit(repository, removed)],
  };
}

function staleKit(repository: Repository, removed: FileId): Finding {
  return {
    kind: "kit-stale",
    level: "note",
    message: `recovery kits with the fingerprint ${fingerprintOf(repository.config.id, removed)} (key ${shortId(removed)}) open this repository no more`,
    hint: "Write a new one with 'chatkeep kit --with-password --out kit', print it, delete its files, and destroy the old paper.",
  };
}
