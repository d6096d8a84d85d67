/**
 * Brings a point's database back into the place of the one that Chatwoot uses: loaded beside it, compared with the point
 * to the bit, and only then swapped in. The old one is kept, and a rollback swaps it back.
 */
import type { Clock } from "../base/clock.ts";
import { formatInstant } from "../base/clock.ts";
import { formatBytes, plural } from "../base/bytes.ts";
import { Failure, messageOf } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { shortId } from "../base/ids.ts";
import type { Progress } from "../base/progress.ts";
import type { Manifest } from "../point/manifest.ts";
import type { ProofCheck } from "../point/proof.ts";
import type { ServerAddress } from "../postgres/address.ts";
import { connect, type Connection } from "../postgres/connect.ts";
import { quoteIdentifier } from "../postgres/names.ts";
import { refuseSharedSessions } from "../postgres/pooler.ts";
import { findPrograms } from "../postgres/programs.ts";
import { copyDatabaseEntry } from "../postgres/database-entry.ts";
import { type KeptDatabase, keptName, listKept, noteDatabase } from "../postgres/kept-databases.ts";
import { dropDatabase, staysBeside, swapDatabases } from "../postgres/swap.ts";
import { type OwnTablespace, readTablespace } from "../postgres/target-space.ts";
import { connectBeside, inspectTarget } from "../postgres/target.ts";
import { openTemporaryFolder } from "../system/temporary.ts";
import { swapBlockers } from "./live-holders.ts";
import { checkData, checkSchema, checkSequences } from "./check-database.ts";
import { checkTriggers } from "./check-triggers.ts";
import { applyGrants, createRoles } from "./rights.ts";
import { createLike } from "./create-database.ts";
import { loadPoint } from "./load-point.ts";
import type { PointReader } from "./point-reader.ts";

export interface LiveOptions {
  /** Roles that are lacking are made, and owners and rights in the database are what they were. */
  withRoles: boolean;
  /** Entries of the saved schema that are not restored. */
  leaveOut?: ReadonlySet<number> | undefined;
  clock: Clock;
  progress: Progress;
  signal: AbortSignal;
}

/** The database that takes the live one's place is made new, and gets its owner. */
const FILLED = { side: "live", givesOwner: true } as const;

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
  if (newest === undefined) return [];
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

function leftFinding(level: Finding["level"], message: string, hint: string): Finding {
  return { kind: "restore-left", level, message, hint };
}

/** Half-filled, and nobody works on it. */
function isLeft({ chatkeep, sessions }: KeptDatabase): boolean {
  return chatkeep === "restoring" && sessions === 0;
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
  const point = reader.point.id;
  const findings = await removeLeft(address, options);
  const manifest = await reader.manifest();
  const tablespace = await tablespaceBeside(address, { signal });
  findings.push(...(await createLike(manifest, { ...address, database: fresh }, { tablespace, signal })));
  let lacking: string[];
  try {
    {
      await using beside = await connectBeside(address, { signal });
      await noteDatabase(beside, fresh, { chatkeep: "restoring", of: live, point, at });
    }
    const loaded = { ...address, database: fresh };
    // Held until the swap, so that no other run takes this database for one that was left.
    await using held = await connect(loaded, { signal });
    if (options.withRoles) findings.push(...(await createRoles(reader, address, { signal })));
    findings.push(...(await fill(reader, manifest, held, options)));
    if (options.withRoles)
      findings.push(...(await applyGrants(reader, loaded, { keepsEntry: true, isWhole: true, signal })));
    await held.query("select 1");
    await using beside = await connectBeside(address, { signal });
    lacking = await copyDatabaseEntry(beside, { from: live, to: fresh });
  } catch (error) {
    // Half a database is of no use to anybody. Where the server is gone, the next restore removes it.
    await dropDatabase(address, fresh, { isOwn: true, signal: AbortSignal.timeout(10_000) }).catch(() => {});
    throw error;
  }
  progress.stage("swapping the databases");
  await assertNotHeld(address, fresh, { signal });
  const previous = await swapDatabases(address, { live, fresh, why: "before", point }, options);
  const rows = manifest.tables.reduce((sum, table) => sum + table.rows, 0);
  if (lacking.length > 0) findings.push(settingsLacking(live, lacking));
  return { name: live, previous, rows, findings };
}

