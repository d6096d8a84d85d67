/** Which files make up an installation's configuration, and where each is saved below `config/`. */
import { readdir, realpath } from "node:fs/promises";
import { join } from "node:path";
import { formatBytes } from "../base/bytes.ts";
import { messageOf } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import type { Installation } from "./installation.ts";
import { isReadable, lookAt, machineAt, mayExist } from "./places.ts";

export interface ConfigFile {
  /** Below `config/`: `env`, or `files/` and the place on the machine. */
  path: string;
  /** Where to read it; links are followed, so that a certificate is saved and not the link to it. */
  absolute: string;
  mode: number;
}

export interface ConfigCapture {
  files: ConfigFile[];
  findings: Finding[];
}

interface Collecting {
  nameOf: (place: string) => string;
  files: Map<string, ConfigFile>;
  findings: Finding[];
  /** Folders gone through, by their real place: a link may lead back. */
  seen: Set<string>;
  signal: AbortSignal;
}

const UNREADABLE_HINT = "Run Chatkeep as root, or as a user that may read it, or take it out of the configuration.";

function unreadable(place: string, isNamed: boolean, why = "may not be read"): Finding {
  return {
    kind: "config-file-unreadable",
    level: isNamed ? "warning" : "note",
    message: `${place} ${why}, so it is not saved`,
    hint: UNREADABLE_HINT,
  };
}

async function collectFolder(state: Collecting, folder: string, isNamed: boolean): Promise<void> {
  const real = await realpath(folder);
  if (state.seen.has(real)) return;
  state.seen.add(real);
  let names: string[];
  try {
    names = await readdir(folder);
  } catch (error) {
    state.findings.push(unreadable(folder, isNamed, `may not be listed (${messageOf(error)})`));
    return;
  }
  for (const name of names.toSorted()) {
    await collect(state, { place: join(folder, name), isNamed, mustExist: false });
    if (state.files.size >= LIMITS.configFiles) return;
  }
}

async function collect(
  state: Collecting,
  { place, isNamed, mustExist }: { place: string; isNamed: boolean; mustExist: boolean },
): Promise<void> {
  state.signal.throwIfAborted();
  const facts = await lookAt(place);
  if (facts === undefined) {
    if (await mayExist(place)) state.findings.push(unreadable(place, isNamed));
    else if (mustExist) state.findings.push(unreadable(place, isNamed, "is not there"));
    return;
  }
  if (facts.isFolder) {
    await collectFolder(state, place, isNamed);
    return;
  }
  if (!(await isReadable(place))) {
    state.findings.push(unreadable(place, isNamed));
    return;
  }
  if (facts.sizeBytes > LIMITS.configFileMaxBytes) {
    const limit = formatBytes(LIMITS.configFileMaxBytes);
    state.findings.push({
      kind: "config-file-too-large",
      level: "warning",
      message: `${place} is larger than ${limit}, so it is not saved as configuration`,
      hint: "Name the files that are configuration, rather than the folder that holds it.",
    });
    return;
  }
  const path = `files/${state.nameOf(place).replace(/^\/+/, "")}`;
  state.files.set(path, { path, absolute: await realpath(place), mode: facts.mode });
}

/**
 * The environment file, whatever the configuration names, and what discovery found. A file that cannot be read is a
 * finding: a warning when somebody named it, else a note.
 */
export async function captureConfig(
  installation: Installation,
  options: { signal: AbortSignal; filesystemRoot?: string },
): Promise<ConfigCapture> {
  const machine = machineAt(options.filesystemRoot);
  const ofMachine = (place: string) => machine.nameOf(place);
  const state: Collecting = {
    nameOf: (place) => (installation.nameOf ?? ofMachine)(place),
    files: new Map(),
    findings: [],
    seen: new Set(),
    signal: options.signal,
  };
  const { envFile } = installation;
  if (envFile !== undefined) {
    const facts = await lookAt(envFile);
    if (facts !== undefined && (await isReadable(envFile))) {
      state.files.set("env", { path: "env", absolute: await realpath(envFile), mode: facts.mode });
    } else state.findings.push(unreadable(envFile, true));
  }
  for (const place of installation.configFiles) await collect(state, { place, isNamed: true, mustExist: true });
  for (const place of installation.systemFiles) await collect(state, { place, isNamed: false, mustExist: false });
  if (state.files.size >= LIMITS.configFiles) {
    state.findings.push({
      kind: "config-files-too-many",
      level: "warning",
      message: `the folders named as configuration hold more than ${LIMITS.configFiles} files; the rest is not saved`,
      hint: "Name the files that are configuration, rather than the folder that holds them.",
    });
  }
  return { files: [...state.files.values()], findings: state.findings };
}
