/**
 * Brings a point's database back into the place of the one that Chatwoot uses: loaded beside it, compared with the point
 * to the bit, and only then swapped in. The old one is kept, and a rollback swaps it back.
 */
import { formatBytes, plural } from "../base/bytes.ts";
import { type Clock, formatInstant } from "../base/clock.ts";
import type { Finding } from "../base/findings.ts";
import { shortId } from "../base/ids.ts";
import type { ServerAddress } from "../postgres/address.ts";
import { connect } from "../postgres/connect.ts";
import { type KeptDatabase, keptName, listKept } from "../postgres/kept-databases.ts";
import { quoteIdentifier } from "../postgres/names.ts";
import { refuseSharedSessions } from "../postgres/pooler.ts";
import { swapDatabases } from "../postgres/swap.ts";
import { type OwnTablespace, readTablespace } from "../postgres/target-space.ts";
import { connectBeside } from "../postgres/target.ts";
import { swapBlockers } from "./live-holders.ts";
import {
  assertNotHeld,
  type Beside,
  type BesideOptions,
  dropBeside,
  FILLED,
  isLeft,
  leftFinding,
  loadBeside,
  makeBeside,
  proveBeside,
  removeLeft,
  settleBeside,
} from "./load-beside.ts";
import type { PointReader } from "./point-reader.ts";

export interface LiveOptions extends BesideOptions {
  clock: Clock;
}

/** What keeps the live database from being swapped, and what is worth knowing before. Changes nothing. */
export async function liveBlockers(
  address: ServerAddress,
  { signal }: { signal: AbortSignal },
): Promise<{ blockers: Finding[]; findings: Finding[] }> {
  const name = address.database;
  await using connection = await connectBeside(address, { signal });
  await refuseSharedSessions(connection, { signal });
  const held = await swapBlockers(connection, name, FILLED);
  if (held === undefined) {
    const hint = `To make it: 'chatkeep restore POINT --database-url' with its address.`;
    const message = `there is no database '${name}' whose place could be taken`;
    return { blockers: [{ kind: "database-missing", level: "alarm", message, hint }], findings: [] };
  }
  const own = await readTablespace(connection, name);
  const kept = await listKept(address, { signal });
  const findings = kept
    .filter(isLeft)
    .map(({ name: database, at }) =>
      leftFinding(
        "note",
        `an earlier restore was interrupted: what it left, '${database}' of ${at}, is removed first`,
        "Nothing of it is in use.",
      ),
    );
  return {
    blockers: held.blockers,
    findings: [...held.findings, ...elsewhere(address, own), ...findings, ...swappedFindings(kept)],
  };
}

function elsewhere({ database, user }: ServerAddress, own: OwnTablespace | undefined): Finding[] {
  if (own === undefined || own.mayCreate) return [];
  return [
    {
      kind: "tablespace-denied",
      level: "warning",
      message: `'${database}' lies in the tablespace '${own.name}', in which role '${user}' may make nothing: the new database is made where the server makes all others`,
      hint: `Is there room? To have it in the same place: GRANT CREATE ON TABLESPACE ${quoteIdentifier(own.name)} TO ${quoteIdentifier(user)}.`,
    },
  ];
}

/** Whoever was not told that a swap was done, because the run was killed just behind it, is told by the next call. */
export function swappedFindings(kept: readonly KeptDatabase[]): Finding[] {
  const newest = kept.find(({ chatkeep }) => chatkeep !== "restoring");
  // What was put aside without anything in its place is told by whoever lists what is kept.
  if (newest === undefined || newest.hadNone === true) return [];
  const { name, chatkeep, of, point, at } = newest;
  const [message, hint] =
    chatkeep === "before"
      ? [
          `'${of}' came from restore point ${shortId(point)} at ${at}; the earlier database is kept as '${name}'`,
          "'chatkeep rollback' puts the kept one back.",
        ]
      : [
          `'${of}' was put back by a rollback at ${at}; what was live until then is kept as '${name}'`,
          `'chatkeep rollback ${name}' undoes that.`,
        ];
  return [{ kind: "database-swapped", level: "note", message, hint }];
}

export interface LiveResult {
  name: string;
  /** What the database that was replaced is called now. */
  previous: string;
  rows: number;
  findings: Finding[];
}

/**
 * Loads, compares, swaps. Until the swap the live database is only looked at, and after it the new one is whole.
 * @throws Failure `database/failed` when what was loaded is not what the point holds: nothing was swapped.
 */
export async function restoreLive(
  reader: PointReader,
  address: ServerAddress,
  options: LiveOptions,
): Promise<LiveResult> {
  const { signal, progress } = options;
  const at = formatInstant(options.clock.now());
  const live = address.database;
  const fresh = keptName(live, "restoring", at);
  const both: Beside = { address, fresh };
  const findings = await removeLeft(both, options);
  findings.push(...(await makeBeside(reader, both, { at, signal })));
  try {
    // Held until the swap, so that no other run takes this database for one that was left.
    await using held = await connect({ ...address, database: fresh }, { signal });
    const { loaded, findings: found } = await loadBeside(reader, both, options);
    findings.push(...found);
    await proveBeside(reader, held, loaded, options);
    findings.push(...(await settleBeside(reader, both, options)));
    await held.query("select 1");
  } catch (error) {
    await dropBeside(both);
    throw error;
  }
  progress.stage("swapping the databases");
  await assertNotHeld(both, { signal });
  const swap = { live, fresh, why: "before", point: reader.point.id } as const;
  const previous = await swapDatabases(address, swap, options);
  const { tables } = await reader.manifest();
  return { name: live, previous, rows: tables.reduce((sum, table) => sum + table.rows, 0), findings };
}

/**
 * Those that nobody needs any more, unless for a rollback: put aside, or left half by a restore that was killed. One that somebody
 * renamed is not among them: it may serve something else.
 */
export async function listDiscardable(
  address: ServerAddress,
  { signal }: { signal: AbortSignal },
): Promise<KeptDatabase[]> {
  const kept = await listKept(address, { signal });
  return kept.filter((one) => !one.isRenamed && (one.chatkeep !== "restoring" || isLeft(one)));
}

/** What `doctor` says of databases that lie beside the live one. */
export function keptFindings(own: readonly KeptDatabase[]): Finding[] {
  if (own.length === 0) return [];
  const bytes = own.reduce((sum, one) => sum + one.bytes, 0);
  const names = own.map(({ name, at, bytes: size }) => `${name} (of ${at}, ${formatBytes(size)})`).join(", ");
  return [
    {
      kind: "database-kept",
      level: "note",
      message: `earlier restores keep ${plural(own.length, "database")} of ${formatBytes(bytes)} beside the live one: ${names}`,
      hint: "'chatkeep rollback --plan' says what the next rollback does, 'chatkeep rollback NAME' puts one back by its name; 'chatkeep restore --discard-previous' drops what is no longer wanted.",
    },
  ];
}
