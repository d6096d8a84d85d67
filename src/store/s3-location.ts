/** Reads an `s3:` location as restic reads it, and decides how its service is spoken to. */
import { posix } from "node:path";
import { Failure } from "../base/errors.ts";

export interface S3Location {
  /** `s3:` and the rest, as it was written. */
  readonly shown: string;
  readonly scheme: "http" | "https";
  /** With its port, where one was given. */
  readonly host: string;
  /** What stands between the host and the buckets, with '/' before it; most services have nothing there. */
  readonly basePath?: string;
  readonly bucket: string;
  /** Without '/' at either end; may be empty. */
  readonly prefix: string;
  /** Amazon's own service, or another that speaks like it. */
  readonly isAmazon: boolean;
  /** The region that the host or the environment names. */
  readonly region: string | undefined;
  /** The bucket stands in the path, not in the host's name. */
  readonly isPathStyle: boolean;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** `s3.amazonaws.com`, `s3.REGION.amazonaws.com`, `s3-REGION.…`, dual-stack and FIPS forms, China's, and VPC endpoints. */
const AMAZON =
  /(?:^|\.)s3(?:-fips|-accelerate)?(?:[.-]dualstack)?(?:[.-]([a-z0-9-]+))?(?:\.vpce)?\.amazonaws\.com(?:\.cn)?$/;
/** Amazon's plain hosts, whose name follows from the region. */
const AMAZON_PLAIN = /^s3(?:[.-][a-z0-9-]+)?\.amazonaws\.com(\.cn)?$/;
/** Other services that want the bucket in the host's name, as restic's client has them. */
const BUCKET_IN_HOST = /(?:^|\.)storage\.googleapis\.com$|(?:^|\.)aliyuncs\.com$/;
const HINT = "Write s3:HOST/BUCKET/PREFIX or s3:https://HOST:PORT/BUCKET/PREFIX; the prefix may be left out.";

/** @throws Failure `usage/invalid` for what is no such location. */
export function parseS3Location(location: string, env: Environment): S3Location {
  const { scheme, host, path } = splitLocation(location);
  const [bucket = "", ...rest] = path.split("/");
  if (host === "" || !/^[\w.-]+(:\d+)?$|^\[[\da-f:.]+\](:\d+)?$/i.test(host)) throw invalid("names no server");
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]+$/.test(bucket)) throw invalid("names no bucket");
  const isAmazon = AMAZON.test(host.toLowerCase());
  return {
    shown: location,
    scheme,
    host,
    bucket,
    prefix: cleanPrefix(rest.join("/")),
    isAmazon,
    region: regionOf(host, isAmazon) ?? given(env, "AWS_DEFAULT_REGION") ?? given(env, "AWS_REGION"),
    isPathStyle: isPathStyle({ host, bucket, isAmazon, scheme }, given(env, "CHATKEEP_S3_BUCKET_LOOKUP")),
  };
}

function splitLocation(location: string): { scheme: "http" | "https"; host: string; path: string } {
  // A password would end up in process lists and configurations; restic's client ignores it in silence.
  if (/^s3:(\w+:)?(\/\/)?[^/]*@/.test(location))
    throw invalid("holds credentials", "Give them as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.");
  if (/[?#]/.test(location)) throw invalid("holds a '?' or '#'", "Settings are given as environment variables.");
  const url = /^s3:(https?):\/\/([^/]*)\/?(.*)$/.exec(location);
  if (url !== null) {
    const [, scheme, host = "", path = ""] = url;
    return { scheme: scheme === "http" ? "http" : "https", host, path: decode(path) };
  }
  const [, host = "", path = ""] = /^s3:(?:\/\/)?([^/]*)\/?(.*)$/.exec(location) ?? [];
  return { scheme: "https", host, path };
}

/** In the URL form, and only there, restic takes %20 for a space. */
function decode(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch (cause) {
    throw new Failure("usage/invalid", "the location has a '%' that means nothing", {
      hint: "Write %25 for it.",
      cause,
    });
  }
}

function cleanPrefix(path: string): string {
  return path === "" ? "" : posix.normalize(`/${path}`).replace(/^\/+|\/+$/g, "");
}

function given(env: Environment, name: string): string | undefined {
  return env[name] === "" ? undefined : env[name];
}

function regionOf(host: string, isAmazon: boolean): string | undefined {
  if (!isAmazon) return undefined;
  const [, region] = AMAZON.exec(host.toLowerCase()) ?? [];
  return region === "external-1" ? "us-east-1" : region;
}

function isPathStyle(
  { host, bucket, isAmazon, scheme }: Pick<S3Location, "host" | "bucket" | "isAmazon" | "scheme">,
  lookup = "auto",
): boolean {
  if (lookup === "dns" || lookup === "path") return lookup === "path";
  if (lookup !== "auto")
    throw new Failure("usage/invalid", `CHATKEEP_S3_BUCKET_LOOKUP is '${lookup}'`, {
      hint: "It is auto, dns or path.",
    });
  // A certificate for *.HOST covers no bucket with a dot in its name.
  if (scheme === "https" && bucket.includes(".")) return true;
  return !isAmazon && !BUCKET_IN_HOST.test(host);
}

/** The address of the service for a bucket of that region. */
export function endpointOf({ scheme, host, basePath = "" }: S3Location, region: string): string {
  const [plain, china = ""] = AMAZON_PLAIN.exec(host.toLowerCase()) ?? [];
  return `${scheme}://${plain === undefined ? host : `s3.${region}.amazonaws.com${china}`}${basePath}`;
}

function invalid(what: string, hint = HINT): Failure {
  // The location itself may hold a password.
  return new Failure("usage/invalid", `the location of the S3 repository ${what}`, { hint });
}
