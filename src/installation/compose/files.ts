/** The files that containers were made of: Compose files with their overrides and what they include, environment files, files mounted from this machine. */
import { dirname, join } from "node:path";
import type { Finding } from "../../base/findings.ts";
import { listSome, plural } from "../../base/bytes.ts";
import { type Machine, lookAt, mayExist, readTextIfAllowed } from "../places.ts";
import { type Container, composeLabel, labelledPaths, serviceOf } from "./containers.ts";
import { appFolder } from "./mounts.ts";
import { variablesIn, walkCompose } from "./walk.ts";

export interface ComposeFiles {
  /** Files and folders of this machine, to be saved. */
  paths: string[];
  /** The first environment file of the web process. */
  envFile: string | undefined;
  /** By the container's name: what its environment files say now, and which names its Compose files set themselves. */
  given: Map<string, GivenByFiles>;
  findings: Finding[];
}

export interface GivenByFiles {
  /** In the order in which they count: of two that have a name the later one. */
  files: { path: string; text: string }[];
  /** Set under `environment`, which counts before any file. */
  own: Set<string>;
}

/** Where a path of a label may be on this machine: as it stands, or in the volume of the program that wrote it. */
type Translate = (path: string) => Promise<string | undefined>;

/** Portainer runs Compose inside its own container, so the paths in the labels are those of that container. */
function translator(machine: Machine, containers: readonly Container[]): Translate {
  const portainer = containers.find(({ details }) =>
    /(?:^|\/)portainer(?:-ce|-ee)?(?:[:@]|$)/.test(details.Config.Image),
  );
  const data = portainer?.details.Mounts?.find(({ Destination }) => Destination === "/data");
  return async (path) => {
    const places = [machine.at(path)];
    if (data !== undefined && path.startsWith("/data/"))
      places.push(join(machine.at(data.Source), path.slice("/data".length)));
    for (const place of places) if (await mayExist(place)) return place;
    return undefined;
  };
}

/** Sources of files and of folders of code that a person mounted into Chatwoot; what Chatwoot itself keeps is no configuration. */
function mountedFiles(container: Container): string[] {
  const app = appFolder(container);
  const kept = ["storage", "public", "log", "tmp", "node_modules"].map((name) => `${app}/${name}`);
  return (container.details.Mounts ?? [])
    .filter(({ Type, Destination }) => Type === "bind" && Destination !== app && Destination.startsWith(`${app}/`))
    .filter(({ Destination }) => !kept.some((path) => Destination === path || Destination.startsWith(`${path}/`)))
    .map(({ Source }) => Source);
}

export async function findComposeFiles(
  machine: Machine,
  chatwoot: readonly Container[],
  containers: readonly Container[],
): Promise<ComposeFiles> {
  const translate = translator(machine, containers);
  const missing = new Set<string>();
  const paths = new Set<string>();
  const given: ComposeFiles["given"] = new Map();
  let envFile: string | undefined;
  const take = async (path: string): Promise<string | undefined> => {
    const place = await translate(path);
    if (place === undefined) missing.add(path);
    else paths.add(place);
    return place;
  };
  const read = async (path: string): Promise<string | undefined> => {
    const place = await take(path);
    return place === undefined ? undefined : await readTextIfAllowed(place);
  };
  const takeIfThere = async (path: string): Promise<string | undefined> =>
    (await translate(path)) === undefined ? undefined : await read(path);
  for (const container of chatwoot) {
    const from: GivenByFiles = { files: [], own: new Set() };
    const labelled = labelledPaths(container, "project.config_files");
    const folder = composeLabel(container, "project.working_dir") ?? dirname(labelled[0] ?? "/");
    // What Compose fills in `${…}` from: files that were named to it, or else one that need not be there.
    const named = labelledPaths(container, "project.environment_file");
    const texts: (string | undefined)[] = [];
    for (const file of named) texts.push(await read(file));
    const usual = labelled.length > 0 ? await takeIfThere(join(folder, ".env")) : undefined;
    if (named.length === 0) texts.push(usual);
    await walkCompose(
      labelled,
      { folder, variables: variablesIn(texts), service: serviceOf(container) },
      {
        take: read,
        takeIfThere,
        environmentFile: async (path) => {
          const place = await take(path);
          envFile ??= place;
          const text = place === undefined ? undefined : await readTextIfAllowed(place);
          if (place !== undefined && text !== undefined) from.files.push({ path: place, text });
        },
        own: (name) => from.own.add(name),
        remote: (address) => missing.add(address),
      },
    );
    given.set(container.name, from);
    for (const path of mountedFiles(container)) {
      if ((await lookAt(machine.at(path))) !== undefined) paths.add(machine.at(path));
      else if (!(await mayExist(machine.at(path)))) missing.add(path);
    }
  }
  return { paths: [...paths], envFile, given, findings: missingFinding([...missing]) };
}

function missingFinding(missing: readonly string[]): Finding[] {
  if (missing.length === 0) return [];
  return [
    {
      kind: "compose-file-missing",
      level: "note",
      message: `${plural(missing.length, "file")} that the containers were made of ${missing.length === 1 ? "is" : "are"} not on this machine: ${listSome(missing)}`,
      hint: "What the containers themselves say is saved as config/containers.json. Whoever deploys them (Portainer, a pipeline) has the files: keep a copy there, or name it under 'config'.",
    },
  ];
}
