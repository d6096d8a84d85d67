/** Who is connected to a Redis: whether Chatwoot still is, and which part of it. */
import { OWN_NAME, type RedisSession } from "./redis.ts";

/** Someone who is connected to a Redis. */
export interface RedisClientSeen {
  /** What it calls itself; empty where it says nothing. */
  readonly name: string;
  /** `address:port` as Redis sees it. */
  readonly address: string;
  readonly connectedForSeconds: number;
  readonly idleForSeconds: number;
  /** The last command: `brpop` is Sidekiq waiting for jobs. */
  readonly command: string;
  /** What it says of its library; empty before Redis 7.2. */
  readonly library: string;
  /** What it is for Chatwoot, as far as that can be told. */
  readonly role: "worker" | "web" | "unknown";
}

/**
 * Who else is connected and uses our logical database, ourselves and replicas left out. Undefined where this Redis does not tell.
 * @throws Failure of the `redis/` codes.
 */
export async function redisClients(session: RedisSession, database: number): Promise<RedisClientSeen[] | undefined> {
  const reply = await session.tryCommand("CLIENT", "LIST");
  if (typeof reply !== "string") return undefined;
  return reply
    .split("\n")
    .map(
      (line) =>
        new Map(
          line
            .trim()
            .split(" ")
            .map((pair) => pairOf(pair)),
        ),
    )
    .filter((fields) => fields.has("id") && fields.get("db") === String(database))
    .filter((fields) => fields.get("name") !== OWN_NAME && !/[SMO]/.test(fields.get("flags") ?? ""))
    .map(seenOf);
}

function pairOf(pair: string): [string, string] {
  const at = pair.indexOf("=");
  return [pair.slice(0, at), pair.slice(at + 1)];
}

function seenOf(fields: ReadonlyMap<string, string>): RedisClientSeen {
  const text = (name: string) => fields.get(name) ?? "";
  const command = text("cmd");
  const says = `${text("name")} ${text("lib-name")}`;
  const isWorker = /sidekiq/i.test(says) || /^b[lr]/.test(command);
  // Action Cable listens for what is to be shown in browsers.
  const isWeb = /actioncable/i.test(says) || /subscribe/.test(command) || text("flags").includes("P");
  return {
    name: text("name"),
    address: text("addr"),
    connectedForSeconds: Number(text("age")),
    idleForSeconds: Number(text("idle")),
    command,
    library: text("lib-name"),
    role: isWorker ? "worker" : isWeb ? "web" : "unknown",
  };
}
