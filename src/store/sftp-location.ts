/** `sftp:user@host:path` and `sftp://user@host:port/path`, as restic reads them. */
import { posix } from "node:path";
import { Failure } from "../base/errors.ts";

export interface SftpPlace {
  /** Undefined: as the user's ssh configuration says. */
  readonly user: string | undefined;
  /** A name of the user's ssh configuration, a host name or an address. */
  readonly host: string;
  /** Undefined: as the user's ssh configuration says. */
  readonly port: number | undefined;
  /** Of the repository; relative to where the server puts the user when it begins with no '/'. */
  readonly path: string;
}

function invalid(location: string, why: string): Failure {
  return new Failure("usage/invalid", `the location '${location}' ${why}`, {
    hint: "Write 'sftp:user@host:/absolute/path', or 'sftp://user@host:port//absolute/path'.",
  });
}

/** @throws Failure `usage/invalid` for what is no location of a file server. */
export function parseSftpLocation(location: string): SftpPlace {
  const place = location.startsWith("sftp://") ? parseUrl(location) : parsePair(location);
  const path = posix.normalize(place.path === "" ? "." : place.path).replace(/(?<=.)\/$/, "");
  if (path.startsWith("~")) {
    throw new Failure("usage/invalid", `the location '${location}' begins its path with '~'`, {
      hint: "A path without '/' at its beginning is relative to the home folder: leave out '~/'.",
    });
  }
  // What ssh would take for an option, or cut.
  if (place.host === "" || /^-|[\s\0]/.test(place.host)) throw invalid(location, "names no host");
  if (place.user !== undefined && /^-|[\s\0]/.test(place.user)) throw invalid(location, "names no user");
  if (path.includes("\0")) throw invalid(location, "names no path");
  return { ...place, path };
}

/** `sftp:user@host:path`: the host ends at the first colon. */
function parsePair(location: string): SftpPlace {
  const text = location.slice("sftp:".length);
  const colon = text.startsWith("[") || text.includes("@[") ? text.indexOf("]:") + 1 : text.indexOf(":");
  if (colon < 1) throw invalid(location, "has no ':' between host and path");
  const before = text.slice(0, colon);
  const at = before.lastIndexOf("@");
  return {
    user: at > 0 ? before.slice(0, at) : undefined,
    host: before.slice(at + 1).replace(/^\[(.*)\]$/, "$1"),
    port: undefined,
    path: text.slice(colon + 1),
  };
}

function parseUrl(location: string): SftpPlace {
  const url = URL.parse(location);
  if (url === null) throw invalid(location.replace(/\/\/[^/]*@/, "//…@"), "is no URL");
  if (url.password !== "") {
    throw new Failure("usage/invalid", "the location of an sftp repository holds a password, which ssh never takes", {
      hint: "Take the password out of the location, and let ssh log in with a key: its own configuration and agent are used.",
    });
  }
  if (url.search !== "" || url.hash !== "")
    throw invalid(location, "holds '?' or '#', which must be written %3F or %23");
  if (url.pathname === "" || url.pathname === "/") throw invalid(location, "has no path");
  return {
    user: url.username === "" ? undefined : decode(url.username, location),
    host: decode(url.hostname, location).replace(/^\[(.*)\]$/, "$1"),
    port: url.port === "" ? undefined : Number(url.port),
    path: decode(url.pathname.slice(1), location),
  };
}

function decode(text: string, location: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalid(location, "has a '%' that begins no code");
  }
}
