/** What keeps a server's log from being followed: told by `doctor`, and changed by `doctor --fix` with a person's consent. */
import { existsSync } from "node:fs";
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
}

async function lookAtServer({ config }: LoadedConfig, s: Surroundings): Promise<Looked> {
  const found = await openInstallation(config.installation, s, config.database);
  const way = await wayToLog(config, { found, address: found.address() }, s);
  const { address } = await findWay(way, s);
  const own = slotName(config.installation.id);
  return { look: await lookAtReplication(address, { ...s, own }), address, installation: found.installation };
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
    return { ...base, line, outcome: "done", note: `To undo it: ${(await step.make()).undo}` };
  } catch (error) {
    s.signal.throwIfAborted();
    const { code, message, hint } = failureOf(error);
    if (code === "internal/bug") throw error;
    return { ...base, outcome: "failed", note: `${capital(message)}. ${hint ?? ""}`.trim() };
  }
}

type Step = { line?: string; make: () => Promise<Changed> } | { why: string };

async function stepFor(told: Told<ObstacleKind | RemarkKind>, fixing: Fixing): Promise<Step> {
  const { connection, look, address, installation, s } = fixing;
  if (told.kind === "role") return { make: async () => await allowRole(connection, look.facts.role.name) };
  if (told.kind === "summaries-off") return { make: async () => await summarizeWal(connection, s) };
  if (told.kind === "slot-unbounded") {
    const mib = await slotBound(installation);
    if (mib === undefined)
      return {
        why: `How much room the server's disk has is not known from here, so choose the number yourself. ${told.hint}`,
      };
    return {
      line: `ALTER SYSTEM SET max_slot_wal_keep_size = '${mib}MB';`,
      make: async () => await boundSlots(connection, mib, s),
    };
  }
  const file = await ownHbaFile(connection);
  if ("why" in file) return { why: `${capital(file.why)}. ${told.hint}` };
  return {
    line: `${told.line ?? ""}  (in '${file.path}')`,
    make: async () => {
      const works = async () => (await tryWay(address, s)) === undefined;
      return await addHbaLine(connection, { path: file.path, line: told.line ?? "", works }, s);
    },
  };
}

const MIB = 1024 ** 2;
const LEAST_MIB = 512;
const MOST_MIB = 50 * 1024;

/** In MiB; undefined where the server's disk is not this machine's, or has too little room for any. */
async function slotBound(installation: Installation): Promise<number | undefined> {
  const free = await freeForServer(installation);
  return free === undefined ? undefined : boundFor(free);
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
