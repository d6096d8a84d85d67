/**
 * One HTTP request to a place that is told something: bounded in time and length, through the proxy that the environment
 * names. Nothing that is said of it holds its address, which is a secret for most of these places: only its host.
 */
import type { IncomingMessage } from "node:http";
import { Failure, messageOf } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { parseRetryAfter } from "../base/retry-after.ts";
import { http, https } from "../system/late-modules.ts";

export interface HttpCall {
  readonly method: "GET" | "POST";
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

export interface HttpTools {
  readonly signal: AbortSignal;
  /** `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` are looked for here. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** How long one request may take. */
  readonly limitMs?: number;
}

interface Answer {
  status: number;
  location: string | undefined;
  retryAfter: string | undefined;
  text: string;
}

/** Statuses that may pass by themselves. */
const PASSING = new Set([408, 425, 429]);
/** Redirects that keep the method. */
const KEEPING = new Set([307, 308]);
const REDIRECTS = new Set([301, 302, 303, ...KEEPING]);

/**
 * Sends it, and follows a few redirects: what was to be posted only to where the same is asked for, nothing from https to
 * http, and credentials of a header to no other host.
 * @throws Failure `notice/failed` for what may pass by itself, `notice/refused` for what does not.
 */
export async function send(call: HttpCall, tools: HttpTools): Promise<void> {
  const limit = AbortSignal.timeout(tools.limitMs ?? LIMITS.noticeMs);
  const signal = AbortSignal.any([tools.signal, limit]);
  let at = call;
  for (let turn = 0; turn <= LIMITS.noticeRedirects; turn += 1) {
    const answer = await exchange(at, { ...tools, signal }).catch((error: unknown) => {
      tools.signal.throwIfAborted();
      const why = limit.aborted ? "no answer in time" : reason(error);
      throw new Failure("notice/failed", `${at.url.host} cannot be reached: ${why}`, {
        hint: "Is the address right, and may this machine reach it?",
        cause: error,
      });
    });
    if (answer.status >= 200 && answer.status < 300) return;
    if (!REDIRECTS.has(answer.status)) throw refusal(at.url, answer);
    at = redirected(at, answer);
  }
  throw new Failure("notice/refused", `${call.url.host} sends from one address to the next without end`, {
    hint: "Name the address that it leads to.",
  });
}

function reason(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  const message = messageOf(error).split("\n")[0] ?? "";
  return message === "" ? (code ?? "the connection failed") : message;
}

function refusal(url: URL, { status, text, retryAfter }: Answer): Failure {
  const said = text.trim().replaceAll(/\s+/g, " ").slice(0, 200);
  const message = `${url.host} answered ${status}${said === "" ? "" : `: ${said}`}`;
  if (status < 500 && !PASSING.has(status)) {
    return new Failure("notice/refused", message, {
      hint: "Address, token or chat is wrong, or was taken away: compare it with what the service shows.",
    });
  }
  return new Failure("notice/failed", message, {
    hint: "The service has trouble of its own.",
    retryAfterMs: parseRetryAfter(retryAfter),
  });
}

function redirected(call: HttpCall, { status, location }: Answer): HttpCall {
  const next = location === undefined ? null : URL.parse(location, call.url);
  const isDowngrade = next?.protocol !== "https:" && call.url.protocol === "https:";
  const isOther = call.method === "POST" && !KEEPING.has(status);
  if (next === null || !/^https?:$/.test(next.protocol) || isDowngrade || isOther) {
    throw new Failure("notice/refused", `${call.url.host} answered ${status} and leads elsewhere`, {
      hint: "Name the address that it leads to; nothing is posted there unasked.",
    });
  }
  if (next.origin === call.url.origin) return { ...call, url: next };
  const headers = Object.entries(call.headers ?? {}).filter(([name]) => name.toLowerCase() !== "authorization");
  return { ...call, url: next, headers: Object.fromEntries(headers) };
}

async function exchange({ method, url, headers, body }: HttpCall, { signal, env }: HttpTools): Promise<Answer> {
  const client = url.protocol === "https:" ? https() : http();
  // Node older than 24.5 knows no proxies here and connects directly.
  const agent = new client.Agent({ proxyEnv: env });
  const bytes = body === undefined ? undefined : Buffer.from(body, "utf8");
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  try {
    const request = client.request(url, {
      agent,
      method,
      signal,
      headers: { "User-Agent": "chatkeep", ...headers, ...(bytes && { "Content-Length": bytes.length }) },
    });
    request.on("error", reject);
    request.on("response", (response) => {
      readAnswer(response).then(resolve, reject);
    });
    request.end(bytes);
    return await promise;
  } finally {
    agent.destroy();
  }
}

/** Of what it says no more is read than a person would. */
async function readAnswer(response: IncomingMessage): Promise<Answer> {
  const { statusCode = 0, headers } = response;
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of response) {
    pieces.push(piece as Buffer);
    bytes += (piece as Buffer).length;
    if (bytes > LIMITS.noticeAnswerBytes) break;
  }
  return {
    status: statusCode,
    location: headers.location,
    retryAfter: headers["retry-after"],
    text: Buffer.concat(pieces).toString("utf8"),
  };
}
