/** What keeps a server's log from being followed: told by `doctor`, and changed by `doctor --fix` with a person's consent. */
import { existsSync } from "node:fs";
import { formatBytes } from "../base/bytes.ts";
import { failureOf } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import type { FixLine } from "../job/fix-summary.ts";
import type { Installation } from "../installation/installation.ts";
import type { ServerAddress } from "../postgres/address.ts";
import {
  addHbaLine,
  allowRole,
  boundSlots,
  type Changed,
  ownHbaFile,
  slotBeyond,
  summarizeWal,
} from "../postgres/allow-replication.ts";
import { connect, type Connection } from "../postgres/connect.ts";
import {
  lookAtReplication,
  type ObstacleKind,
  type RemarkKind,
  type ReplicationLook,
  type Told,
} from "../postgres/replication-look.ts";
import { slotName } from "../postgres/replication-slots.ts";
import { findLogFolder } from "../postgres/target-space.ts";
import { freeBytesOf } from "../system/folders.ts";
import type { LoadedConfig } from "./config.ts";
import { openInstallation } from "./installation.ts";
import { freeForServer, SHARE_OF_DISK } from "./most-retained.ts";
import { findStateFolder, watchFile } from "./state-folder.ts";
import type { Surroundings } from "./surroundings.ts";
import { findWay, tryWay, wayToLog } from "./watch-mode.ts";

interface Looked {
  readonly look: ReplicationLook;
  /** By which statements are sent. */
  readonly address: ServerAddress;
  readonly installation: Installation;
  /** The name of our slot. */
  readonly own: string;
}

async function lookAtServer({ config }: LoadedConfig, s: Surroundings): Promise<Looked> {
  const found = await openInstallation(config.installation, s, config.database);
  const way = await wayToLog(config, { found, address: found.address() }, s);
  const { address } = await findWay(way, s);
  const own = slotName(config.installation.id);
  return { look: await lookAtReplication(address, { ...s, own }), address, installation: found.installation, own };
}

/** Where continuous protection is meant to follow the log: what is in the way, and what is worth knowing. */
export async function followFindings(loaded: LoadedConfig, s: Surroundings): Promise<Finding[]> {
  const { watch } = loaded.config;
  const isMeant = watch !== undefined || existsSync(watchFile(await findStateFolder(loaded, s)));
  if (!isMeant || watch?.mode === "interval") return [];
  const { look } = await lookAtServer(loaded, s);
  return [...look.obstacles.map(obstacleFinding), ...look.remarks.map(remarkFinding)];
}

function hintOf({ line, hint }: Told<string>): string {
  return line === undefined ? hint : `${line} ${hint}`;
}

function obstacleFinding(told: Told<ObstacleKind>): Finding {
  return {
    kind: "log-not-allowed",
    level: "warning",
    subject: told.kind,
    message: `the log cannot be followed: ${told.message}`,
    hint: `${hintOf(told)}${FIXABLE.has(told.kind) ? " 'chatkeep doctor --fix' does it where it may." : ""}`,
  };
}

const FIXABLE: ReadonlySet<ObstacleKind | RemarkKind> = new Set(["role", "pg-hba", "slot-unbounded", "summaries-off"]);
/** As somebody may well have it. */
const AS_MEANT: ReadonlySet<RemarkKind> = new Set(["standby", "tablespaces", "summaries-off"]);

function remarkFinding(told: Told<RemarkKind>): Finding {
  return {
    kind: "log-remark",
    level: AS_MEANT.has(told.kind) ? "note" : "warning",
    subject: told.kind,
    message: told.message,
    hint: `${hintOf(told)}${FIXABLE.has(told.kind) ? " 'chatkeep doctor --fix' does it where it may." : ""}`,
  };
}

export interface FixOptions {
  /** False where it is declined, or nobody can answer. */
  readonly confirm: (question: string) => Promise<boolean>;
}

interface Fixing extends Looked {
  readonly connection: Connection;
  readonly options: FixOptions;
  readonly s: Surroundings;
}

/**
 * One after the other, each with consent; looks again after each, for one thing hides another.
 * @throws Failure of the `database/` codes where the server cannot be asked.
 */
export async function fixServer(loaded: LoadedConfig, options: FixOptions, s: Surroundings): Promise<FixLine[]> {
  const lines: FixLine[] = [];
  const tried = new Set<string>();
  for (;;) {
    const looked = await lookAtServer(loaded, s);
    const { obstacles, remarks } = looked.look;
    const next = [...obstacles, ...remarks.filter(({ line }) => line !== undefined)].find(
      ({ kind }) => !tried.has(kind),
    );
    if (next === undefined) return lines;
    tried.add(next.kind);
    await using connection = await connect(looked.address, s);
    lines.push(await fixOne(next, { ...looked, connection, options, s }));
  }
}

