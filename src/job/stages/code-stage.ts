/**
 * The stage `code`: a checkout comes back as it was saved, with local commits, edits and untracked files; what was there is
 * kept to the byte. An image is not changed, only compared. Code that does not fit the database stands in the way.
 */
import { readdir, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { listSome, plural } from "../../base/bytes.ts";
import { Failure, isFailure } from "../../base/errors.ts";
import type { Finding } from "../../base/findings.ts";
import { changedBetween, lookAtCheckout } from "../../installation/checkout-look.ts";
import { type CheckoutMarks, markCheckout } from "../../installation/checkout-marks.ts";
import { CODE_FILES, CODE_UNTRACKED, type CodeInfo } from "../../installation/code-info.ts";
import {
  clearWay,
  differingPaths,
  goneFrom,
  keepCheckout,
  keepInTheWay,
  keepPaths,
  type KeptCheckout,
  type KeptFolder,
  letGoOfCommits,
  putCheckoutBack,
  putPathsBack,
  removePaths,
} from "../../installation/kept-checkout.ts";
import { settleCheckout } from "../../installation/cut-off-git.ts";
import { bringSavedCommits, restoreCode } from "../../installation/restore-code.ts";
import { restoreFolder } from "../restore-files.ts";
import { type Ground, lookAround, planLines, roomForCode, SAVED, savedInfo } from "./code-ground.ts";
import { checkoutChanges, folderChanges, keepCheckoutSince, keepFolderSince, sinceFinding } from "./code-since.ts";
import {
  NOTHING_TO_UNDO,
  type Stage,
  type StageContext,
  type StagePlan,
  type StageRecord,
  type StageResult,
  type UndoContext,
  type UndoPlan,
} from "./stage.ts";

export type CodeRecord =
  | {
      readonly kind: "git";
      readonly checkout: KeptCheckout;
      /** How the restore left it; absent before it was done. */
      readonly marks?: CheckoutMarks | undefined;
      /** What somebody changed after the restore, and where the undo has put it. */
      readonly since?: { readonly changes: readonly string[]; readonly into: string | undefined } | undefined;
      /** How an undo that failed left it. */
      readonly left?: CheckoutMarks | undefined;
      readonly state: State;
    }
  | { readonly kind: "files"; readonly folder: KeptFolder; readonly state: State }
  | { readonly kind: "beside"; readonly state: State };

/** `told`: the libraries are another code's, and somebody was told so. `undoing`: what was made since is put aside. */
type State = "begun" | "done" | "told" | "undoing" | "undone";

/** Of what was there, below the restore's folder. */
const BEFORE = "code-before";

/** Without these as they were Rails does not start, and they are of no use to other code. */
const LIBRARIES = /^(?:Gemfile|Gemfile\.lock|\.ruby-version)$/;
const ASSETS =
  /^(?:package\.json|pnpm-lock\.yaml|yarn\.lock|vite\.config\.\w+|tailwind\.config\.\w+|app\/(?:javascript|assets)\/.*)$/;

async function plan(context: StageContext): Promise<StagePlan> {
  const ground = await lookAround(context);
  const { blockers, findings } = ground;
  return { lines: planLines(ground, context), blockers, findings, room: await roomForCode(ground, context) };
}

/** The saved pieces, in the restore's folder: they stay there for a person to look at. */
async function bringPieces({ reader, folder, progress, signal }: StageContext): Promise<Finding[]> {
  const target = join(folder, SAVED);
  await rm(target, { recursive: true, force: true });
  return (await restoreFolder(reader, "code", target, { progress, signal })).findings;
}

function conflictFinding(root: string, conflicts: readonly string[], pieces: string): Finding {
  return {
    kind: "code-conflicts-left",
    level: "warning",
    message: `not all of the saved code fits into ${root}: ${conflicts.join("; ")}`,
    hint: `The commit is the saved one, so the database has its code. What did not fit lies in ${pieces}: put it in by hand.`,
  };
}

type GitRecord = Extract<CodeRecord, { kind: "git" }>;

async function applyCheckout(
  context: StageContext,
  record: StageRecord<CodeRecord>,
  { info, root }: Ground & { info: CodeInfo },
): Promise<StageResult> {
  const { folder, signal } = context;
  const [pieces, before] = [join(folder, SAVED), join(folder, BEFORE)];
  const findings = await bringPieces(context);
  const begun = record.kept?.kind === "git" ? record.kept : undefined;
  const checkout = begun?.checkout ?? (await keepCheckout(root, before, { label: basename(folder), signal }));
  const { head = "" } = info;
  if (checkout === undefined) throw new Failure("target/unsuitable", `the code in ${root} has no commit`);
  // What a killed run did by half is undone first; what somebody made meanwhile cannot be told from it, and is kept with it.
  if (begun !== undefined) {
    await keepCheckoutSince(checkout, undefined, context);
    await putCheckoutBack(checkout, before, { signal });
  } else await record.keep({ kind: "git", checkout, state: "begun" });
  const lacking = await bringSavedCommits(pieces, root, { signal });
  if (lacking.length > 0) throw wrongCode(root, lacking);
  const untracked = { saved: join(pieces, CODE_UNTRACKED), untracked: info.untracked };
  const whole = await keepInTheWay(checkout, before, { commit: head, ...untracked, signal });
  await record.keep({ kind: "git", checkout: whole, state: "begun" });
  await clearWay(whole, { signal });
  const { steps, conflicts } = await restoreCode(pieces, root, { signal, setsBack: true });
  const now = await lookAtCheckout(root, { commits: [], signal });
  if (now.head !== head) {
    await putCheckoutBack(whole, before, { signal });
    throw wrongCode(root, conflicts);
  }
  const marks = await markCheckout(whole, { signal });
  const done: GitRecord = { kind: "git", checkout: whole, marks, state: "done" };
  await record.keep(done);
  if (conflicts.length > 0) findings.push(conflictFinding(root, conflicts, pieces));
  return await build(context, record, done, { lines: steps, findings });
}

/** The database must not run with other code than its own. */
function wrongCode(root: string, conflicts: readonly string[]): Failure {
  return new Failure("target/unsuitable", `the saved code cannot be had in ${root}: ${conflicts.join("; ")}`, {
    hint: "The code is as it was. Mend that, and 'chatkeep restore --resume'; or 'chatkeep rollback'.",
  });
}

/** What a person has to do before this code runs, or looks as it should. */
async function build(
  { place, signal }: StageContext,
  record: StageRecord<CodeRecord>,
  done: GitRecord,
  result: StageResult,
): Promise<StageResult> {
  const { root, head } = done.checkout;
  const { kind } = place.installation;
  const now = await lookAtCheckout(root, { commits: [], signal });
  const isOwnMachine = kind === "linux-vm" || kind === "manual";
  const changed =
    isOwnMachine && now.head !== undefined ? await changedBetween(root, [head, now.head], { signal }) : [];
  const assets = "RAILS_ENV=production bundle exec rake assets:precompile";
  if (changed.some((path) => LIBRARIES.test(path)) && done.state !== "told") {
    await record.keep({ ...done, state: "told" });
    const how = `as the owner of ${root}, in that folder: bundle install && pnpm install && ${assets}`;
    return {
      ...result,
      holds: `the code is the saved one, and the installed libraries are those of other code: ${how}`,
    };
  }
  if (!changed.some((path) => ASSETS.test(path))) return result;
  return {
    ...result,
    next: [`make the pages again, as the owner of ${root}, in that folder: pnpm install && ${assets}`],
  };
}

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .toSorted();
}

