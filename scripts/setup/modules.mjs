/** The node modules, and with them the project's own Node. */
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { delimiter, join } from "node:path";
import { ROOT, SetupError, lastLines, runQuietly, say } from "./say.mjs";

const MODULES = join(ROOT, "node_modules");
const OWN_NODE = join(MODULES, ".bin", "node");

/** The project's Node, as the file it really is. */
export function projectNode() {
  return realpathSync(OWN_NODE);
}

function readPackages(path) {
  try {
    return JSON.parse(readFileSync(path, "utf8")).packages ?? {};
  } catch {
    return undefined;
  }
}

/**
 * True when what is installed is what package-lock.json asks for. npm writes node_modules/.package-lock.json as the
 * last act of an installation, so a broken one is not taken for a whole one. Optional packages may be absent: they
 * are for other platforms.
 */
export function areModulesCurrent(root = ROOT) {
  const wanted = readPackages(join(root, "package-lock.json"));
  const installed = readPackages(join(root, "node_modules", ".package-lock.json"));
  if (wanted === undefined || installed === undefined) return false;
  if (!existsSync(join(root, "node_modules", ".bin", "node"))) return false;
  return Object.entries(wanted).every(([path, { version, integrity, optional }]) => {
    const present = installed[path];
    if (path === "" || (present === undefined && optional === true)) return true;
    return present?.version === version && present?.integrity === integrity;
  });
}

/** How to call npm: the one that called us, else the one in PATH. Never with the Node that it is about to replace. */
export function npmCommand() {
  const path = (process.env.PATH ?? "")
    .split(delimiter)
    .filter((folder) => !folder.startsWith(MODULES))
    .join(delimiter);
  // A configuration that makes `engines` strict would refuse the Node that only has to fetch ours.
  return { program: "npm", env: { PATH: path, npm_config_engine_strict: "false" } };
}

/** Installs the node modules when they are missing or older than the lock. */
export async function installModules() {
  if (areModulesCurrent()) return;
  say("installing the node modules with npm ci");
  const { program, env } = npmCommand();
  const { status, output } = await runQuietly(program, ["ci", "--no-audit", "--no-fund", "--loglevel=error"], { env });
  if (status !== 0) throw new SetupError(`npm ci failed with status ${status}:\n${lastLines(output)}`);
  if (!existsSync(OWN_NODE)) {
    throw new SetupError(
      "npm ci did not install the project's Node: are install scripts switched off (ignore-scripts)?",
    );
  }
}
