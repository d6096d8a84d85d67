/**
 * Loads a point's database beside the live one, and proves it, in pieces that can be done again one by one: made, loaded,
 * compared with the point to the bit, and given the owner and the settings of the one whose place it is to take.
 */
import { plural } from "../base/bytes.ts";
import { Failure, messageOf } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import type { Progress } from "../base/progress.ts";
import type { ProofCheck } from "../point/proof.ts";
import type { ServerAddress } from "../postgres/address.ts";
import type { Connection } from "../postgres/connect.ts";
import { copyDatabaseEntry } from "../postgres/database-entry.ts";
import { type KeptDatabase, type KeptNote, listKept, noteDatabase, readDatabase } from "../postgres/kept-databases.ts";
import type { UnheldKey } from "../postgres/load-foreign-keys.ts";
import { findPrograms } from "../postgres/programs.ts";
import { dropDatabase, staysBeside } from "../postgres/swap.ts";
import { readTablespace } from "../postgres/target-space.ts";
import { connectBeside, inspectTarget } from "../postgres/target.ts";
import { openTemporaryFolder } from "../system/temporary.ts";
import { checkData, checkSchema, checkSequences } from "./check-database.ts";
import { checkTriggers } from "./check-triggers.ts";
import { createLike } from "./create-database.ts";
import { swapBlockers } from "./live-holders.ts";
import { loadPoint } from "./load-point.ts";
import type { PointReader } from "./point-reader.ts";
import { applyGrants, createRoles } from "./rights.ts";

/** The database that takes the live one's place is made new, and gets its owner. */
export const FILLED = { side: "live", givesOwner: true } as const;

/** Two databases of one server: the one that Chatwoot uses, and the one that is made beside it. */
export interface Beside {
  address: ServerAddress;
  fresh: string;
}

export interface BesideOptions {
  /** Roles that are lacking are made, and owners and rights in the database are what they were. */
  withRoles: boolean;
  /** Entries of the saved schema that are not restored. */
  leaveOut?: ReadonlySet<number> | undefined;
  progress: Progress;
  signal: AbortSignal;
}

/** What the proof has to know of the loading. Plain JSON. */
export interface LoadedBeside {
  /** Statements that the server refused, which nothing else depends on. */
  refused: readonly string[];
  /** Foreign keys that do not hold, because the point lacks rows. */
  unheldKeys: readonly UnheldKey[];
  /** Something of the saved schema was left out on purpose. */
  leavesOut: boolean;
}

/** Makes it, empty, and says in its comment what it is. */
export async function makeBeside(
  reader: PointReader,
  { address, fresh }: Beside,
  { at, signal }: { at: string; signal: AbortSignal },
): Promise<Finding[]> {
  const manifest = await reader.manifest();
  await using beside = await connectBeside(address, { signal });
  const own = await readTablespace(beside, address.database);
  // Where the live one lies, if our role may; else where the server makes all.
  const tablespace = own?.mayCreate === true ? own.name : undefined;
  const findings = await createLike(manifest, { ...address, database: fresh }, { tablespace, signal });
  const hadNone = (await readDatabase(beside, address.database)) === undefined;
  const note: KeptNote = { chatkeep: "restoring", of: address.database, point: reader.point.id, at, hadNone };
  try {
    await noteDatabase(beside, fresh, note);
  } catch (error) {
    await dropBeside({ address, fresh });
    throw error;
  }
  return findings;
}

/** Half a database is of no use to anybody. Where the server is gone, the next restore removes it. */
export async function dropBeside({ address, fresh }: Beside): Promise<void> {
  await dropDatabase(address, fresh, { isOwn: true, signal: AbortSignal.timeout(10_000) }).catch(() => {});
}

/** Fills it. */
export async function loadBeside(
  reader: PointReader,
  { address, fresh }: Beside,
  { withRoles, leaveOut, progress, signal }: BesideOptions,
): Promise<{ loaded: LoadedBeside; findings: Finding[] }> {
  const manifest = await reader.manifest();
  const target = { ...address, database: fresh };
  const roles = withRoles ? await createRoles(reader, address, { signal }) : [];
  const { major } = await inspectTarget(target, { signal });
  const programs = await findPrograms(Math.max(major, manifest.server.clientMajor), { signal });
  await using work = await openTemporaryFolder("chatkeep-restore");
  const loading = { programs, workFolder: work.path, leaveOut, progress, signal };
  const { refused, unheldKeys, findings } = await loadPoint(reader, target, loading);
  return {
    loaded: { refused, unheldKeys, leavesOut: (leaveOut?.size ?? 0) > 0 },
    findings: [...roles, ...findings],
  };
}

