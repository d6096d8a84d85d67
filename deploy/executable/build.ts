/**
 * Builds `dist-executable/`: Chatkeep, its libraries and Node in one file, their licences, and the checksums. `npm run
 * build:executable` calls it. Built twice from the same sources it is the same, to the byte.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import process from "node:process";
import { build, type Plugin } from "esbuild";
import { slimNode } from "./node-program.ts";
import { formatNotices, readNodeLicence } from "./notices.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const NOTICES = "THIRD-PARTY-NOTICES";

/** A package of which only what is imported by name is wanted: its files do nothing but define things. */
const DEFINES_ONLY = "node_modules/@kubernetes/client-node/";

/** Says so to esbuild, which otherwise has to take all 16 MB of it. */
const onlyWhatIsNamed: Plugin = {
  name: "only-what-is-named",
  setup(building) {
    building.onResolve({ filter: /./ }, async ({ path, pluginData, ...from }) => {
      if (pluginData === onlyWhatIsNamed) return undefined;
      const { importer, kind, namespace, resolveDir } = from;
      const found = await building.resolve(path, {
        importer,
        kind,
        namespace,
        resolveDir,
        pluginData: onlyWhatIsNamed,
      });
      return found.path.includes(DEFINES_ONLY) ? { path: found.path, sideEffects: false } : undefined;
    });
  },
};

/** The program as one function of `(module, require, ownUrl)`, and the files that are in it. */
async function bundle(): Promise<{ text: string; files: string[] }> {
  const { outputFiles, metafile, warnings } = await build({
    absWorkingDir: ROOT,
    entryPoints: ["deploy/executable/main.ts"],
    bundle: true,
    write: false,
    metafile: true,
    platform: "node",
    format: "cjs",
    target: "node26",
    // What is loaded only when it is used stays so, but from within.
    supported: { "dynamic-import": false },
    define: { "import.meta.url": "ownUrl" },
    // Node 26 has what it is for.
    external: ["sodium-native"],
    plugins: [onlyWhatIsNamed],
    logLevel: "silent",
  });
  const [output] = outputFiles;
  const [warning] = warnings;
  if (output === undefined || warning !== undefined)
    throw new Error(`the program cannot be bundled: ${warning?.text ?? ""}`);
  const text = `(function (module, require, ownUrl) { "use strict";${output.text}\n})`;
  return { text, files: Object.keys(metafile.inputs) };
}

/** Every file below assets/, as the program asks for it. */
function assetFiles(): string[] {
  return readdirSync(join(ROOT, "assets"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(ROOT.length + 1))
    .toSorted();
}

/** Runs this Node with nothing that the caller's environment says. @throws Error with what it printed. */
function runNode(args: readonly string[], cwd: string): void {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    cwd,
    encoding: "utf8",
    env: { PATH: process.env["PATH"] },
  });
  if (status !== 0) throw new Error(`node ${args.join(" ")} failed:\n${stdout}${stderr}`);
}

/**
 * Builds the executable for this machine's kind of processor into a folder, which is made anew.
 * @returns The executable's path.
 * @throws Error when Node is not one that can be built in, or its licence is not here.
 */
export async function buildExecutable(folder: string): Promise<string> {
  const scratch = mkdtempSync(join(tmpdir(), "chatkeep-build-"));
  try {
    const { text, files } = await bundle();
    const licence = readNodeLicence(ROOT, process.versions.node);
    writeFileSync(join(scratch, "program.js"), text);
    writeFileSync(join(scratch, NOTICES), formatNotices(ROOT, files, { version: process.versions.node, licence }));
    runNode(["--hash-seed=1", join(import.meta.dirname, "compile.mjs"), "program.js", "program.cache"], scratch);
    const node = readFileSync(process.execPath);
    writeFileSync(join(scratch, "node"), process.arch === "x64" ? slimNode(node) : node);
    const own = ["package.json", "LICENSE", ...assetFiles()].map((path) => [path, join(ROOT, path)]);
    const made = ["loader.cjs", "program.js", "program.cache", NOTICES].map((name) => [name, name]);
    copyFileSync(join(import.meta.dirname, "loader.cjs"), join(scratch, "loader.cjs"));
    const configuration = {
      main: "loader.cjs",
      mainFormat: "commonjs",
      executable: "node",
      output: "chatkeep",
      disableExperimentalSEAWarning: true,
      useCodeCache: false,
      useSnapshot: false,
      // Neither NODE_OPTIONS nor an argument of ours is one of Node's.
      execArgvExtension: "none",
      assets: Object.fromEntries([...own, ...made]),
    };
    writeFileSync(join(scratch, "sea.json"), JSON.stringify(configuration));
    runNode(["--build-sea", "sea.json"], scratch);
    return deliver(scratch, folder);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Moves what was made to where it is wanted, with its checksums. */
function deliver(scratch: string, folder: string): string {
  const name = `chatkeep-${process.platform}-${process.arch}`;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  copyFileSync(join(scratch, "chatkeep"), join(folder, name));
  chmodSync(join(folder, name), 0o755);
  copyFileSync(join(scratch, NOTICES), join(folder, NOTICES));
  copyFileSync(join(ROOT, "LICENSE"), join(folder, "LICENSE"));
  const sums = [name, NOTICES, "LICENSE"].map(
    (file) =>
      `${createHash("sha256")
        .update(readFileSync(join(folder, file)))
        .digest("hex")}  ${file}\n`,
  );
  writeFileSync(join(folder, "SHA256SUMS"), sums.join(""));
  return join(folder, name);
}

if (import.meta.main) {
  const file = await buildExecutable(join(ROOT, "dist-executable"));
  console.log(`${file}: ${(statSync(file).size / 1e6).toFixed(0)} MB`);
}
