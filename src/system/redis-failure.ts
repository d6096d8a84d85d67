/** What goes wrong with a Redis, as a failure: in one line, and with what to do. */
import { Failure, messageOf } from "../base/errors.ts";

export interface FailingPlace {
  /** For people: where it is. */
  readonly shown: string;
  readonly isSecure: boolean;
  /** Who is logged in as. */
  readonly user: string | undefined;
  readonly hasPassword: boolean;
  /** It has answered before: so whether it speaks TLS is no question. */
  readonly hasAnswered: boolean;
}

const START =
  "Is it running? On a machine 'systemctl status redis-server' says, in Compose 'docker compose ps redis', in a cluster 'kubectl get pods'.";

/** By the code of the system's error. */
const NO_WAY: Readonly<Record<string, { what: string; hint: string }>> = {
  ECONNREFUSED: { what: "nothing listens there", hint: START },
  ENOENT: { what: "there is no such socket", hint: START },
  EACCES: {
    what: "this user may not use the socket",
    hint: "Run Chatkeep as root, or as a member of the socket's group.",
  },
  ENOTFOUND: {
    what: "the name is not known here",
    hint: "Is it the name of a container or of a service of a cluster? Chatkeep has to run where the name is known.",
  },
  EAI_AGAIN: { what: "the name could not be looked up", hint: "Does this machine's name server answer?" },
  EHOSTUNREACH: { what: "there is no route to it", hint: "Look at the network between this machine and Redis." },
  ENETUNREACH: { what: "there is no route to it", hint: "Look at the network between this machine and Redis." },
  ETIMEDOUT: { what: "it did not answer in time", hint: "Is there a firewall in between?" },
  ECONNRESET: { what: "it cut the connection", hint: START },
  EPIPE: { what: "it cut the connection", hint: START },
};

/** What Redis begins an error with, and what that means for whoever asked. */
const REFUSALS: readonly [
  pattern: RegExp,
  code: "redis/denied" | "redis/failed" | "redis/unreachable",
  hint: string,
][] = [
  [
    /^NOAUTH/,
    "redis/denied",
    "Redis wants a password: name it as REDIS_PASSWORD in Chatwoot's environment. Chatwoot itself cannot work without it.",
  ],
  [
    /^WRONGPASS|invalid password/,
    "redis/denied",
    "REDIS_PASSWORD and REDIS_URL of Chatwoot's environment are not what this Redis was started with ('requirepass', an ACL).",
  ],
  [
    /AUTH <password> called without|no password is set/,
    "redis/denied",
    "This Redis has no password, and Chatwoot's environment names one: take REDIS_PASSWORD away, or set 'requirepass'.",
  ],
  [
    /^NOPERM/,
    "redis/denied",
    "The ACL of Redis does not give this user what is needed: SCAN, TYPE, GET, SET, DEL, EXPIRE, RENAME and the like on all keys.",
  ],
  [/^LOADING/, "redis/unreachable", "It is still reading its data: try again in a minute."],
  [/^MASTERDOWN/, "redis/unreachable", "This replica has lost its master: which of them is the master now?"],
  [
    /^READONLY/,
    "redis/failed",
    "This is a replica, which takes no writes: Chatwoot's environment has to name the master.",
  ],
  [
    /^MISCONF/,
    "redis/failed",
    "Redis cannot save its data, mostly because its disk is full, and refuses every write until it can: make room there.",
  ],
  [
    /^OOM/,
    "redis/failed",
    "Redis has reached its 'maxmemory': raise it, or see what fills it ('redis-cli --bigkeys').",
  ],
  [
    /^(?:MOVED|CROSSSLOT|ASK|CLUSTERDOWN)/,
    "redis/failed",
    "This is a Redis Cluster, which neither Chatwoot nor its Sidekiq can use: name a single Redis, or sentinels.",
  ],
  [/unknown command/, "redis/failed", "Somebody has disabled this command, or what answers is no Redis."],
  [
    /DB index is out of range/,
    "redis/failed",
    "REDIS_URL ends with a database's number that this Redis does not have.",
  ],
];

/** True while another try may succeed soon: it starts, or fails over. */
export function mayRecover(error: unknown): boolean {
  if (nameOf(error) === "ErrorReply") return /^(?:LOADING|MASTERDOWN)/.test(messageOf(error));
  const code = codeOf(error);
  return code === "ECONNREFUSED" || code === "ECONNRESET" || code === "ENOENT" || code === "EAI_AGAIN";
}

/** True for what Redis itself answered. */
export function isReply(error: unknown): error is Error {
  return nameOf(error) === "ErrorReply";
}

/** The library's classes by name: they are there only once it was loaded. */
function nameOf(error: unknown): string {
  for (let at: unknown = error; at instanceof Error; at = Object.getPrototypeOf(at)) {
    const { name } = at.constructor;
    if (name === "ErrorReply" || name.endsWith("TimeoutError") || name === "SocketClosedUnexpectedlyError") return name;
  }
  return "";
}

function codeOf(error: unknown): string {
  const code: unknown = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "string" ? code : "";
}

/** @param error Of the library, of the system or of Redis. */
export function redisFailure(error: unknown, place: FailingPlace): Failure {
  if (error instanceof Failure) return error;
  if (isReply(error)) return refused(error, place);
  const at = `Redis at ${place.shown}`;
  const said = messageOf(error);
  if (/certificate|self-signed|altnames/i.test(said)) {
    return new Failure("redis/unreachable", `${at} shows a certificate that cannot be trusted: ${said}`, {
      hint: "Does this machine know who signed it? REDIS_OPENSSL_VERIFY_MODE=none in Chatwoot's environment takes any.",
      cause: error,
    });
  }
  const isCut = nameOf(error) === "SocketClosedUnexpectedlyError" || codeOf(error) === "ECONNRESET";
  const isLate = nameOf(error).endsWith("TimeoutError");
  const known = NO_WAY[isLate ? "ETIMEDOUT" : isCut ? "ECONNRESET" : codeOf(error)];
  const mismatch = place.isSecure
    ? " REDIS_URL says 'rediss:', so it has to speak TLS."
    : " If it speaks TLS only, REDIS_URL has to say 'rediss:'.";
  return new Failure("redis/unreachable", `${at} cannot be reached: ${known?.what ?? said}`, {
    hint: `${known?.hint ?? START}${(isCut || isLate) && !place.hasAnswered ? mismatch : ""}`,
    cause: error,
  });
}

function refused(error: Error, { shown, user, hasPassword }: FailingPlace): Failure {
  // Redis repeats names and keys of a command, never a password.
  const said = error.message.split("\n")[0] ?? "";
  const [, code = "redis/failed" as const, hint = "Chatwoot's own log may say more of what this Redis refuses."] =
    REFUSALS.find(([pattern]) => pattern.test(said)) ?? [];
  const who =
    code === "redis/denied"
      ? ` (as ${user ?? "its default user"}, ${hasPassword ? "with" : "without"} a password)`
      : "";
  return new Failure(code, `Redis at ${shown} refuses${who}: ${said}`, { hint, cause: error });
}
