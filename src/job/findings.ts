/** What a backup has to tell about the files it could not save as the database describes them. */
import { listSome, plural } from "../base/bytes.ts";
import type { Finding } from "../base/findings.ts";
import { shortId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import type { MissingBlob } from "../point/manifest.ts";
import type { Outage } from "../source/spec.ts";
import type { ServiceState, StorageState } from "./storage-state.ts";

const WORDS: Record<MissingBlob["reason"], { what: string; hint: string }> = {
  missing: {
    what: "not there",
    hint: "Look for them in an older restore point or backup; Chatwoot answers 404 for each. They are looked for again at every backup.",
  },
  unreadable: {
    what: "not readable",
    hint: "Run Chatkeep as a user that may read the storage folder, and check the disk; for a bucket, see what its credentials may do (docs/storage.md).",
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

/** The reasons of those that are unreadable, in brackets. */
function whys({ reasons }: ServiceState, blobs: readonly MissingBlob[]): string {
  const told = new Set(blobs.map(({ id }) => reasons.get(id)).filter((why) => why !== undefined));
  return told.size === 0 ? "" : ` (${listSome([...told])})`;
}

function examples(blobs: readonly MissingBlob[], nameOf: (blob: MissingBlob) => string): string {
  const shown = blobs.slice(0, 3).map(nameOf);
  return blobs.length > shown.length ? `${shown.join(", ")}, …` : shown.join(", ");
}

const byName = ({ id, filename }: MissingBlob) => `${filename || "(no name)"} (blob ${id})`;
const byId = ({ id }: MissingBlob) => `blob ${id}`;

const KEPT =
  "This restore point has the copies that were kept: 'chatkeep restore latest --only storage --to DIR' writes them.";

/**
 * What was lost once and is known is no news, so that an alarm means something. What cannot be read at all is an alarm
 * every time: it may be there, is not saved, and only somebody's help will get it saved.
 */
function isKnown(blob: MissingBlob, before: MissingBlob | undefined): boolean {
  return blob.reason === "purged" || (blob.reason !== "unreadable" && before?.reason === blob.reason);
}

/**
 * Old installations have lost a few files long ago: that is let be once it is known. Of a service that lacks more, somebody has to
 * say that it is known, or a storage that was never mounted would be well on its second day.
 */
function isSmallLoss({ missing, folders }: ServiceState): boolean {
  const lost = [...missing.values()].filter(({ reason }) => reason !== "purged" && reason !== "unreadable").length;
  const files = [...folders.values()].reduce((sum, { count }) => sum + count, 0);
  return lost <= files * LIMITS.knownLossShare || (lost <= LIMITS.knownLossFiles && lost * 2 <= files);
}

/** One that is newly lost makes another subject; one that is there again does not. */
function lossSubject(service: string, blobs: readonly MissingBlob[]): { subject?: string } {
  const newest = blobs.reduce((latest, { since }) => (since > latest ? since : latest), "");
  return newest === "" ? {} : { subject: `${service}, since ${newest}` };
}

/** Files of a service that cannot be read at all: an alarm each time. @param fate What becomes of them: `not saved`. */
export function outageFinding(service: string, files: number, { kind, why, hint }: Outage, fate: string): Finding {
  return {
    kind,
    level: "alarm",
    subject: service,
    message: `${plural(files, "uploaded file")} of storage '${service}' ${files === 1 ? "is" : "are"} ${fate}: ${why}`,
    hint,
  };
}

export interface Losses {
  packs: readonly { pack: string; reason: string }[];
  chunks: readonly { type: "data" | "tree"; id: string; reason: string }[];
  /** Uploaded files of the last restore point. */
  files: number;
}

/** What the repository itself has lost since the points that used it were made. */
export function lossFindings({ packs, chunks, files }: Losses): Finding[] {
  const findings: Finding[] = [];
  if (packs.length > 0) {
    findings.push({
      kind: "packs-lost",
      level: "alarm",
      message: `${plural(packs.length, "pack")} of the repository cannot be relied upon: ${listSome(packs.map(({ pack, reason }) => `${shortId(pack)} (${reason})`))}`,
      hint: "Earlier restore points are damaged: 'chatkeep verify' names them. This one was made without these packs.",
    });
  }
  const [first] = chunks;
  if (first !== undefined) {
    const more = chunks.length > 1 ? `; and ${plural(chunks.length - 1, "more chunk")}` : "";
    findings.push({
      kind: "chunks-damaged",
      level: "alarm",
      message: `the repository is damaged: ${first.reason}${more}`,
      hint: "Earlier restore points are damaged: 'chatkeep verify --read-data' names them. What this one needs of it was read at its source and stored anew.",
    });
  }
  if (files > 0) {
    findings.push({
      kind: "files-lost-in-repository",
      level: "alarm",
      message: `the repository no longer holds ${plural(files, "uploaded file")} of the last restore point`,
      hint: "They were read again where they still exist; 'chatkeep verify' names the restore points that lack them.",
    });
  }
  return findings;
}

export function damagedParent(point: { id: string; snapshot: { time: string } }, why: string): Finding {
  return {
    kind: "parent-damaged",
    level: "alarm",
    message: `restore point ${shortId(point.id)} of ${point.snapshot.time} cannot be read: ${why}`,
    hint: "This restore point was made without it. 'chatkeep verify' tells what else is damaged.",
  };
}

/** Nothing when there is none. @param ahead from `pointsAhead`. */
export function aheadFindings(ahead: readonly { id: string; snapshot: { time: string } }[], where: string): Finding[] {
  const [newest] = ahead;
  if (newest === undefined) return [];
  return [
    {
      kind: "points-in-the-future",
      level: "warning",
      message: `${plural(ahead.length, "restore point")} in '${where}' ${ahead.length === 1 ? "lies" : "lie"} in the future, the newest of ${newest.snapshot.time}`,
      hint: `Until then it is 'latest', whatever is made meanwhile. Is a clock wrong, here or where it was made? If there, remove it by its name: 'chatkeep forget ${shortId(newest.id)}'.`,
    },
  ];
}

export interface PointMissing {
  /** The restore point's name. */
  point: string;
  /** RFC 3339, as in its manifest. */
  startedAt: string;
  service: string;
  missing: readonly MissingBlob[];
}

/** Those that a restore point lacks or has damaged: what Chatwoot deleted is not wanted, and what was kept is there. */
export function lostBlobs(missing: readonly MissingBlob[]): MissingBlob[] {
  return missing.filter(({ reason, kept }) => reason !== "purged" && kept !== true);
}

/**
 * What a restore point lacks of a service's uploaded files: an alarm for as long as the newest point is the first to say so.
 * Files of which an earlier, right copy was kept are not lost.
 */
export function missingFindings({ point, startedAt, service, missing }: PointMissing): Finding[] {
  const lost = lostBlobs(missing);
  if (lost.length === 0) return [];
  const days = lost.map(({ since }) => since.slice(0, 10)).toSorted();
  const [first = "", last = ""] = [days[0], days.at(-1)];
  const fresh = lost.filter(({ since }) => since === startedAt).length;
  const added = fresh === 0 ? "" : `, ${fresh} of them new in this point`;
  return [
    {
      kind: "files-lost",
      level: fresh === 0 ? "note" : "alarm",
      subject: service,
      message: `restore point ${shortId(point)} lacks ${plural(lost.length, "uploaded file")} of storage '${service}', or has ${lost.length === 1 ? "it" : "them"} damaged: since ${first}${last === first ? "" : `, the last since ${last}`}${added}`,
      hint: "They were not to be had, or were not what was uploaded, when it was made. Look in restore points from before ('chatkeep restore POINT --only storage --to DIR') or in older backups; 'chatkeep scrub --all' names each file.",
    },
  ];
}

interface Loss {
  isNew: boolean;
  /** It needs nobody's word once it is known. */
  isLetBe: boolean;
  /** All that the service has lost so, where `blobs` are a sample. */
  all: readonly MissingBlob[];
}

/** @param blobs not empty, of one reason. */
function lossFinding(service: ServiceState, blobs: readonly MissingBlob[], { isNew, isLetBe, all }: Loss): Finding {
  const reason = blobs[0]?.reason ?? "missing";
  const { what, hint } = WORDS[reason];
  const isPurged = reason === "purged";
  const kind = isPurged ? "purged-during-backup" : `blobs-${reason}`;
  const since = isNew || isPurged ? "" : " (known before)";
  const kept = blobs.filter((blob) => blob.kept === true).length;
  const has = kept === 0 ? "" : `; of ${kept} an earlier, right copy was kept`;
  const describe = (nameOf: (blob: MissingBlob) => string) =>
    `${plural(blobs.length, "uploaded file")} of storage '${service.name}' ${blobs.length === 1 ? "is" : "are"} ${what}${since}${whys(service, blobs)}: ${examples(blobs, nameOf)}${has}`;
  const hints = [
    ...(kept === 0 ? [] : [KEPT]),
    ...(kept === blobs.length ? [] : [hint]),
    ...(isLetBe || isPurged || reason === "unreadable"
      ? []
      : [`So many stay an alarm until somebody says that it is known: 'chatkeep ack ${kind}'.`]),
  ];
  return {
    kind,
    level: isPurged || (!isNew && isLetBe) ? "note" : "alarm",
    message: describe(byName),
    discreet: describe(byId),
    hint: hints.join(" "),
    ...(isPurged ? {} : lossSubject(service.name, all)),
  };
}

/**
 * One finding for each service and reason: an alarm for what is new since the parent, and for what was known too as long as a large
 * share of the service is lost; else a note.
 * @param before the parent's state; undefined at the first backup.
 */
export function storageFindings(
  state: StorageState,
  before: StorageState | undefined,
  outageOf: (service: string) => Outage | undefined,
): Finding[] {
  const findings: Finding[] = [];
  for (const service of state.values()) {
    const known = before?.get(service.name)?.missing;
    // Who reads files only, a sample perhaps, goes by what the point knows of all of them.
    const judged = service.folders.size > 0 ? service : before?.get(service.name);
    const isLetBe = judged === undefined || isSmallLoss(judged);
    const outage = outageOf(service.name);
    const { true: unavailable = [], false: lacking = [] } = Object.groupBy(
      service.missing.values(),
      ({ id, reason }) => `${outage !== undefined && reason === "unreadable" && !service.reasons.has(id)}`,
    );
    if (outage !== undefined && unavailable.length > 0) {
      const kept = unavailable.filter((blob) => blob.kept === true).length;
      const fate = kept === 0 ? "not saved" : `not read, of ${kept} an earlier copy was kept`;
      findings.push(outageFinding(service.name, unavailable.length, outage, fate));
    }
    const groups = Map.groupBy(lacking, (blob) => {
      return `${blob.reason} ${isKnown(blob, known?.get(blob.id)) ? "known" : "new"}`;
    });
    for (const [group, blobs] of groups) {
      const isNew = group.endsWith(" new");
      const [first] = blobs;
      if (first === undefined) continue;
      const same = [...(judged?.missing.values() ?? [])].filter(({ reason }) => reason === first.reason);
      const all = isNew || judged === service ? blobs : same;
      findings.push(lossFinding(service, blobs, { isNew, isLetBe, all }));
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
