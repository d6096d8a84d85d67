/** What Chatwoot's systemd units say: their environment, which wins over the files, and where they work. */
import { join } from "node:path";
import { type Machine, namesIn, readTextIfAllowed } from "./places.ts";

export interface Units {
  /** Units, targets and drop-ins, in order. */
  files: string[];
  environment: Map<string, string>;
  workingFolder: string | undefined;
  /** `EnvironmentFile=` of a unit. */
  environmentFiles: string[];
}

/** Splits a line of settings into words, as systemd does: quotes hold blanks together, backslashes escape. */
function splitWords(text: string): string[] {
  const words: string[] = [];
  for (const [match] of text.matchAll(/(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\\.|[^\s"'\\])+/g)) {
    words.push(
      match.replaceAll(/"((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'|\\(.)/g, (_, double, single, char) => {
        const inner: unknown = double ?? single;
        return typeof inner === "string" ? inner.replaceAll(/\\(.)/g, "$1") : String(char);
      }),
    );
  }
  return words;
}

/** The settings of a unit file, in order, of all sections. */
export function parseUnit(text: string): { name: string; value: string }[] {
  const joined = text.replaceAll(/\\\r?\n/g, " ");
  return joined
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== "" && !/^[#;[]/.test(line) && line.includes("="))
    .map((line) => ({
      name: line.slice(0, line.indexOf("=")).trim(),
      value: line.slice(line.indexOf("=") + 1).trim(),
    }));
}

function apply(units: Units, machine: Machine, text: string): void {
  for (const { name, value } of parseUnit(text)) {
    if (name === "WorkingDirectory" && value.startsWith("/")) units.workingFolder ??= machine.at(value);
    if (name === "EnvironmentFile") units.environmentFiles.push(value.replace(/^-/, ""));
    if (name !== "Environment") continue;
    for (const word of splitWords(value)) {
      const at = word.indexOf("=");
      if (at > 0) units.environment.set(word.slice(0, at), word.slice(at + 1));
    }
  }
}

const FOLDER = "/etc/systemd/system";

/** The drop-in by which Chatkeep keeps a unit from starting while a restore is unfinished: none of the installation's own files. */
export const HOLDING_DROP_IN = "chatkeep-unfinished-restore.conf";

/** Reads `chatwoot*` units below `/etc/systemd/system`. The web process's are read first; the worker's may add. */
export async function readUnits(machine: Machine): Promise<Units> {
  const units: Units = { files: [], environment: new Map(), workingFolder: undefined, environmentFiles: [] };
  const folder = machine.at(FOLDER);
  const names = (await namesIn(folder)).filter((name) =>
    /^chatwoot.*\.(?:service|target|timer|socket)(?:\.d)?$/.test(name),
  );
  for (const name of names) {
    const files = name.endsWith(".d")
      ? (await namesIn(join(folder, name)))
          .filter((file) => file.endsWith(".conf") && file !== HOLDING_DROP_IN)
          .map((file) => join(folder, name, file))
      : [join(folder, name)];
    for (const file of files) {
      units.files.push(file);
      const text = await readTextIfAllowed(file);
      if (text !== undefined) apply(units, machine, text);
    }
  }
  return units;
}
