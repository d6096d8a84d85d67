/** What `doctor` finds when it tries a repository's place: its speed, its clock, what can be deleted, and by whom it is read. */
import { formatBytes } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import type { Finding } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import type { StoreProbe } from "../store/probe.ts";
import type { Store } from "../store/store.ts";
import { clockOffFindings } from "./clock-off.ts";
import type { DoctorSummary, TriedPlace } from "./summaries.ts";

type TriedPlaces = Pick<DoctorSummary, "facts" | "places" | "findings">;

/** @throws Failure what the place refuses that every backup needs. */
export async function tryPlace(
  repository: string,
  store: Store,
  { clock, signal }: { clock: Clock; signal: AbortSignal },
): Promise<TriedPlaces> {
  const probe = await store.probe?.({ clock, signal });
  if (probe === undefined) return { facts: [], places: [], findings: [] };
  return {
    facts: [{ name: `place of '${repository}'`, value: describe(probe), from: store.location }],
    places: [placeOf(repository, probe)],
    findings: placeFindings(repository, probe),
  };
}

function round(value: number | undefined): number | null {
  return value === undefined ? null : Math.round(value);
}

function placeOf(repository: string, probe: StoreProbe): TriedPlace {
  return {
    repository,
    latencyMs: Math.round(probe.latencyMs * 10) / 10,
    writeBytesPerSecond: round(probe.writeRate),
    readBytesPerSecond: round(probe.readRate),
    canDelete: probe.canDelete ?? null,
    putsOnce: probe.putsOnce ?? null,
    clockAheadSeconds: round(probe.clockAheadMs === undefined ? undefined : probe.clockAheadMs / 1000),
    anybodyReads: probe.publicAccess?.reads ?? null,
    anybodyLists: probe.publicAccess?.lists ?? null,
    left: probe.left ?? null,
  };
}

function describe({
  latencyMs,
  writeRate,
  readRate,
}: Pick<StoreProbe, "latencyMs" | "writeRate" | "readRate">): string {
  const parts = [latencyMs < 1 ? "answers within 1 ms" : `answers in ${Math.round(latencyMs)} ms`];
  if (writeRate !== undefined) parts.push(`takes ${formatBytes(writeRate)}/s`);
  if (readRate !== undefined) parts.push(`gives ${formatBytes(readRate)}/s`);
  return parts.join(", ");
}

export function placeFindings(repository: string, probe: StoreProbe): Finding[] {
  return [
    ...open(repository, probe),
    ...undeletable(repository, probe),
    ...clockOffFindings(`repository '${repository}'`, probe.clockAheadMs ?? 0),
    ...slow(repository, probe),
    ...(probe.canDelete === undefined
      ? [
          {
            kind: "store-not-tried",
            level: "note",
            message: `writing to the place of repository '${repository}' was not tried`,
            hint: "It takes files of restic's own names only, so nothing was written for a test: the next backup will show it.",
          } as const,
        ]
      : []),
    ...(probe.putsOnce === false
      ? [
          {
            kind: "store-overwrites",
            level: "note",
            message: `the place of repository '${repository}' does not keep the first of two files of one name`,
            hint: "It matters to 'init' alone, and only where two people make a repository there at the same moment.",
          } as const,
        ]
      : []),
  ];
}

function open(repository: string, { publicAccess }: StoreProbe): Finding[] {
  const can = [publicAccess?.lists === true ? "list" : "", publicAccess?.reads === true ? "read" : ""];
  const verbs = can.filter((verb) => verb !== "").join(" and ");
  if (verbs === "") return [];
  return [
    {
      kind: "store-public",
      level: "alarm",
      message: `anybody can ${verbs} the files of repository '${repository}': its place answers without credentials`,
      hint: "Block public access to the bucket or container, or switch the server's passwords on. The content is encrypted, but names, sizes and the key files are not hidden: with these a password can be guessed offline, so a weak one counts as known (docs/stores.md).",
    },
  ];
}

function undeletable(repository: string, { canDelete, left }: StoreProbe): Finding[] {
  if (canDelete !== false) return [];
  return [
    {
      kind: "store-append-only",
      level: "note",
      message: `nothing can be deleted from repository '${repository}' with these credentials${left === undefined ? "" : `; '${left}' stays there`}`,
      hint: "Good against an intruder on this machine. Run 'forget' and 'prune' elsewhere, with credentials that may delete.",
    },
  ];
}

function isSlow(rate: number | undefined): boolean {
  return rate !== undefined && rate < LIMITS.slowRate;
}

function slow(repository: string, { latencyMs, writeRate, readRate }: StoreProbe): Finding[] {
  if (latencyMs <= LIMITS.slowAnswerMs && !isSlow(writeRate) && !isSlow(readRate)) return [];
  return [
    {
      kind: "store-slow",
      level: "note",
      message: `the place of repository '${repository}' is slow: it ${describe({ latencyMs, writeRate, readRate })}`,
      hint: "The first backup, and bringing all of it back, will take long: reckon with it, or choose a nearer place.",
    },
  ];
}
