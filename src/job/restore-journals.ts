/** The restores into an installation's own place that this machine remembers, and the one of them that is not finished. */
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { Failure, isFailure, messageOf } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { shortId } from "../base/ids.ts";
import { Journal, journalFile, journalPath, type JournalValue } from "./stages/journal.ts";

export type { JournalValue, PlaceIdentity } from "./stages/journal.ts";

export interface KeptRestore {
  readonly id: string;
  readonly folder: string;
  readonly journal: Journal;
}

export interface KeptRestores {
  /** The newest first. */
  readonly restores: readonly KeptRestore[];
  /** Those whose journal cannot be read. */
  readonly unreadable: readonly { readonly folder: string; readonly failure: Failure }[];
}

/** @param home The folder with a folder for each restore; it need not be there. */
export async function listRestores(home: string): Promise<KeptRestores> {
  const restores: KeptRestore[] = [];
  const unreadable: { folder: string; failure: Failure }[] = [];
  for (const id of (await namesIn(home)).toSorted().toReversed()) {
    const folder = join(home, id);
    try {
      const journal = await Journal.open(journalFile(folder), journalPath(folder));
      // A folder without a journal was made by a restore that was killed before it began.
      if (journal !== undefined) restores.push({ id, folder, journal });
    } catch (error) {
      if (!isFailure(error)) throw error;
      unreadable.push({ folder, failure: error });
    }
  }
  return { restores, unreadable };
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return [];
    throw new Failure("restore/record", `cannot look into '${folder}': ${messageOf(cause)}`, {
      hint: "Run Chatkeep as the user that ran the restore.",
      cause,
    });
  }
}

export function isUnfinished({ state }: Pick<JournalValue, "state">): boolean {
  return state === "restoring" || state === "undoing";
}

/** The one that was begun and is neither through nor undone. */
export async function findUnfinished(home: string): Promise<KeptRestore | undefined> {
  const { restores } = await listRestores(home);
  return restores.find(({ journal }) => isUnfinished(journal.value));
}

/**
 * Two of them would take each other's work apart.
 * @throws Failure `restore/unfinished` that says which, and what to do; `restore/record` where one cannot be read.
 */
export async function refuseUnfinished(home: string): Promise<void> {
  const { restores, unreadable } = await listRestores(home);
  const unfinished = restores.find(({ journal }) => isUnfinished(journal.value));
  if (unfinished !== undefined) {
    const { message, hint } = unfinishedFinding(unfinished.journal.value);
    throw new Failure("restore/unfinished", message, { hint });
  }
  const [first] = unreadable;
  if (first !== undefined) throw first.failure;
}

/** Pure. */
export function unfinishedFinding({ state, point, beganAt, stages }: JournalValue): Finding {
  const at = stages.find((stage) => stage.state !== "done");
  const isUndoing = state === "undoing";
  return {
    kind: "restore-unfinished",
    level: "warning",
    message: isUndoing
      ? `the rollback of restore point ${shortId(point)}, restored ${beganAt}, is not finished`
      : `the restore of restore point ${shortId(point)}, begun ${beganAt}, is not finished: ${at === undefined ? "all is done but for the end" : `it stands at '${at.name}'`}`,
    hint: isUndoing
      ? "'chatkeep rollback' goes on with it."
      : "'chatkeep restore --resume' goes on; 'chatkeep rollback' undoes what was done.",
  };
}

/** What `doctor` and a backup say of them. Never throws a {@link Failure}: a backup is made all the same. */
export async function restoreFindings(home: string): Promise<Finding[]> {
  try {
    const { restores, unreadable } = await listRestores(home);
    const unfinished = restores.map(({ journal }) => journal.value).filter(isUnfinished);
    return [...unfinished.map(unfinishedFinding), ...unreadable.map(({ failure }) => unreadableFinding(failure))];
  } catch (error) {
    if (!isFailure(error)) throw error;
    return [unreadableFinding(error)];
  }
}

/** What is said of one that is not asked for: those that can be read are gone on with. Pure. */
export function unreadableFinding({ message, hint }: Failure): Finding {
  return {
    kind: "restore-record-unreadable",
    level: "warning",
    message,
    hint: `${hint ?? ""} 'chatkeep restore --discard-previous' forgets it.`.trimStart(),
  };
}

/** Removes the folder of a restore with all that lies in it. */
export async function removeRestoreFolder(folder: string): Promise<void> {
  // The journal last: what is left after a kill is still known.
  for (const name of await namesIn(folder)) {
    if (join(folder, name) !== journalPath(folder)) await rm(join(folder, name), { recursive: true, force: true });
  }
  await rm(folder, { recursive: true, force: true });
}
