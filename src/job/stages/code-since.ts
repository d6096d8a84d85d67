/**
 * What somebody has changed in the code after a restore has put it there: noticed before a rollback, and put aside by it. Nothing of it
 * is lost, and nobody has to find out at night what it was.
 */
import { readdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { listSome, plural } from "../../base/bytes.ts";
import type { Finding } from "../../base/findings.ts";
import { changesSince, type CheckoutMarks, markCheckout } from "../../installation/checkout-marks.ts";
import {
  differingPaths,
  keepCheckout,
  keepInTheWay,
  keepPaths,
  type KeptCheckout,
  type KeptFolder,
} from "../../installation/kept-checkout.ts";
import type { UndoContext } from "./stage.ts";

type Where = Pick<UndoContext, "folder" | "signal">;

/** Below the restore's folder, with a number. */
const SINCE = "code-since";

/**
 * What differs from how the restore left the checkout, for people.
 * @param marks Undefined where the restore did not come to its end there: then nobody can tell its own work from somebody's.
 */
export async function checkoutChanges(
  kept: KeptCheckout,
  marks: CheckoutMarks | undefined,
  { signal }: Where,
): Promise<string[]> {
  if (marks === undefined) return [];
  const now = await markCheckout(kept, { signal });
  return now === undefined ? [] : changesSince(marks, now);
}

/**
 * Copies all that an undo would write over or take away. Commits that neither the restore nor its undo has are held by references.
 * @param marks As {@link checkoutChanges} takes them.
 * @returns where; undefined where no commit is.
 */
export async function keepCheckoutSince(
  kept: KeptCheckout,
  marks: CheckoutMarks | undefined,
  { folder, signal }: Where,
): Promise<string | undefined> {
  const into = await newFolder(folder);
  const known = new Set([kept.head, ...kept.branches.map(({ commit }) => commit)]);
  for (const commit of marks === undefined ? [] : [marks.head, ...Object.values(marks.branches)]) known.add(commit);
  const since = (commit: string) => marks !== undefined && !known.has(commit);
  const label = `${basename(folder)}-${basename(into)}`;
  const now = await keepCheckout(kept.root, into, { label, since, signal });
  if (now === undefined) return undefined;
  const whole = await keepInTheWay(now, into, { commit: kept.head, saved: "", untracked: [], signal });
  const copied = new Set(whole.paths.map(({ path }) => path));
  await keepPaths(
    kept.root,
    into,
    kept.paths.flatMap(({ path }) => (copied.has(path) ? [] : [path])),
  );
  return into;
}

/** Those files of a folder without git that are no longer what the restore put there. */
export async function folderChanges(kept: KeptFolder, saved: string): Promise<string[]> {
  return await differingPaths(
    kept.root,
    saved,
    kept.paths.map(({ path }) => path),
  );
}

/** @returns where; undefined where all of them are gone, and so nothing is to be kept. */
export async function keepFolderSince(
  kept: KeptFolder,
  paths: readonly string[],
  { folder }: Where,
): Promise<string | undefined> {
  const into = await newFolder(folder);
  const copied = await keepPaths(kept.root, into, paths);
  return copied.some(({ kind }) => kind !== "none") ? into : undefined;
}

/** One that a killed rollback has begun is left as it is. */
async function newFolder(folder: string): Promise<string> {
  const names = new Set(await readdir(folder).catch(() => []));
  let at = 1;
  while (names.has(`${SINCE}-${at}`)) at += 1;
  return join(folder, `${SINCE}-${at}`);
}

/** @param into Undefined before it is done. */
export function sinceFinding(root: string, changes: readonly string[], into: string | undefined): Finding {
  const are = changes.length === 1 ? "is" : "are";
  const where = into === undefined ? `${are} put aside first` : `${are} put aside in ${into}`;
  return {
    kind: "code-changed-since",
    level: "warning",
    message: `somebody worked in ${root} after the restore, and ${plural(changes.length, "change")} ${where}: ${listSome(changes)}`,
    hint: `Files lie there as they were, and commits stay in the checkout ('git for-each-ref refs/chatkeep/since'). Make again what is still wanted${into === undefined ? "" : ", before 'chatkeep restore --discard-previous'"}.`,
  };
}
