/** What a backup has to tell about the files it could not save as the database describes them. */
import { plural } from "../base/bytes.ts";
import type { Finding } from "../base/findings.ts";
import type { MissingBlob } from "../point/manifest.ts";
import type { StorageState } from "./storage-state.ts";

const WORDS: Record<MissingBlob["reason"], { what: string; hint: string }> = {
  missing: {
    what: "not there",
    hint: "Look for them in an older restore point or backup; Chatwoot answers 404 for each. They are looked for again at every backup.",
  },
  unreadable: {
    what: "not readable",
    hint: "Run Chatkeep as a user that may read the storage folder, and check the disk.",
  },
  short: {
    what: "shorter than uploaded",
    hint: "An upload was cut off or the disk was full; what is there was saved.",
  },
  long: { what: "longer than uploaded", hint: "Something wrote to them after the upload; what is there was saved." },
  altered: {
    what: "not what was uploaded (the MD5 differs)",
    hint: "Something altered them, or the disk did; what is there was saved.",
  },
  purged: { what: "deleted by Chatwoot while the backup ran", hint: "Nothing to do: somebody deleted them." },
};

function examples(blobs: readonly MissingBlob[]): string {
  const shown = blobs.slice(0, 3).map((blob) => `${blob.filename || "(no name)"} (blob ${blob.id})`);
  return blobs.length > shown.length ? `${shown.join(", ")}, …` : shown.join(", ");
}

/**
 * One finding for each service and reason: an alarm for what is new since the parent, a note for what was known.
 * @param before the parent's state; undefined at the first backup.
 */
export function storageFindings(state: StorageState, before: StorageState | undefined): Finding[] {
  const findings: Finding[] = [];
  for (const service of state.values()) {
    const known = before?.get(service.name)?.missing;
    const groups = Map.groupBy(service.missing.values(), (blob) => {
      const isKnown = known?.get(blob.id)?.reason === blob.reason || blob.reason === "purged";
      return `${blob.reason} ${isKnown ? "known" : "new"}`;
    });
    for (const [group, blobs] of groups) {
      const isNew = group.endsWith(" new");
      const [first] = blobs;
      if (first === undefined) continue;
      const { what, hint } = WORDS[first.reason];
      const kind = first.reason === "purged" ? "purged-during-backup" : `blobs-${first.reason}`;
      const since = isNew || first.reason === "purged" ? "" : " (known before)";
      findings.push({
        kind,
        level: isNew ? "alarm" : "note",
        message: `${plural(blobs.length, "uploaded file")} of storage '${service.name}' ${blobs.length === 1 ? "is" : "are"} ${what}${since}: ${examples(blobs)}`,
        hint,
      });
    }
    const unchecked = [...service.folders.values()].reduce((sum, folder) => sum + folder.withoutChecksum, 0);
    if (unchecked > 0) {
      findings.push({
        kind: "blobs-without-checksum",
        level: "note",
        message: `${plural(unchecked, "uploaded file")} of storage '${service.name}' ${unchecked === 1 ? "has" : "have"} no MD5 in the database`,
        hint: "Only their size could be checked; nothing to do.",
      });
    }
  }
  return findings;
}
