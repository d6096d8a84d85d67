/** What a storage service answered, in the words of Chatwoot's variables: hints of a repository's place do not fit here. */
import { Failure } from "../base/errors.ts";
import type { VariableNames } from "./source.ts";

export interface Explained {
  readonly service: string;
  readonly names: VariableNames;
  /** Files are put there, which takes other rights. */
  readonly isWritten?: boolean;
}

/** Containers find each other by names that nobody else knows. */
function elsewhere({ names, service }: Explained): string {
  return `Check ${names.address} in Chatwoot's environment. Is it a name that only Chatwoot's containers know? Then say in Chatkeep's configuration where it is reached from here: storage: { ${service}: { endpoint: URL } }.`;
}

/** The service's own words stay; what to do about it names Chatwoot's variables, not those of a repository. */
export function explainService(failure: Failure, explained: Explained): Failure {
  const { names, isWritten = false } = explained;
  const rights = isWritten
    ? "docs/storage.md has the rights that putting files back needs"
    : "docs/storage.md has the least rights that are needed";
  const hints: Partial<Record<Failure["code"], string>> = {
    "store/denied": `Check ${names.credentials} in Chatwoot's environment, and what they may do: ${rights}.`,
    "store/not-found": `Was the bucket deleted or renamed? Check ${names.bucket} in Chatwoot's environment.`,
    "store/unreachable": `Try again; if it stays so, check ${names.address} in Chatwoot's environment, the network, and the provider's status page.`,
    "store/full": "Make room there or raise the quota.",
    "usage/invalid": `Check ${names.bucket}, ${names.address} and ${names.credentials} in Chatwoot's environment.`,
  };
  // A clock that is wrong is this machine's affair.
  const own = /clock is wrong/.test(failure.message) ? failure.hint : (hints[failure.code] ?? failure.hint);
  const hint = /cannot be resolved/.test(failure.message) ? elsewhere(explained) : own;
  return new Failure(failure.code, failure.message, { ...(hint === undefined ? {} : { hint }), cause: failure });
}