async function fixOne(told: Told<ObstacleKind | RemarkKind>, fixing: Fixing): Promise<FixLine> {
  const base = { what: told.message, line: told.line ?? null };
  const { look, s } = fixing;
  if (!FIXABLE.has(told.kind)) return { ...base, outcome: "told", note: told.hint };
  if (!look.facts.role.isSuperuser) {
    return {
      ...base,
      outcome: "told",
      note: `It takes a superuser, and '${look.facts.role.name}' is none. ${told.hint}`,
    };
  }
  try {
    const step = await stepFor(told, fixing);
    if ("why" in step) return { ...base, outcome: "told", note: step.why };
    const line = step.line ?? told.line ?? "";
    if (!(await fixing.options.confirm(`${capital(told.message)}. Change it? ${line}`)))
      return { ...base, line, outcome: "declined", note: told.hint };
    const { undo } = await step.make();
    return { what: step.now, line, outcome: "done", note: `To undo it: ${undo}` };
  } catch (error) {
    s.signal.throwIfAborted();
    const { code, message, hint } = failureOf(error);
    if (code === "internal/bug") throw error;
    return { ...base, outcome: "failed", note: `${capital(message)}. ${hint ?? ""}`.trim() };
  }
}

/** `now`: what is so when it is made. */
type Step = { line?: string; now: string; make: () => Promise<Changed> } | { why: string };

async function stepFor(told: Told<ObstacleKind | RemarkKind>, fixing: Fixing): Promise<Step> {
  const { connection, look, s } = fixing;
  const { role } = look.facts;
  if (told.kind === "role")
    return { now: `the role '${role.name}' may replicate`, make: async () => await allowRole(connection, role.name) };
  if (told.kind === "summaries-off")
    return { now: "the server notes which pages change", make: async () => await summarizeWal(connection, s) };
  return told.kind === "slot-unbounded" ? await boundStep(told, fixing) : await hbaStep(told, fixing);
}

async function boundStep({ hint }: Told<string>, { connection, installation, own, s }: Fixing): Promise<Step> {
  const free = await freeForLog(installation, connection);
  if (free === undefined)
    return {
      why: `How much room the server's disk has is not known from here, so choose the number yourself. ${hint}`,
    };
  const mib = boundFor(free);
  if (mib === undefined)
    return {
      why: `The server's disk has ${formatBytes(free)} free, too little for a bound that is of use: make room. ${hint}`,
    };
  // A standby that is away for a night must not have to be made anew: half of the bound stays for what is yet to come.
  const other = await slotBeyond(connection, { mib: mib / 2, own });
  if (other !== undefined)
    return {
      why: `The server keeps ${formatBytes(other.bytes)} of its log for the slot '${other.name}', and by a bound of ${formatBytes(mib * MIB)}, as its disk allows, that slot could be lost, and whoever reads from it be cut off. Drop it if nobody needs it, wait until it is read, or choose the number yourself. ${hint}`,
    };
  return {
    line: `ALTER SYSTEM SET max_slot_wal_keep_size = '${mib}MB';`,
    now: `the server keeps ${formatBytes(mib * MIB)} of its log for slots at most`,
    make: async () => await boundSlots(connection, mib, s),
  };
}

async function hbaStep({ hint, line = "" }: Told<string>, { connection, look, address, s }: Fixing): Promise<Step> {
  const { role } = look.facts;
  if (role.password === "none")
    return { why: `The line alone would not help: '${role.name}' has no password. ${hint}` };
  const file = await ownHbaFile(connection);
  if ("why" in file) return { why: `${capital(file.why)}. ${hint}` };
  return {
    line: `${line}  (in '${file.path}')`,
    now: `the server lets '${role.name}' replicate from ${placeIn(line)}`,
    make: async () => {
      const refusal = async () => await tryWay(address, s);
      return await addHbaLine(connection, { path: file.path, line, refusal }, s);
    },
  };
}

/** Of a line of pg_hba.conf: its address, the last but one. */
function placeIn(line: string): string {
  return line.startsWith("local ")
    ? "its own machine by the socket"
    : (line.split(" ").at(-2) ?? "here").replace(/\/\d+$/, "");
}

const MIB = 1024 ** 2;
const LEAST_MIB = 512;
const MOST_MIB = 50 * 1024;

/** Bytes; where discovery does not know the server's folder the server is asked, as for its disk among the others. */
async function freeForLog(installation: Installation, connection: Connection): Promise<number | undefined> {
  const known = await freeForServer(installation);
  if (known !== undefined) return known;
  const folder = await findLogFolder(connection);
  return folder === undefined ? undefined : await freeBytesOf(folder);
}

/** A round number of MiB for so many bytes that are free; undefined where it would be too little to be of use. Pure. */
export function boundFor(freeBytes: number): number | undefined {
  const mib = Math.min(MOST_MIB, Math.floor((freeBytes * SHARE_OF_DISK) / MIB));
  if (mib < LEAST_MIB) return undefined;
  return mib < 1024 ? LEAST_MIB : Math.floor(mib / 1024) * 1024;
}

function capital(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
}
