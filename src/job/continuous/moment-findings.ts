/** What is worth telling of a recovered server before it is read. */
import type { Finding } from "../../base/findings.ts";
import type { ServerAddress } from "../../postgres/address.ts";
import { connect } from "../../postgres/connect.ts";
import { readCollationChange } from "../../postgres/collation.ts";

/**
 * Indexes of text are ordered as the old machine ordered it. Rows are read by their numbers and are right all the same; what
 * is restored from the point makes its indexes anew.
 */
export async function findingOfCollation(
  address: ServerAddress,
  { signal }: { signal: AbortSignal },
): Promise<Finding[]> {
  await using connection = await connect(address, { signal });
  const change = await readCollationChange(connection);
  if (change === undefined) return [];
  return [
    {
      kind: "moment-collation-differs",
      level: "note",
      message: `text was ordered by version ${change.from} of the locale, and this machine has ${change.to}: what is looked up by text in the recovered server may not be found`,
      hint: "Nothing to do: rows are saved in the order of their numbers, and a restore builds every index anew.",
    },
  ];
}
