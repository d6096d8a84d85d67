/** Who asks Google Cloud Storage, and where: from the environment, by the official client's ways of signing in. */
import { readFileSync } from "node:fs";
import { Storage, type StorageOptions } from "@google-cloud/storage";
import { Failure, messageOf } from "../base/errors.ts";
import { UNTRUSTED } from "./certificates.ts";
import type { RemotePlace } from "./open-store.ts";

export interface GsAccess {
  /** Ends without '/'. */
  readonly endpoint: string;
  readonly projectId: string | undefined;
  /** The headers that a request is allowed by; a token that ends is renewed. @throws Failure; or the signal's reason. */
  authorize(signal: AbortSignal): Promise<Readonly<Record<string, string>>>;
}

export type Credentials = NonNullable<StorageOptions["credentials"]>;

const ENDPOINT = "https://storage.googleapis.com";
const HINT =
  "Set GOOGLE_APPLICATION_CREDENTIALS to the key file of a service account, or sign in with 'gcloud auth application-default login'.";

/** Asks nobody yet. @throws Failure `usage/invalid`. */
export function readGsAccess(env: RemotePlace["env"]): GsAccess {
  const { GOOGLE_PROJECT_ID = "", GOOGLE_APPLICATION_CREDENTIALS = "", GOOGLE_ACCESS_TOKEN = "" } = env;
  const { STORAGE_EMULATOR_HOST = "" } = env;
  const projectId = GOOGLE_PROJECT_ID === "" ? undefined : GOOGLE_PROJECT_ID;
  // An emulator asks for no credentials; the SDK sends it none either.
  if (STORAGE_EMULATOR_HOST !== "") {
    return { endpoint: emulator(STORAGE_EMULATOR_HOST), projectId, authorize: async () => ({}) };
  }
  if (GOOGLE_ACCESS_TOKEN !== "") {
    const headers = { authorization: `Bearer ${GOOGLE_ACCESS_TOKEN}` };
    return { endpoint: ENDPOINT, projectId, authorize: async () => headers };
  }
  const key = GOOGLE_APPLICATION_CREDENTIALS === "" ? undefined : readKey(GOOGLE_APPLICATION_CREDENTIALS);
  return gsAccessOf(key, projectId);
}

/** @param key Undefined: the client looks where Google's own tools do. */
export function gsAccessOf(key: Credentials | undefined, projectId: string | undefined): GsAccess {
  const storage = new Storage(projectId === undefined ? {} : { projectId });
  // Given as an option, the SDK would print that options of that kind are old.
  if (key !== undefined) storage.authClient.jsonContent = key;
  return {
    endpoint: ENDPOINT,
    projectId,
    async authorize(signal) {
      signal.throwIfAborted();
      const { promise: aborted, reject } = Promise.withResolvers<never>();
      const stop = () => reject(signal.reason);
      signal.addEventListener("abort", stop, { once: true });
      try {
        // The SDK takes no signal here.
        const headers = await Promise.race([storage.authClient.getRequestHeaders(), aborted]);
        return Object.fromEntries(headers.entries());
      } catch (error) {
        signal.throwIfAborted();
        throw explain(error);
      } finally {
        signal.removeEventListener("abort", stop);
      }
    },
  };
}

/** Of a service account, a person, or another cloud's workload: the SDK knows them by their `type`. */
function readKey(path: string): Credentials {
  try {
    const key = JSON.parse(readFileSync(path, "utf8")) as Credentials & { type?: unknown };
    if (typeof key.type === "string") return key;
  } catch {
    // Told below; a parser's words may hold parts of the key.
  }
  throw new Failure("usage/invalid", `cannot read a key of Google Cloud in '${path}'`, {
    hint: "GOOGLE_APPLICATION_CREDENTIALS names the key file (JSON) of a service account, as Google's console gives it.",
  });
}

function emulator(host: string): string {
  const url = URL.parse(/^https?:/.test(host) ? host : `http://${host}`);
  if (url === null) {
    throw new Failure("usage/invalid", "STORAGE_EMULATOR_HOST is no address", {
      hint: "Write it as http://127.0.0.1:4443, or leave it out.",
    });
  }
  return url.origin;
}

function explain(error: unknown): Failure {
  const message = messageOf(error);
  const { code, cause } = error as { code?: unknown; cause?: { code?: unknown } };
  if (UNTRUSTED.test(`${String(code)} ${String(cause?.code)}`)) {
    return new Failure("store/denied", "the certificate of Google's sign-in cannot be trusted", {
      hint: "For a proxy with an authority of its own, name its certificate (PEM) in NODE_EXTRA_CA_CERTS; else somebody may stand between.",
    });
  }
  if (/default credentials|ENOENT|EACCES|JSON|private_key|client_email|PEM|DECODER/i.test(message)) {
    return new Failure("usage/invalid", "no credentials for Google Cloud Storage can be read", { hint: HINT });
  }
  if (/invalid_grant|invalid_client|unauthorized|invalid_rapt/i.test(message) || code === 401 || code === 403) {
    return new Failure("store/denied", "Google does not accept the credentials", {
      hint: `Was the key or the account deleted, and is this machine's clock right? ${HINT}`,
    });
  }
  return new Failure("store/unreachable", "no access token could be had from Google", {
    hint: "Are oauth2.googleapis.com, and on Google's machines the metadata server, reachable from here?",
  });
}
