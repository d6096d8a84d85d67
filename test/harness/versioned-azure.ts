/**
 * A stand-in for Azure Blob Storage with versions and version-level immutability, which Azurite lacks: the requests that
 * Chatkeep makes, in this process and in memory, by Microsoft's documentation of them. It shows that we do as that says, and
 * no more. Whoever asks is believed; what a policy forbids is refused.
 */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { BlobServiceClient } from "@azure/storage-blob";

export interface BlobPolicy {
  readonly untilMs: number;
  readonly mode: "locked" | "unlocked";
}

export interface BlobVersion {
  readonly id: string;
  readonly bytes: Buffer;
  policy?: BlobPolicy | undefined;
}

export interface VersionedBlob {
  /** The oldest first. */
  readonly versions: BlobVersion[];
  /** False once it was deleted: then it has earlier versions only. */
  isThere: boolean;
}

export interface VersionedContainer {
  readonly blobs: Map<string, VersionedBlob>;
  hasImmutability: boolean;
  /** False for an account that keeps no versions. */
  hasVersions: boolean;
}

export interface VersionedAzure extends AsyncDisposable {
  readonly endpoint: string;
  readonly env: Readonly<Record<string, string>>;
  /** The official client, for what owners and intruders do past Chatkeep. */
  readonly client: BlobServiceClient;
  readonly containers: Map<string, VersionedContainer>;
  /** Method, path and query of each request since this was last emptied. */
  readonly requests: string[];
  /** Entries on a page of a list. */
  pageSize: number;
  createContainer(name: string, options?: { hasImmutability?: boolean; hasVersions?: boolean }): VersionedContainer;
  location(container: string, prefix?: string): string;
}

interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer | string;
}

