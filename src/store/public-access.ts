/**
 * Whether a place answers somebody who has no credentials: a bucket that was made public, a server whose passwords are
 * off. Only what was really answered counts; a refusal, a page of words, and a line that breaks all mean no.
 */
import { isFailure } from "../base/errors.ts";
import { isId } from "../base/ids.ts";
import type { Backend } from "./backend.ts";
import type { CallOptions } from "./store.ts";

export interface PublicAccess {
  readonly reads: boolean;
  readonly lists: boolean;
}

/** @param stranger The same place, asked without credentials. */
export async function publicAccessOf(
  own: Pick<Backend, "get">,
  stranger: Pick<Backend, "get" | "list">,
  { signal }: CallOptions,
): Promise<PublicAccess> {
  const whole = { offset: 0, length: undefined, signal };
  return {
    // A proxy may answer everybody with a page of its own.
    reads: await isAnswered(signal, async () => {
      const given = await stranger.get("config", whole);
      return given.length > 0 && given.equals(await own.get("config", whole));
    }),
    // A bucket that is not there is listed as empty.
    lists: await isAnswered(signal, async () => {
      for await (const { key } of stranger.list("keys", { signal })) if (isId(key.slice("keys/".length))) return true;
      return false;
    }),
  };
}

async function isAnswered(signal: AbortSignal, ask: () => Promise<boolean>): Promise<boolean> {
  try {
    return await ask();
  } catch (error) {
    signal.throwIfAborted();
    if (!isFailure(error)) throw error;
    return false;
  }
}
