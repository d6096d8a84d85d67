/**
 * Writes into a `.env` file what the dotenv gem shall read from it, as {@link readEnvFile} does. Only lines that must change
 * do: comments, order, quoting, line ends and lines that say nothing stay as they are, to the byte.
 */
import { type EnvEntry, type Environment, listEnvEntries, readEnvFile } from "./environment.ts";

export interface WrittenEnvFile {
  text: string;
  /** Names whose values cannot be written in such a file, as one with a carriage return: they are as they were. */
  unwritten: string[];
}

export interface WriteOptions {
  /** The environment that the process has anyhow, from which `$NAME` is taken first. */
  outer?: Environment;
  /** A comment, without its `#`, above what is added. */
  note?: string;
}

/** Read alike by dotenv, Docker Compose, systemd and shells without any quotes. */
const PLAIN = /^[A-Za-z0-9_.,:/@%+=-]+$/;

function quotedDouble(value: string): string {
  return `"${value.replaceAll(/[\\"$]/g, "\\$&")}"`;
}

/** Ways to write a value, the best first: as it was written before, then those that most programs read alike. */
function candidates(value: string, before: string | undefined): string[] {
  const plain = PLAIN.test(value) || value === "" ? [value] : [];
  const quoted = [`'${value}'`, quotedDouble(value)];
  // A quote inside ends the value for everybody but dotenv.
  const usual = /['\\]/.test(value) ? quoted.toReversed() : quoted;
  const quote = before?.trim()[0];
  const wasQuoted = (quote === '"' || quote === "'") && before?.trim().at(-1) === quote;
  if (!wasQuoted) return [...plain, ...usual];
  return quote === '"' ? [quotedDouble(value), ...usual, ...plain] : [...usual, ...plain];
}

/** Of several lines with the name the one that counts; `export NAME` alone does so only where no other does. */
function entryThatCounts(entries: readonly EnvEntry[], name: string): number {
  const counts = entries.findLastIndex(
    (entry) => entry.name === name && !(entry.isExport && entry.written === undefined),
  );
  return counts >= 0 ? counts : entries.findIndex((entry) => entry.name === name);
}

/** The place in the text as it is, of a place in what the reader makes of it. */
function placeIn(text: string, at: number): number {
  let place = text.startsWith("\uFEFF") ? 1 : 0;
  for (let left = at; left > 0; left -= 1) place += text.startsWith("\r\n", place) ? 2 : 1;
  return place;
}

function splice(text: string, [from, to]: readonly [number, number], by: string): string {
  return text.slice(0, placeIn(text, from)) + by + text.slice(placeIn(text, to));
}

/** From where to where the value stands, without the blanks around it. */
function spanOf(source: string, entry: EnvEntry): [number, number] {
  const { valueAt = entry.end, written } = entry;
  if (written === undefined || written.trim() === "") return [valueAt, valueAt];
  const from = valueAt + written.length - written.trimStart().length;
  return [from, from + written.trim().length];
}

/** True where all lines but the one at `at` say what they said. */
function keepsOthers(before: readonly EnvEntry[], after: readonly EnvEntry[], at: number): boolean {
  return (
    before.length === after.length &&
    before.every((entry, index) => {
      const now = after[index];
      return now?.name === entry.name && (index === at || now.written === entry.written);
    })
  );
}

interface Change {
  name: string;
  value: string;
  outer: Environment;
}

function changeLine(text: string, at: number, { name, value, outer }: Change): string | undefined {
  const { source, entries } = listEnvEntries(text);
  const entry = entries[at];
  if (entry === undefined) return undefined;
  const span = spanOf(source, entry);
  for (const candidate of candidates(value, entry.written)) {
    const changed = splice(text, span, entry.valueAt === undefined ? `=${candidate}` : candidate);
    if (readEnvFile(changed, outer).values.get(name) !== value) continue;
    if (keepsOthers(entries, listEnvEntries(changed).entries, at)) return changed;
  }
  return undefined;
}

function endOf(text: string): string {
  return /\r\n|\r|\n/.exec(text)?.[0] ?? "\n";
}

function addLine(text: string, note: string | undefined, { name, value, outer }: Change): string | undefined {
  const end = endOf(text);
  const gap = text === "" || /[\r\n]$/.test(text) ? "" : end;
  const comment = note === undefined ? "" : `# ${note}${end}`;
  const { entries } = listEnvEntries(text);
  for (const candidate of candidates(value, undefined)) {
    const added = `${text}${gap}${comment}${name}=${candidate}${end}`;
    const after = listEnvEntries(added).entries;
    if (readEnvFile(added, outer).values.get(name) !== value) continue;
    if (after.length === entries.length + 1 && keepsOthers(entries, after.slice(0, -1), -1)) return added;
  }
  return undefined;
}

/**
 * Gives variables of a `.env` file their values. A name that the file has not is added at its end. Any other variable keeps
 * its value, also one that is made of one that changed (`$NAME`): it is then written out.
 */
export function writeEnvFile(text: string, values: Environment, options: WriteOptions = {}): WrittenEnvFile {
  const outer = options.outer ?? new Map<string, string>();
  const before = readEnvFile(text, outer).values;
  const wanted = new Map([...before, ...values]);
  const unwritten = new Set<string>();
  let { note } = options;
  let now = text;
  // What is made of what changed may itself be made of something: each turn settles one at least.
  for (let turn = 0; turn <= wanted.size; turn += 1) {
    const current = readEnvFile(now, outer).values;
    const [next] = [...wanted].filter(([name, value]) => current.get(name) !== value && !unwritten.has(name));
    if (next === undefined) break;
    const [name, value] = next;
    const at = entryThatCounts(listEnvEntries(now).entries, name);
    const change = { name, value, outer };
    const changed = at < 0 ? addLine(now, note, change) : changeLine(now, at, change);
    if (changed === undefined) unwritten.add(name);
    else now = changed;
    if (changed !== undefined && at < 0) note = undefined;
  }
  return { text: now, unwritten: [...unwritten] };
}
