/**
 * A container of Azure Blob Storage. Every file is one Put Blob with its MD5, which Azure checks before the file appears.
 * Nothing is tried again here.
 */
import { createHash } from "node:crypto";
import { Agent as HttpAgent } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import { addAbortSignal, Readable } from "node:stream";
import { AnonymousCredential, BlobServiceClient, newPipeline, StorageSharedKeyCredential } from "@azure/storage-blob";
import { formatInstant, systemClock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { explainAzure, factsOf } from "./azure-errors.ts";
import type { Backend, ListedKey } from "./backend.ts";
import { type BucketLocation, notThere, objectName, parseBucketLocation, tooShort } from "./bucket-location.ts";
import { readAuthorities } from "./certificates.ts";
import type { RemotePlace } from "./open-store.ts";
import type { CallOptions } from "./store.ts";

type Environment = RemotePlace["env"];
type Credential = BlobServiceClient["credential"];

interface Account {
  /** With the SAS, where there is one. */
  readonly url: string;
  readonly credential: Credential;
}

const HINT =
  "Set AZURE_ACCOUNT_NAME and AZURE_ACCOUNT_KEY or AZURE_ACCOUNT_SAS, or AZURE_STORAGE_CONNECTION_STRING; managed identities are not supported yet.";

/** Opens no connection yet. @throws Failure `usage/invalid` for a location or credentials that cannot be used. */
export function openAzureBackend({ location, env, settings }: RemotePlace): Backend {
  const place = parseBucketLocation(location, "azure");
  const { url, credential } = readAccount(env);
  const kept = { keepAlive: true, maxSockets: settings.connections ?? LIMITS.storeConnections };
  const ca = readAuthorities(env, ["RESTIC_CACERT"]);
  const agents = { http: new HttpAgent(kept), https: new HttpsAgent({ ...kept, ...(ca && { ca }) }) };
  // Retries are made around the store, for every kind of place alike.
  const pipeline = newPipeline(credential, { retryOptions: { maxTries: 1 } });
  pipeline.factories.unshift({
    create: (next) => ({
      sendRequest: async (request) => {
        request.agent = request.url.startsWith("https:") ? agents.https : agents.http;
        return await next.sendRequest(request);
      },
    }),
  });
  return new AzureBackend(place, new BlobServiceClient(url, pipeline), agents);
}

/** restic's variables first, then the connection string that Azure's own tools read. */
function readAccount(env: Environment): Account {
  const { AZURE_ACCOUNT_NAME: name = "", AZURE_ACCOUNT_KEY: key = "", AZURE_ACCOUNT_SAS: sas = "" } = env;
  const { AZURE_STORAGE_CONNECTION_STRING: connection = "", AZURE_ENDPOINT_SUFFIX: suffix = "" } = env;
  if (name === "" && connection !== "") return readConnection(connection);
  if (name === "") throw new Failure("usage/invalid", "no Azure account is named", { hint: HINT });
  if (!/^[a-z0-9]{3,24}$/.test(name)) {
    throw new Failure("usage/invalid", "AZURE_ACCOUNT_NAME cannot be the name of a storage account", {
      hint: "It has 3 to 24 small letters and digits, and stands in the portal above the account's keys.",
    });
  }
  const url = `https://${name}.blob.${suffix === "" ? "core.windows.net" : suffix}`;
  if (!URL.canParse(url)) {
    throw new Failure("usage/invalid", "AZURE_ENDPOINT_SUFFIX is no suffix of host names", {
      hint: "Set it as core.windows.net or core.usgovcloudapi.net, or leave it out.",
    });
  }
  if (key !== "") return { url, credential: sharedKey(name, key) };
  if (sas === "") throw new Failure("usage/invalid", `no key for the Azure account '${name}'`, { hint: HINT });
  return { url: `${url}?${checkSas(sas.replace(/^\?/, ""))}`, credential: new AnonymousCredential() };
}

function sharedKey(name: string, key: string): StorageSharedKeyCredential {
  if (!/^[A-Za-z0-9+/]{4,}={0,2}$/.test(key)) {
    throw new Failure("usage/invalid", "AZURE_ACCOUNT_KEY is no key of a storage account", {
      hint: "A key is 88 characters of base64; an SAS belongs into AZURE_ACCOUNT_SAS.",
    });
  }
  return new StorageSharedKeyCredential(name, key);
}

/** Azure itself says no more than that it does not accept an SAS. */
function checkSas(sas: string): string {
  const parameters = new URLSearchParams(sas);
  if (!parameters.has("sig")) {
    throw new Failure("usage/invalid", "AZURE_ACCOUNT_SAS is no shared access signature", {
      hint: "It is the part of the SAS address behind '?', with 'sv=', 'se=' and 'sig=' in it.",
    });
  }
  // RFC 3339 in UTC, in any of its lengths: as texts they are in the order of time.
  const end = parameters.get("se") ?? "";
  if (/^\d{4}-\d\d-\d\d(T[\d:.]+Z)?$/.test(end) && end.slice(0, 16) < formatInstant(systemClock.now()).slice(0, 16)) {
    throw new Failure("store/denied", `the SAS in AZURE_ACCOUNT_SAS ended at ${end}`, {
      hint: "Make a new SAS and set it there.",
    });
  }
  return sas;
}

function readConnection(connection: string): Account {
  try {
    const { url, credential } = BlobServiceClient.fromConnectionString(connection);
    return { url, credential };
  } catch {
    // The SDK's words may hold parts of it.
    throw new Failure("usage/invalid", "AZURE_STORAGE_CONNECTION_STRING cannot be read", {
      hint: "Copy it whole from the portal: AccountName=…;AccountKey=…;EndpointSuffix=…, or with BlobEndpoint=….",
    });
  }
}

type GetOptions = CallOptions & { offset: number; length: number | undefined };

class AzureBackend implements Backend {
  readonly location: string;
  readonly #place: BucketLocation;
  readonly #container: ReturnType<BlobServiceClient["getContainerClient"]>;
  readonly #agents: { readonly http: HttpAgent; readonly https: HttpsAgent };

  constructor(place: BucketLocation, service: BlobServiceClient, agents: { http: HttpAgent; https: HttpsAgent }) {
    this.location = place.shown;
    this.#place = place;
    this.#container = service.getContainerClient(place.bucket);
    this.#agents = agents;
  }

  #blob(key: string) {
    return this.#container.getBlockBlobClient(objectName(this.#place, key));
  }

  async #ask<T>(what: string, signal: AbortSignal, call: (abortSignal: AbortSignal) => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    try {
      return await call(signal);
    } catch (error) {
      signal.throwIfAborted();
      throw explainAzure(error, { what, location: this.location, container: this.#place.bucket });
    }
  }

  async create({ signal }: CallOptions): Promise<void> {
    await this.#ask(`cannot make the container '${this.#place.bucket}'`, signal, async (abortSignal) => {
      try {
        if (await this.#container.exists({ abortSignal })) return;
        await this.#container.createIfNotExists({ abortSignal });
      } catch (error) {
        // An SAS for one container may not ask for it, nor make it; but it may write: what follows will tell.
        if (!/^Authorization(PermissionMismatch|Failure|ResourceTypeMismatch)$/.test(factsOf(error).code)) throw error;
      }
    });
  }

  async put(key: string, bytes: Buffer, { mustBeNew, signal }: CallOptions & { mustBeNew: boolean }): Promise<void> {
    const md5 = createHash("md5").update(bytes).digest();
    await this.#ask(`cannot write '${key}'`, signal, async (abortSignal) => {
      try {
        await this.#blob(key).upload(bytes, bytes.length, {
          abortSignal,
          blobHTTPHeaders: { blobContentType: "application/octet-stream", blobContentMD5: md5 },
          ...(mustBeNew ? { conditions: { ifNoneMatch: "*" } } : {}),
        });
      } catch (error) {
        const { code, status } = factsOf(error);
        if (!mustBeNew || !(code === "BlobAlreadyExists" || status === 412)) throw error;
      }
    });
  }

  async get(key: string, { offset, length, signal }: GetOptions): Promise<Buffer> {
    if (length === 0) return await this.#nothingAt(key, offset, signal);
    const read = await this.#ask(`cannot read '${key}'`, signal, async (abortSignal) => {
      try {
        const answer = await this.#blob(key).download(offset, length, { abortSignal, maxRetryRequests: 0 });
        return await readBody(answer.readableStreamBody, signal);
      } catch (error) {
        if (factsOf(error).status !== 416) throw error;
        return undefined;
      }
    });
    if (read === undefined && length === undefined) return await this.#nothingAt(key, offset, signal);
    if (read === undefined || (length !== undefined && read.length < length)) throw tooShort(key);
    return read;
  }

  /** No service gives a part without bytes: what matters is whether the file reaches that far. */
  async #nothingAt(key: string, offset: number, signal: AbortSignal): Promise<Buffer> {
    const found = await this.stat(key, { signal });
    if (found === undefined) throw notThere(key);
    if (found.sizeBytes < offset) throw tooShort(key);
    return Buffer.alloc(0);
  }

  async stat(key: string, { signal }: CallOptions): Promise<{ sizeBytes: number } | undefined> {
    try {
      const found = await this.#ask(
        `cannot look for '${key}'`,
        signal,
        async (abortSignal) => await this.#blob(key).getProperties({ abortSignal }),
      );
      return { sizeBytes: found.contentLength ?? 0 };
    } catch (error) {
      if (isFailure(error, "store/not-found")) return undefined;
      throw error;
    }
  }

  async *list(folder: string, { signal }: CallOptions): AsyncGenerator<ListedKey> {
    const prefix = `${objectName(this.#place, folder)}/`;
    const root = prefix.length - folder.length - 1;
    const pages = this.#container.listBlobsFlat({ prefix, abortSignal: signal }).byPage();
    for (let isFirst = true; ; isFirst = false) {
      const page = await this.#ask(`cannot list '${folder}'`, signal, async () => await pages.next()).catch(
        (error: unknown) => {
          // A place that is not made yet; a list that began is never taken for whole where it breaks off.
          if (isFailure(error, "store/not-found") && isFirst) return undefined;
          throw error;
        },
      );
      if (page === undefined || page.done === true) return;
      for (const { name, properties } of page.value.segment.blobItems) {
        yield { key: name.slice(root), sizeBytes: properties.contentLength ?? 0 };
      }
    }
  }

  async remove(key: string, { signal }: CallOptions): Promise<void> {
    await this.#ask(
      `cannot remove '${key}'`,
      signal,
      async (abortSignal) => await this.#blob(key).deleteIfExists({ abortSignal }),
    ).catch((error: unknown) => {
      if (!isFailure(error, "store/not-found")) throw error;
    });
  }

  /** Nothing is uploaded in parts, so nothing can be left unfinished. */
  async removeLeftovers(): Promise<number> {
    return 0;
  }

  async time({ signal }: CallOptions): Promise<number | undefined> {
    const found = await this.#ask(
      "cannot ask for the time",
      signal,
      async (abortSignal) => await this.#blob("config").getProperties({ abortSignal }),
    );
    return found.date?.getTime();
  }

  async close(): Promise<void> {
    this.#agents.http.destroy();
    this.#agents.https.destroy();
  }
}

/** All of an answer's bytes: the SDK makes an error of a connection that ends early. */
async function readBody(body: NodeJS.ReadableStream | undefined, signal: AbortSignal): Promise<Buffer> {
  if (!(body instanceof Readable)) return Buffer.alloc(0);
  addAbortSignal(signal, body);
  const pieces: Buffer[] = [];
  let read = 0;
  for await (const piece of body as AsyncIterable<Buffer>) {
    read += piece.length;
    if (read > LIMITS.unpackedMaxBytes) throw new Error("the file is longer than any that a repository has");
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}
