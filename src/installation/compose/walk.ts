/** Going from a Compose file to those that it includes and extends, as Compose itself does. */
import { dirname, join, resolve } from "node:path";
import { type Environment, readEnvFile } from "../../chatwoot/environment.ts";
import { type ComposeText, type Included, isRemote, readComposeText } from "./compose-text.ts";
import { fillIn } from "./fill-in.ts";

/** What is done with what is met. Paths are absolute, and as the containers' labels have them. */
export interface Walk {
  /** Gives the text of a file that belongs to the installation; undefined of one that is not here. */
  take: (path: string) => Promise<string | undefined>;
  /** As `take`, of a file that need not be there. */
  takeIfThere: (path: string) => Promise<string | undefined>;
  /** Of the service's environment: one whose values count before those of files met earlier. */
  environmentFile: (path: string) => Promise<void>;
  /** A variable that the Compose files set themselves. */
  own: (name: string) => void;
  /** What only Compose itself can fetch. */
  remote: (address: string) => void;
}

/** The service whose environment is asked for, and what was read so far. */
interface Reading {
  service: string;
  walk: Walk;
  texts: Map<string, ComposeText>;
  visited: Set<string>;
}

/** What the paths of a file are completed with. */
interface Given {
  /** Where relative ones of its services begin. */
  folder: string;
  /** What `${…}` is filled in from. */
  variables: Environment;
}

/** Reads Compose files, in the order in which they count, with all that they include, and what their services extend. */
export async function walkCompose(
  files: readonly string[],
  { service, ...given }: Given & { service: string },
  walk: Walk,
): Promise<void> {
  const reading: Reading = { service, walk, texts: new Map(), visited: new Set() };
  for (const file of files) await readFile(file, given, reading);
}

async function textOf(file: string, { walk, texts }: Reading): Promise<ComposeText> {
  const text = texts.get(file) ?? readComposeText((await walk.take(file)) ?? "");
  texts.set(file, text);
  return text;
}

async function readFile(file: string, given: Given, reading: Reading): Promise<void> {
  // Files may include each other.
  if (reading.visited.has(file)) return;
  reading.visited.add(file);
  const { includes, services } = await textOf(file, reading);
  for (const included of includes) await readIncluded(included, { from: file, ...given }, reading);
  for (const name of services.keys()) {
    await readService({ file, ...given, name, isAsked: name === reading.service }, [], reading);
  }
}

async function readIncluded(
  { paths, folder, envFiles }: Included,
  { from, variables }: Given & { from: string },
  reading: Reading,
): Promise<void> {
  const { walk } = reading;
  const at = (path: string) => resolve(dirname(from), fillIn(path, variables));
  for (const path of paths.filter(isRemote)) walk.remote(path);
  const files = paths.filter((path) => !isRemote(path)).map(at);
  const inner = folder === undefined ? dirname(files[0] ?? from) : at(folder);
  const texts: (string | undefined)[] = [];
  for (const path of envFiles ?? []) texts.push(await walk.take(at(path)));
  if (envFiles === undefined && files.length > 0) texts.push(await walk.takeIfThere(join(inner, ".env")));
  // What the including project has counts before what the included one brings.
  const given = { folder: inner, variables: new Map([...variablesIn(texts, variables), ...variables]) };
  for (const file of files) await readFile(file, given, reading);
}

/** Of two files that have a name the later one counts. */
export function variablesIn(texts: readonly (string | undefined)[], outer: Environment = new Map()): Environment {
  return new Map(texts.flatMap((text) => (text === undefined ? [] : [...readEnvFile(text, outer).values])));
}

interface ServicePlace extends Given {
  file: string;
  name: string;
  /** Of the others only the files that they extend are taken. */
  isAsked: boolean;
}

/** @param above The services that extend this one, so that two which extend each other come to an end. */
async function readService(place: ServicePlace, above: readonly string[], reading: Reading): Promise<void> {
  const { file, folder, variables, name, isAsked } = place;
  const fill = (path: string) => fillIn(path, variables);
  const said = (await textOf(file, reading)).services.get(name);
  const here = JSON.stringify([file, name]);
  if (said === undefined || above.includes(here)) return;
  const { walk } = reading;
  if (said.base !== undefined) {
    const { service } = said.base;
    const named = said.base.file === undefined ? undefined : fill(said.base.file);
    const other = named === undefined ? file : resolve(dirname(file), named);
    const base = { ...place, file: other, folder: named === undefined ? folder : dirname(other), name: service };
    if (named !== undefined && isRemote(named)) walk.remote(named);
    else await readService(base, [...above, here], reading);
  }
  if (!isAsked) return;
  for (const own of said.own) walk.own(own);
  for (const path of said.files) await walk.environmentFile(resolve(folder, fill(path)));
}