/** Starts one; use it with `await using`. */
export async function startVersionedAzure(): Promise<VersionedAzure> {
  const containers = new Map<string, VersionedContainer>();
  const requests: string[] = [];
  const server = createServer((request, response) => {
    void (async () => {
      const sent = Buffer.concat((await Array.fromAsync(request)) as Buffer[]);
      if (!request.complete) return;
      requests.push(`${request.method} ${request.url}`);
      const { status, headers = {}, body = "" } = answerTo(request, sent, azure);
      response.writeHead(status, { "x-ms-version": "2025-01-05", ...headers });
      response.end(request.method === "HEAD" ? undefined : body);
    })().catch((error: unknown) => response.destroy(error as Error));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}/desk`;
  const key = Buffer.from("any key will do").toString("base64");
  const connection = `DefaultEndpointsProtocol=http;AccountName=desk;AccountKey=${key};BlobEndpoint=${endpoint};`;
  const azure: VersionedAzure = {
    endpoint,
    env: { AZURE_STORAGE_CONNECTION_STRING: connection },
    client: BlobServiceClient.fromConnectionString(connection),
    containers,
    requests,
    pageSize: 5000,
    createContainer(name, { hasImmutability = true, hasVersions = true } = {}) {
      const container = { blobs: new Map(), hasImmutability, hasVersions };
      containers.set(name, container);
      return container;
    },
    location: (container, prefix = "") => `azure:${container}:/${prefix}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
  return azure;
}

function refused(status: number, code: string): Answer {
  return {
    status,
    headers: { "x-ms-error-code": code, "Content-Type": "application/xml" },
    body: `<?xml version="1.0" encoding="utf-8"?><Error><Code>${code}</Code><Message>${code}.</Message></Error>`,
  };
}

function answerTo(request: IncomingMessage, sent: Buffer, azure: VersionedAzure): Answer {
  const url = new URL(request.url ?? "", "http://stand-in");
  const [, , containerName = "", ...rest] = url.pathname.split("/").map(decodeURIComponent);
  const name = rest.join("/");
  const container = azure.containers.get(containerName);
  if (container === undefined) {
    if (name !== "" || request.method !== "PUT") return refused(404, "ContainerNotFound");
    // A container that is made so has no version-level immutability.
    azure.createContainer(containerName, { hasImmutability: false });
    return { status: 201 };
  }
  if (name === "" && url.searchParams.get("comp") === "list") return list(container, url.searchParams, azure.pageSize);
  if (name === "") {
    const enabled = String(container.hasImmutability);
    return { status: 200, headers: { "x-ms-immutable-storage-with-versioning-enabled": enabled } };
  }
  if (request.method === "PUT") {
    if (url.searchParams.get("comp") === "immutabilityPolicies") return setPolicy(container, name, request);
    return put(container, name, sent, request);
  }
  const blob = container.blobs.get(name);
  const id = url.searchParams.get("versionid");
  const version = id === null ? currentOf(blob) : blob?.versions.find((one) => one.id === id);
  if (blob === undefined || version === undefined) return refused(404, "BlobNotFound");
  if (request.method === "DELETE") return remove(container, { name, blob, version, isByVersion: id !== null });
  return read(version, request.headers["x-ms-range"] ?? request.headers.range);
}

function currentOf(blob: VersionedBlob | undefined): BlobVersion | undefined {
  return blob?.isThere === true ? blob.versions.at(-1) : undefined;
}

let ticks = 0;

/** To 100 ns, and no two alike. */
function newVersionId(): string {
  ticks = (ticks + 1) % 10_000;
  return new Date().toISOString().replace("Z", `${String(ticks).padStart(4, "0")}Z`);
}

function policyIn({ headers }: IncomingMessage): BlobPolicy | undefined {
  const [until, mode] = [headers["x-ms-immutability-policy-until-date"], headers["x-ms-immutability-policy-mode"]];
  if (typeof until !== "string") return undefined;
  return { untilMs: Date.parse(until), mode: String(mode).toLowerCase() === "locked" ? "locked" : "unlocked" };
}

function put(container: VersionedContainer, name: string, bytes: Buffer, request: IncomingMessage): Answer {
  const policy = policyIn(request);
  if (policy !== undefined && !container.hasImmutability) return refused(409, "ImmutabilityPolicyNotSupported");
  const md5 = createHash("md5").update(bytes).digest("base64");
  const told = request.headers["x-ms-blob-content-md5"];
  if (told !== undefined && told !== md5) return refused(400, "Md5Mismatch");
  const blob = container.blobs.get(name) ?? { versions: [], isThere: false };
  if (request.headers["if-none-match"] === "*" && blob.isThere) return refused(409, "BlobAlreadyExists");
  const version = { id: newVersionId(), bytes, policy };
  if (!container.hasVersions) blob.versions.length = 0;
  blob.versions.push(version);
  blob.isThere = true;
  container.blobs.set(name, blob);
  return { status: 201, headers: { "x-ms-version-id": version.id } };
}

function setPolicy(container: VersionedContainer, name: string, request: IncomingMessage): Answer {
  const blob = container.blobs.get(name);
  const id = new URL(request.url ?? "", "http://stand-in").searchParams.get("versionid");
  const version = id === null ? currentOf(blob) : blob?.versions.find((one) => one.id === id);
  const policy = policyIn(request);
  if (version === undefined) return refused(404, "BlobNotFound");
  if (policy === undefined || !container.hasImmutability) return refused(409, "ImmutabilityPolicyNotSupported");
  const isLocked = version.policy?.mode === "locked";
  if (isLocked && (policy.mode !== "locked" || policy.untilMs < (version.policy?.untilMs ?? 0))) {
    return refused(409, "ImmutabilityPolicyCannotBeShortened");
  }
  version.policy = policy;
  return { status: 200 };
}

interface Removal {
  readonly name: string;
  readonly blob: VersionedBlob;
  readonly version: BlobVersion;
  readonly isByVersion: boolean;
}

/** Without a version's name what is there becomes an earlier version. */
function remove(container: VersionedContainer, { name, blob, version, isByVersion }: Removal): Answer {
  if (isByVersion && version === currentOf(blob)) return refused(403, "OperationNotAllowedOnRootBlob");
  if (isByVersion || !container.hasVersions) {
    if ((version.policy?.untilMs ?? 0) > Date.now()) return refused(409, "BlobImmutableDueToPolicy");
    if (version === currentOf(blob)) blob.isThere = false;
    blob.versions.splice(blob.versions.indexOf(version), 1);
    if (blob.versions.length === 0) container.blobs.delete(name);
  } else blob.isThere = false;
  return { status: 202 };
}

function read({ id, bytes, policy }: BlobVersion, range: string | string[] | undefined): Answer {
  const headers = {
    "Last-Modified": new Date(id).toUTCString(),
    Date: new Date().toUTCString(),
    ETag: `"${id}"`,
    "x-ms-version-id": id,
    "x-ms-blob-type": "BlockBlob",
    ...(policy === undefined
      ? {}
      : {
          "x-ms-immutability-policy-until-date": new Date(policy.untilMs).toUTCString(),
          "x-ms-immutability-policy-mode": policy.mode,
        }),
  };
  const [, from = "", to = ""] = /^bytes=(\d+)-(\d*)$/.exec(String(range ?? "")) ?? [];
  if (from === "") return { status: 200, headers: { ...headers, "Content-Length": String(bytes.length) }, body: bytes };
  if (Number(from) >= bytes.length) return refused(416, "InvalidRange");
  const part = bytes.subarray(Number(from), to === "" ? undefined : Number(to) + 1);
  return {
    status: 206,
    headers: {
      ...headers,
      "Content-Length": String(part.length),
      "Content-Range": `bytes ${from}-${Number(from) + part.length - 1}/${bytes.length}`,
    },
    body: part,
  };
}

function list({ blobs, hasVersions }: VersionedContainer, query: URLSearchParams, pageSize: number): Answer {
  const prefix = query.get("prefix") ?? "";
  const include = (query.get("include") ?? "").split(",");
  const entries: string[] = [];
  for (const name of [...blobs.keys()].toSorted()) {
    const blob = blobs.get(name);
    if (blob === undefined || !name.startsWith(prefix)) continue;
    const current = currentOf(blob);
    const told = include.includes("versions") ? blob.versions : current === undefined ? [] : [current];
    for (const version of told) {
      entries.push(entryOf(name, version, { hasVersions, isCurrent: version === current, include }));
    }
  }
  const start = Number(query.get("marker") ?? 0);
  const next = start + pageSize < entries.length ? String(start + pageSize) : "";
  const inside = entries.slice(start, start + pageSize).join("");
  return {
    status: 200,
    headers: { "Content-Type": "application/xml" },
    body: `<?xml version="1.0" encoding="utf-8"?><EnumerationResults ContainerName="c"><Blobs>${inside}</Blobs><NextMarker>${next}</NextMarker></EnumerationResults>`,
  };
}

function entryOf(
  name: string,
  { id, bytes, policy }: BlobVersion,
  { hasVersions, isCurrent, include }: { hasVersions: boolean; isCurrent: boolean; include: readonly string[] },
): string {
  const version = hasVersions
    ? `<VersionId>${id}</VersionId>${isCurrent ? "<IsCurrentVersion>true</IsCurrentVersion>" : ""}`
    : "";
  const kept =
    policy === undefined || !include.includes("immutabilitypolicy")
      ? ""
      : `<ImmutabilityPolicyUntilDate>${new Date(policy.untilMs).toUTCString()}</ImmutabilityPolicyUntilDate><ImmutabilityPolicyMode>${policy.mode}</ImmutabilityPolicyMode>`;
  const properties = `<Last-Modified>${new Date(id).toUTCString()}</Last-Modified><Etag>0x1</Etag><Content-Length>${bytes.length}</Content-Length><BlobType>BlockBlob</BlobType>${kept}`;
  return `<Blob><Name>${name}</Name>${version}<Properties>${properties}</Properties></Blob>`;
}
