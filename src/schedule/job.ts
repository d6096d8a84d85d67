/** What is to run every day, wherever it is written down. */
import type { CronTimes } from "./cron.ts";

export interface DailyJob {
  installation: { id: string; name: string };
  /** The program and its first arguments, up to the command. */
  command: readonly string[];
  /** Absolute. */
  config: string;
  times: CronTimes;
  /** Folders and files that the run writes to. */
  writes: readonly string[];
}

/** What a unit is called, without its kind. */
export function unitName({ installation }: Pick<DailyJob, "installation">): string {
  return `chatkeep-${installation.name}`;
}

/** By this line what is ours is known, and whose it is. */
export function markerOf(installationId: string): string {
  return `# Made by 'chatkeep schedule install' for installation ${installationId}; 'chatkeep schedule remove' takes it away.`;
}

/** The user that Chatkeep's image runs as, by number: Kubernetes cannot tell whether a name is root's. */
export const IMAGE_USER = 10_027;

/** How much later it may run, by chance: so many do the same at the same minute. Minutes. */
export const DELAY_MINUTES = 30;

/** Behind everything that somebody waits for, as nice(1) counts. */
export const NICE = 10;
