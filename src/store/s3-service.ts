/**
 * The service behind a bucket: its clients, one for each region that was tried, and how it is called. Nothing is tried
 * again here, but for a bucket that turns out to lie in another region.
 */
import { GetBucketLocationCommand, S3Client } from "@aws-sdk/client-s3";
import { Failure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { readAuthorities } from "./certificates.ts";
import type { RemotePlace } from "./open-store.ts";
import { explainS3, factsOf, mayBeOtherRegion } from "./s3-errors.ts";
import { endpointOf, parseS3Location, type S3Location } from "./s3-location.ts";
import type { StoreSettings } from "./store.ts";

/** Amazon's oldest region, and what services that have none answer to. */
const ANY_REGION = "us-east-1";

type Environment = RemotePlace["env"];
export type S3Call<T> = (client: S3Client, http: { abortSignal: AbortSignal }) => Promise<T>;

/** @throws Failure `usage/invalid` for a location or credentials that cannot be used. */
export function openS3Service({ location, env, settings }: RemotePlace): S3Service {
  return connectS3(parseS3Location(location, env), env, settings);
}

/** The service of a bucket, wherever its location was read from. @throws Failure `usage/invalid` for half a key. */
export function connectS3(location: S3Location, env: Environment, settings: StoreSettings): S3Service {
  const credentials = credentialsOf(env);
  const authorities = readAuthorities(env, ["RESTIC_CACERT", "AWS_CA_BUNDLE"]);
  const maxSockets = settings.connections ?? LIMITS.storeConnections;
  const agent = { keepAlive: true, maxSockets };
  return new S3Service(
    location,
    (region, isSigned) =>
      new S3Client({
        region,
        endpoint: endpointOf(location, region),
        forcePathStyle: location.isPathStyle,
        ...(isSigned ? { ...(credentials === undefined ? {} : { credentials }), ...chainOf(env) } : UNSIGNED),
        // Retries are made around the store, for every kind of place alike.
        maxAttempts: 1,
        // Many compatible services know no CRC headers; the MD5 of `put` does the same.
        requestChecksumCalculation: "WHEN_REQUIRED",
        responseChecksumValidation: "WHEN_REQUIRED",
        expectContinueHeader: false,
        useDualstackEndpoint: false,
        useFipsEndpoint: false,
        requestHandler: {
          connectionTimeout: LIMITS.storeConnectMs,
          socketTimeout: LIMITS.storeSilenceMs,
          httpAgent: agent,
          httpsAgent: authorities === undefined ? agent : { ...agent, ca: authorities },
          // It would print about calls that wait for a connection, which is what `connections` is for.
          logger: SILENT,
        },
      }),
  );
}

/** Nobody: so that the SDK looks for no credentials either. */
const UNSIGNED = {
  credentials: { accessKeyId: "", secretAccessKey: "" },
  signer: { sign: async <T>(request: T): Promise<T> => request },
};

/** The SDK's chain reads this process's environment; what a repository's own environment names goes before it. */
function chainOf(env: Environment): Readonly<Record<string, string>> {
  const names = { profile: "AWS_PROFILE", filepath: "AWS_SHARED_CREDENTIALS_FILE", configFilepath: "AWS_CONFIG_FILE" };
  const entries = Object.entries(names).map(([option, name]) => [option, env[name] ?? ""] as const);
  return Object.fromEntries(entries.filter(([, value]) => value !== ""));
}

const ignore = (): void => {};
const SILENT = { trace: ignore, debug: ignore, info: ignore, warn: ignore, error: ignore };

/** Keys given outright, as restic's client looks for them; undefined leaves it to the SDK's own chain. */
function credentialsOf(env: Environment) {
  if ((env["RESTIC_AWS_ASSUME_ROLE_ARN"] ?? "") !== "") {
    throw new Failure("usage/invalid", "RESTIC_AWS_ASSUME_ROLE_ARN is restic's own way to take a role", {
      hint: "Write the role into a profile (role_arn, source_profile) of ~/.aws/config and name it in AWS_PROFILE.",
    });
  }
  const first = (...names: string[]) => names.map((name) => env[name] ?? "").find((value) => value !== "");
  const accessKeyId = first("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "MINIO_ACCESS_KEY");
  const secretAccessKey = first("AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "MINIO_SECRET_KEY");
  if (accessKeyId === undefined && secretAccessKey === undefined) return undefined;
  if (accessKeyId === undefined || secretAccessKey === undefined) {
    const missing = accessKeyId === undefined ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY";
    throw new Failure("usage/invalid", `one half of the S3 credentials is missing: ${missing} is not set`, {
      hint: "Set both, or neither and AWS_PROFILE.",
    });
  }
  const sessionToken = first("AWS_SESSION_TOKEN");
  return { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) };
}
export class S3Service {
  readonly place: S3Location;
  readonly #connect: (region: string, isSigned: boolean) => S3Client;
  readonly #isSigned: boolean;
  readonly #clients = new Map<string, S3Client>();
  #region: string;
  #finding: Promise<string | undefined> | undefined;

  constructor(
    place: S3Location,
    connect: (region: string, isSigned: boolean) => S3Client,
    { isSigned = true, region = place.region ?? ANY_REGION } = {},
  ) {
    this.place = place;
    this.#connect = connect;
    this.#isSigned = isSigned;
    this.#region = region;
  }

  /** The same service, asked without credentials; to be closed by itself. */
  unsigned(): S3Service {
    return new S3Service(this.place, this.#connect, { isSigned: false, region: this.#region });
  }

  /** As restic writes it, without secrets. */
  get location(): string {
    return this.place.shown;
  }

  /** Where the bucket lies, as far as is known now. */
  get region(): string {
    return this.#region;
  }

  /** Where a new bucket must be told its region; undefined where it must not. */
  get regionForNew(): string | undefined {
    return this.place.isAmazon && this.#region !== ANY_REGION ? this.#region : undefined;
  }

  /** The name of a key in the bucket. */
  key(key: string): string {
    return this.place.prefix === "" ? key : `${this.place.prefix}/${key}`;
  }

  object(key: string): { Bucket: string; Key: string } {
    return { Bucket: this.place.bucket, Key: this.key(key) };
  }

  close(): void {
    for (const client of this.#clients.values()) client.destroy();
    this.#clients.clear();
  }

  #client(region: string): S3Client {
    let client = this.#clients.get(region);
    if (client === undefined) {
      client = this.#connect(region, this.#isSigned);
      this.#clients.set(region, client);
    }
    return client;
  }

  /** Calls the service; once more where the bucket lies in another region than the one that was asked. */
  async ask<T>(what: string, signal: AbortSignal, call: S3Call<T>): Promise<T> {
    signal.throwIfAborted();
    const region = this.#region;
    try {
      return await call(this.#client(region), { abortSignal: signal });
    } catch (error) {
      signal.throwIfAborted();
      const other = await this.#otherRegion(error, region, signal);
      if (other === undefined) throw explainS3(error, this.location, what);
      this.#region = other;
    }
    try {
      return await call(this.#client(this.#region), { abortSignal: signal });
    } catch (error) {
      signal.throwIfAborted();
      throw explainS3(error, this.location, what);
    }
  }

  async #otherRegion(error: unknown, tried: string, signal: AbortSignal): Promise<string | undefined> {
    const facts = factsOf(error);
    if (!mayBeOtherRegion(facts)) return undefined;
    if (this.#region !== tried) return this.#region;
    this.#finding ??= facts.region === undefined ? this.#findRegion(signal) : Promise.resolve(facts.region);
    const found = await this.#finding;
    return found === tried ? undefined : found;
  }

  /** Undefined where the service does not say. */
  async #findRegion(signal: AbortSignal): Promise<string | undefined> {
    const command = new GetBucketLocationCommand({ Bucket: this.place.bucket });
    try {
      const { LocationConstraint } = await this.#client(ANY_REGION).send(command, { abortSignal: signal });
      // The two answers that Amazon gives for its oldest regions.
      if (LocationConstraint === undefined) return ANY_REGION;
      return LocationConstraint === "EU" ? "eu-west-1" : LocationConstraint;
    } catch (error) {
      return factsOf(error).region;
    }
  }
}
