/** What an S3 service, or the way to it, answered in the end: as one of the failures that a store may throw. */
import { parseHttpDate, systemClock } from "../base/clock.ts";
import { type ErrorCode, Failure, isFailure, messageOf } from "../base/errors.ts";
import { UNTRUSTED } from "./certificates.ts";
import { parseRetryAfter } from "../base/retry-after.ts";

/** What the SDK's errors may have. All of it is optional: proxies and network stacks answer too. */
export interface S3Facts {
  /** The service's own word (`SlowDown`), or the system's (`ECONNRESET`). */
  readonly code: string;
  readonly status: number | undefined;
  readonly message: string;
  /** The region that the answer says the bucket has. */
  readonly region: string | undefined;
  readonly retryAfterMs: number | undefined;
  /** The service's time, in ms since 1970. */
  readonly servedAt: number | undefined;
}

interface ThrownParts {
  readonly code?: unknown;
  readonly Code?: unknown;
  readonly name?: unknown;
  readonly Region?: unknown;
  readonly $metadata?: { readonly httpStatusCode?: number };
  readonly $response?: { readonly headers?: Readonly<Record<string, string | undefined>> };
}

/** Signatures are refused when the clocks differ by more. */
const SKEW_MS = 15 * 60_000;

export function factsOf(error: unknown): S3Facts {
  const parts: ThrownParts = typeof error === "object" && error !== null ? error : {};
  const headers = parts.$response?.headers ?? {};
  const word = [parts.Code, parts.code, parts.name].find((value) => typeof value === "string" && value !== "");
  const message = messageOf(error);
  const expected = /(?:expecting|expected:?) '([a-z0-9-]+)'/.exec(message)?.[1];
  return {
    code: typeof word === "string" ? word : "",
    status: parts.$metadata?.httpStatusCode,
    message,
    region: headers["x-amz-bucket-region"] ?? (typeof parts.Region === "string" ? parts.Region : undefined) ?? expected,
    retryAfterMs: parseRetryAfter(headers["retry-after"]),
    servedAt: parseHttpDate(headers["date"] ?? ""),
  };
}

/** True where a bucket of another region answers so, or a service that checks the region's name. */
export function mayBeOtherRegion({ code, status }: S3Facts): boolean {
  return (
    status === 301 ||
    status === 307 ||
    /^(PermanentRedirect|TemporaryRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraintException|SignatureDoesNotMatch)$/.test(
      code,
    ) ||
    (status === 400 && isWordless(code))
  );
}

/** HEAD has no body, so the service cannot say what is wrong. */
export function isWordless(code: string): boolean {
  return /^(|\d+|Unknown|UnknownError|Forbidden|BadRequest|Error|S3ServiceException)$/.test(code);
}

const AGAIN = "Try again; if it stays so, look at the network and at the service's status page.";

interface Row {
  readonly when: RegExp;
  readonly code: ErrorCode;
  /** After the location; the service's own words follow where there are none. */
  readonly says?: string;
  readonly hint: string;
}

