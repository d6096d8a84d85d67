/** What a restore of the code would find: the saved code, the place's, and whether the one can take the other's place. */
import { join } from "node:path";
import { listSome, plural } from "../../base/bytes.ts";
import type { Finding } from "../../base/findings.ts";
import { silent } from "../../base/progress.ts";
import { lookAtCheckout } from "../../installation/checkout-look.ts";
import {
  CODE_INFO,
  CODE_STAGED,
  CODE_UNSTAGED,
  CODE_UNTRACKED,
  type CodeInfo,
  parseCodeInfo,
  readCodeInfo,
} from "../../installation/code-info.ts";
import { captureCode } from "../../installation/code.ts";
import { differingPaths } from "../../installation/kept-checkout.ts";
import { openTemporaryFolder } from "../../system/temporary.ts";
import { savedElsewhere } from "../capture-else.ts";
import { walkTree } from "../../repo/walk.ts";
import type { PointReader } from "../point-reader.ts";
import { restoreFolder } from "../restore-files.ts";
import { knownNeed, type RoomNeed } from "../room.ts";
import { judgePlace, planVersions, savedCodeName } from "./code-versions.ts";
import type { StageContext } from "./stage.ts";

/** Of the saved pieces, below the restore's folder. */
export const SAVED = "code";

/** `stays`: newer code, which migrates the database. `beside`: it fits nowhere, and is put into the restore's folder. */
type Way = "nothing" | "checkout" | "files" | "beside" | "stays";

export interface Ground {
  way: Way;
  info: CodeInfo | undefined;
  root: string;
  blockers: Finding[];
  findings: Finding[];
}

export async function savedInfo(reader: PointReader): Promise<CodeInfo | undefined> {
  const path = `code/${CODE_INFO}`;
  return (await reader.find(path)) === undefined ? undefined : parseCodeInfo(await reader.readText(path), "the point");
}

function keyOf({ head, branch, branches, hasStaged, hasUnstaged }: CodeInfo): string {
  return JSON.stringify([head, branch, branches, hasStaged, hasUnstaged]);
}

/** True where the checkout is what was saved already; files that nobody saved are in nobody's way. */
async function isAsSaved({ reader, place, signal }: StageContext, info: CodeInfo, root: string): Promise<boolean> {
  await using work = await openTemporaryFolder("chatkeep-code");
  await captureCode(root, { into: work.path, except: savedElsewhere(place.installation), signal });
  const now = await readCodeInfo(work.path);
  if (keyOf(now) !== keyOf(info)) return false;
  const saved = join(work.path, "saved");
  await restoreFolder(reader, "code", saved, { progress: silent, signal });
  const pieces = [...(info.hasStaged ? [CODE_STAGED] : []), ...(info.hasUnstaged ? [CODE_UNSTAGED] : [])];
  const differing = [
    ...(await differingPaths(work.path, saved, pieces)),
    ...(await differingPaths(root, join(saved, CODE_UNTRACKED), info.untracked)),
  ];
  return differing.length === 0;
}

async function lookAtGit(context: StageContext, info: CodeInfo, root: string): Promise<Ground> {
  const { signal, options } = context;
  const ground: Ground = { way: "checkout", info, root, blockers: [], findings: [] };
  if (options.migrate) {
    const verdict = await judgePlace(context);
    if (verdict.relation === "code-newer") {
      const { blockers, findings } = verdict;
      return { ...ground, way: "stays", blockers: [...blockers], findings: [...findings] };
    }
  }
  if (await isAsSaved(context, info, root)) return { ...ground, way: "nothing" };
  const commits = info.hasBundle ? info.prerequisites : info.head === undefined ? [] : [info.head];
  const { head, isMerging, lacking } = await lookAtCheckout(root, { commits, signal });
  if (head === undefined || info.head === undefined) {
    return { ...ground, way: "beside", findings: [besideFinding(root, "one of the two has no commit")] };
  }
  if (isMerging) {
    ground.blockers.push({
      kind: "code-in-merge",
      level: "alarm",
      message: `the code in ${root} is in the middle of a merge`,
      hint: "Finish it or abort it ('git merge --abort' in that folder), and restore again.",
    });
  }
  if (lacking.length > 0) {
    ground.blockers.push({
      kind: "code-commit-missing",
      level: "alarm",
      message: `the code in ${root} lacks commit ${listSome(lacking.map((commit) => commit.slice(0, 10)))}, which the saved code builds upon`,
      hint: `As the owner of the folder, in it: git fetch ${info.origin ?? "origin"}${info.origin === undefined ? "" : " '+refs/heads/*:refs/remotes/origin/*'"}. Then restore again.`,
    });
  }
  return ground;
}

