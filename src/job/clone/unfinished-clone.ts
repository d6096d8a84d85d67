/**
 * Until a copy is neutralised it is production's data, with all that reaches people. So its database is made under another
 * name, which it loses at the very end, and its folder says that it is not finished.
 */
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Clock, formatInstant } from "../../base/clock.ts";
import type { Finding } from "../../base/findings.ts";
import type { Progress } from "../../base/progress.ts";
import type { ServerAddress } from "../../postgres/address.ts";
import { commentStatement, keptName } from "../../postgres/kept-databases.ts";
import { quoteIdentifier, quoteLiteral } from "../../postgres/names.ts";
import { connectBeside, inspectTarget } from "../../postgres/target.ts";
import { makeBeside, removeLeft } from "../load-beside.ts";
import type { PointReader } from "../point-reader.ts";

/** In the folder of a copy that is being made. */
export const UNFINISHED = "NOT-FINISHED.txt";

const SAYS = "This clone is not finished: what is here may be production's. Remove the folder, and restore again.\n";
const COMMENT = "not a clone yet: it may still reach people. Drop it, and restore again.";

interface Making {
  readonly clock: Clock;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export interface UnfinishedClone {
  /** What is filled: where the database was there already and empty, that one. */
  readonly address: ServerAddress;
  readonly findings: Finding[];
}

/**
 * Makes the database that is to be filled, and removes those that runs which were killed left for the same name. One that is
 * there already keeps its name, and its comment says what it is not, where our role may say so.
 */
export async function beginClone(
  reader: PointReader,
  address: ServerAddress,
  { clock, progress, signal }: Making,
): Promise<UnfinishedClone> {
  const { state } = await inspectTarget(address, { signal });
  if (state !== "missing") {
    await comment(address, COMMENT, { signal });
    return { address, findings: [] };
  }
  const at = formatInstant(clock.now());
  const beside = { address, fresh: keptName(address.database, "restoring", at) };
  const findings = await removeLeft(beside, { progress, signal });
  findings.push(...(await makeBeside(reader, beside, { at, signal })));
  return { address: { ...address, database: beside.fresh }, findings };
}

/** Gives it the name that was asked for: from then on it is the copy. */
export async function finishClone(
  { address: made }: UnfinishedClone,
  address: ServerAddress,
  { signal }: { signal: AbortSignal },
): Promise<void> {
  if (made.database === address.database) return await comment(address, null, { signal });
  await using connection = await connectBeside(address, { signal });
  await connection.query("begin");
  await connection.query(
    `alter database ${quoteIdentifier(made.database)} rename to ${quoteIdentifier(address.database)}`,
  );
  await connection.query(commentStatement(address.database, null));
  await connection.query("commit");
}

/** Only its owner may: where we are not, the name alone says nothing. */
async function comment(
  address: ServerAddress,
  text: string | null,
  { signal }: { signal: AbortSignal },
): Promise<void> {
  await using connection = await connectBeside(address, { signal });
  const [own] = await connection.query<{ mine: boolean }>(
    `select pg_catalog.pg_has_role(datdba, 'usage') as mine from pg_catalog.pg_database where datname = ${quoteLiteral(address.database)}`,
  );
  if (own?.mine === true) await connection.query(commentStatement(address.database, text));
}

export async function markFolder(folder: string): Promise<void> {
  await writeFile(join(folder, UNFINISHED), SAYS, { mode: 0o600 });
}

export async function unmarkFolder(folder: string): Promise<void> {
  await rm(join(folder, UNFINISHED), { force: true });
}