async function applyFiles(
  context: StageContext,
  record: StageRecord<CodeRecord>,
  { root }: Ground,
): Promise<StageResult> {
  const { folder, signal } = context;
  const [pieces, before] = [join(folder, SAVED), join(folder, BEFORE)];
  const findings = await bringPieces(context);
  const saved = join(pieces, CODE_FILES);
  let kept = record.kept?.kind === "files" ? record.kept.folder : undefined;
  if (kept === undefined) {
    const differing = await differingPaths(root, saved, await filesBelow(saved));
    kept = { root, paths: await keepPaths(root, before, differing) };
    await record.keep({ kind: "files", folder: kept, state: "begun" });
  }
  await removePaths(kept);
  const { steps, conflicts } = await restoreCode(pieces, root, { signal });
  await record.keep({ kind: "files", folder: kept, state: "done" });
  if (conflicts.length > 0) findings.push(conflictFinding(root, conflicts, pieces));
  const aside = kept.paths.filter(({ kind }) => kind !== "none").length;
  const lines = aside === 0 ? steps : [...steps, `kept ${plural(aside, "file")} that differed in ${before}`];
  return { lines: kept.paths.length === 0 ? [] : lines, findings };
}

async function apply(context: StageContext, record: StageRecord<CodeRecord>): Promise<StageResult> {
  const { kept } = record;
  if (kept?.kind === "git" && kept.state !== "begun") {
    return await build(context, record, kept, { lines: [], findings: [] });
  }
  if (kept !== undefined && kept.state !== "begun") return { lines: [], findings: [] };
  const ground = kept === undefined ? await lookAround(context) : await begunGround(context, kept);
  const { way, info } = ground;
  if (way === "nothing" || info === undefined) return { lines: [], findings: [] };
  if (way === "checkout") return await applyCheckout(context, record, { ...ground, info });
  if (way === "files") return await applyFiles(context, record, ground);
  await record.keep({ kind: "beside", state: "begun" });
  const findings = await bringPieces(context);
  await record.keep({ kind: "beside", state: "done" });
  const where = join(context.folder, SAVED);
  return {
    lines: [`put the saved code into ${where}`],
    findings,
    next: [`compare ${where} with the code that runs here`],
  };
}

