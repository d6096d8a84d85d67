/** What is to run every day, wherever it is written down. */
import type { CronTimes } from "./cron.ts";

export interface Job {
  installation: { id: string; name: string };
  /** The program and its first arguments, up to the command. */
  command: readonly string[];
  /** Absolute. */
  config: string;
  /** Folders and files that the run writes to. */
  writes: readonly string[];
}

export interface DailyJob extends Job {
  times: CronTimes;
}

/** What runs for good. */
export interface WatchJob extends Job {
  /** Options of the program and of `watch`, as given when it was installed. */
  options: { readonly program: readonly string[]; readonly watch: readonly string[] };
  timeZone: string;
}

/** The daily run, or what runs for good. */
export type JobKind = "daily" | "watch";

/** What a unit is called, without its kind. */
export function unitName({ installation }: Pick<Job, "installation">, kind: JobKind = "daily"): string {
  return `chatkeep-${installation.name}${kind === "watch" ? "-watch" : ""}`;
}

/** By this line what is ours is known, and whose it is. */
export function markerOf(installationId: string, kind: JobKind = "daily"): string {
  const [install, remove] =
    kind === "daily" ? ["schedule install", "schedule remove"] : ["watch --install", "watch --remove"];
  return `# Made by 'chatkeep ${install}' for installation ${installationId}; 'chatkeep ${remove}' takes it away.`;
}

/** The user that Chatkeep's image runs as, by number: Kubernetes cannot tell whether a name is root's. */
export const IMAGE_USER = 10_027;

/** How much later it may run, by chance: so many do the same at the same minute. Minutes. */
export const DELAY_MINUTES = 30;

/** Behind everything that somebody waits for, as nice(1) counts. */
export const NICE = 10;

/**
 * What glibc is told in each process of ours (mallopt(3)); a watch runs for months. Threads take memory from areas, eight for each
 * core, and what one of them has let go of is of no use to another: two areas are enough. What is larger than the threshold gets a
 * mapping of its own and goes back when it is let go of; else the threshold would rise to the largest that ever was, and packs would lie
 * between what stays. The image of deploy/docker sets the same for all that runs in a container.
 */
export const MEMORY: Readonly<Record<string, string>> = {
  MALLOC_ARENA_MAX: "2",
  MALLOC_MMAP_THRESHOLD_: "1048576",
  MALLOC_TRIM_THRESHOLD_: "4194304",
};
