/** The server that a restore goes to, as it is found before anything is read or recovered for it. */
import { Failure, isFailure } from "../base/errors.ts";
import { LOST_ENVIRONMENT } from "../installation/installation.ts";
import { readDatabaseNames } from "../postgres/kept-databases.ts";
import { quoteIdentifier } from "../postgres/names.ts";
import { connectBeside } from "../postgres/target.ts";
import type { Place } from "./stages/stage.ts";

/**
 * The names that databases have there.
 * @throws Failure of the `database/` codes, with what a server lacks that took the place of one that is gone.
 */
export async function namesAtTarget(
  { address, installation }: Place,
  { signal }: { signal: AbortSignal },
): Promise<string[]> {
  try {
    await using connection = await connectBeside(address, { signal });
    return [...(await readDatabaseNames(connection)).values()];
  } catch (error) {
    if (signal.aborted || !isFailure(error) || !error.code.startsWith("database/")) throw error;
    const { code, message, hint } = error;
    const isLost = ["linux-vm", "manual"].includes(installation.kind) && installation.envFile === undefined;
    if (isLost) {
      throw new Failure(code, `${message}; .env, which says where the database is, is not there`, {
        hint: LOST_ENVIRONMENT,
        cause: error,
      });
    }
    const more = onNewServer(code, address.user);
    if (more === undefined) throw error;
    throw new Failure(code, message, { hint: hint === undefined ? more : `${hint} ${more}`, cause: error });
  }
}

function onNewServer(code: Failure["code"], user: string): string | undefined {
  if (code === "database/denied")
    return `If it is a new server, make the role there first: CREATE ROLE ${quoteIdentifier(user)} LOGIN SUPERUSER PASSWORD '…';`;
  if (code === "database/unreachable")
    return `If it is gone for good, start a new one of the same major in its place, and make the role ${quoteIdentifier(user)} there: docs/restore.md, "What is gone already".`;
  return undefined;
}
