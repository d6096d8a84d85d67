/** libpq's password file: `~/.pgpass`, or what `$PGPASSFILE` names. */
import { readFile, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { isSocket, type ServerAddress } from "./address.ts";

/** The first line that fits, as libpq does; undefined where none does, or where others than its owner may read the file. */
export async function readPasswordFile(address: ServerAddress): Promise<string | undefined> {
  const named = process.env["PGPASSFILE"];
  const path = named === undefined || named === "" ? join(homedir(), ".pgpass") : named;
  try {
    if (((await stat(path)).mode & 0o077) !== 0) return undefined;
    return findPassword(await readFile(path, "utf8"), address);
  } catch {
    // Most machines have none; whether one was needed, the server says.
    return undefined;
  }
}

/** Lines are `host:port:database:user:password`; `*` is anything, and `:` and `\` are written after a `\`. Pure. */
export function findPassword(text: string, address: ServerAddress): string | undefined {
  const hosts = isSocket(address) ? [address.host, "localhost"] : [address.host];
  const wanted = [hosts, [String(address.port)], [address.database], [address.user]];
  for (const line of text.split(/\r?\n/)) {
    if (line === "" || line.startsWith("#")) continue;
    const fields = [...line.matchAll(/((?:[^:\\]|\\.)*)(?::|$)/g)].slice(0, 4).map(([, field = ""]) => field);
    const rest = /^(?:(?:[^:\\]|\\.)*:){4}(.*)$/.exec(line)?.[1];
    const fits = wanted.every((values, at) => fields[at] === "*" || values.includes(unescape(fields[at] ?? "")));
    if (fits && rest !== undefined) return unescape(rest);
  }
  return undefined;
}

function unescape(field: string): string {
  return field.replaceAll(/\\(.)/g, "$1");
}
