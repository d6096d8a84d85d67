/** One HTTP request of the REST protocol: its whole answer, or a failure that says what to do. */
import type { Agent as HttpAgent, IncomingHttpHeaders, IncomingMessage } from "node:http";
import type { Agent as HttpsAgent } from "node:https";
import { parseHttpDate } from "../base/clock.ts";
import { assert, Failure, messageOf } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { http, https } from "../system/late-modules.ts";
import { UNTRUSTED } from "./certificates.ts";

export interface RestCall {
  readonly method: "GET" | "HEAD" | "POST" | "PUT" | "DELETE";
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer;
  /** Of the answer; a longer one is a failure. */
  readonly maxBytes: number;
  readonly signal: AbortSignal;
}

export interface RestAnswer {
  readonly status: number;
  readonly type: string;
  /** As the server says it; undefined when it does not. */
  readonly length: number | undefined;
  readonly location: string | undefined;
  /** The header `Retry-After`. */
  readonly retryAfter: string | undefined;
  /** The server's clock, milliseconds since 1970. */
  readonly date: number | undefined;
  readonly bytes: Buffer;
  readonly headers: IncomingHttpHeaders;
}

export interface RestConnections {
  readonly connections: number;
  /** PEM: the authorities that are believed; undefined for Node's own. */
  readonly ca: string[] | undefined;
  readonly credentials: string | undefined;
}

export interface RestClient {
  ask(call: RestCall): Promise<RestAnswer>;
  close(): void;
}

/** Keeps connections; nothing is opened before the first call. */
export function createRestClient({ connections, ca, credentials }: RestConnections): RestClient {
  const kept = { keepAlive: true, maxSockets: connections };
  const agents = { "http:": new (http().Agent)(kept), "https:": new (https().Agent)({ ...kept, ...(ca && { ca }) }) };
  const own = {
    Accept: "application/vnd.x.restic.rest.v2",
    ...(credentials === undefined ? {} : { Authorization: `Basic ${Buffer.from(credentials).toString("base64")}` }),
  };
  return {
    async ask(call) {
      const isTls = call.url.protocol === "https:";
      const options = { agent: agents[isTls ? "https:" : "http:"], headers: { ...own, ...call.headers } };
      const answer = await exchange(call, options);
      if (answer !== undefined) return answer;
      const again = await exchange(call, { ...options, agent: false });
      assert(again !== undefined, "a new connection was an old one");
      return again;
    },
    close() {
      for (const agent of Object.values(agents)) agent.destroy();
    },
  };
}

interface ExchangeOptions {
  readonly agent: HttpAgent | HttpsAgent | false;
  readonly headers: Readonly<Record<string, string>>;
}

/** Undefined when the server closed a kept connection just as it was used again: then nothing has happened yet. */
async function exchange(call: RestCall, options: ExchangeOptions): Promise<RestAnswer | undefined> {
  const { method, url, body, signal } = call;
  signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<RestAnswer | undefined>();
  const start = url.protocol === "https:" ? https().request : http().request;
  const request = start(url, {
    ...options,
    method,
    signal,
    timeout: LIMITS.restIdleMs,
    headers: { ...options.headers, ...(body && { "Content-Length": body.length }) },
  });
  let hasAnswered = false;
  request.on("timeout", () => request.destroy(new Error("the server sends nothing")));
  request.on("error", (error) => {
    if (signal.aborted) reject(signal.reason);
    else if (request.reusedSocket && !hasAnswered && codeOf(error) === "ECONNRESET") resolve(undefined);
    else reject(connectionFailure(error, url));
  });
  request.on("response", (response) => {
    hasAnswered = true;
    readAnswer(response, call).then(resolve, (error: unknown) => {
      request.destroy();
      reject(signal.aborted ? signal.reason : connectionFailure(error, url));
    });
  });
  request.end(body);
  return await promise;
}

async function readAnswer(response: IncomingMessage, { method, maxBytes }: RestCall): Promise<RestAnswer> {
  const { headers, statusCode = 0 } = response;
  const length = headers["content-length"] === undefined ? undefined : Number(headers["content-length"]);
  const chunks: Buffer[] = [];
  let read = 0;
  for await (const chunk of response) {
    read += (chunk as Buffer).length;
    if (read > maxBytes) throw new Error(`the answer is longer than ${maxBytes} bytes`);
    chunks.push(chunk as Buffer);
  }
  if (method !== "HEAD" && length !== undefined && read !== length) throw new Error("the answer was cut off");
  return {
    status: statusCode,
    type: headers["content-type"] ?? "",
    length,
    location: headers.location,
    retryAfter: headers["retry-after"],
    date: parseHttpDate(headers.date ?? ""),
    bytes: Buffer.concat(chunks),
    headers,
  };
}

function codeOf(error: unknown): string {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  return typeof code === "string" ? code : "";
}

function connectionFailure(error: unknown, url: URL): Failure {
  if (error instanceof Failure) return error;
  const code = codeOf(error);
  if (UNTRUSTED.test(code)) {
    // Node's advice to its own users is none for ours.
    const why = messageOf(error).replace(/; if the root CA is installed.*$/, "");
    return new Failure("store/denied", `the certificate of '${url.host}' cannot be trusted: ${why}`, {
      hint: "Where the server has a CA of its own, name its certificate (PEM) in RESTIC_CACERT; else somebody may stand between.",
      cause: error,
    });
  }
  if (code === "EPROTO" || code.startsWith("ERR_SSL")) {
    return new Failure("usage/invalid", `'${url.host}' does not speak TLS as it should`, {
      hint: "Does the location say https: where the server speaks plain http:?",
      cause: error,
    });
  }
  const why = code === "" ? messageOf(error) : (WORDS[code] ?? messageOf(error));
  return new Failure("store/unreachable", `no answer from '${url.host}': ${why}`, {
    hint: "Is the address right, the server up, and the network between?",
    cause: error,
  });
}

const WORDS: Readonly<Record<string, string>> = {
  ENOTFOUND: "no such host",
  EAI_AGAIN: "its name cannot be looked up now",
  ECONNREFUSED: "the connection was refused",
  ECONNRESET: "the connection was cut",
  ETIMEDOUT: "the connection took too long",
};
