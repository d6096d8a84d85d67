/**
 * A stand-in for the few requests of Google Cloud Storage's JSON API that Chatkeep makes, in this process and in
 * memory: uploads with their MD5 and preconditions, reading with ranges, listing by pages, deleting; and for what a
 * browser asks for, an object by its public address. Nobody else's server of that API can be installed here, so it shows that we do as Google's documentation says, and no more.
 */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface TestGs extends AsyncDisposable {
  readonly endpoint: string;
  /** Where the stand-in is, as environment variables. */
  readonly env: Readonly<Record<string, string>>;
  /** What lies there: the objects of every bucket by name. */
  readonly buckets: Map<string, Map<string, Buffer>>;
  /** What the header of that name must be; undefined lets everybody in. */
  authorization: string | undefined;
  /** What every bucket says of itself, or that it may not be asked. */
  metadata: object | "forbidden";
  /** Waited for before each answer. */
  gate: () => Promise<void>;
  /** Of the next part of an upload it takes no more than so many bytes, as Google may. */
  takesOfPart: number;
  /** So many requests so far. */
  requests: number;
  location(bucket: string, prefix?: string): string;
  stop(): Promise<void>;
}

/** An upload in parts, by the name of its session. */
interface Session {
  readonly bucket: string;
  readonly name: string;
  readonly mustBeNew: boolean;
  readonly contentType: string | undefined;
  bytes: Buffer;
}

/** What is told of an object that is to be made. */
interface Sent {
  readonly name: string;
  readonly md5Hash?: string;
  readonly contentType?: string;
}

interface InBucket {
  readonly bucketName: string;
  readonly bucket: Map<string, Buffer>;
  readonly query: URLSearchParams;
  readonly gs: Pick<TestGs, "takesOfPart">;
}

/** The content type that an object was made with. */
const types = new WeakMap<Buffer, string>();

const sessions = new Map<string, Session>();

interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer | object;
}

const PAGE = 1000;

