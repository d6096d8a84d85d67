/** This program's name and version, as manifests, proofs and snapshots carry them. */
import { readFileSync } from "node:fs";

interface Package {
  version: string;
}

const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as Package;

export const VERSION = version;
export const PROGRAM = `chatkeep ${version}`;
