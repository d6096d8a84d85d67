/** From Chatwoot's environment to the way to one of its storage services. */
import { bucketServiceOf, type BucketService, type Environment, type StorageService } from "../chatwoot/environment.ts";
import { newAccount } from "../store/limiting.ts";
import type { AzureSpec, GcsSpec, S3Spec, SourceSpec, VariableNames } from "./source.ts";

/** What Chatkeep's own configuration says of one service. */
export interface SourceSettings {
  /** Variables that count before Chatwoot's own, so that Chatkeep can read with other credentials. */
  readonly env?: Readonly<Record<string, string>>;
  /** Leave the credentials to the provider's own chain: the role of this machine. */
  readonly usesMachine?: boolean;
  /** Where the service answers, if not at its usual address. */
  readonly endpoint?: string | undefined;
  /** Bytes a second, at most. */
  readonly downloadRate?: number | undefined;
}

/** Why a service cannot be read at all. */
export interface Outage {
  readonly kind: "storage-not-read" | "storage-service-unknown";
  /** Goes on from the name of the service: `AWS_REGION is empty …`. */
  readonly why: string;
  readonly hint: string;
}

export type FoundSource = { readonly spec: SourceSpec } | { readonly outage: Outage };

const NAMES: Readonly<Record<string, VariableNames>> = {
  amazon: {
    credentials: "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    bucket: "S3_BUCKET_NAME",
    address: "AWS_REGION",
  },
  s3_compatible: {
    credentials: "STORAGE_ACCESS_KEY_ID and STORAGE_SECRET_ACCESS_KEY",
    bucket: "STORAGE_BUCKET_NAME",
    address: "STORAGE_ENDPOINT",
  },
  google: { credentials: "GCS_CREDENTIALS", bucket: "GCS_BUCKET", address: "GCS_BUCKET" },
  microsoft: {
    credentials: "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCESS_KEY",
    bucket: "AZURE_STORAGE_CONTAINER",
    address: "AZURE_STORAGE_ACCOUNT_NAME",
  },
};

/** Chatwoot needs them, and reading does without: the bucket tells its region, and a key file its project. */
const DISPENSABLE = new Set(["AWS_REGION", "GCS_PROJECT"]);
const CREDENTIALS = /_(KEY_ID|ACCESS_KEY|CREDENTIALS)$/;

/**
 * The way to a service that blobs name.
 * @param known The services that the installation was found to have.
 */
export function findSource(
  service: string,
  known: readonly StorageService[],
  environment: Environment,
  settings: SourceSettings = {},
): FoundSource {
  const found = known.find(({ serviceName }) => serviceName === service);
  if (found?.kind === "local") return { spec: { kind: "local", service, roots: found.roots } };
  const env = new Map([...environment, ...Object.entries(settings.env ?? {})]);
  const bucket = bucketServiceOf(env, service);
  if (bucket === undefined) return { outage: unknownService(service) };
  const lacking = bucket.missing.filter(
    (name) => !DISPENSABLE.has(name) && !(settings.usesMachine === true && CREDENTIALS.test(name)),
  );
  if (lacking.length > 0) return { outage: emptyVariables(lacking) };
  try {
    return { spec: specOf(bucket, env, settings) };
  } catch (error) {
    if (!(error instanceof Unusable)) throw error;
    return { outage: { kind: "storage-not-read", why: error.message, hint: error.hint } };
  }
}

function unknownService(service: string): Outage {
  if (service === "local") {
    return {
      kind: "storage-not-read",
      why: "it is not known which folder they are in",
      hint: "Name the folder as 'storage' under 'installation' in the configuration.",
    };
  }
  return {
    kind: "storage-service-unknown",
    why: "Chatwoot's own config/storage.yml has no service of that name",
    hint: "Chatwoot cannot show these files either, unless its config/storage.yml was changed. Were rows changed by hand? Correct service_name to where the files are: local, amazon, s3_compatible, google or microsoft.",
  };
}

function emptyVariables(names: readonly string[]): Outage {
  const list = names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${names.at(-1)}` : names.join("");
  return {
    kind: "storage-not-read",
    why: `${list} ${names.length > 1 ? "are" : "is"} empty in Chatwoot's environment`,
    hint: "Reading goes by each file's own service, also after new files go elsewhere: set them again, or give them to Chatkeep alone in the 'storage' section of its configuration (docs/storage.md).",
  };
}

/** A value of the environment that means nothing. */
class Unusable extends Error {
  readonly hint: string;

  constructor(message: string, hint: string) {
    super(message);
    this.hint = hint;
  }
}

function specOf(service: BucketService, env: Environment, settings: SourceSettings): SourceSpec {
  const names = NAMES[service.serviceName] ?? { credentials: "", bucket: "", address: "" };
  const { downloadRate } = settings;
  const common = {
    service: service.serviceName,
    bucket: service.bucket.trim(),
    names,
    ...(downloadRate === undefined ? {} : { limit: { bytesASecond: downloadRate, account: newAccount() } }),
  };
  const value = (name: string) => (env.get(name) ?? "").trim();
  if (service.kind === "s3") return s3Spec(common, value, settings);
  if (service.kind === "gcs") return gcsSpec(common, value, settings);
  return azureSpec(common, value, settings);
}

