/**
 * A session with a Redis: few commands, each answered or a {@link Failure} of the `redis/` codes in one line. It belongs to
 * one signal: when that is aborted, the session is cut, and whatever waits for it fails with the signal's reason.
 */
import { isIP } from "node:net";
import type { RedisClientOptions } from "@redis/client";
import { type Clock, systemClock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { tls } from "./late-modules.ts";
import { type FailingPlace, isReply, mayRecover, redisFailure } from "./redis-failure.ts";

export interface RedisAddress {
  /** Or the path of a socket, which begins with `/`; with sentinels the name of the master. */
  readonly host: string;
  readonly port: number;
  readonly isSecure: boolean;
  readonly isVerified: boolean;
  readonly database: number;
  readonly user?: string;
  readonly password?: string;
  /** `host:port` of each. */
  readonly sentinels: readonly string[];
  readonly sentinelPassword?: string;
}

/** Where a server that is named so is, as it is reached from here. */
export interface RedisWay {
  readonly host: string;
  readonly port: number;
  /** For people. */
  readonly through?: string;
}

export interface RedisOptions {
  readonly signal: AbortSignal;
  /** Where it is from here; without it, its name is good here, too. */
  readonly reach?: ((host: string, port: number) => RedisWay) | undefined;
  /** One that is starting or failing over is asked again for so long. */
  readonly patienceMs?: number;
  readonly clock?: Clock;
}

/** What our own sessions are called in the list of clients. */
export const OWN_NAME = "chatkeep";

/** What is used of the library's client. */
interface Client {
  connect(): Promise<unknown>;
  destroy(): void;
  sendCommand(args: string[]): Promise<unknown>;
  on(event: "error", listener: (error: Error) => void): unknown;
}

/** What Redis answers, with text as text. */
export type RedisReply = string | number | null | readonly RedisReply[];

/** A command with its arguments. */
export type RedisCommand = readonly [string, ...string[]];

export class RedisSession implements AsyncDisposable {
  /** For people: where it is, and how it is reached. */
  readonly shown: string;
  readonly #client: Client;
  readonly #place: FailingPlace;
  readonly #signal: AbortSignal;
  readonly #onAbort: () => void;

  /** Use {@link connectRedis}. */
  constructor(client: Client, place: FailingPlace, signal: AbortSignal) {
    this.shown = place.shown;
    this.#client = client;
    this.#place = place;
    this.#signal = signal;
    this.#onAbort = () => {
      destroy(client);
    };
    signal.addEventListener("abort", this.#onAbort, { once: true });
  }

  /** One command with its arguments. @throws Failure of the `redis/` codes, or the signal's reason. */
  async command(...args: RedisCommand): Promise<RedisReply> {
    const [reply] = await this.pipeline([args]);
    return reply ?? null;
  }

  /**
   * Several commands, sent without waiting between them. All are done, also when one of them is refused.
   * @throws Failure that says the first that was refused.
   */
  async pipeline(commands: readonly RedisCommand[]): Promise<RedisReply[]> {
    return (await this.tryPipeline(commands)).map((reply) => {
      if (reply instanceof Failure) throw reply;
      return reply;
    });
  }

  /** As {@link pipeline}, each with what came of it. @throws Failure only where the session is lost. */
  async tryPipeline(commands: readonly RedisCommand[]): Promise<(RedisReply | Failure)[]> {
    const replies: (RedisReply | Failure)[] = [];
    for (let from = 0; from < commands.length; from += LIMITS.redisPipeline) {
      replies.push(...(await this.#send(commands.slice(from, from + LIMITS.redisPipeline))));
    }
    return replies;
  }

  async #send(commands: readonly RedisCommand[]): Promise<(RedisReply | Failure)[]> {
    this.#signal.throwIfAborted();
    const sent = commands.map(async (args) => (await this.#client.sendCommand([...args])) as RedisReply);
    const answers = await answered(this.#client, Promise.allSettled(sent), LIMITS.redisAnswerMs);
    return answers.map((answer) => {
      if (answer.status === "fulfilled") return answer.value;
      this.#signal.throwIfAborted();
      const failure = redisFailure(answer.reason, this.#place);
      if (isReply(answer.reason)) return failure;
      throw failure;
    });
  }

  /** As {@link command}, or undefined where this Redis does not have it or this user may not. */
  async tryCommand(...args: RedisCommand): Promise<RedisReply | undefined> {
    try {
      return await this.command(...args);
    } catch (error) {
      if (isFailure(error) && isReply(error.cause)) return undefined;
      throw error;
    }
  }

  /** The keys of a pattern as they are found, some at a time: never the command KEYS, which holds up everybody. */
  async *scan(pattern: string): AsyncGenerator<string[]> {
    let cursor = "0";
    do {
      const reply = await this.command("SCAN", cursor, "MATCH", pattern, "COUNT", String(LIMITS.redisPipeline));
      const [next, keys] = Array.isArray(reply) ? (reply as readonly RedisReply[]) : [];
      if (typeof next !== "string" || !Array.isArray(keys)) throw this.#strange("SCAN");
      cursor = next;
      const found = (keys as readonly RedisReply[]).filter((key) => typeof key === "string");
      if (found.length > 0) yield found;
    } while (cursor !== "0");
  }

  #strange(command: string): Failure {
    return new Failure(
      "redis/failed",
      `what answers at ${this.shown} is no Redis: ${command} was not answered as it is`,
      {
        hint: "Look at REDIS_URL in Chatwoot's environment.",
      },
    );
  }

  // oxlint-disable-next-line typescript/require-await -- what a disposable has
  async [Symbol.asyncDispose](): Promise<void> {
    this.#signal.removeEventListener("abort", this.#onAbort);
    destroy(this.#client);
  }
}

/** The library throws where there is nothing left to cut. */
function destroy(client: Client): void {
  try {
    client.destroy();
  } catch {
    // It was closed already.
  }
}

/** Cuts the connection when no answer comes: a server that is stopped in the middle says nothing at all. */
async function answered<T>(client: Client, work: Promise<T>, withinMs: number): Promise<T> {
  const patience = AbortSignal.timeout(withinMs);
  const onTimeout = () => {
    destroy(client);
  };
  patience.addEventListener("abort", onTimeout, { once: true });
  try {
    return await work;
  } finally {
    patience.removeEventListener("abort", onTimeout);
  }
}

/**
 * Connects as Chatwoot does: by URL, TLS, or through sentinels.
 * @throws Failure `redis/unreachable` or `redis/denied`, in one line and with what to do; the signal's reason.
 */
export async function connectRedis(address: RedisAddress, options: RedisOptions): Promise<RedisSession> {
  const clock = options.clock ?? systemClock;
  const until = clock.monotonic() + (options.patienceMs ?? LIMITS.redisPatienceMs);
  for (;;) {
    try {
      return await connectOnce(address, options);
    } catch (error) {
      options.signal.throwIfAborted();
      const canWait = isFailure(error) && mayRecover(error.cause) && clock.monotonic() < until;
      if (!canWait) throw error;
      await clock.sleep(LIMITS.redisPollMs, options.signal);
    }
  }
}

async function connectOnce(address: RedisAddress, options: RedisOptions): Promise<RedisSession> {
  if (address.sentinels.length === 0) return await open(address, options);
  const master = await askSentinels(address, options);
  return await open({ ...address, ...master, sentinels: [] }, options);
}

/** The master, as the first sentinel that answers has it. */
async function askSentinels(address: RedisAddress, options: RedisOptions): Promise<{ host: string; port: number }> {
  let last: unknown;
  for (const sentinel of address.sentinels) {
    const [, host = "", port = ""] = /^(.*):(\d+)$/.exec(sentinel) ?? [];
    const { sentinelPassword: password } = address;
    const { isSecure, isVerified } = address;
    try {
      await using session = await open(
        {
          host,
          port: Number(port),
          isSecure,
          isVerified,
          database: 0,
          sentinels: [],
          ...(password === undefined ? {} : { password }),
        },
        options,
      );
      const reply = await session.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", address.host);
      const [at, atPort] = Array.isArray(reply) ? (reply as readonly RedisReply[]) : [];
      if (typeof at === "string" && typeof atPort === "string") return { host: at, port: Number(atPort) };
      last = new Failure("redis/failed", `the sentinel ${sentinel} knows no master with the name '${address.host}'`, {
        hint: "Look at REDIS_SENTINEL_MASTER_NAME in Chatwoot's environment, and at 'sentinel monitor' of the sentinels.",
      });
    } catch (error) {
      options.signal.throwIfAborted();
      last = error;
    }
  }
  throw last;
}

async function open(address: RedisAddress, { signal, reach }: RedisOptions): Promise<RedisSession> {
  signal.throwIfAborted();
  const isSocket = address.host.startsWith("/");
  const way = reach === undefined ? address : wayTo(address, reach);
  const place: FailingPlace = {
    shown: shownWay(address, way),
    isSecure: address.isSecure,
    user: address.user,
    hasPassword: address.password !== undefined,
    hasAnswered: false,
  };
  const { createClient } = await import("@redis/client");
  signal.throwIfAborted();
  const { user: username, password, database } = address;
  const client = createClient({
    // The protocol that every version of Redis speaks.
    RESP: 2,
    disableClientInfo: true,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(database === 0 ? {} : { database }),
    socket: {
      ...(isSocket ? { path: way.host } : { host: way.host, port: way.port }),
      ...(address.isSecure ? tlsOf(address) : {}),
      connectTimeout: LIMITS.redisConnectMs,
      reconnectStrategy: false,
    } as NonNullable<RedisClientOptions["socket"]>,
  }) as unknown as Client;
  // What is said here is said again by whatever waits; without a listener it would end the process.
  client.on("error", () => undefined);
  const session = new RedisSession(client, { ...place, hasAnswered: true }, signal);
  try {
    await answered(client, client.connect(), LIMITS.redisGreetingMs);
    await answered(client, client.sendCommand(["PING"]), LIMITS.redisGreetingMs);
  } catch (error) {
    await session[Symbol.asyncDispose]();
    signal.throwIfAborted();
    throw redisFailure(error, place);
  }
  // So that lists of clients, ours and an operator's, can tell who this is.
  await session.tryCommand("CLIENT", "SETNAME", OWN_NAME);
  return session;
}

/** @throws Failure `redis/unreachable` instead of a database's: the way is asked for in the same words. */
function wayTo({ host, port }: RedisAddress, reach: (host: string, port: number) => RedisWay): RedisWay {
  try {
    return reach(host, port);
  } catch (error) {
    if (!isFailure(error, "database/unreachable")) throw error;
    // What is said of an address of the database's own helps nobody here.
    const hint = (error.hint ?? "").split(/(?<=[.?])\s+/).filter((sentence) => !sentence.includes("database-url"));
    throw new Failure("redis/unreachable", error.message, {
      hint: hint.join(" ") || "Publish its port to this machine, or run Chatkeep where Chatwoot runs.",
      cause: error,
    });
  }
}

function tlsOf({ host, isVerified }: RedisAddress): object {
  return {
    tls: true,
    rejectUnauthorized: isVerified,
    // Whoever signed it may be known to this machine alone, which is where Ruby looks.
    ca: [...tls().getCACertificates("default"), ...tls().getCACertificates("system")],
    // It is called so, wherever it is reached.
    ...(isIP(host) === 0 ? { servername: host } : {}),
  };
}

function shownWay({ host, port }: RedisAddress, way: RedisWay): string {
  const shown = host.startsWith("/") ? host : `${host.includes(":") ? `[${host}]` : host}:${port}`;
  return way.through === undefined ? shown : `${shown} (${way.through})`;
}
