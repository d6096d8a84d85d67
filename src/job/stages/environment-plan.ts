/** What becomes of each variable of the place's environment, in which file, and what Chatkeep cannot write itself. */
import { storageHosts } from "../../chatwoot/clone-environment.ts";
import {
  matchEnvironments,
  type MatchLine,
  type MatchOptions,
  OPENING_NAMES,
  valuesToWrite,
} from "../../chatwoot/environment-match.ts";
import type { Environment } from "../../chatwoot/environment.ts";
import { readEnvFile } from "../../chatwoot/environment.ts";
import { writeEnvFile } from "../../chatwoot/environment-writer.ts";
import type { EnvironmentFile, EnvironmentSource, Installation } from "../../installation/installation.ts";
import type { StageContext } from "./stage.ts";

export interface FileEdit {
  readonly file: EnvironmentFile;
  /** Undefined where there is no such file yet. */
  readonly before: string | undefined;
  readonly after: string;
  readonly names: readonly string[];
}

/** A variable that somebody else has to set. */
export interface Unsettable {
  readonly name: string;
  /** For people. */
  readonly where: string;
}

export interface EnvironmentPlan {
  readonly lines: readonly MatchLine[];
  readonly edits: readonly FileEdit[];
  readonly unsettable: readonly Unsettable[];
  /** All that the point decides, by name: secrets among them. */
  readonly values: ReadonlyMap<string, string>;
  /** What the place has afterwards, as far as Chatkeep can see to it. */
  readonly after: Environment;
}

export function matchOptionsOf({ options, place }: Pick<StageContext, "options" | "place">): MatchOptions {
  const { clone, isElsewhere, storage } = options;
  if (clone !== undefined) {
    const reached = storageHosts(place.installation.environment);
    return { place: "clone", storage, frontendUrl: clone.frontendUrl, reached };
  }
  return { place: isElsewhere === true ? "elsewhere" : "here", storage };
}

/** What has to be written, and what no other process may have otherwise: each may have files of its own. */
function valuesOf(lines: readonly MatchLine[], saved: Environment, options: MatchOptions): Map<string, string> {
  const values = valuesToWrite(lines, saved, options);
  for (const line of lines) {
    if (line.action === "same" && line.class === "must-match") values.set(line.name, saved.get(line.name) ?? "");
  }
  return values;
}

function isFixed({ fixed }: EnvironmentSource, name: string): boolean {
  return fixed === "all" || fixed.has(name);
}

/** The file whose value of a variable counts, or undefined where none has it. */
function fileOf({ files }: EnvironmentSource, name: string, texts: Texts): EnvironmentFile | undefined {
  return files.find(({ path }) => readEnvFile(texts.get(path) ?? "").values.has(name));
}

/** By path; those that are not there have none. */
export type Texts = ReadonlyMap<string, string>;

const NO_SOURCES: readonly EnvironmentSource[] = [
  { of: "Chatwoot", files: [], fixed: "all", where: "whatever Chatwoot is started with" },
];

export function sourcesOf({ environmentFrom = NO_SOURCES }: Installation): readonly EnvironmentSource[] {
  return environmentFrom.length === 0 ? NO_SOURCES : environmentFrom;
}

/** All files that may have to be written. */
export function filesOf(installation: Installation): EnvironmentFile[] {
  const all = sourcesOf(installation).flatMap(({ files }) => files);
  return all.filter((file, at) => all.findIndex(({ path }) => path === file.path) === at);
}

interface Sorting {
  changed: ReadonlySet<string>;
  perFile: Map<string, Map<string, string>>;
  unsettable: Unsettable[];
}

/** Decides where one variable of one source is written. */
function settle(
  { name, value }: { name: string; value: string },
  source: EnvironmentSource,
  { installation, texts }: { installation: Installation; texts: Texts },
  { changed, perFile, unsettable }: Sorting,
): void {
  if (isFixed(source, name)) {
    if (changed.has(name)) unsettable.push({ name, where: source.where });
    return;
  }
  const own = fileOf(source, name, texts);
  // One that has the right value everywhere, from wherever, is left alone.
  if (own === undefined && !changed.has(name)) return;
  const main = source.files.find(({ path }) => path === installation.envFile) ?? source.files.at(-1);
  const file = own ?? main;
  if (file === undefined) {
    unsettable.push({ name, where: source.where });
    return;
  }
  const values = perFile.get(file.path) ?? new Map<string, string>();
  perFile.set(file.path, values.set(name, value));
}

function once(unsettable: readonly Unsettable[]): Unsettable[] {
  return unsettable.filter(
    (one, at) => unsettable.findIndex(({ name, where }) => name === one.name && where === one.where) === at,
  );
}

/**
 * Pure: the texts of the files come in.
 * @param base What a file that is not there begins with: the saved one.
 */
export function planEnvironment(
  saved: Environment,
  installation: Installation,
  { options, texts, base, note }: { options: MatchOptions; texts: Texts; base: string; note: string },
): EnvironmentPlan {
  const present = installation.environment;
  const lines = matchEnvironments(saved, present, options);
  const values = valuesOf(lines, saved, options);
  const changed = new Set(valuesToWrite(lines, saved, options).keys());
  const sorting: Sorting = { changed, perFile: new Map(), unsettable: [] };
  for (const source of sourcesOf(installation)) {
    for (const [name, value] of values) settle({ name, value }, source, { installation, texts }, sorting);
  }
  const edits: FileEdit[] = [];
  for (const file of filesOf(installation)) {
    const wanted = sorting.perFile.get(file.path);
    if (wanted === undefined) continue;
    const source = sourcesOf(installation).find(({ files }) => files.some(({ path }) => path === file.path));
    const outer = outerOf(source, present);
    const before = texts.get(file.path);
    const { text, unwritten } = writeEnvFile(before ?? base, wanted, { outer, note });
    sorting.unsettable.push(
      ...unwritten.map((name) => ({ name, where: `a way other than ${file.path}, which cannot hold its value` })),
    );
    const names = [...wanted.keys()].filter(
      (name) => !unwritten.includes(name) && isOther(name, before, wanted, outer),
    );
    if (text !== before) edits.push({ file, before, after: text, names });
  }
  const unsettable = once(sorting.unsettable);
  const after = new Map(present);
  for (const [name, value] of values) if (unsettable.every((one) => one.name !== name)) after.set(name, value);
  return { lines, edits, unsettable, values, after };
}

function outerOf(source: EnvironmentSource | undefined, present: Environment): Map<string, string> {
  const fixed = source?.fixed;
  if (fixed === undefined || fixed === "all") return new Map();
  return new Map([...fixed].flatMap((name) => (present.has(name) ? [[name, present.get(name) ?? ""] as const] : [])));
}

function isOther(name: string, before: string | undefined, wanted: Environment, outer: Environment): boolean {
  return before === undefined || readEnvFile(before, outer).values.get(name) !== wanted.get(name);
}

/** Of what somebody else has to set, that without which nothing in the database opens. */
export function closedBy({ unsettable }: EnvironmentPlan): Unsettable[] {
  return unsettable.filter(({ name }) => OPENING_NAMES.includes(name));
}
