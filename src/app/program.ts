/** This program's name and version, as manifests, proofs and snapshots carry them. */
import { isOneFile, readPart } from "../system/own-parts.ts";

interface Package {
  version: string;
}

const { version } = JSON.parse(readPart("package.json")) as Package;

export const VERSION = version;
export const PROGRAM = `chatkeep ${version}`;

/** Under which licences this program is: where they lie, or their texts where it is one file. */
export function readLicences(): string[] {
  if (isOneFile()) {
    return [...readPart("THIRD-PARTY-NOTICES").split("\n"), "Chatkeep itself:", "", ...readPart("LICENSE").split("\n")];
  }
  return [
    "Chatkeep is under the Apache License, version 2.0: the file LICENSE of its",
    "package. The libraries that it stands on lie beside it in node_modules, each",
    "with a licence of its own.",
  ];
}
