/**
 * Puts a Redis in order whose database was exchanged, and back: caches go, jobs and drafts of the other database are renamed,
 * never deleted. Nobody else is connected meanwhile. Each step may be done again: what is done is seen.
 */
import {
  asideKey,
  asideName,
  asidePattern,
  type AsideSpace,
  BROWSER_KEY_SECONDS,
  browserKeysOf,
  CHATWOOT_KEYS,
  fateOf,
  isDraft,
  ONBOARDING_KEY,
  QUEUE_KEYS,
  SIDEKIQ_SETS,
} from "../chatwoot/redis-keys.ts";
import { isFailure } from "../base/errors.ts";
import type { RedisCommand, RedisReply, RedisSession } from "../system/redis.ts";

/** How much of it there is. */
export interface RedisContents {
  /** Of Sidekiq, waiting, for later, or to be tried again. */
  readonly jobs: number;
  readonly drafts: number;
  /** Keys of caches and locks, and of what browsers keep. */
  readonly caches: number;
  /** Whoever opens Chatwoot may make the first administrator. */
  readonly hasOnboarding: boolean;
}

/** Keys that say something of the database, some at a time. */
async function* keysOf(session: RedisSession): AsyncGenerator<string[]> {
  for (const pattern of [CHATWOOT_KEYS, QUEUE_KEYS]) {
    for await (const keys of session.scan(pattern)) yield keys.filter((key) => fateOf(key) !== "leave");
  }
  yield [...SIDEKIQ_SETS];
}

/** Looks, and changes nothing. */
export async function countContents(session: RedisSession): Promise<RedisContents> {
  // Redis may name a key twice.
  const seen = new Set<string>();
  for await (const keys of keysOf(session)) keys.forEach((key) => seen.add(key));
  const keys = [...seen];
  return {
    jobs: await countJobs(session, keys.filter(isOfSidekiq)),
    drafts: keys.filter(isDraft).length,
    caches: keys.filter((key) => fateOf(key) === "drop" || fateOf(key) === "renew").length,
    hasOnboarding: seen.has(ONBOARDING_KEY),
  };
}

function isOfSidekiq(key: string): boolean {
  return !key.startsWith("alfred:");
}

/** @param names Of keys of Sidekiq's, wherever they are now; what is none of its kinds counts for none. */
async function countJobs(session: RedisSession, names: readonly string[]): Promise<number> {
  const types = await session.pipeline(names.map((name) => ["TYPE", name] as const));
  const counts = names.flatMap((name, at): RedisCommand[] => {
    if (types[at] === "list") return [["LLEN", name]];
    return types[at] === "zset" ? [["ZCARD", name]] : [];
  });
  return (await session.pipeline(counts)).reduce<number>((sum, count) => sum + Number(count), 0);
}

export interface HygieneOptions {
  /** The id of the restore: what it puts aside bears it. */
  readonly restore: string;
  /** Ids of all accounts of the database that is there now. */
  readonly accounts: readonly string[];
  /** Milliseconds since 1970. */
  readonly now: number;
}

/** Makes Redis fit the database that is there now. */
export async function cleanRedis(session: RedisSession, { restore, accounts, now }: HygieneOptions): Promise<void> {
  for await (const keys of keysOf(session)) {
    await putAside(
      session,
      keys.filter((key) => fateOf(key) === "aside"),
      { space: "before", restore },
    );
    await dropAndRenew(session, keys, now);
  }
  await renew(session, accounts.flatMap(browserKeysOf), now);
}

/** Caches are made anew; browsers are told that what they have is old, which a key that is gone would not. */
async function dropAndRenew(session: RedisSession, keys: readonly string[], now: number): Promise<void> {
  await session.pipeline(keys.filter((key) => fateOf(key) === "drop").map((key) => ["DEL", key] as const));
  await renew(
    session,
    keys.filter((key) => fateOf(key) === "renew"),
    now,
  );
}

async function renew(session: RedisSession, keys: readonly string[], now: number): Promise<void> {
  const seconds = String(Math.floor(now / 1000));
  await session.pipeline(keys.map((key) => ["SET", key, seconds, "EX", String(BROWSER_KEY_SECONDS)] as const));
}

/** What is there is never written over: a name that is taken has a number put to it. */
async function putAside(
  session: RedisSession,
  keys: readonly string[],
  place: { space: AsideSpace; restore: string },
): Promise<void> {
  let left = keys;
  for (let turn = 0; left.length > 0; turn += 1) {
    const moved = await rename(
      session,
      left.map((key) => [key, asideName(key, { ...place, turn })] as const),
    );
    left = left.filter((_, at) => moved[at] === false);
  }
}

/** False where the new name is taken; a key that is not there, or is gone by now, is as good as renamed. */
async function rename(session: RedisSession, pairs: readonly (readonly [string, string])[]): Promise<boolean[]> {
  const outcomes = await session.tryPipeline(pairs.map((pair) => ["RENAMENX", ...pair] as const));
  return outcomes.map((outcome) => {
    if (!isFailure(outcome)) return outcome === 1;
    if (/no such key/.test(outcome.message)) return true;
    throw outcome;
  });
}

/** What a restore has put aside, some keys at a time. */
async function* asideOf(
  session: RedisSession,
  { space, restore }: { space: AsideSpace; restore: string },
): AsyncGenerator<{ name: string; key: string; turn: number }[]> {
  for await (const names of session.scan(asidePattern(space, restore))) {
    yield names.flatMap((name) => {
      const was = asideKey(name);
      return was === undefined ? [] : [{ name, ...was }];
    });
  }
}

/** How much lies aside. */
export async function countAside(
  session: RedisSession,
  place: { space: AsideSpace; restore: string },
): Promise<Omit<RedisContents, "caches">> {
  const all = new Map<string, string>();
  for await (const found of asideOf(session, place)) for (const { name, key } of found) all.set(name, key);
  const keys = [...all.values()];
  return {
    jobs: await countJobs(
      session,
      [...all].filter(([, key]) => isOfSidekiq(key)).map(([name]) => name),
    ),
    drafts: keys.filter(isDraft).length,
    hasOnboarding: keys.includes(ONBOARDING_KEY),
  };
}

/** First half of the way back: what was written since a restore belongs to its database, and is put aside in its turn. */
export async function putAsideSince(session: RedisSession, restore: string): Promise<void> {
  for await (const keys of keysOf(session)) {
    await putAside(
      session,
      keys.filter((key) => fateOf(key) === "aside"),
      { space: "after", restore },
    );
  }
}

/**
 * Second half: what {@link cleanRedis} put aside has its name again, and caches go once more. Not to be done before
 * {@link putAsideSince} is done as a whole. What came aside twice stays there, but for the first.
 */
export async function putBack(session: RedisSession, { restore, accounts, now }: HygieneOptions): Promise<void> {
  for await (const found of asideOf(session, { space: "before", restore })) {
    const first = found.filter(({ turn }) => turn === 0);
    await rename(
      session,
      first.map(({ name, key }) => [name, key] as const),
    );
  }
  for await (const keys of keysOf(session)) await dropAndRenew(session, keys, now);
  await renew(session, accounts.flatMap(browserKeysOf), now);
}

/** Deletes for good what a restore, and its rollback, put aside. Returns how many keys. */
export async function discardAside(session: RedisSession, restore: string): Promise<number> {
  let count = 0;
  for (const space of ["before", "after"] as const) {
    for await (const found of asideOf(session, { space, restore })) {
      const gone: RedisReply[] = await session.pipeline(found.map(({ name }) => ["UNLINK", name] as const));
      count += gone.filter((reply) => reply === 1).length;
    }
  }
  return count;
}
