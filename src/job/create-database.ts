/** Makes an empty database that orders and encodes text as the point's own did. */
import type { Finding } from "../base/findings.ts";
import type { Manifest } from "../point/manifest.ts";
import type { ServerAddress } from "../postgres/address.ts";
import { createDatabase } from "../postgres/target.ts";

/** @param options.tablespace Where it lies; without it where the server makes all. @returns a finding where the server does not have the locale. */
export async function createLike(
  { server }: Manifest,
  address: ServerAddress,
  { tablespace, signal }: { tablespace?: string | undefined; signal: AbortSignal },
): Promise<Finding[]> {
  const { encoding, collate, ctype, localeProvider: provider } = server;
  if (await createDatabase(address, { encoding, collate, ctype, provider, tablespace, signal })) return [];
  const name = provider === undefined ? `'${collate}'` : `'${provider.locale}' of ${provider.name}`;
  return [
    {
      kind: "locale-lacking",
      level: "warning",
      message: `the server does not have the locale ${name}, so the database has the server's own`,
      hint: "Text may be ordered otherwise than before; nothing in it is changed.",
    },
  ];
}
