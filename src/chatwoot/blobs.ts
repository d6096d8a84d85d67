/** Where Active Storage's Disk service keeps a file. */
import { Failure } from "../base/errors.ts";

/** False for a key that would lead out of the storage folder; Rails makes none, but the column is plain text. */
export function isSafeBlobKey(key: string): boolean {
  const folders = [key.slice(0, 2), key.slice(2, 4)];
  return (
    key !== "" &&
    !folders.includes("..") &&
    !key.includes("\0") &&
    !key.startsWith("/") &&
    !key.split("/").some((part) => part === "." || part === "..")
  );
}

/**
 * `<root>/<first two>/<next two>/<key>`, as Rails' Disk service has it.
 *
 * @throws Failure `source/unreadable` when the key would lead out of `root`.
 */
export function blobPath(root: string, key: string): string {
  const [first, second] = [key.slice(0, 2), key.slice(2, 4)];
  if (!isSafeBlobKey(key)) {
    throw new Failure("source/unreadable", `the blob key ${JSON.stringify(key.slice(0, 80))} is not a file name`);
  }
  return [root.replace(/\/+$/, ""), first, second, key].filter((part, at) => at === 0 || part !== "").join("/");
}