/** Where the new database is made: where the live one lies, if our role may. Undefined: where the server makes all. */
async function tablespaceBeside(
  address: ServerAddress,
  { signal }: { signal: AbortSignal },
): Promise<string | undefined> {
  await using connection = await connectBeside(address, { signal });
  const own = await readTablespace(connection, address.database);
  return own?.mayCreate === true ? own.name : undefined;
}

/** What was looked at before the loading may have come about since. @throws Failure `target/unsuitable`: nobody was thrown out. */
async function assertNotHeld(
  address: ServerAddress,
  fresh: string,
  { signal }: { signal: AbortSignal },
): Promise<void> {
  await using connection = await connectBeside(address, { signal });
  const [blocker] = (await swapBlockers(connection, address.database, FILLED))?.blockers ?? [];
  if (blocker === undefined) return;
  const hint = `${blocker.hint} Nothing was swapped. ${staysBeside(fresh)}`;
  throw new Failure("target/unsuitable", blocker.message, { hint });
}

/** One that cannot be removed keeps nobody from restoring: it is said. */
async function removeLeft(address: ServerAddress, { progress, signal }: LiveOptions): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const { name } of (await listKept(address, { signal })).filter(isLeft)) {
    progress.say(`removing '${name}', which an interrupted restore left`);
    try {
      await dropDatabase(address, name, { isOwn: true, signal });
    } catch (error) {
      if (signal.aborted) throw error;
      findings.push(
        leftFinding(
          "warning",
          `'${name}', which an interrupted restore left, could not be removed: ${messageOf(error)}`,
          "The restore went on without. 'chatkeep restore --discard-previous' tries again and says what to do.",
        ),
      );
    }
  }
  return findings;
}

function settingsLacking(name: string, settings: readonly string[]): Finding {
  return {
    kind: "database-settings-lacking",
    level: "warning",
    message: `${plural(settings.length, "setting")} of database '${name}' may only be given by a superuser: ${settings.join("; ")}`,
    hint: `Let one run ALTER DATABASE "${name}" SET … for each of them.`,
  };
}

async function fill(
  reader: PointReader,
  manifest: Manifest,
  held: Connection,
  { leaveOut, progress, signal }: LiveOptions,
): Promise<Finding[]> {
  const target = held.address;
  const { major } = await inspectTarget(target, { signal });
  const programs = await findPrograms(Math.max(major, manifest.server.clientMajor), { signal });
  await using work = await openTemporaryFolder("chatkeep-restore");
  const { refused, unheldKeys, findings } = await loadPoint(reader, target, {
    programs,
    workFolder: work.path,
    leaveOut,
    progress,
    signal,
  });
  const bytes = manifest.tables.reduce((sum, table) => sum + table.bytes, manifest.largeObjects?.bytes ?? 0);
  progress.stage("comparing every row", { total: bytes, unit: "bytes" });
  const checks: ProofCheck[] = [
    ...(await checkData(reader, target, { progress, signal })),
    await checkSequences(manifest, held),
    await checkTriggers(reader, held),
  ];
  // Another major writes the same schema in other words, and what was left out on purpose is no difference.
  const isSame = major === manifest.server.major && (leaveOut?.size ?? 0) === 0;
  if (isSame)
    checks.push(await checkSchema(reader, target, programs, { serverMajor: major, refused, unheldKeys, signal }));
  const wrong = checks.filter((check) => !check.ok);
  if (wrong.length === 0) return findings;
  throw new Failure(
    "database/failed",
    `what was loaded is not what the restore point holds: ${wrong.map(({ name, detail }) => `${name}: ${detail}`).join("; ")}`,
    {
      hint: "Nothing was swapped: the live database is as it was. 'chatkeep drill' says whether the point restores elsewhere.",
    },
  );
}

/** Those that nobody needs any more, unless for a rollback: put aside, or left half by a restore that was killed. */
export async function listDiscardable(
  address: ServerAddress,
  { signal }: { signal: AbortSignal },
): Promise<KeptDatabase[]> {
  const kept = await listKept(address, { signal });
  return kept.filter((one) => one.chatkeep !== "restoring" || isLeft(one));
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
      hint: "'chatkeep rollback' puts the newest back; 'chatkeep restore --discard-previous' drops what is no longer wanted.",
    },
  ];
}
