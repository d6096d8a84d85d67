/** The Redis of an installation, as it is reached from here. */
import { Failure } from "../base/errors.ts";
import { connectRedis, type RedisOptions, type RedisSession } from "../system/redis.ts";
import type { Installation } from "./installation.ts";

/**
 * Connects to the Redis that the application uses.
 * @throws Failure of the `redis/` codes, in one line and with what to do; `installation/invalid` where its environment names none.
 */
export async function openRedis(
  { redis, reach }: Pick<Installation, "redis" | "reach">,
  options: Omit<RedisOptions, "reach">,
): Promise<RedisSession> {
  if (redis === undefined) {
    throw new Failure("installation/invalid", "REDIS_URL in Chatwoot's environment is not the URL of a Redis", {
      hint: "It should look like redis://:password@host:6379 (rediss: with TLS).",
    });
  }
  return await connectRedis(redis, { ...options, reach });
}