function besideFinding(where: string, why: string): Finding {
  return {
    kind: "code-put-beside",
    level: "warning",
    message: `the saved code is not put into ${where}: ${why}`,
    hint: "It is put into the restore's folder. Compare it with what runs here; changes of your own have to be made again.",
  };
}

/** Looks, and changes nothing. */
export async function lookAround(context: StageContext): Promise<Ground> {
  const { place, reader } = context;
  const { installation } = place;
  const { code } = installation;
  const info = await savedInfo(reader);
  const root = code?.root ?? "";
  if (info?.kind === "git" && code?.kind === "git") return await lookAtGit(context, info, root);
  const ground: Ground = { way: "nothing", info, root, ...(await planVersions(context)) };
  if (info === undefined) return ground;
  if (info.kind === "files" && code?.kind === "files") return { ...ground, way: "files" };
  const hasOwn =
    info.kind === "files" || info.hasBundle || info.hasStaged || info.hasUnstaged || info.untracked.length > 0;
  // Upstream's code without a change is in every image of its version.
  if (!hasOwn) return ground;
  const where = code === undefined ? (installation.image?.name ?? "this place") : code.root;
  const why = code === undefined ? "its code is not a folder" : "the one is a git checkout and the other is not";
  ground.findings.push(besideFinding(where, why));
  return { ...ground, way: "beside" };
}

/** The saved pieces lie in the restore's folder, and what they become in the code's own. */
export async function roomForCode(
  { way, root }: Ground,
  { reader, folder, signal }: StageContext,
): Promise<RoomNeed[]> {
  const tree = await reader.folderTree("code");
  if (way === "nothing" || tree === undefined) return [];
  let bytes = 0;
  for await (const { node } of walkTree(reader.repository, tree, { onDamage: () => {}, signal }))
    bytes += Number(node.size ?? 0);
  const pieces = knownNeed("the saved code", folder, bytes);
  return way === "checkout" || way === "files" ? [pieces, knownNeed("the code", root, bytes)] : [pieces];
}

export function planLines({ way, info, root }: Ground, context: StageContext): string[] {
  const name = savedCodeName(context.manifest) ?? "the saved code";
  if (way === "nothing" || info === undefined) return [];
  if (way === "beside") return [`put the saved code into ${join(context.folder, SAVED)}`];
  if (way === "files") return [`bring files of the code in ${root} back; those that differ are kept`];
  if (way === "stays") {
    return [
      `the code in ${root} stays: it is newer than ${name}, and Chatwoot migrates the database; saved changes are put into ${join(context.folder, SAVED)}`,
    ];
  }
  const own = [
    info.hasBundle ? "its own commits" : "",
    info.hasStaged || info.hasUnstaged ? "edits" : "",
    info.untracked.length > 0 ? plural(info.untracked.length, "untracked file") : "",
  ].filter((part) => part !== "");
  const branch = info.branch === undefined ? "" : ` (${info.branch})`;
  return [
    `bring the code in ${root} to ${info.head?.slice(0, 10) ?? ""}${branch}${own.length === 0 ? "" : `, with ${own.join(", ")}`}; what is there now is kept`,
  ];
}