/** What was begun is gone on with, whatever the half-changed code looks like now. */
async function begunGround({ reader }: StageContext, kept: CodeRecord): Promise<Ground> {
  const info = await savedInfo(reader);
  const way = kept.kind === "git" ? "checkout" : kept.kind;
  const root = kept.kind === "git" ? kept.checkout.root : kept.kind === "files" ? kept.folder.root : "";
  return { way, info, root, blockers: [], findings: [] };
}

const AS_IT_WAS = { lines: [], findings: [] };

async function undo(context: UndoContext, record: StageRecord<CodeRecord>): Promise<StageResult> {
  const { kept } = record;
  if (kept === undefined || kept.kind === "beside" || kept.state === "undone") return AS_IT_WAS;
  return kept.kind === "files" ? await undoFolder(context, record, kept) : await undoCheckout(context, record, kept);
}

async function undoFolder(
  context: UndoContext,
  record: StageRecord<CodeRecord>,
  kept: Extract<CodeRecord, { kind: "files" }>,
): Promise<StageResult> {
  const { folder } = context;
  const changes = await folderChanges(kept.folder, join(folder, SAVED, CODE_FILES));
  const aside = changes.length === 0 ? undefined : await keepFolderSince(kept.folder, changes, context);
  // What was not brought to its end differs by itself.
  const isTold = aside !== undefined && kept.state === "done";
  await record.keep({ ...kept, state: "undoing" });
  await putPathsBack(kept.folder, join(folder, BEFORE));
  await record.keep({ ...kept, state: "undone" });
  const { root } = kept.folder;
  return { lines: [`the code in ${root} is as it was`], findings: isTold ? [sinceFinding(root, changes, aside)] : [] };
}

async function undoCheckout(
  context: UndoContext,
  record: StageRecord<CodeRecord>,
  kept: GitRecord,
): Promise<StageResult> {
  const { folder, signal } = context;
  const { root, head } = kept.checkout;
  const isWhole = kept.state === "done" || kept.state === "told";
  if (!isWhole) await settleCheckout(root, { signal });
  const changes = isWhole ? await checkoutChanges(kept.checkout, kept.marks, context) : [];
  const isAside = changes.length > 0 || !(await isAsWeLeftIt(context, kept));
  const aside = isAside ? await keepCheckoutSince(kept.checkout, kept.marks, context) : undefined;
  const since = changes.length === 0 ? kept.since : { changes, into: aside };
  const undoing: GitRecord = { ...kept, since, left: undefined, state: "undoing" };
  await record.keep(undoing);
  try {
    await putCheckoutBack(kept.checkout, join(folder, BEFORE), { signal });
  } catch (error) {
    // So that the next call does not take what is half put back for somebody's work. Without it that is copied once more.
    const left = await markCheckout(kept.checkout, { signal }).catch(() => undefined);
    if (left !== undefined) await record.keep({ ...undoing, left }).catch(() => {});
    throw error;
  }
  await record.keep({ ...undoing, state: "undone" });
  const lines = [`the code in ${root} is as it was, at ${head.slice(0, 10)}`];
  if (aside !== undefined && changes.length === 0) lines.push(`what was there until now is kept in ${aside}`);
  const next =
    kept.state === "told" ? ["install the libraries of this code again: bundle install && pnpm install"] : [];
  return { lines, findings: since === undefined ? [] : [sinceFinding(root, since.changes, since.into)], next };
}

