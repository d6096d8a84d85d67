/** From a repository's location, as restic writes it, to its store. */
import { resolve } from "node:path";
import { Failure } from "../base/errors.ts";
import { openLocalStore } from "./local-store.ts";
import type { Store, StoreSpec } from "./store.ts";

/** Schemes that restic knows and that this version cannot reach yet. */
const LATER = /^(sftp|s3|gs|azure|b2|swift|rest|rclone):/;

/**
 * Opens the store at a location (`/path`, `relative/path`, `local:/path`) or of a spec that another thread sent.
 * Nothing is read or made yet.
 * @throws Failure `usage/invalid` for a location that this version cannot reach.
 */
export function openStore(location: string | StoreSpec): Store {
  if (typeof location !== "string") return openLocalStore(location.path);
  const scheme = LATER.exec(location)?.[1];
  if (scheme !== undefined) {
    throw new Failure("usage/invalid", `repositories in '${scheme}:' come in a later release`, {
      hint: "Use a folder for now, for example /var/backups/chatwoot, and copy it elsewhere with restic or rsync.",
    });
  }
  const path = location.startsWith("local:") ? location.slice("local:".length) : location;
  if (path === "") throw new Failure("usage/invalid", "the repository's location is empty");
  return openLocalStore(resolve(path));
}
