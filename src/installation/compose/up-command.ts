/** The one command by which Compose makes containers of a project anew. What they were made of is in their labels. Pure. */
import { type Container, composeLabel, labelledPaths, projectOf, serviceOf } from "./containers.ts";

/** What a project was started with. */
export interface ComposeCall {
  readonly name: string;
  readonly folder: string;
  /** The Compose files, in order; none where Compose looked for them itself. */
  readonly files: readonly string[];
  /** Those that were named for the variables of the files; none where the usual `.env` was taken. */
  readonly envFiles: readonly string[];
}

/** Undefined where no Compose made it, or where the Compose file was only piped into it. */
export function composeCallOf(container: Container): ComposeCall | undefined {
  const [name, folder] = [projectOf(container), composeLabel(container, "project.working_dir")];
  const isPiped = (composeLabel(container, "project.config_files") ?? "")
    .split(",")
    .some((file) => file.trim() === "-");
  if (name === undefined || folder === undefined || isPiped) return undefined;
  return {
    name,
    folder,
    files: labelledPaths(container, "project.config_files"),
    envFiles: labelledPaths(container, "project.environment_file"),
  };
}

/**
 * What comes before a verb of `docker compose`. Nothing says which profiles a project was started with, and a service of which
 * another one depends must be known even where it is left alone: so all are, and only what is named is touched.
 */
export function projectArguments({ name, folder, files, envFiles }: ComposeCall): string[] {
  return [
    "compose",
    `--project-name=${name}`,
    `--project-directory=${folder}`,
    ...files.map((file) => `--file=${file}`),
    ...envFiles.map((file) => `--env-file=${file}`),
    "--profile=*",
  ];
}

/** A service, and how many containers it has where that is known. */
export interface MadeService {
  readonly service: string;
  readonly count?: number | undefined;
}

/** Of containers, in their order. */
export function servicesOf(members: readonly Container[]): MadeService[] {
  return [...Map.groupBy(members, serviceOf)].map(([service, { length }]) => ({ service, count: length }));
}

/**
 * Arguments of `docker`: the containers of these services are made anew where what they are made of is another now, of images that
 * are here. With a `pull_policy` of the file's, a newer one could come with it.
 */
export function upArguments(
  call: ComposeCall,
  services: readonly MadeService[],
  { isStarted }: { isStarted: boolean },
): string[] {
  return [
    ...projectArguments(call),
    "up",
    isStarted ? "--detach" : "--no-start",
    "--no-deps",
    "--no-build",
    "--pull=never",
    // Without it those beyond the file's number are removed.
    ...services.flatMap(({ service, count = 1 }) => (count > 1 ? [`--scale=${service}=${count}`] : [])),
    ...services.map(({ service }) => service),
  ];
}

/** For a shell. */
function word(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** As a person types it. */
export function upCommand(
  call: ComposeCall,
  services: readonly MadeService[],
  options: { isStarted: boolean },
): string {
  return ["docker", ...upArguments(call, services, options)].map(word).join(" ");
}