type Common = Pick<S3Spec, "service" | "bucket" | "names" | "limit">;
type Value = (name: string) => string;

function s3Spec(common: Common, value: Value, settings: SourceSettings): S3Spec {
  const isAmazon = common.service === "amazon";
  const prefix = isAmazon ? "AWS" : "STORAGE";
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]+$/.test(common.bucket)) {
    throw new Unusable(`${common.names.bucket} cannot be the name of a bucket`, "It is the bare name, without '/'.");
  }
  const region = value(`${prefix}_REGION`) || undefined;
  const endpoint = settings.endpoint ?? (isAmazon ? amazonEndpoint(region) : value("STORAGE_ENDPOINT"));
  const credentials = {
    accessKeyId: value(`${prefix}_ACCESS_KEY_ID`),
    secretAccessKey: value(`${prefix}_SECRET_ACCESS_KEY`),
  };
  return {
    ...common,
    kind: "s3",
    ...readEndpoint(endpoint, common.names.address),
    isAmazon: isAmazon && settings.endpoint === undefined,
    // Rails gives the text of the variable to Amazon's client, which takes a certificate for *.HOST to cover no dot.
    isPathStyle: /^(true|t|yes|on|1)$/i.test(value("STORAGE_FORCE_PATH_STYLE")) && !isAmazon,
    region,
    credentials: settings.usesMachine === true ? undefined : credentials,
  };
}

/** The region is anybody's text until the bucket tells its own. */
function amazonEndpoint(region = "us-east-1"): string {
  if (!/^[a-z0-9-]+$/.test(region)) throw new Unusable("AWS_REGION is no region", "It looks like eu-central-1.");
  return `https://s3.${region}.amazonaws.com${region.startsWith("cn-") ? ".cn" : ""}`;
}

/** @throws Unusable. A scheme may be left out, and there may be a path. */
function readEndpoint(endpoint: string, variable: string): Pick<S3Spec, "scheme" | "host" | "basePath"> {
  const text = /^[a-z][a-z0-9+.-]*:\/\//i.test(endpoint) ? endpoint : `https://${endpoint}`;
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== "" || url.search !== "") {
    throw new Unusable(`${variable} is not the address of a service`, "It looks like https://s3.example.com.");
  }
  return {
    scheme: url.protocol === "http:" ? "http" : "https",
    host: url.host,
    basePath: url.pathname.replace(/\/+$/, ""),
  };
}

function gcsSpec(common: Common, value: Value, settings: SourceSettings): GcsSpec {
  const emulator = value("STORAGE_EMULATOR_HOST") || undefined;
  const isAsked = emulator === undefined && settings.usesMachine !== true;
  return {
    ...common,
    kind: "gcs",
    key: isAsked ? readGoogleKey(value("GCS_CREDENTIALS")) : undefined,
    projectId: value("GCS_PROJECT") || undefined,
    emulator,
  };
}

/** The key's JSON, out of the quotes that Docker leaves around a value and with its line breaks where they were doubled. */
function readGoogleKey(text: string): string {
  const bare = /^(['"])([^]*)\1$/.exec(text)?.[2] ?? text;
  for (const candidate of [bare, bare.replaceAll('\\"', '"'), bare.replaceAll("\n", "\\n")]) {
    try {
      const key = JSON.parse(candidate) as { type?: unknown; private_key?: unknown } | null;
      if (typeof key !== "object" || typeof key?.type !== "string") continue;
      const { private_key: secret } = key;
      if (typeof secret === "string") key.private_key = secret.replaceAll("\\n", "\n");
      return JSON.stringify(key);
    } catch {
      // The next way of writing it; a parser's words may hold parts of the key.
    }
  }
  throw new Unusable(
    "GCS_CREDENTIALS is not the key of a service account",
    'It is the whole JSON of the key file on one line, in single quotes: GCS_CREDENTIALS=\'{"type": "service_account", …}\'.',
  );
}

function azureSpec(common: Common, value: Value, settings: SourceSettings): AzureSpec {
  const account = value("AZURE_STORAGE_ACCOUNT_NAME");
  if (!/^[a-z0-9]{3,24}$/.test(account)) {
    throw new Unusable(
      "AZURE_STORAGE_ACCOUNT_NAME cannot be the name of a storage account",
      "It has 3 to 24 small letters and digits, and stands in the portal above the account's keys.",
    );
  }
  const key = value("AZURE_STORAGE_ACCESS_KEY");
  if (!/^[A-Za-z0-9+/]{4,}={0,2}$/.test(key)) {
    throw new Unusable("AZURE_STORAGE_ACCESS_KEY is no key of a storage account", "A key is 88 characters of base64.");
  }
  return { ...common, kind: "azure", account, key, endpoint: settings.endpoint };
}
