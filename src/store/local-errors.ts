/** What the system answered about a folder: as one of the failures that a store may throw. */
import { Failure, messageOf } from "../base/errors.ts";

/** `ENOENT` and the like. */
export function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | undefined)?.code;
}

/** Turns a system's error into a failure that says what to do. */
export function storeFailure(error: unknown, doing: string): unknown {
  if (error instanceof Failure) return error;
  switch (codeOf(error)) {
    case "ENOSPC":
    case "EDQUOT":
    case "EFBIG":
      return new Failure("store/full", `no space left while ${doing}`, {
        hint: "Free space where the repository lies, or point to a larger place; what was saved before is intact.",
        cause: error,
      });
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return new Failure("store/denied", `not allowed: ${doing}`, {
        hint: "Run as the user that owns the repository's folder, or give this user rights to read and write it.",
        cause: error,
      });
    case "ENOENT":
    case "ENOTDIR":
      return new Failure("store/not-found", `not there: ${doing}`, { cause: error });
    case undefined:
      return error;
    default:
      return new Failure("store/unreachable", `${doing}: ${messageOf(error)}`, {
        hint: "Look at the disk or the mount where the repository lies.",
        cause: error,
      });
  }
}
