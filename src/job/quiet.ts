/**
 * Findings that somebody has acknowledged, or that the last restore point told already: they become notes for as long as they stay
 * what they were. Only what is known to stand for long is among them, and uploaded files that the installation itself has lost; damage of the
 * repository, keys that open nothing and rows that were not read never are.
 */
import type { Finding } from "../base/findings.ts";
import type { KnownAcks } from "./acks.ts";

const ACKABLE: ReadonlySet<string> = new Set([
  "account-sequences-lacking",
  "blobs-altered",
  "blobs-long",
  "blobs-missing",
  "blobs-short",
  "blobs-unreadable",
  "code-conflicts",
  "code-file-not-saved",
  "code-file-unreadable",
  "code-files-too-many",
  "code-not-saved",
  "config-file-too-large",
  "config-file-unreadable",
  "config-files-too-many",
  "container-stopped",
  "default-secrets",
  "disk-low",
  "environment-command",
  "environment-differs",
  "environment-file-not-read",
  "environment-incomplete",
  "environment-not-in-force",
  "extension-data",
  "foreign-tables",
  "image-tag-latest",
  "images-differ",
  "no-accounts",
  "pods-not-ready",
  "public-on-volume",
  "rails-env-not-production",
  "secret-key-base-example",
  "secret-key-base-missing",
  "storage-anonymous-volume",
  "storage-folder-missing",
  "storage-not-read",
  "storage-service-unknown",
  "storage-service-unsupported",
  "storage-split",
  "storage-unknown",
  "user-mappings",
  "volumes-replaced",
]);

/** The same of what no restore point tells, as only `doctor` looks for it. */
const DOCTOR_ACKABLE: ReadonlySet<string> = new Set([
  "bucket-archives",
  "bucket-expires",
  "bucket-public",
  "clock-differs",
  "database-newer",
  "drill-no-room",
  "kit-not-kept",
  "migrations-pending",
  "never-proven",
  "no-scratch-server",
  "password-shared",
  "postgres-known-fault",
  "readable-by-others",
  "recovery-slow",
  "same-disk",
  "same-machine",
  "store-public",
  "web-not-well",
  "writable-by-others",
]);

/**
 * Nothing can be done about these, or nothing need be for the backup's sake: one warning is enough, until they name something
 * more. Chatwoot's own Compose file names the image `latest`.
 */
const TOLD_ONCE: ReadonlySet<string> = new Set([
  "extension-data",
  "foreign-tables",
  "image-tag-latest",
  "user-mappings",
]);

export function isAckable(kind: string): boolean {
  return ACKABLE.has(kind) || DOCTOR_ACKABLE.has(kind);
}

/** Every kind that can be. */
export function ackableKinds(): string[] {
  return [...ACKABLE, ...DOCTOR_ACKABLE];
}

/** True for what only `doctor` tells. */
export function isDoctorsOwn(kind: string): boolean {
  return DOCTOR_ACKABLE.has(kind);
}

const SAID = " (acknowledged)";

/** What has to stay the same. */
export function subjectOf({ subject, message }: Finding): string {
  if (subject !== undefined) return subject;
  return message.endsWith(SAID) ? message.slice(0, -SAID.length) : message;
}

/** @param places what is acknowledged of this installation, by repository. */
export async function quietKnown(findings: readonly Finding[], places: readonly KnownAcks[]): Promise<Finding[]> {
  const known = new Map<string, ReadonlySet<string>>();
  const loud = findings.filter(({ kind, level }) => level !== "note" && isAckable(kind));
  for (const kind of new Set(loud.map((finding) => finding.kind))) {
    const newest = places
      .flatMap((place) => place.acks.map((record) => ({ record, place })))
      .filter(({ record }) => record.finding === kind)
      .toSorted((a, b) => a.record.takenAtMs - b.record.takenAtMs)
      .at(-1);
    const ack = await newest?.place.read(newest.record);
    known.set(kind, new Set(ack?.subjects));
  }
  return findings.map((finding) => {
    const isKnown = loud.includes(finding) && known.get(finding.kind)?.has(subjectOf(finding)) === true;
    return isKnown ? { ...finding, level: "note", message: `${finding.message}${SAID}` } : finding;
  });
}

/** @param before what the last restore point told; earlier versions told no names, and then the message has to be the same. */
export function quietTold(findings: readonly Finding[], before: readonly Finding[]): Finding[] {
  const told = Map.groupBy(before, ({ kind }) => kind);
  return findings.map((finding) => {
    const { kind, level, message, names } = finding;
    if (level === "note" || !TOLD_ONCE.has(kind)) return finding;
    const earlier = told.get(kind) ?? [];
    const known = new Set(earlier.flatMap((one) => one.names ?? []));
    const isSame =
      names?.every((name) => known.has(name)) === true || earlier.some((one) => subjectOf(one) === message);
    return isSame ? { ...finding, level: "note", message: `${message} (known before)` } : finding;
  });
}
