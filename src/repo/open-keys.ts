/** From a password to the keys of a repository: which of its key files does it open, and is that key this repository's? */
import { hash } from "node:crypto";
import { Failure, isFailure, messageOf } from "../base/errors.ts";
import { parseFileId, shortId, type FileId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import type { RepositoryConfig } from "../format/config-file.ts";
import type { Keys } from "../format/crypto.ts";
import { openKeyFile } from "../format/key-file.ts";
import type { Store } from "../store/store.ts";
import { isDamage } from "./chunk.ts";

export interface OpenedKeys {
  keys: Keys;
  keyId: FileId;
  config: RepositoryConfig;
}

export interface OpenKeysOptions {
  password: string;
  /** The repository's config as these keys open it. @throws Failure `repo/damaged` when they do not. */
  openConfig: (keys: Keys) => Promise<RepositoryConfig>;
  signal: AbortSignal;
}

/**
 * Tries the key files, one after the other. One that opens and is another repository's is passed over while others are
 * left: somebody put it there, or put it in the place of the right one.
 * @throws Failure `repo/wrong-password`, `repo/damaged`, `repo/unsupported`, or of the store.
 */
export async function openKeys(store: Store, options: OpenKeysOptions): Promise<OpenedKeys | "no key files"> {
  const { password, openConfig, signal } = options;
  const unusable: Failure[] = [];
  const foreign: Failure[] = [];
  let tried = 0;
  for await (const { name } of store.list("keys", { signal })) {
    if (tried === LIMITS.keysTried) break;
    tried += 1;
    signal.throwIfAborted();
    let keys: Keys | undefined;
    let isItself = true;
    try {
      const bytes = await store.get({ kind: "keys", name }, { signal });
      isItself = hash("sha256", bytes) === name;
      keys = await openKeyFile(bytes, password);
    } catch (error) {
      // Another key file may do: this one is only spoken of when none does.
      if (!isDamage(error) && !isFailure(error, "repo/unsupported")) throw error;
      const code = isDamage(error) ? "repo/damaged" : "repo/unsupported";
      unusable.push(new Failure(code, keyProblem(name, messageOf(error))));
      continue;
    }
    if (keys === undefined) {
      // The right password does not open a key file that is damaged, so it must not be called wrong.
      if (!isItself) unusable.push(new Failure("repo/damaged", keyProblem(name, "it does not match its checksum")));
      continue;
    }
    try {
      return { keys, keyId: parseFileId(name), config: await openConfig(keys) };
    } catch (error) {
      if (!isFailure(error, "repo/damaged")) throw error;
      foreign.push(isItself ? error : replacedKey(name, error));
    }
  }
  if (tried === 0) return "no key files";
  const [other] = foreign;
  if (other !== undefined) throw other;
  const [first] = unusable;
  if (first !== undefined && unusable.length === tried) throw first;
  throw new Failure("repo/wrong-password", `the password does not open the repository in '${store.location}'`, {
    hint:
      first === undefined
        ? "Is it the password of this repository, without a space or line break too many?"
        : `It may belong to a key that cannot be read: ${first.message}.`,
  });
}

/**
 * The keys of a repository that somebody began to make and did not come to write the config of, where the password opens
 * them. The key file cannot be removed instead: it may be that of somebody who is just making one.
 */
export async function findBegunKeys(
  store: Store,
  { password, signal }: Pick<OpenKeysOptions, "password" | "signal">,
): Promise<Pick<OpenedKeys, "keys" | "keyId"> | undefined> {
  let tried = 0;
  for await (const { name } of store.list("keys", { signal })) {
    if (tried === LIMITS.keysTried) break;
    tried += 1;
    signal.throwIfAborted();
    try {
      const bytes = await store.get({ kind: "keys", name }, { signal });
      const keys = hash("sha256", bytes) === name ? await openKeyFile(bytes, password) : undefined;
      if (keys !== undefined) return { keys, keyId: parseFileId(name) };
    } catch (error) {
      if (!isDamage(error) && !isFailure(error, "repo/unsupported")) throw error;
    }
  }
  return undefined;
}

function keyProblem(name: string, why: string): string {
  return `key file ${shortId(name)} cannot be used: ${why}`;
}

function replacedKey(name: string, cause: Failure): Failure {
  return new Failure(
    "repo/damaged",
    `key file ${shortId(name)} is not what its name says, and its key is not this repository's`,
    { hint: "Put the file in 'keys' back from a copy of the repository, or use the password of another key.", cause },
  );
}
