/** What `guard` keeps on this machine from before the command until somebody knows how it went: it survives its own death. */
import { readFile } from "node:fs/promises";
import { Failure, messageOf } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { shortId } from "../base/ids.ts";
import type { AttachedResult } from "../system/attached.ts";
import { replaceFile } from "../system/replace-file.ts";
import type { Looked } from "./guard-look.ts";

/**
 * `running`: the command was begun. `ran`: it is over, and nobody has looked. `wrong`: it was looked at and left.
 * `going-back`: what was is being put back. `well`, `back` and `forgotten` are ends.
 */
export type GuardStage = "running" | "ran" | "wrong" | "going-back" | "well" | "back" | "forgotten";

export interface GuardRecord {
  schema: 1;
  id: string;
  /** RFC 3339. */
  startedAt: string;
  /** As it was typed, without secrets. */
  command: string;
  point: GuardedPoint;
  stage: GuardStage;
  /** Of the hashes in `before`. */
  salt: string;
  before: Looked;
  /** How the command ended; null while it runs, and where nobody saw it. */
  ended: AttachedResult | null;
}

export interface GuardedPoint {
  id: string;
  snapshot: string;
  /** By its name in the configuration, or its location. */
  repository: string;
  /** RFC 3339. */
  takenAt: string;
}

/** @throws what the disk says. */
export async function writeGuard(path: string, record: GuardRecord): Promise<void> {
  await replaceFile(path, `${JSON.stringify(record, null, 1)}\n`, 0o600);
}

/** Undefined where there was none. @throws Failure `guard/unfinished` for one that cannot be read. */
export async function readGuard(path: string): Promise<GuardRecord | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw unreadable(path, messageOf(error), error);
  }
  let value: Partial<GuardRecord>;
  try {
    value = JSON.parse(text) as Partial<GuardRecord>;
  } catch (error) {
    throw unreadable(path, "it is cut or damaged", error);
  }
  if (value.schema !== 1) throw unreadable(path, "a newer Chatkeep wrote it");
  const isWhole = value.before !== undefined && value.point !== undefined && typeof value.stage === "string";
  if (!isWhole) throw unreadable(path, "it is cut or damaged");
  return value as GuardRecord;
}

function unreadable(path: string, why: string, cause?: unknown): Failure {
  return new Failure("guard/unfinished", `what the last guard kept in '${path}' cannot be read: ${why}`, {
    hint: "Its restore point has the tag 'guard': 'chatkeep list'. When nothing of that upgrade is left to do, move the file away.",
    ...(cause === undefined ? {} : { cause }),
  });
}

/** True where something is left to do. */
export function isUnfinished({ stage }: GuardRecord): boolean {
  return stage === "running" || stage === "ran" || stage === "wrong" || stage === "going-back";
}

const STOOD: Record<"running" | "ran" | "wrong" | "going-back", string> = {
  running: "was stopped while its command ran",
  ran: "was stopped before it had looked how its command went",
  wrong: "found that its command went wrong, and nothing was put back",
  "going-back": "was stopped while it put everything back",
};

/** What is left, for `doctor` and for whoever begins another one. Empty where it was finished. */
export function guardFindings(record: GuardRecord | undefined): Finding[] {
  if (record === undefined) return [];
  const { stage, command, startedAt, point } = record;
  if (stage === "well" || stage === "back" || stage === "forgotten") return [];
  const check = stage === "going-back" ? "" : "'chatkeep guard --check' looks whether Chatwoot is well now. ";
  return [
    {
      kind: "guard-unfinished",
      level: "alarm",
      message: `the guard of ${startedAt} (${command}) ${STOOD[stage]}`,
      hint: `${check}'chatkeep guard --back' puts everything back as it was at restore point ${shortId(point.id)}. 'chatkeep guard --forget' says that nothing is left to do.`,
    },
  ];
}

/** @throws Failure `guard/unfinished` where one is. */
export function refuseUnfinished(record: GuardRecord | undefined): void {
  const [finding] = guardFindings(record);
  if (finding !== undefined) throw new Failure("guard/unfinished", finding.message, { hint: finding.hint });
}
