/**
 * A repository behind restic's REST protocol, version 2 (restic's doc/REST_backend.rst): rest-server, and
 * `rclone serve restic` for every other cloud. The server knows no folders within `data`.
 */
import { mapConcurrent } from "../base/concurrent.ts";
import { Failure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { Backend, ListedKey } from "./backend.ts";
import { readAuthorities } from "./certificates.ts";
import type { RemotePlace } from "./open-store.ts";
import { type PublicAccess, publicAccessOf } from "./public-access.ts";
import { parseRestLocation, type RestPlace } from "./rest-location.ts";
import { createRestClient, type RestAnswer, type RestCall, type RestClient } from "./rest-request.ts";
import { parseRetryAfter } from "../base/retry-after.ts";
import type { CallOptions } from "./store.ts";

const SECOND_VERSION = "application/vnd.x.restic.rest.v2";
/** What a server says about a failure, or with a success of which only the status counts. */
const WORDS_BYTES = 64 * 1024;

/** Opens no connection yet. @throws Failure `usage/invalid` also for a certificate file that cannot be read. */
export function openRestBackend({ location, env, settings }: RemotePlace): Backend {
  const place = parseRestLocation(location, env);
  const ca = readAuthorities(env, ["RESTIC_CACERT"]);
  const connections = settings.connections ?? LIMITS.restConnections;
  return new RestBackend(place, (credentials) => createRestClient({ connections, ca, credentials }));
}

type GetOptions = CallOptions & { offset: number; length: number | undefined };

class RestBackend implements Backend {
  readonly location: string;
  readonly isNarrow = true;
  readonly #place: RestPlace;
  readonly #root: URL;
  readonly #connect: (credentials: string | undefined) => RestClient;
  readonly #client: RestClient;
  readonly #hasCredentials: boolean;

  constructor(place: RestPlace, connect: (credentials: string | undefined) => RestClient) {
    this.location = place.shown;
    this.#place = place;
    this.#root = place.url;
    this.#hasCredentials = place.credentials !== undefined;
    this.#connect = connect;
    this.#client = connect(place.credentials);
  }

  #urlOf(key: string): URL {
    return new URL(key.replace(/^data\/[0-9a-f]{2}\//, "data/"), this.#root);
  }

  async #ask(method: RestCall["method"], key: string, call: Omit<RestCall, "method" | "url">): Promise<RestAnswer> {
    return await this.#client.ask({ method, url: this.#urlOf(key), ...call });
  }

  async create({ signal }: CallOptions): Promise<void> {
    const answer = await this.#ask("POST", "?create=true", { body: Buffer.alloc(0), maxBytes: WORDS_BYTES, signal });
    this.#expect(answer, [200, 201], `making the repository '${this.location}'`);
  }

  async put(key: string, bytes: Buffer, { mustBeNew, signal }: CallOptions & { mustBeNew: boolean }): Promise<void> {
    const headers = { "Content-Type": "application/octet-stream" };
    const answer = await this.#ask("POST", key, { headers, body: bytes, maxBytes: WORDS_BYTES, signal });
    // A server that never writes over a file refuses one that is there: another writer was first.
    if (answer.status === 403 || answer.status === 409) {
      const found = await this.stat(key, { signal });
      if (found !== undefined && (mustBeNew || found.sizeBytes === bytes.length)) return;
    }
    this.#expect(answer, [200, 201], `writing '${key}'`);
  }

  async get(key: string, options: GetOptions): Promise<Buffer> {
    const { offset, length, signal } = options;
    if (length === 0 || (length !== undefined && length > LIMITS.unpackedMaxBytes)) {
      // No request asks for nothing; and a length that comes from a damaged file is not asked for either.
      const found = await this.stat(key, { signal });
      if (found === undefined) throw notThere(key);
      if (length !== 0 || offset > found.sizeBytes) throw tooShort(key);
      return Buffer.alloc(0);
    }
    const isWhole = offset === 0 && length === undefined;
    const end = length === undefined ? "" : offset + length - 1;
    const headers: Record<string, string> = isWhole ? {} : { Range: `bytes=${offset}-${end}` };
    const answer = await this.#ask("GET", key, { headers, maxBytes: LIMITS.unpackedMaxBytes, signal });
    const isBeyond = answer.status === 416 || (answer.status === 206 && answer.bytes.length === 0);
    if (isBeyond) return await this.#atEnd(key, options);
    this.#expect(answer, isWhole ? [200] : [200, 206], `reading '${key}'`);
    // A server without ranges sends all of it.
    const from = answer.status === 206 ? 0 : offset;
    if (from > answer.bytes.length) throw tooShort(key);
    const part = answer.bytes.subarray(from, length === undefined ? undefined : from + length);
    if (length !== undefined && part.length < length) throw tooShort(key);
    return part;
  }

  /** A range that begins where the file ends is empty; one beyond is none. */
  async #atEnd(key: string, { offset, length, signal }: GetOptions): Promise<Buffer> {
    const found = await this.stat(key, { signal });
    if (found === undefined) throw notThere(key);
    if (length !== undefined || offset !== found.sizeBytes) throw tooShort(key);
    return Buffer.alloc(0);
  }

  async stat(key: string, { signal }: CallOptions): Promise<{ sizeBytes: number } | undefined> {
    const answer = await this.#ask("HEAD", key, { maxBytes: WORDS_BYTES, signal });
    if (answer.status === 404) return undefined;
    this.#expect(answer, [200], `looking at '${key}'`);
    if (answer.length === undefined || !Number.isSafeInteger(answer.length)) {
      throw new Failure("store/unreachable", `the server does not say how long '${key}' is`);
    }
    return { sizeBytes: answer.length };
  }

  async *list(folder: string, { signal }: CallOptions): AsyncGenerator<ListedKey> {
    const answer = await this.#ask("GET", `${folder}/`, { maxBytes: LIMITS.restListMaxBytes, signal });
    // A folder in which nothing was written yet.
    if (answer.status === 404) return;
    this.#expect(answer, [200], `listing '${folder}'`);
    const keyOf = (name: string) => (folder === "data" ? `data/${name.slice(0, 2)}/${name}` : `${folder}/${name}`);
    const entries = parseList(answer, folder);
    const files = await mapConcurrent(
      entries,
      LIMITS.restConnections,
      async ({ name, size }) => {
        const key = keyOf(name);
        const sizeBytes = size ?? (await this.stat(key, { signal }))?.sizeBytes;
        return sizeBytes === undefined ? [] : [{ key, sizeBytes }];
      },
      { signal },
    );
    yield* files.flat();
  }

  async remove(key: string, { signal }: CallOptions): Promise<void> {
    const answer = await this.#ask("DELETE", key, { maxBytes: WORDS_BYTES, signal });
    if (answer.status !== 404) this.#expect(answer, [200, 204], `removing '${key}'`);
  }

  /** The server keeps its own. */
  async removeLeftovers(): Promise<number> {
    return 0;
  }

  async time({ signal }: CallOptions): Promise<number | undefined> {
    return (await this.#ask("HEAD", "config", { maxBytes: WORDS_BYTES, signal })).date;
  }

  /** Not for a server that is asked without credentials anyway: its owner wanted it so. */
  async publicAccess(options: CallOptions): Promise<PublicAccess | undefined> {
    if (!this.#hasCredentials) return undefined;
    const stranger = new RestBackend({ ...this.#place, credentials: undefined }, this.#connect);
    try {
      return await publicAccessOf(this, stranger, options);
    } finally {
      await stranger.close();
    }
  }

  async close(): Promise<void> {
    this.#client.close();
  }

  #expect({ status, location, retryAfter }: RestAnswer, wanted: readonly number[], doing: string): void {
    if (wanted.includes(status)) return;
    const { host } = this.#root;
    if (status === 404) throw new Failure("store/not-found", `not there: ${doing}`);
    if (status === 401) {
      throw new Failure(
        "store/denied",
        `'${host}' ${this.#hasCredentials ? "refuses the user or the password" : "wants a user and a password"}`,
        {
          hint: "Set RESTIC_REST_USERNAME and RESTIC_REST_PASSWORD, or write them into the location.",
        },
      );
    }
    if (status === 403 || status === 405) {
      throw new Failure("store/denied", `'${host}' does not allow it: ${doing}`, {
        hint: doing.startsWith("removing")
          ? "The server is append-only, or this user may not remove: that is for someone with other rights to do."
          : "Ask the server's owner which repositories this user may read and write.",
      });
    }
    if (status === 413 || status === 507) {
      throw new Failure("store/full", `no space left while ${doing}`, {
        hint: "Free space where the repository lies, or point to a larger place; what was saved before is intact.",
      });
    }
    if (status >= 300 && status < 400) {
      throw new Failure("usage/invalid", `'${host}' sends requests elsewhere (status ${status})`, {
        hint:
          location === undefined
            ? "Write the server's own address."
            : `Write the address that it names: ${withoutUser(location)}`,
      });
    }
    throw new Failure("store/unreachable", `'${host}' answered with status ${status} while ${doing}`, {
      hint:
        status >= 500 || status === 429
          ? "Look at the server's log."
          : "Is this the address of a REST server for restic?",
      retryAfterMs: parseRetryAfter(retryAfter),
    });
  }
}

function withoutUser(location: string): string {
  return location
    .replace(/\/\/[^/]*@/, "//")
    .replaceAll(/[^\x21-\x7e]/g, "")
    .slice(0, 200);
}

function notThere(key: string): Failure {
  return new Failure("store/not-found", `not there: reading '${key}'`);
}

function tooShort(key: string): Failure {
  return new Failure("store/not-found", `'${key}' is shorter than it should be`);
}

/** Names, and of the second version the sizes too. */
function parseList(answer: RestAnswer, folder: string): { name: string; size: number | undefined }[] {
  const hasSizes = answer.type.startsWith(SECOND_VERSION);
  let list: unknown;
  try {
    list = JSON.parse(answer.bytes.toString("utf8"));
  } catch (error) {
    throw noList(folder, error);
  }
  // Go writes an empty list so.
  if (list === null) return [];
  if (!Array.isArray(list)) throw noList(folder);
  return list.map((entry: unknown) => {
    const { name, size } = (hasSizes ? entry : { name: entry }) as { name?: unknown; size?: unknown };
    if (typeof name !== "string" || (hasSizes && !(Number.isSafeInteger(size) && Number(size) >= 0)))
      throw noList(folder);
    return { name, size: hasSizes ? Number(size) : undefined };
  });
}

function noList(folder: string, cause?: unknown): Failure {
  return new Failure("store/unreachable", `what the server sent is no list of '${folder}'`, {
    hint: "Is this the address of a REST server for restic?",
    cause,
  });
}