/** The first that fits the service's word; then {@link BY_STATUS}. */
const BY_CODE: readonly Row[] = [
  {
    when: /^(InvalidAccessKeyId|InvalidClientTokenId|UnrecognizedClientException)$/,
    code: "store/denied",
    says: "does not know this access key",
    hint: "Check AWS_ACCESS_KEY_ID, or the profile that AWS_PROFILE names: was the key deleted, or is it another service's?",
  },
  {
    when: /^SignatureDoesNotMatch$/,
    code: "store/denied",
    says: "says that the secret does not belong to the access key",
    hint: "Check AWS_SECRET_ACCESS_KEY; if it is right, set AWS_DEFAULT_REGION to the bucket's region.",
  },
  {
    when: /^(ExpiredToken|ExpiredTokenException|TokenRefreshRequired|InvalidToken|RequestExpired)$/,
    code: "store/denied",
    says: "says that the session of these credentials has ended",
    hint: "Sign in again, or renew AWS_SESSION_TOKEN with its two keys; for unattended backups use a key or a role that lasts.",
  },
  {
    when: /^RequestTimeTooSkewed$/,
    code: "store/denied",
    says: "refuses because this machine's clock is wrong",
    hint: "Set the clock (is NTP running?); signatures are only taken within 15 minutes.",
  },
  {
    when: /^InvalidObjectState$/,
    code: "store/denied",
    says: "keeps the file in an archive that cannot be read at once",
    hint: "Bring the objects back from the archive first, and take the rule that archives them off the bucket.",
  },
  {
    when: /quota|storagefull|insufficientstorage|insufficientcapacity/i,
    code: "store/full",
    hint: "Earlier restore points are whole. Make room or raise the quota, then run the backup again.",
  },
  {
    when: /^NoSuchBucket$/,
    code: "store/not-found",
    says: "has no such bucket",
    hint: "Check the location; 'chatkeep init' makes the bucket where the credentials may.",
  },
  {
    when: /^(PermanentRedirect|TemporaryRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraintException)$/,
    code: "store/denied",
    says: "has the bucket in another region, and does not tell in which",
    hint: "Set AWS_DEFAULT_REGION to the bucket's region, and name that region's host in the location.",
  },
  {
    when: /^InvalidBucketName$/,
    code: "usage/invalid",
    says: "cannot have a bucket of that name",
    hint: "Check the location: the bucket is the first part after the host.",
  },
  {
    when: /^(CredentialsProviderError|ProviderError)$/,
    code: "usage/invalid",
    says: "needs credentials, and none were found",
    hint: "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; docs/stores.md names the other ways.",
  },
  {
    when: UNTRUSTED,
    code: "store/denied",
    says: "has a certificate that cannot be verified",
    hint: "Is it the right host? For an authority of your own, name its certificate in RESTIC_CACERT or AWS_CA_BUNDLE.",
  },
  {
    when: /^(EPROTO|ERR_SSL_.*)$/,
    code: "store/unreachable",
    says: "does not speak TLS there",
    hint: "Write s3:http://… where the service has no TLS, or the right port.",
  },
  {
    when: /^(ENOTFOUND|EAI_AGAIN)$/,
    code: "store/unreachable",
    says: "has a host name that cannot be resolved",
    hint: "Check the host in the location, and this machine's name servers.",
  },
  {
    when: /^(SlowDown|Throttl|TooManyRequests|RequestLimitExceeded|BandwidthLimitExceeded|503$)/,
    code: "store/unreachable",
    says: "asks to slow down",
    hint: "Try again later, or set fewer connections.",
  },
  {
    when: /^(RequestTimeout|TimeoutError|ETIMEDOUT|ECONN.*|EPIPE|EHOSTUNREACH|ENETUNREACH|ERR_STREAM_PREMATURE_CLOSE|InternalError|ServiceUnavailable|OperationAborted|ConditionalRequestConflict|BadDigest|IncompleteBody|XAmzContentSHA256Mismatch)$/,
    code: "store/unreachable",
    hint: AGAIN,
  },
];

/** By the failure that a status means, where the service's word says no more. */
const HINTS: Partial<Record<ErrorCode, string>> = {
  "store/denied": "Check what the credentials may do: docs/stores.md has the least rights that are needed.",
  "store/full": "Earlier restore points are whole. Make room, then run the backup again.",
  "store/unreachable": AGAIN,
};

/**
 * @param place The location, as it is shown.
 * @param what What was to be done, as a part of a sentence: `cannot read 'config'`.
 */
export function explainS3(error: unknown, place: string, what: string): Failure {
  if (isFailure(error)) return error;
  const facts = factsOf(error);
  const { code, status, message, retryAfterMs } = isSkewed(facts) ? { ...facts, code: "RequestTimeTooSkewed" } : facts;
  const row = BY_CODE.find(({ when }) => when.test(code));
  const said = row?.says === undefined ? describe(code, status, message) : `the service ${row.says}`;
  const failed = row?.code ?? codeOf(status);
  const hint = row?.hint ?? HINTS[failed];
  return new Failure(failed, `${what} at ${place}: ${said}`, {
    ...(hint === undefined ? {} : { hint }),
    cause: error,
    retryAfterMs,
  });
}

function isSkewed({ code, status, servedAt }: S3Facts): boolean {
  if (status !== 403 || servedAt === undefined) return false;
  return (isWordless(code) || code === "AccessDenied") && Math.abs(systemClock.now() - servedAt) > SKEW_MS;
}

function describe(code: string, status: number | undefined, message: string): string {
  const text = message.replace(/\.$/, "").slice(0, 300);
  const word = isWordless(code) ? (status === undefined ? "" : `HTTP ${status}`) : code;
  return [word, text === "UnknownError" || text === code ? "" : text].filter((part) => part !== "").join(": ");
}

function codeOf(status: number | undefined): ErrorCode {
  if (status === undefined || status === 408 || status === 429 || (status >= 500 && status !== 501 && status !== 507)) {
    return "store/unreachable";
  }
  if (status === 507) return "store/full";
  return status === 404 ? "store/not-found" : "store/denied";
}
