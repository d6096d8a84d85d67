/** The files of a folder of code that is no git checkout. */
import type { Stats } from "node:fs";
import { lstat, readdir } from "node:fs/promises";
import { join, relative } from "node:path";
import { formatBytes } from "../base/bytes.ts";
import { messageOf } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import { codeOf } from "./places.ts";

/** Made again by installing, or of the moment; at the top of the folder only. */
const NOT_CODE = new Set(["node_modules", "tmp", "log"]);

interface Walk {
  root: string;
  except: ReadonlySet<string>;
  signal: AbortSignal;
  paths: string[];
  findings: Finding[];
  left: string[];
}

async function walk(state: Walk, folder: string): Promise<void> {
  state.signal.throwIfAborted();
  let names: string[];
  try {
    names = await readdir(folder);
  } catch (error) {
    if (codeOf(error) !== "ENOENT" || folder === state.root) state.findings.push(notSaved(folder, error));
    return;
  }
  for (const name of names.toSorted()) {
    const absolute = join(folder, name);
    if (state.except.has(absolute) || state.paths.length >= LIMITS.codeFiles) continue;
    if (folder === state.root && NOT_CODE.has(name)) state.left.push(name);
    else await visit(state, absolute);
  }
}

function notSaved(place: string, error: unknown): Finding {
  return {
    kind: "code-file-not-saved",
    level: "warning",
    message: `${place} is not saved: ${messageOf(error)}`,
    hint: "Run Chatkeep as a user that may read it.",
  };
}

async function visit(state: Walk, absolute: string): Promise<void> {
  let facts: Stats;
  try {
    facts = await lstat(absolute);
  } catch (error) {
    // One that went while we looked is no loss.
    if (codeOf(error) !== "ENOENT") state.findings.push(notSaved(absolute, error));
    return;
  }
  if (facts.isDirectory()) await walk(state, absolute);
  else if (facts.isFile() && facts.size > LIMITS.codeFileMaxBytes) {
    state.findings.push({
      kind: "code-file-not-saved",
      level: "warning",
      message: `${absolute} is not saved: it is a file of ${formatBytes(facts.size)} in a folder of code`,
      hint: "Move it out of the folder, or name it under 'config' in the configuration.",
    });
  } else if (facts.isFile() || facts.isSymbolicLink()) state.paths.push(relative(state.root, absolute));
}

/** Every file and link below `root`, in order, but `except`; what is left out is told. */
export async function walkFiles(
  root: string,
  options: { signal: AbortSignal; except?: readonly string[] },
): Promise<{ paths: string[]; findings: Finding[] }> {
  const except = new Set(options.except ?? []);
  const state: Walk = { root, except, signal: options.signal, paths: [], findings: [], left: [] };
  await walk(state, root);
  if (state.left.length > 0) {
    state.findings.push({
      kind: "code-folders-left-out",
      level: "note",
      message: `${state.left.join(", ")} in ${root} ${state.left.length === 1 ? "is" : "are"} not saved: installing makes them again`,
      hint: "Name such a folder under 'config' in the configuration if it holds something of yours.",
    });
  }
  if (state.paths.length >= LIMITS.codeFiles) {
    state.findings.push({
      kind: "code-files-too-many",
      level: "warning",
      message: `${root} holds more than ${LIMITS.codeFiles} files; the rest is not saved`,
      hint: "Name the folder that holds the code itself as 'code' under 'installation'.",
    });
  }
  return { paths: state.paths, findings: state.findings };
}
