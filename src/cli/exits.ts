/** Every exit status and what it means: for the help, the completions' comments and docs/errors.md. */
export const EXITS = {
  0: "done",
  1: "failed; the message says why",
  2: "wrong usage or configuration; nothing was begun",
  3: "done, with findings that somebody must look at",
  10: "there is no repository at that place",
  11: "the repository is locked by another run",
  12: "the password is wrong for this repository",
  13: "the repository is damaged",
  20: "the repository's place cannot be reached, or is full",
  70: "a fault in Chatkeep itself",
  130: "cancelled",
} as const;

export type ExitStatus = keyof typeof EXITS;

export function isExitStatus(status: number): status is ExitStatus {
  return Object.hasOwn(EXITS, status);
}
