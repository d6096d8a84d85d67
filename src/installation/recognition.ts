/** Telling Chatwoot's processes from others by what they are made of, run and are given: whatever runs the containers. */

/** What is known of a process in a container. */
export interface ProcessSigns {
  /** As it is named: `chatwoot/chatwoot:v4.15.1`. */
  image: string;
  /** Entrypoint and arguments in one line; empty where the image decides. */
  command: string;
  env: ReadonlyMap<string, string>;
}

/** The image's name without registry, folder, tag and digest: `chatwoot`. */
function baseName(image: string): string {
  const repository = image.replace(/@.*$/, "").replace(/:[^/]*$/, "");
  return repository.slice(repository.lastIndexOf("/") + 1);
}

/**
 * `chatwoot/chatwoot:latest`, `ghcr.io/someone/chatwoot-fork@sha256:…`; not `chatwoot/pgvector`, nor what people build for
 * their Chatwoot (`chatwoot-db`, `chatwoot-bot`), which is no Rails application.
 */
function hasChatwootImage({ image, env }: ProcessSigns): boolean {
  if (!env.has("RAILS_ENV") && !env.has("SECRET_KEY_BASE")) return false;
  return /chatwoot/i.test(baseName(image));
}

/** What no other Rails application is given. */
const ONLY_CHATWOOT = ["CW_EDITION", "INSTALLATION_ENV", "ENABLE_ACCOUNT_SIGNUP", "MAILER_INBOUND_EMAIL_DOMAIN"];

const RUNS_RAILS = /\bsidekiq\b|\brails\b|\bpuma\b/;

/** An image of somebody's own, told by what it is given and what it runs. */
function looksLikeChatwoot({ command, env }: ProcessSigns): boolean {
  const isRails = env.has("RAILS_ENV") && env.has("SECRET_KEY_BASE");
  const isOurs = command.includes("docker/entrypoints/rails.sh") || ONLY_CHATWOOT.some((name) => env.has(name));
  return isRails && RUNS_RAILS.test(command) && isOurs;
}

export function isChatwootProcess(signs: ProcessSigns): boolean {
  return hasChatwootImage(signs) || looksLikeChatwoot(signs);
}

/** Whether it is worth asking what a process is given: without that, nothing else can be Chatwoot's. */
export function mayBeChatwoot({ image, command }: Pick<ProcessSigns, "image" | "command">): boolean {
  return /chatwoot/i.test(baseName(image)) || RUNS_RAILS.test(command);
}

const RUNS_WEB = /\brails (?:s|server)\b|\bpuma\b|\bforeman\b|\bovermind\b/;

export function isWorkerCommand(command: string): boolean {
  return /\bsidekiq\b/.test(command) && !RUNS_WEB.test(command);
}

/** Migrations and asset builders stop by themselves, and are neither web nor worker. */
export function isPassingCommand(command: string): boolean {
  return /\bdb:\w+|\bvite\b|\bwebpack/.test(command) && !RUNS_WEB.test(command);
}
