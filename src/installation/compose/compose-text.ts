/** What a Compose file says of where an environment comes from, and which other files it names. Format: the Compose Specification. */
import { parse } from "yaml";

export interface ComposeText {
  services: Map<string, ServiceText>;
  /** `include`, in order. */
  includes: Included[];
}

/** A service's environment; paths are as written. */
export interface ServiceText {
  /** `env_file`, in the order in which they count: of two that have a name the later one. */
  files: string[];
  /** The names under `environment`, which count before any file. */
  own: string[];
  /** `extends`: the service that it builds upon, in the same file where none is named. */
  base?: { file: string | undefined; service: string };
}

export interface Included {
  paths: string[];
  /** `project_directory`: where relative paths of what is included begin. Without it, beside the first of the files. */
  folder: string | undefined;
  /** `env_file`: what `${…}` in what is included is filled in from. Without it, the `.env` of that folder. */
  envFiles: string[] | undefined;
}

/** Nothing of a file that is no YAML: it is saved as it is, and whoever runs Compose is told what is wrong with it. */
export function readComposeText(text: string): ComposeText {
  const read = parsed(text);
  const services: unknown = isRecord(read) ? read["services"] : undefined;
  const included: unknown = isRecord(read) ? read["include"] : undefined;
  return {
    services: new Map(
      Object.entries(isRecord(services) ? services : {}).map(([name, body]) => [name, serviceOf(body)]),
    ),
    includes: (Array.isArray(included) ? included : []).map(includedOf),
  };
}

/** A repository of git or a registry's artefact, which Compose itself fetches. */
export function isRemote(path: string): boolean {
  return /^(?:[a-z][a-z\d+.-]*:\/\/|git@|github\.com\/)/i.test(path);
}

function parsed(text: string): unknown {
  try {
    return parse(text, { merge: true, logLevel: "silent" });
  } catch {
    return undefined;
  }
}

function serviceOf(body: unknown): ServiceText {
  if (!isRecord(body)) return { files: [], own: [] };
  const set: unknown = body["environment"];
  // A list of NAME=value or a map; a bare name is taken from whoever runs Compose.
  const own = Array.isArray(set) ? set.map((entry) => String(entry).split("=")[0] ?? "") : Object.keys(set ?? {});
  const base = baseOf(body["extends"]);
  return { files: stringsIn(body["env_file"]), own, ...(base === undefined ? {} : { base }) };
}

function baseOf(value: unknown): ServiceText["base"] {
  if (typeof value === "string") return { file: undefined, service: value };
  if (!isRecord(value) || typeof value["service"] !== "string") return undefined;
  return { file: typeof value["file"] === "string" ? value["file"] : undefined, service: value["service"] };
}

function includedOf(entry: unknown): Included {
  if (!isRecord(entry)) return { paths: stringsIn(entry), folder: undefined, envFiles: undefined };
  const { project_directory: folder, env_file: envFiles } = entry;
  return {
    paths: stringsIn(entry["path"]),
    folder: typeof folder === "string" ? folder : undefined,
    envFiles: envFiles === undefined || envFiles === null ? undefined : stringsIn(envFiles),
  };
}

/** One path or a list of them, each a string or a map with a `path`. */
function stringsIn(value: unknown): string[] {
  return (Array.isArray(value) ? value : [value])
    .map((entry: unknown) => (isRecord(entry) ? entry["path"] : entry))
    .filter((path) => typeof path === "string");
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
