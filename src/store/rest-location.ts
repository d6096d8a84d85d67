/** `rest:http://user:password@host:port/path/`, as restic reads it. */
import { Failure } from "../base/errors.ts";

export interface RestPlace {
  /** Ends with '/'; without user and password. */
  readonly url: URL;
  /** `user:password` of the location or the environment; undefined when neither has one. */
  readonly credentials: string | undefined;
  /** To print: `***` in the password's place, as restic does it. */
  readonly shown: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

const HINT =
  "Write 'rest:https://host:8000/path/'; user and password may stand in RESTIC_REST_USERNAME and RESTIC_REST_PASSWORD.";

/** @throws Failure `usage/invalid`; its message shows nothing of a location that cannot be read. */
export function parseRestLocation(location: string, env: Environment = {}): RestPlace {
  const text = location.slice("rest:".length);
  const url = URL.parse(text);
  if (url === null) throw new Failure("usage/invalid", "the location of the rest repository is no URL", { hint: HINT });
  if (url.protocol === "http+unix:") {
    throw new Failure("usage/invalid", "Chatkeep does not reach REST servers through a socket file", { hint: HINT });
  }
  if ((url.protocol !== "http:" && url.protocol !== "https:") || url.search !== "" || url.hash !== "") {
    throw new Failure("usage/invalid", "the location of the rest repository is no URL of a REST server", {
      hint: HINT,
    });
  }
  const credentials = credentialsOf(url, env);
  const hasPassword = url.password !== "";
  if (hasPassword) url.password = LEFT_OUT;
  const shown = `rest:${url.href}`;
  url.username = "";
  url.password = "";
  if (!url.pathname.endsWith("/")) url.pathname += "/";
  return { url, credentials, shown: shown.endsWith("/") ? shown : `${shown}/` };
}

/** The environment's are for a location that has neither; restic does the same. */
function credentialsOf(url: URL, env: Environment): string | undefined {
  if (url.username !== "" || url.password !== "") return `${decode(url.username)}:${decode(url.password)}`;
  const { RESTIC_REST_USERNAME: user = "", RESTIC_REST_PASSWORD: password = "" } = env;
  return user === "" && password === "" ? undefined : `${user}:${password}`;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new Failure("usage/invalid", "the user or password in the rest repository's location has a stray '%'", {
      hint: "Write '%' as %25.",
    });
  }
}

/** In the place of a password that was left out, as restic shows it. */
const LEFT_OUT = "***";
const WITH_PASSWORD = /^((?:rest|s3|sftp):(?:[a-z+]+:)?\/+[^/?#]*?:)([^/?#]*)(?=@)/i;

/** What of a location must never be printed: its password, as it is written and as it is meant. */
export function secretsInLocation(location: string): string[] {
  const [, , written = ""] = WITH_PASSWORD.exec(location) ?? [];
  if (written === "" || written === LEFT_OUT) return [];
  try {
    return [written, decodeURIComponent(written)];
  } catch {
    return [written]; // A location that will be refused.
  }
}

/** A location as it may be printed and kept: where it has a password, `***` stands in its place. */
export function withoutPassword(location: string): string {
  const [, before, written = ""] = WITH_PASSWORD.exec(location) ?? [];
  return before === undefined || written === "" ? location : location.replace(WITH_PASSWORD, `$1${LEFT_OUT}`);
}

/** True for what {@link withoutPassword} gave of a location that had one. */
export function lacksPassword(location: string): boolean {
  return WITH_PASSWORD.exec(location)?.[2] === LEFT_OUT;
}

/** Puts a password, as it is meant, where {@link withoutPassword} left one out. */
export function withPassword(location: string, password: string): string {
  return location.replace(WITH_PASSWORD, (_, before: string) => before + encodeURIComponent(password));
}
