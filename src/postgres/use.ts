/** Whether anybody works in a database of Chatwoot's, or it is as an installation leaves it. */
import { plural } from "../base/bytes.ts";
import type { ServerAddress } from "./address.ts";
import { connect } from "./connect.ts";

/**
 * What was done in it, for people; undefined for one that is not there or cannot be looked at, has no tables of Chatwoot's, or has
 * one account at most and no conversation.
 */
export async function describeUse(
  address: ServerAddress,
  { signal }: { signal: AbortSignal },
): Promise<string | undefined> {
  try {
    await using connection = await connect(address, { signal });
    const [there] = await connection.query<{ both: boolean }>(
      "select to_regclass('public.accounts') is not null and to_regclass('public.conversations') is not null as both",
    );
    if (there?.both !== true) return undefined;
    const [row] = await connection.query<{ accounts: number; conversations: number }>(
      `select (select count(*)::int from public.accounts) as accounts,
              (select count(*)::int from (select from public.conversations limit 1000) c) as conversations`,
    );
    const { accounts = 0, conversations = 0 } = row ?? {};
    if (accounts < 2 && conversations === 0) return undefined;
    const many = conversations === 1000 ? "1,000 conversations or more" : plural(conversations, "conversation");
    return `${plural(accounts, "account")} and ${many}`;
  } catch {
    signal.throwIfAborted();
    return undefined;
  }
}