/** False where nobody can tell: the restore, or its undo, was killed there. */
async function isAsWeLeftIt(context: UndoContext, { checkout, marks, left, state }: GitRecord): Promise<boolean> {
  if (state === "done" || state === "told") return marks !== undefined;
  return left !== undefined && (await checkoutChanges(checkout, left, context)).length === 0;
}

async function planUndo(context: UndoContext, { kept }: Pick<StageRecord<CodeRecord>, "kept">): Promise<UndoPlan> {
  const { folder, signal } = context;
  if (kept === undefined || kept.kind === "beside" || kept.state === "undone") return NOTHING_TO_UNDO;
  const ground = kept.kind === "git" ? kept.checkout : kept.folder;
  const gone = await goneFrom(ground, join(folder, BEFORE));
  const blockers = gone.length === 0 ? [] : [goneFinding(ground.root, gone, join(folder, BEFORE))];
  if (kept.kind === "git") {
    const { lacking } = await lookAtCheckout(ground.root, { commits: [kept.checkout.head], signal });
    if (lacking.length > 0)
      return { blockers: [...blockers, lackingFinding(ground.root, kept.checkout.head)], findings: [] };
  }
  if (kept.state !== "done" && kept.state !== "told") return { blockers, findings: [] };
  const changes =
    kept.kind === "git"
      ? await checkoutChanges(kept.checkout, kept.marks, context)
      : await folderChanges(kept.folder, join(folder, SAVED, CODE_FILES));
  return { blockers, findings: changes.length === 0 ? [] : [sinceFinding(ground.root, changes, undefined)] };
}

function goneFinding(root: string, gone: readonly string[], before: string): Finding {
  return {
    kind: "put-aside-gone",
    level: "alarm",
    message: `the code in ${root} cannot be put back: of what it was ${plural(gone.length, "file")} ${gone.length === 1 ? "is" : "are"} no longer in ${before}: ${listSome(gone)}`,
    hint: "Put that back from a copy of that disk. Then call 'chatkeep rollback' again.",
  };
}

function lackingFinding(root: string, head: string): Finding {
  return {
    kind: "code-commit-missing",
    level: "alarm",
    message: `the code in ${root} lacks commit ${head.slice(0, 10)}, at which it was before the restore`,
    hint: "As the owner of the folder, in it: git fetch --all. Then call 'chatkeep rollback' again.",
  };
}

/** Copies go with the restore's folder. A checkout that git cannot read any more keeps nothing from being dropped. */
async function discard({ folder, signal }: UndoContext, { kept }: StageRecord<CodeRecord>): Promise<StageResult> {
  if (kept?.kind !== "git") return AS_IT_WAS;
  try {
    await letGoOfCommits(kept.checkout.root, basename(folder), { signal });
  } catch (error) {
    signal.throwIfAborted();
    if (!isFailure(error) || error.code === "internal/bug") throw error;
  }
  return AS_IT_WAS;
}

export const codeStage: Stage<CodeRecord> = {
  name: "code",
  plan,
  apply,
  // Other code than the database was written by reads it wrongly, or migrates it.
  undoIs: "needed",
  planUndo,
  // What is there may be half of one and half of the other, which says nothing of the room.
  async room(context) {
    const { code } = context.place.installation;
    const info = await savedInfo(context.reader);
    const way = code === undefined || info?.kind !== code.kind ? "beside" : code.kind === "git" ? "checkout" : "files";
    return await roomForCode({ way, info, root: code?.root ?? "", blockers: [], findings: [] }, context);
  },
  undo,
  discard,
};
