/**
 * The stage `clone`: what was loaded beside the live database becomes a copy that reaches nobody, before it takes the live one's
 * place; and one in which nobody can be recognised, where that was asked for.
 */
import { chown, mkdir, rm, stat, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { formatCount, plural } from "../../base/bytes.ts";
import { bug } from "../../base/errors.ts";
import type { Finding } from "../../base/findings.ts";
import { blobPath } from "../../chatwoot/blobs.ts";
import { sharedWith } from "../../chatwoot/clone-environment.ts";
import { activeStorageService } from "../../chatwoot/environment.ts";
import type { Installation } from "../../installation/installation.ts";
import { anonymise } from "../clone/anonymise.ts";
import { moveLinks } from "../clone/move-links.ts";
import { neutralise } from "../clone/neutralise.ts";
import { describeClone, sharedFinding } from "../clone/restore-clone.ts";
import { FileLedger } from "./file-ledger.ts";
import { NOTHING_TO_DO, type Stage, type StageContext, type StageResult, type UndoContext } from "./stage.ts";

/** Files that stand for uploaded ones are listed before they are written: a power cut must not leave one that nobody knows. */
function ledgerIn(folder: string): FileLedger<{ path: string }> {
  return new FileLedger(folder, "clone-files.jsonl");
}

export interface CloneKept {
  readonly begun: true;
}

export const cloneStage: Stage<CloneKept> = {
  name: "clone",

  plan({ fresh, options, place, saved = new Map<string, string>() }) {
    const { clone } = options;
    if (clone === undefined || fresh === undefined) return Promise.resolve(NOTHING_TO_DO);
    const { installation } = place;
    const blockers = sharedWith(saved, installation.environment, clone.frontendUrl).map(sharedFinding);
    if (keyOf(installation) === "") blockers.push(noKey());
    if (clone.anonymise && folderOf(installation, options.storage) === undefined) blockers.push(noFolder());
    return Promise.resolve({ lines: [`what was loaded is ${describeClone(clone)}`], blockers, findings: [] });
  },

  async apply(context, record) {
    const { fresh, options, saved, place } = context;
    const { clone } = options;
    if (clone === undefined || fresh === undefined) return { lines: [], findings: [] };
    if (record.kept === undefined) await record.keep({ begun: true });
    if (clone.anonymise) return await applyAnonymous(context);
    if (saved !== undefined) {
      const to = new Map([
        ["FRONTEND_URL", clone.frontendUrl],
        ["SECRET_KEY_BASE", keyOf(place.installation)],
      ]);
      await moveLinks(fresh, { from: saved, to }, context);
    }
    const { tables, findings } = await neutralise(fresh, context);
    return { lines: [`${plural(tables.length, "table")} reach nobody any more`], findings };
  },

  // Files that no row names are never asked for.
  undoIs: "spared",
  async undo(context, { kept }) {
    if (kept === undefined) return { lines: [], findings: [] };
    const count = await removeFiles(context);
    return {
      lines: count === 0 ? [] : [`${plural(count, "file")} that stood for uploaded ones are removed`],
      findings: [],
    };
  },
};

/** The place's own, which stays. Empty where it has none. */
function keyOf({ environment }: Installation): string {
  return environment.get("SECRET_KEY_BASE") ?? "";
}

function noKey(): Finding {
  return {
    kind: "clone-no-key",
    level: "alarm",
    message: "this place has no SECRET_KEY_BASE, and a clone does not get the one of what is copied",
    hint: "Give it one of its own in Chatwoot's environment: 'openssl rand -hex 64' makes one. Then restore again.",
  };
}

function folderOf({ environment, storage }: Installation, asked: string | undefined): string | undefined {
  if ((asked ?? activeStorageService(environment)) !== "local") return undefined;
  const service = storage.find(({ kind }) => kind === "local");
  return service?.kind === "local" ? service.roots[0] : undefined;
}

function noFolder(): Finding {
  return {
    kind: "clone-no-folder",
    level: "alarm",
    message: "this place keeps uploaded files in no folder, and an anonymised copy's are only written into one",
    hint: "Set ACTIVE_STORAGE_SERVICE to local there, or make the copy with --to and --database-url.",
  };
}

async function applyAnonymous(context: StageContext): Promise<StageResult> {
  const { fresh, options, place, progress, signal } = context;
  const root = folderOf(place.installation, options.storage);
  if (fresh === undefined || root === undefined) throw bug("an anonymised copy has no database or no folder");
  // Of a call that was killed: its transaction did not come to its end, or its files are replaced once more.
  await removeFiles(context);
  const owner = await stat(root);
  const ledger = ledgerIn(context.folder);
  const write = async (key: string, pieces: Iterable<Buffer>) => {
    const path = blobPath(root, key);
    await ledger.append([{ path }]);
    const made = await mkdir(dirname(path), { recursive: true });
    await writeFile(path, pieces, { flag: "wx", mode: 0o644 });
    const owned = made === undefined ? [path] : [made, dirname(path), path];
    for (const one of owned) await chown(one, owner.uid, owner.gid);
  };
  const files = { service: "local", write };
  const done = await anonymise(fresh, { files, progress, signal });
  return {
    lines: [
      `${plural(done.rows, "row")} and ${plural(done.files, "file")} are replaced`,
      `${formatCount(done.lookedFor)} names, addresses and beginnings of texts were looked for and found nowhere`,
    ],
    findings: done.findings,
    ...(done.administrator === undefined
      ? {}
      : { next: [`sign in as ${done.administrator}, with that administrator's own password`] }),
  };
}

async function removeFiles({ folder }: UndoContext): Promise<number> {
  const ledger = ledgerIn(folder);
  const paths = (await ledger.read()).map(({ path }) => path);
  for (const path of paths) await rm(path, { force: true });
  await ledger.remove();
  return paths.length;
}
