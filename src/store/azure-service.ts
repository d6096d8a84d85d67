/** The service behind a container, and how it is called. Nothing is tried again here. */
import type { Agent as HttpAgent } from "node:http";
import type { Agent as HttpsAgent } from "node:https";
import {
  AnonymousCredential,
  type BlobItem,
  BlobServiceClient,
  type BlockBlobClient,
  type ContainerClient,
  type ContainerListBlobsOptions,
  newPipeline,
  StorageSharedKeyCredential,
} from "@azure/storage-blob";
import { formatInstant, systemClock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { http, https } from "../system/late-modules.ts";
import { explainAzure } from "./azure-errors.ts";
import { type BucketLocation, objectName, parseBucketLocation } from "./bucket-location.ts";
import { readAuthorities } from "./certificates.ts";
import type { RemotePlace } from "./open-store.ts";

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
export function openAzureService({ location, env, settings }: RemotePlace): AzureService {
  const place = parseBucketLocation(location, "azure");
  const account = readAccount(env);
  const ca = readAuthorities(env, ["RESTIC_CACERT"]);
  return new AzureService(place, account, { connections: settings.connections ?? LIMITS.storeConnections, ca });
}

/** A container of an account that is named outright. @throws Failure `usage/invalid`. */
export function connectAzure(
  { bucket, shown }: Pick<BucketLocation, "bucket" | "shown">,
  { name, key, endpoint = "" }: { name: string; key: string; endpoint?: string | undefined },
  { connections, ca }: { connections: number; ca?: string[] | undefined },
): AzureService {
  const url = endpoint === "" ? addressOf(name, "") : endpoint;
  return new AzureService(
    { bucket, shown, prefix: "" },
    { url, credential: sharedKey(name, key) },
    { connections, ca },
  );
}

interface Connecting {
  readonly connections: number;
  /** PEM: the authorities that are believed; undefined for Node's own. */
  readonly ca: string[] | undefined;
}

interface Agents {
  readonly http: HttpAgent;
  readonly https: HttpsAgent;
}

function connect({ url, credential }: Account, { connections, ca }: Connecting) {
  const kept = { keepAlive: true, maxSockets: connections };
  const agents: Agents = { http: new (http().Agent)(kept), https: new (https().Agent)({ ...kept, ...(ca && { ca }) }) };
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
  return { client: new BlobServiceClient(url, pipeline), agents };
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
  const url = addressOf(name, suffix);
  if (!URL.canParse(url)) {
    throw new Failure("usage/invalid", "AZURE_ENDPOINT_SUFFIX is no suffix of host names", {
      hint: "Set it as core.windows.net or core.usgovcloudapi.net, or leave it out.",
    });
  }
  if (key !== "") return { url, credential: sharedKey(name, key) };
  if (sas === "") throw new Failure("usage/invalid", `no key for the Azure account '${name}'`, { hint: HINT });
  return { url: `${url}?${checkSas(sas.replace(/^\?/, ""))}`, credential: new AnonymousCredential() };
}

function addressOf(name: string, suffix: string): string {
  return `https://${name}.blob.${suffix === "" ? "core.windows.net" : suffix}`;
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

export class AzureService {
  /** As restic writes it. */
  readonly location: string;
  readonly place: BucketLocation;
  /** Of the whole account. */
  readonly client: BlobServiceClient;
  readonly container: ContainerClient;
  readonly #account: Account;
  readonly #connecting: Connecting;
  readonly #agents: Agents;

  constructor(place: BucketLocation, account: Account, connecting: Connecting) {
    const { client, agents } = connect(account, connecting);
    this.location = place.shown;
    this.place = place;
    this.client = client;
    this.container = client.getContainerClient(place.bucket);
    this.#account = account;
    this.#connecting = connecting;
    this.#agents = agents;
  }

  /** The same service, asked without credentials; to be closed by itself. */
  anonymous(): AzureService {
    const url = new URL(this.#account.url);
    // The SAS stands there.
    url.search = "";
    return new AzureService(this.place, { url: url.href, credential: new AnonymousCredential() }, this.#connecting);
  }

  blob(key: string): BlockBlobClient {
    return this.container.getBlockBlobClient(objectName(this.place, key));
  }

  async ask<T>(what: string, signal: AbortSignal, call: (abortSignal: AbortSignal) => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    try {
      return await call(signal);
    } catch (error) {
      signal.throwIfAborted();
      throw explainAzure(error, { what, location: this.location, container: this.place.bucket });
    }
  }

  /**
   * Pages of what the container lists. A container that is not there has none; a list that began is never taken for
   * whole where it breaks off.
   */
  async *pages(
    what: string,
    { signal, ...options }: Omit<ContainerListBlobsOptions, "abortSignal"> & { signal: AbortSignal },
  ): AsyncGenerator<readonly BlobItem[]> {
    const pages = this.container.listBlobsFlat({ ...options, abortSignal: signal }).byPage();
    for (let isFirst = true; ; isFirst = false) {
      const page = await this.ask(what, signal, async () => await pages.next()).catch((error: unknown) => {
        if (isFailure(error, "store/not-found") && isFirst) return undefined;
        throw error;
      });
      if (page === undefined || page.done === true) return;
      yield page.value.segment.blobItems;
    }
  }

  close(): void {
    this.#agents.http.destroy();
    this.#agents.https.destroy();
  }
}
