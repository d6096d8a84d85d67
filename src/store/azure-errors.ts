/** What Azure, or the way to it, answered: as one of the failures that a store may throw. */
import { parseHttpDate, systemClock } from "../base/clock.ts";
import { type ErrorCode, Failure, isFailure, messageOf } from "../base/errors.ts";
import { UNTRUSTED } from "./certificates.ts";

export interface AzureFacts {
  /** Azure's own word (`ServerBusy`), or the system's (`ECONNRESET`); may be empty. */
  readonly code: string;
  readonly status: number | undefined;
  readonly message: string;
  /** Azure's time, in ms since 1970. */
  readonly servedAt: number | undefined;
}

/** Signatures with the account's key are refused when the clocks differ by more. */
const SKEW_MS = 15 * 60_000;

export function factsOf(error: unknown): AzureFacts {
  const parts = (typeof error === "object" && error !== null ? error : {}) as {
    code?: unknown;
    statusCode?: unknown;
    details?: { errorCode?: unknown; authenticationErrorDetail?: unknown; AuthenticationErrorDetail?: unknown };
    response?: { headers?: { get?: (name: string) => string | undefined } };
  };
  // The answer to HEAD has its word in a header only.
  const words = [parts.response?.headers?.get?.("x-ms-error-code"), parts.details?.errorCode, parts.code];
  const word = words.find((value) => typeof value === "string" && value !== "");
  const detail = parts.details?.authenticationErrorDetail ?? parts.details?.AuthenticationErrorDetail;
  return {
    code: typeof word === "string" ? word : "",
    status: typeof parts.statusCode === "number" ? parts.statusCode : undefined,
    message: `${messageOf(error)}${typeof detail === "string" ? ` ${detail}` : ""}`,
    servedAt: parseHttpDate(parts.response?.headers?.get?.("date") ?? ""),
  };
}

interface Row {
  readonly when: RegExp;
  readonly code: ErrorCode;
  /** Azure's own word follows where there are none. */
  readonly says?: string;
  readonly hint: string;
}

const AGAIN = "Try again; if it stays so, look at the network and at Azure's status page.";
const RIGHTS = "Check what the key or the SAS may do: docs/stores.md has the least rights that are needed.";

const ROWS: readonly Row[] = [
  {
    when: /^(AuthenticationFailed|InvalidAuthenticationInfo|NoAuthenticationInformation)$/,
    code: "store/denied",
    says: "Azure does not accept the account's key or SAS",
    hint: "Check AZURE_ACCOUNT_NAME with AZURE_ACCOUNT_KEY or AZURE_ACCOUNT_SAS (has it ended?), and this machine's clock.",
  },
  {
    when: /^AccountIsDisabled$/,
    code: "store/denied",
    says: "the storage account is disabled",
    hint: "Look at the account and its subscription in Azure's portal.",
  },
  {
    when: /^(AuthorizationSourceIPMismatch|AuthorizationFailure)$/,
    code: "store/denied",
    says: "the account's firewall or the SAS does not let this request in",
    hint: `Is this machine's address allowed in the account's network settings? ${RIGHTS}`,
  },
  {
    when: /^(BlobImmutableDueToPolicy|BlobHasSnapshots|LeaseIdMissing|SnapshotsPresent)$/,
    code: "store/denied",
    says: "a policy or a lease protects the file",
    hint: "It can be removed when the retention ends, or by whoever holds the lease.",
  },
  {
    when: /quota|insufficientstorage|AccountLimitExceeded/i,
    code: "store/full",
    hint: "Earlier restore points are whole. Make room or raise the limit, then run the backup again.",
  },
  {
    when: /^(InvalidResourceName|OutOfRangeInput)$/,
    code: "usage/invalid",
    says: "a container cannot have that name",
    hint: "Names have 3 to 63 small letters, digits and '-'.",
  },
  {
    when: UNTRUSTED,
    code: "store/denied",
    says: "the certificate of the service cannot be trusted",
    hint: "Name the certificate (PEM) of an authority of your own in RESTIC_CACERT; else somebody may stand between.",
  },
  {
    when: /^(EPROTO|ERR_SSL)/,
    code: "usage/invalid",
    says: "the service does not speak TLS as it should",
    hint: "Does the endpoint say https: where the service speaks plain http:?",
  },
  {
    when: /^(ENOTFOUND|EAI_AGAIN)$/,
    code: "store/unreachable",
    says: "there is no host of the account's name",
    hint: "Check AZURE_ACCOUNT_NAME and AZURE_ENDPOINT_SUFFIX, and this machine's name servers.",
  },
  {
    when: /^(ServerBusy|TooManyRequests)$/,
    code: "store/unreachable",
    says: "Azure asks to slow down",
    hint: "Try again later, or set fewer connections.",
  },
  {
    when: /^(Md5Mismatch|ContainerBeingDeleted|OperationTimedOut|InternalError|AccountBeingCreated)$/,
    code: "store/unreachable",
    hint: AGAIN,
  },
];

export interface AzureCall {
  /** What was to be done, as a part of a sentence: `cannot read 'config'`. */
  readonly what: string;
  readonly location: string;
  readonly container: string;
}

/** Nothing of the request is kept with the failure: its address holds the SAS. */
export function explainAzure(error: unknown, { what, location, container }: AzureCall): Failure {
  if (isFailure(error)) return error;
  const { code, status, message, servedAt } = factsOf(error);
  const start = `${what} at ${location}`;
  if (code === "ContainerNotFound") {
    return new Failure("store/not-found", `${start}: there is no container '${container}' in the account`, {
      hint: "Check the location; 'chatkeep init' makes the container where the credentials may.",
    });
  }
  if (code === "AuthenticationFailed" && /time ?frame|expir/i.test(message)) {
    return new Failure("store/denied", `${start}: the SAS is not valid at this time`, {
      hint: "Make a new SAS and set it in AZURE_ACCOUNT_SAS; is this machine's clock right?",
    });
  }
  const isSkewed = servedAt !== undefined && Math.abs(systemClock.now() - servedAt) > SKEW_MS;
  if (code === "AuthenticationFailed" && (isSkewed || /date header too old/i.test(message))) {
    return new Failure("store/denied", `${start}: Azure refuses because this machine's clock is wrong`, {
      hint: "Set the clock (is NTP running?); signatures are only taken within 15 minutes.",
    });
  }
  const row = ROWS.find(({ when }) => when.test(code));
  const said = row?.says ?? describe(code, status, message);
  const failed = row?.code ?? codeOf(status);
  const hint = row?.hint ?? (failed === "store/unreachable" ? AGAIN : failed === "store/denied" ? RIGHTS : undefined);
  return new Failure(failed, `${start}: ${said}`, hint === undefined ? {} : { hint });
}

function describe(code: string, status: number | undefined, message: string): string {
  if (status !== undefined) return `Azure answered with status ${status}${code === "" ? "" : ` (${code})`}`;
  const [line = ""] = message.split("\n");
  return line.replaceAll(/\?\S*/g, "").replace(/\.$/, "").slice(0, 300);
}

function codeOf(status: number | undefined): ErrorCode {
  if (status === 404) return "store/not-found";
  if (status === 507 || status === 413) return "store/full";
  return status === undefined || status === 408 || status === 429 || status >= 500
    ? "store/unreachable"
    : "store/denied";
}
