/**
 * What Chatwoot and its Sidekiq keep in Redis, and what becomes of it when the database behind it is another: jobs and drafts
 * name rows by their numbers, and a number may be somebody else's then; caches hold what the other database said.
 */

/** Chatwoot's own keys begin with this: whatever its version. Rack::Attack's begin with `velma:`, Sidekiq's with nothing. */
export const CHATWOOT_KEYS = "alfred:*";
export const QUEUE_KEYS = "queue:*";
/** Sidekiq's sets of jobs for later, and of those that failed and are tried again. Those in `dead` run only when somebody asks. */
export const SIDEKIQ_SETS = ["schedule", "retry"] as const;

/** As long as it is there, the web process shows the page on which anybody makes the first administrator. */
export const ONBOARDING_KEY = "alfred:CHATWOOT_INSTALLATION_ONBOARDING";

/** What browsers keep, each kind with a key that says since when it is good. */
const BROWSER_KINDS = ["label", "inbox", "team"] as const;
/** As long as Chatwoot itself keeps these keys. */
export const BROWSER_KEY_SECONDS = 72 * 3600;

/**
 * `drop`: it is made anew when it is needed, or it locks what is no longer under way. `aside`: nobody else has it, so it is kept
 * under another name. `renew`: browsers ask whether it changed. `leave`: it is right whatever the database says, or gone in a moment.
 */
export type KeyFate = "drop" | "aside" | "renew" | "leave";

const FATES: readonly [pattern: RegExp, fate: KeyFate][] = [
  [/^queue:|^(?:schedule|retry)$/, "aside"],
  [/^alfred:CHATWOOT_INSTALLATION_ONBOARDING$/, "aside"],
  // Drafts of answers, who is muted, which answers wait to be mailed: by the number of the conversation.
  [/^alfred:CONVERSATION::/, "aside"],
  [/^alfred:V\d+:GLOBAL_CONFIG:/, "drop"],
  [/^alfred:UNREAD_CONVERSATIONS::/, "drop"],
  // Whoever holds these is a job that was put aside: what they lock would stay locked.
  [/^alfred:(?:AUTO_ASSIGNMENT_IN_FLIGHT|MESSAGE_SOURCE_KEY)::/, "drop"],
  [/^alfred:idb-cache-key-account-\d+-/, "renew"],
];

export function fateOf(key: string): KeyFate {
  return FATES.find(([pattern]) => pattern.test(key))?.[1] ?? "leave";
}

export function isDraft(key: string): boolean {
  return /^alfred:CONVERSATION::\d+::DRAFT_MESSAGE$/.test(key);
}

/** @param account Its id. */
export function browserKeysOf(account: string): string[] {
  return BROWSER_KINDS.map((kind) => `alfred:idb-cache-key-account-${account}-${kind}`);
}

/** Where a restore keeps what it put aside: `before` what it found, `after` what a rollback found. */
export type AsideSpace = "before" | "after";

/** All that a restore put aside. @param restore Its id. */
export function asidePattern(space: AsideSpace, restore: string): string {
  return `chatkeep:${space}:${restore}:*`;
}

/**
 * What a key is called while it is aside. The braces keep it in the slot of a cluster that it was in, so that it can be renamed
 * there, too.
 * @param turn Beyond 0 where the name is taken: somebody wrote the key again.
 */
export function asideName(key: string, { space, restore, turn = 0 }: AsidePlace): string {
  return `chatkeep:${space}:${restore}:${turn === 0 ? "" : `${turn}:`}{${key}}`;
}

export interface AsidePlace {
  readonly space: AsideSpace;
  readonly restore: string;
  readonly turn?: number;
}

/** What it was called, and whether its name is that of the first of them; undefined for what is none of ours. */
export function asideKey(name: string): { key: string; turn: number } | undefined {
  const [, turn = "0", key] = /^chatkeep:(?:before|after):[^:]+:(?:(\d+):)?\{(.*)\}$/s.exec(name) ?? [];
  return key === undefined ? undefined : { key, turn: Number(turn) };
}
