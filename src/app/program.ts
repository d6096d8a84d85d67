/** This program's name and version, as manifests, proofs and snapshots carry them. */
import { isOneFile, readPart } from "../system/own-parts.ts";

interface Package {
  version: string;
}

/** Of the program as it is installed now. @throws where it cannot be read. */
export function readVersion(): string {
  const { version } = JSON.parse(readPart("package.json")) as Package;
  return version;
}

/** Of the program that runs. */
export const VERSION = readVersion();
export const PROGRAM = `chatkeep ${VERSION}`;

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
