/** `azure:container:/prefix` and `gs:bucket:/prefix`, as restic reads them. */
import { posix } from "node:path";
import { Failure } from "../base/errors.ts";

export interface BucketLocation {
  /** The container or bucket. */
  readonly bucket: string;
  /** Without '/' at its ends; empty for the bucket's root. */
  readonly prefix: string;
  /** As restic writes it. */
  readonly shown: string;
}

/** @throws Failure `usage/invalid`. */
export function parseBucketLocation(location: string, scheme: "azure" | "gs"): BucketLocation {
  const word = scheme === "azure" ? "container" : "bucket";
  const hint = `Write '${scheme}:${word}:/' or '${scheme}:${word}:/folder'.`;
  const rest = location.slice(scheme.length + 1);
  const colon = rest.indexOf(":");
  const bucket = colon === -1 ? rest : rest.slice(0, colon);
  if (colon === -1 || bucket === "") {
    throw new Failure("usage/invalid", `'${location}' does not name a ${word} and a folder in it`, { hint });
  }
  if (!/^[a-z0-9$][a-z0-9._-]*$/.test(bucket)) {
    throw new Failure("usage/invalid", `'${bucket}' cannot be the name of a ${word}`, {
      hint: `${hint} Names have small letters, digits and '-'.`,
    });
  }
  const prefix = posix.normalize(`${rest.slice(colon + 1)}/`).replaceAll(/^(\.?\/)+|\/+$/g, "");
  if (prefix === ".." || prefix.startsWith("../")) {
    throw new Failure("usage/invalid", `the folder of '${location}' lies outside the ${word}`, { hint });
  }
  return { bucket, prefix, shown: `${scheme}:${bucket}:/${prefix}` };
}

/** The name of an object in its bucket. */
export function objectName({ prefix }: BucketLocation, key: string): string {
  return prefix === "" ? key : `${prefix}/${key}`;
}

export function notThere(key: string): Failure {
  return new Failure("store/not-found", `'${key}' is not there`);
}

export function tooShort(key: string): Failure {
  return new Failure("store/not-found", `'${key}' is shorter than it should be`);
}
