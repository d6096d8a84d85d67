/** The package as npm would publish it, installed in an empty folder, and the versions of Node to run it under. */
import { existsSync } from "node:fs";
import { mkdir, readdir } from "node:fs/promises";
import { delimiter, join, resolve } from "node:path";
import { mustRun } from "./run.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const OLDER_NODE = join(ROOT, ".cache/node-24/node_modules/.bin/node");

export interface NodeVersion {
  path: string;
  major: number;
}

/** The Node that runs the tests, and Node 24 where set-up could fetch it. */
export function nodeVersions(): NodeVersion[] {
  const own = { path: process.execPath, major: Number.parseInt(process.versions.node, 10) };
  return existsSync(OLDER_NODE) ? [own, { path: OLDER_NODE, major: 24 }] : [own];
}

/** Packs the project into `folder` and returns the path of the archive. */
export async function packPackage(folder: string): Promise<string> {
  await mustRun("npm", ["pack", "--pack-destination", folder, "--loglevel=error"], { cwd: ROOT });
  const [name] = (await readdir(folder)).filter((file) => file.endsWith(".tgz"));
  if (name === undefined) throw new Error("npm pack made no archive");
  return join(folder, name);
}

/** Installs an archive in an empty folder under one Node, and returns the path of `chatkeep.js` there. */
export async function installPackage(archive: string, folder: string, node: NodeVersion): Promise<string> {
  await mkdir(folder, { recursive: true });
  // The folder of this Node comes first, so that npm runs under it as it would for a user of it.
  const path = [join(node.path, ".."), process.env["PATH"] ?? ""].join(delimiter);
  await mustRun("npm", ["install", "--prefix", folder, "--no-audit", "--no-fund", "--prefer-offline", archive], {
    cwd: folder,
    env: { PATH: path },
  });
  return join(folder, "node_modules/chatkeep/bin/chatkeep.js");
}
