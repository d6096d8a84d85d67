/** Whom a remote place's certificate may come from (the system's authorities, and those a person names), and its refusal. */
import { readFileSync } from "node:fs";
import { Failure, messageOf } from "../base/errors.ts";
import { tls } from "../system/late-modules.ts";

/**
 * Node's words for a certificate that cannot be verified. That does not pass by itself, and somebody may stand between:
 * it is `store/denied`, never tried again.
 */
export const UNTRUSTED = /CERT|SELF_SIGNED|UNABLE_TO_|ALTNAME/;

/** PEM texts, or undefined where Node's own choice (with NODE_EXTRA_CA_CERTS in it) is right. */
export function readAuthorities(
  env: Readonly<Record<string, string | undefined>>,
  variables: readonly string[],
): string[] | undefined {
  const named = variables.filter((variable) => (env[variable] ?? "") !== "");
  if (named.length === 0) return undefined;
  return [
    ...tls().getCACertificates("default"),
    ...named.map((variable) => readAuthority(env[variable] ?? "", variable)),
  ];
}

function readAuthority(path: string, variable: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new Failure("usage/invalid", `cannot read the certificates that ${variable} names: ${messageOf(cause)}`, {
      hint: "It names a file with certificates as PEM.",
      cause,
    });
  }
}
