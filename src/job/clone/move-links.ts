/** Links to uploaded files that stand in texts: signed anew with the copy's own key, and with its own address. */
import { findSignedBlobIds, signBlobId, verifySignedBlobId } from "../../chatwoot/signed-id.ts";
import type { Environment } from "../../chatwoot/environment.ts";
import type { ServerAddress } from "../../postgres/address.ts";
import { readTables } from "../../postgres/catalogue.ts";
import { connect } from "../../postgres/connect.ts";
import { rewriteTable, type RewrittenColumn } from "./rewrite.ts";
import { withoutTriggers } from "./triggers.ts";

const LINK = "/rails/active_storage/";

/**
 * In a transaction of its own; a link that the other key did not sign is left as it is.
 * @throws Failure of the `database/` codes; nothing is changed then.
 */
export async function moveLinks(
  address: ServerAddress,
  { from, to }: { from: Environment; to: Environment },
  { signal }: { signal: AbortSignal },
): Promise<void> {
  await using connection = await connect(address, { signal });
  const { tables } = await readTables(connection);
  const replace = (value: string) => moveLinksIn(value, from, to);
  const found = tables.flatMap((table) => {
    const columns = table.columns
      .filter(({ type, isGenerated }) => /^(?:text|character varying|jsonb?)\b(?!.*\[\])/.test(type) && !isGenerated)
      .map(({ name, type }): RewrittenColumn => ({ name, type, treatment: "text" }));
    return columns.length === 0 ? [] : [{ table, columns }];
  });
  await connection.query("begin");
  await withoutTriggers(connection, tables, async () => {
    for (const { table, columns } of found) {
      await rewriteTable(connection, table, columns, { replace, holding: LINK, signal });
    }
  });
  await connection.query("commit");
}

/** Pure. */
export function moveLinksIn(text: string, from: Environment, to: Environment): string {
  const [oldKey, newKey] = [from.get("SECRET_KEY_BASE") ?? "", to.get("SECRET_KEY_BASE") ?? ""];
  const [oldUrl, newUrl] = [from.get("FRONTEND_URL") ?? "", to.get("FRONTEND_URL") ?? ""].map((url) =>
    url.replace(/\/+$/, ""),
  );
  let moved = text;
  for (const { token, blobId } of findSignedBlobIds(text)) {
    if (!verifySignedBlobId(token, oldKey)) continue;
    const digests = ["sha256", "sha1"] as const;
    const digest = digests.find((one) => signBlobId(Number(blobId), oldKey, one) === token) ?? "sha256";
    const signed = signBlobId(Number(blobId), newKey, digest);
    moved = moved.replaceAll(token, signed).replaceAll(token.replaceAll("=", "%3D"), signed.replaceAll("=", "%3D"));
  }
  return oldUrl === undefined || oldUrl === "" ? moved : moved.replaceAll(`${oldUrl}${LINK}`, `${newUrl ?? ""}${LINK}`);
}