/**
 * Compares it with the point to the bit.
 * @param held A session in it.
 * @throws Failure `database/failed` when what was loaded is not what the point holds: nothing was swapped.
 */
export async function proveBeside(
  reader: PointReader,
  held: Connection,
  { refused, unheldKeys, leavesOut }: LoadedBeside,
  { progress, signal }: Pick<BesideOptions, "progress" | "signal">,
): Promise<void> {
  const manifest = await reader.manifest();
  const target = held.address;
  const { major } = await inspectTarget(target, { signal });
  const programs = await findPrograms(Math.max(major, manifest.server.clientMajor), { signal });
  const bytes = manifest.tables.reduce((sum, table) => sum + table.bytes, manifest.largeObjects?.bytes ?? 0);
  progress.stage("comparing every row", { total: bytes, unit: "bytes" });
  const checks: ProofCheck[] = [
    ...(await checkData(reader, target, { progress, signal })),
    await checkSequences(manifest, held),
    await checkTriggers(reader, held),
  ];
  // Another major writes the same schema in other words, and what was left out on purpose is no difference.
  const isSame = major === manifest.server.major && !leavesOut;
  if (isSame)
    checks.push(await checkSchema(reader, target, programs, { serverMajor: major, refused, unheldKeys, signal }));
  const wrong = checks.filter((check) => !check.ok);
  if (wrong.length === 0) return;
  throw new Failure(
    "database/failed",
    `what was loaded is not what the restore point holds: ${wrong.map(({ name, detail }) => `${name}: ${detail}`).join("; ")}`,
    {
      hint: "Nothing was swapped: the live database is as it was. 'chatkeep drill' says whether the point restores elsewhere.",
    },
  );
}

/** Gives it the rights of the point, when they are asked for, and what belongs to the live database's entry. */
export async function settleBeside(
  reader: PointReader,
  { address, fresh }: Beside,
  { withRoles, signal }: Pick<BesideOptions, "withRoles" | "signal">,
): Promise<Finding[]> {
  const { database: live } = address;
  const target = { ...address, database: fresh };
  const findings = withRoles ? await applyGrants(reader, target, { keepsEntry: true, isWhole: true, signal }) : [];
  await using beside = await connectBeside(address, { signal });
  const lacking = await copyDatabaseEntry(beside, { from: live, to: fresh });
  return lacking.length === 0 ? findings : [...findings, settingsLacking(live, lacking)];
}

function settingsLacking(name: string, settings: readonly string[]): Finding {
  return {
    kind: "database-settings-lacking",
    level: "warning",
    message: `${plural(settings.length, "setting")} of database '${name}' may only be given by a superuser: ${settings.join("; ")}`,
    hint: `Let one run ALTER DATABASE "${name}" SET … for each of them.`,
  };
}

/** What was looked at before the loading may have come about since. @throws Failure `target/unsuitable`: nobody was thrown out. */
export async function assertNotHeld(
  { address, fresh }: Beside,
  { stays = staysBeside(fresh), signal }: { stays?: string; signal: AbortSignal },
): Promise<void> {
  await using connection = await connectBeside(address, { signal });
  const [blocker] = (await swapBlockers(connection, address.database, FILLED))?.blockers ?? [];
  if (blocker === undefined) return;
  const hint = `${blocker.hint} Nothing was swapped. ${stays}`;
  throw new Failure("target/unsuitable", blocker.message, { hint });
}

/** Half-filled, and nobody works on it. One that somebody renamed is theirs, whatever its comment says. */
export function isLeft({ chatkeep, sessions, isRenamed }: KeptDatabase): boolean {
  return chatkeep === "restoring" && sessions === 0 && !isRenamed;
}

export function leftFinding(level: Finding["level"], message: string, hint: string): Finding {
  return { kind: "restore-left", level, message, hint };
}

/** Removes what interrupted restores left. One that cannot be removed keeps nobody from restoring: it is said. */
export async function removeLeft(
  { address, fresh }: Beside,
  { progress, signal }: Pick<BesideOptions, "progress" | "signal">,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  const left = (await listKept(address, { signal })).filter((one) => isLeft(one) && one.name !== fresh);
  for (const { name } of left) {
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