/** Starts one; use it with `await using`, or call `stop`. */
export async function startGs(): Promise<TestGs> {
  const buckets = new Map<string, Map<string, Buffer>>();
  const server = createServer((request, response) => {
    const { authorization } = gs;
    gs.requests += 1;
    if (authorization !== undefined && request.headers.authorization !== authorization) {
      request.resume();
      response.writeHead(401, { "content-type": "application/json" }).end(JSON.stringify(LOG_IN.body));
      return;
    }
    void handle(request, response, gs).catch((error: unknown) => response.destroy(error as Error));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const stop = async () => {
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  };
  const gs: TestGs = {
    endpoint,
    authorization: undefined,
    metadata: {},
    gate: async () => {},
    takesOfPart: Number.POSITIVE_INFINITY,
    requests: 0,
    env: { STORAGE_EMULATOR_HOST: endpoint, GOOGLE_PROJECT_ID: "desk" },
    buckets,
    location: (bucket, prefix = "") => `gs:${bucket}:/${prefix}`,
    stop,
    [Symbol.asyncDispose]: stop,
  };
  return gs;
}

async function handle(
  request: IncomingMessage,
  response: ServerResponse,
  gs: Pick<TestGs, "buckets" | "metadata" | "gate" | "takesOfPart">,
): Promise<void> {
  const sent = Buffer.concat((await Array.fromAsync(request)) as Buffer[]);
  if (!request.complete) return;
  await gs.gate();
  const { status, headers = {}, body = {} } = answerTo(request, sent, gs);
  const bytes = Buffer.isBuffer(body) ? body : Buffer.from(status === 204 ? "" : JSON.stringify(body));
  response.writeHead(status, { "Content-Length": bytes.length, ...headers }).end(bytes);
}

function failure(status: number, reason: string, message: string): Answer {
  return { status, body: { error: { code: status, message, errors: [{ reason, message }] } } };
}

const LOG_IN = failure(401, "required", "Anonymous caller does not have storage.objects.get access.");
const FORBIDDEN = failure(403, "forbidden", "The account does not have storage.buckets.get access.");
const THERE = failure(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.");
const NO_BUCKET = failure(404, "notFound", "The specified bucket does not exist.");

function answerTo(
  request: IncomingMessage,
  sent: Buffer,
  gs: Pick<TestGs, "buckets" | "metadata" | "takesOfPart">,
): Answer {
  const { buckets, metadata } = gs;
  const url = new URL(request.url ?? "", "http://stand-in");
  const query = url.searchParams;
  const [, upload, rest = ""] = /^(\/upload)?\/storage\/v1\/b(.*)$/.exec(url.pathname) ?? [];
  const [, bucketName = "", kind, object] = rest.split("/").map(decodeURIComponent);
  if (rest === "" && request.method === "POST") {
    const { name } = JSON.parse(sent.toString()) as { name: string };
    if (buckets.has(name)) return failure(409, "conflict", "You already own this bucket.");
    if (!query.has("project")) return failure(400, "required", "Required parameter: project");
    buckets.set(name, new Map());
    return { status: 200, body: { name } };
  }
  if (rest === "" && request.method === "GET") return publicObject(url.pathname, buckets);
  const bucket = buckets.get(bucketName);
  if (bucket === undefined) return NO_BUCKET;
  if (kind === undefined) {
    return metadata === "forbidden" ? FORBIDDEN : { status: 200, body: { name: bucketName, ...metadata } };
  }
  if (query.get("uploadType") === "resumable") return inParts(request, sent, { bucketName, bucket, query, gs });
  if (upload !== undefined) return store(request, sent, bucket, query);
  if (object === undefined) return list(bucket, query);
  const bytes = bucket.get(object);
  if (bytes === undefined) return failure(404, "notFound", `No such object: ${bucketName}/${object}`);
  if (request.method === "DELETE") {
    bucket.delete(object);
    return { status: 204 };
  }
  if (query.get("alt") !== "media") return { status: 200, body: resourceOf(object, bytes) };
  const generation = generationOf(bytes);
  const wanted = query.get("ifGenerationMatch") ?? generation;
  if (wanted !== generation) {
    return THERE;
  }
  return read(bytes, request.headers.range);
}

/** As at `https://storage.googleapis.com/BUCKET/OBJECT`. */
function publicObject(path: string, buckets: Map<string, Map<string, Buffer>>): Answer {
  const [, bucketName = "", object = ""] = path.split("/").map(decodeURIComponent);
  const bytes = buckets.get(bucketName)?.get(object);
  return bytes === undefined ? { status: 404 } : { status: 200, body: bytes };
}

function store(request: IncomingMessage, sent: Buffer, bucket: Map<string, Buffer>, query: URLSearchParams): Answer {
  const boundary = /boundary=(\S+)/.exec(request.headers["content-type"] ?? "")?.[1] ?? "";
  const headEnd = sent.indexOf("\r\n\r\n") + 4;
  const second = sent.indexOf(`\r\n--${boundary}\r\n`, headEnd);
  const { name, md5Hash, contentType } = JSON.parse(sent.subarray(headEnd, second).toString()) as Sent;
  const start = sent.indexOf("\r\n\r\n", second + 2) + 4;
  const bytes = sent.subarray(start, sent.lastIndexOf(`\r\n--${boundary}--`));
  if (createHash("md5").update(bytes).digest("base64") !== md5Hash) {
    return failure(400, "invalid", "Provided MD5 hash does not match calculated MD5 hash.");
  }
  if (query.get("ifGenerationMatch") === "0" && bucket.has(name)) {
    return THERE;
  }
  return put(bucket, name, Buffer.from(bytes), contentType);
}

function put(bucket: Map<string, Buffer>, name: string, bytes: Buffer, contentType: string | undefined): Answer {
  bucket.set(name, bytes);
  if (contentType !== undefined) types.set(bytes, contentType);
  return { status: 200, body: resourceOf(name, bytes) };
}

function resourceOf(name: string, bytes: Buffer): object {
  const md5Hash = createHash("md5").update(bytes).digest("base64");
  return { name, size: String(bytes.length), md5Hash, contentType: types.get(bytes) };
}

/** A session is opened with the object's name, takes its parts in order, and makes the object of the last one. */
function inParts(request: IncomingMessage, sent: Buffer, { bucketName, bucket, query, gs }: InBucket): Answer {
  const id = query.get("upload_id");
  if (id === null) {
    const { name, contentType } = JSON.parse(sent.toString()) as Sent;
    const mustBeNew = query.get("ifGenerationMatch") === "0";
    if (mustBeNew && bucket.has(name)) return THERE;
    const session = `session-${sessions.size}`;
    sessions.set(session, { bucket: bucketName, name, mustBeNew, contentType, bytes: Buffer.alloc(0) });
    const path = `/upload/storage/v1/b/${bucketName}/o?uploadType=resumable&upload_id=${session}`;
    return { status: 200, headers: { location: `http://${request.headers.host}${path}` } };
  }
  const session = sessions.get(id);
  if (session === undefined || session.bucket !== bucketName) return failure(404, "notFound", "No such session.");
  if (request.method === "DELETE") {
    sessions.delete(id);
    // As Google says that an upload was given up.
    return { status: 499 };
  }
  const [, from = "0", , total = "0"] = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(request.headers["content-range"] ?? "") ?? [];
  if (Number(from) > session.bytes.length) return failure(400, "invalid", "A part is lacking.");
  // What has come already is passed over.
  session.bytes = Buffer.concat([session.bytes.subarray(0, Number(from)), sent.subarray(0, gs.takesOfPart)]);
  gs.takesOfPart = Number.POSITIVE_INFINITY;
  if (session.bytes.length < Number(total)) {
    if (sent.length % (256 * 1024) !== 0) return failure(400, "invalid", "Parts are multiples of 256 KiB.");
    return { status: 308, headers: { range: `bytes=0-${session.bytes.length - 1}` } };
  }
  // The condition holds for the moment in which the object comes to be.
  if (session.mustBeNew && bucket.has(session.name)) return THERE;
  return put(bucket, session.name, session.bytes, session.contentType);
}

function list(bucket: Map<string, Buffer>, query: URLSearchParams): Answer {
  const prefix = query.get("prefix") ?? "";
  const after = Buffer.from(query.get("pageToken") ?? "", "base64").toString();
  const names = [...bucket.keys()].filter((name) => name.startsWith(prefix) && name > after).toSorted();
  const items = names.slice(0, PAGE).map((name) => {
    return { name, ...resourceOf(name, bucket.get(name) ?? Buffer.alloc(0)) };
  });
  const last = items.at(-1);
  // Google leaves `items` out where there are none.
  return {
    status: 200,
    body: {
      ...(items.length === 0 ? {} : { items }),
      ...(names.length > PAGE && last !== undefined
        ? { nextPageToken: Buffer.from(last.name).toString("base64") }
        : {}),
    },
  };
}

/** Each content has its own, as each writing has at Google. */
function generationOf(bytes: Buffer): string {
  return String(createHash("md5").update(bytes).digest().readUInt32BE());
}

function read(bytes: Buffer, range: string | undefined): Answer {
  const [, from = "", to = ""] = /^bytes=(\d+)-(\d*)$/.exec(range ?? "") ?? [];
  const headers = { "x-goog-generation": generationOf(bytes) };
  if (from === "") return { status: 200, headers, body: bytes };
  if (Number(from) >= bytes.length)
    return failure(416, "requestedRangeNotSatisfiable", "Request range not satisfiable");
  const part = bytes.subarray(Number(from), to === "" ? undefined : Number(to) + 1);
  const contentRange = `bytes ${from}-${Number(from) + part.length - 1}/${bytes.length}`;
  return { status: 206, headers: { ...headers, "content-range": contentRange }, body: part };
}
