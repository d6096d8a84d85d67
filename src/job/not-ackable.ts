/** Why a finding cannot be acknowledged, for whoever tries. */
import { ERRORS, Failure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { nearNames } from "../base/near.ts";
import { ackableKinds, isAckable } from "./quiet.ts";

interface Reason {
  why: string;
  hint: string;
}

const LOST: Reason = {
  why: "it tells of data that are lost or damaged",
  hint: "Its cause has to be mended: 'chatkeep doctor' says how.",
};
const KEYS: Reason = {
  why: "channels and two-factor logins would not survive a restore with these keys",
  hint: "Find the right keys before the running process is restarted: docs/keys.md.",
};
const NOT_BACKED_UP: Reason = {
  why: "while it stands, restore points are not made, or are not where they should be",
  hint: "It goes when its cause is mended: 'chatkeep doctor' says how.",
};
const FAILED: Reason = {
  why: "it tells of something that could not be done",
  hint: "It goes when its cause is mended: docs/errors.md explains it.",
};
const NOTE: Reason = {
  why: "it is a note already, and rings nowhere",
  hint: "'chatkeep doctor --quiet' leaves out the notes.",
};
const OTHER: Reason = {
  why: "it is not among the findings that may stay as they are",
  hint: "It goes when its cause is mended: 'chatkeep doctor' says how. The column 'ack' of docs/doctor.md tells which can be.",
};

/** Those that people meet, and may want to be quiet. */
const REASONS: Readonly<Record<string, Reason>> = {
  "backup-overdue": NOT_BACKED_UP,
  "chunks-damaged": LOST,
  "code-bundle-broken": LOST,
  "copy-behind": NOT_BACKED_UP,
  "copy-failed": NOT_BACKED_UP,
  "database-denied": NOT_BACKED_UP,
  "encryption-keys-missing": KEYS,
  "encryption-keys-unknown": KEYS,
  "encryption-keys-wrong": KEYS,
  "files-lost": LOST,
  "files-lost-in-repository": LOST,
  "held-point-lost": LOST,
  "no-restore-point": NOT_BACKED_UP,
  "nobody-told": NOTE,
  "not-set-up": NOT_BACKED_UP,
  "packs-lost": LOST,
  "parent-damaged": LOST,
  "point-lacks-rows": LOST,
  "points-not-whole": LOST,
  "repository-away": NOT_BACKED_UP,
  "repository-no-room": NOT_BACKED_UP,
  "rows-unreadable": LOST,
  "schedule-invalid": NOT_BACKED_UP,
  "secret-key-base-wrong": KEYS,
  "snapshots-damaged": LOST,
  "storage-files-lost": LOST,
};

/** Small letters and a hyphen: neither the name nor the time of a restore point has that form. */
export function hasFormOfKind(word: string): boolean {
  return /^[a-z]+(?:-[a-z]+)+$/.test(word);
}

/**
 * What to answer to a word that has the form of a finding's kind and is none that can be acknowledged. Undefined for a word that
 * may mean a restore point.
 * @param told what the newest restore point tells.
 */
export function notAckable(word: string, told: readonly Finding[]): Failure | undefined {
  if (!hasFormOfKind(word) || isAckable(word)) return undefined;
  const reason = reasonFor(word, told);
  if (reason !== undefined) {
    return new Failure("usage/invalid", `'${word}' cannot be acknowledged: ${reason.why}`, { hint: reason.hint });
  }
  const near = nearNames(word, ackableKinds());
  return new Failure("usage/invalid", `there is no finding '${word}' that could be acknowledged`, {
    hint:
      near.length === 0
        ? "'chatkeep ack' lists what can be; the column 'ack' of docs/doctor.md has all of it."
        : `Did you mean ${near.map((name) => `'${name}'`).join(" or ")}?`,
  });
}

function reasonFor(word: string, told: readonly Finding[]): Reason | undefined {
  const known = REASONS[word];
  if (known !== undefined) return known;
  if (Object.keys(ERRORS).some((code) => code.replace("/", "-") === word)) return FAILED;
  const said = told.filter(({ kind }) => kind === word);
  if (said.length === 0) return undefined;
  return said.every(({ level }) => level === "note") ? NOTE : OTHER;
}
