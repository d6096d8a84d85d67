/** What Google Cloud Storage answered: as one of the failures that a store may throw. */
import { Failure } from "../base/errors.ts";
import type { RestAnswer } from "./rest-request.ts";

interface Said {
  /** Google's own word (`rateLimitExceeded`); may be empty. */
  readonly reason: string;
  readonly message: string;
}

function wordsOf({ bytes }: RestAnswer): Said {
  try {
    const { error } = JSON.parse(bytes.toString("utf8")) as {
      error?: { message?: unknown; errors?: readonly { reason?: unknown }[] };
    };
    const reason = error?.errors?.[0]?.reason;
    const message = error?.message;
    return {
      reason: typeof reason === "string" ? reason : "",
      message: typeof message === "string" ? message.replaceAll(/\s+/g, " ").slice(0, 300) : "",
    };
  } catch {
    return { reason: "", message: bytes.toString("utf8").replaceAll(/\s+/g, " ").slice(0, 300) };
  }
}

const AGAIN = "Try again; if it stays so, look at the network and at Google Cloud's status page.";
const RIGHTS = "Check the roles of the account on the bucket: docs/stores.md has the least rights that are needed.";

/** An answer that says so names the bucket, not the object. */
export function isBucketMissing(answer: RestAnswer): boolean {
  return answer.status === 404 && /bucket does not exist/i.test(wordsOf(answer).message);
}

/** @param what What was to be done, as a part of a sentence, with the location: `cannot read 'config' at gs:…`. */
export function explainGs(answer: RestAnswer, what: string, bucket: string): Failure {
  const { status } = answer;
  const { reason, message } = wordsOf(answer);
  const fail = (code: Failure["code"], says: string, hint: string) => new Failure(code, `${what}: ${says}`, { hint });
  if (isBucketMissing(answer)) {
    return fail(
      "store/not-found",
      `there is no bucket '${bucket}'`,
      "Check the location; 'chatkeep init' makes the bucket where GOOGLE_PROJECT_ID is set and the account may.",
    );
  }
  if (status === 404) return new Failure("store/not-found", `${what}: it is not there`);
  if (status === 401) {
    return fail(
      "store/denied",
      "Google does not accept the credentials",
      "Is GOOGLE_ACCESS_TOKEN older than its hour? Use the key file of a service account for unattended backups.",
    );
  }
  if (/rateLimitExceeded|userRateLimitExceeded/i.test(reason) || status === 429) {
    return fail("store/unreachable", "Google asks to slow down", "Try again later, or set fewer connections.");
  }
  if (/quota|storageLimit/i.test(reason) || status === 507 || status === 413) {
    return fail(
      "store/full",
      "a quota is used up",
      "Earlier restore points are whole. Raise the quota, then back up again.",
    );
  }
  if (/retentionPolicyNotMet|objectUnderActiveHold/i.test(reason)) {
    return fail("store/denied", "a retention policy or a hold protects the file", "It can be removed when that ends.");
  }
  if (/billing|accountDisabled/i.test(reason)) {
    return fail(
      "store/denied",
      "the project is closed or has no billing",
      "Look at the project in Google Cloud's console.",
    );
  }
  if (status >= 500 || status === 408 || status < 300) {
    return fail("store/unreachable", `Google answered with status ${status}`, AGAIN);
  }
  const words = [reason, message].filter((part) => part !== "").join(": ");
  return fail("store/denied", `Google answered with status ${status}${words === "" ? "" : ` (${words})`}`, RIGHTS);
}
