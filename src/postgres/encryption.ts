/** How a session is encrypted and its server verified, by libpq's rules. */
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import type { ConnectionOptions } from "node:tls";
import { Failure, isFailure } from "../base/errors.ts";
import { tls } from "../system/late-modules.ts";
import { isSocket, type ServerAddress, type SslMode } from "./address.ts";
import { sqlState } from "./server-errors.ts";

/** What is tried, in order; `false` is without encryption. @throws Failure `config/invalid` for a file that cannot be read. */
export function sslAttempts(address: ServerAddress): (ConnectionOptions | false)[] {
  if (isSocket(address)) return [false];
  const mode = address.ssl?.mode ?? "prefer";
  if (mode === "disable") return [false];
  const secure = sslOptions(address, mode);
  if (mode === "allow") return [false, secure];
  if (mode === "prefer") return [secure, false];
  return [secure];
}

function sslOptions(address: ServerAddress, mode: SslMode): ConnectionOptions {
  const { rootCertificate, certificate, key } = address.ssl ?? { mode };
  const root = rootCertificate === "system" ? undefined : (rootCertificate ?? usersRootCertificate(mode));
  // As libpq does: a root certificate that is named is also used, even where the mode alone would not ask for it.
  const verifies =
    mode === "verify-ca" || mode === "verify-full" || (mode === "require" && rootCertificate !== undefined);
  return {
    rejectUnauthorized: verifies,
    checkServerIdentity: mode === "verify-full" ? tls().checkServerIdentity : () => undefined,
    ...(root === undefined || !verifies ? {} : { ca: readPem(root, "sslrootcert") }),
    ...(certificate === undefined ? {} : { cert: readPem(certificate, "sslcert") }),
    ...(key === undefined ? {} : { key: readPem(key, "sslkey") }),
  };
}

/** libpq's default place; where there is none, the certificates that the machine trusts. */
function usersRootCertificate(mode: SslMode): string | undefined {
  if (mode !== "verify-ca" && mode !== "verify-full") return undefined;
  const path = join(homedir(), ".postgresql", "root.crt");
  try {
    readFileSync(path);
    return path;
  } catch {
    return undefined;
  }
}

function readPem(path: string, setting: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new Failure("config/invalid", `the file of ${setting}, '${path}', cannot be read`, {
      hint: "Name an existing file in PEM format that this user may read.",
      cause,
    });
  }
}

/** True when the other kind of connection may be let in: no SSL at the server, or a rule of pg_hba.conf. */
export function mayDifferWithoutSsl(error: unknown): boolean {
  if (isFailure(error) && error.code !== "database/denied") return false;
  const state = sqlState(error);
  if (state !== undefined) return state === "28000";
  return (
    error instanceof Error &&
    /SSL|TLS|ssl|certificate|ECONNRESET|disconnected/.test(`${error.message} ${Reflect.get(error, "code")}`)
  );
}
