/** Which storage service of a place takes the files of each that a restore point has. */
import { activeStorageService } from "../../chatwoot/environment.ts";
import type { SourceSpec } from "../../source/source.ts";
import { findSource, type FoundSource, type Outage } from "../../source/spec.ts";
import type { Place } from "./stage.ts";

/** `from` and `to` are equal where files go back to where they were. */
export interface Move {
  readonly from: string;
  readonly to: string;
}

/** What goes where, as it was when it began: an undo and a resumed restore go by it. */
export interface KeptFiles {
  readonly moves: readonly Move[];
  /** An undo could not take all of it out again. */
  readonly isLeft?: boolean;
}

export interface FoundMove extends Move {
  /** The way to `to`; undefined where it cannot take files. */
  readonly spec: SourceSpec | undefined;
  /** Why `to` cannot take them. */
  readonly outage: Outage | undefined;
  /** Why the place's own service of the name of `from` does not take them, where that is the reason. */
  readonly why: string | undefined;
}

/**
 * The way to write to a service: with Chatwoot's own credentials where it has them, for those that the configuration gives
 * to Chatkeep are often allowed to read only.
 */
export function targetSpecOf(service: string, { installation, storageSettings = {} }: Place): FoundSource {
  const { storage, environment } = installation;
  const own = Object.hasOwn(storageSettings, service) ? storageSettings[service] : undefined;
  const plain = findSource(service, storage, environment, own === undefined ? {} : { endpoint: own.endpoint });
  if ("spec" in plain || own === undefined) return plain;
  const named = findSource(service, storage, environment, own);
  return "spec" in named ? named : plain;
}

/**
 * Each service's own, where the place has it with credentials; else the one that new files of the place go to.
 * @param wanted The one that takes all files; undefined: as above.
 */
export function findMoves(services: readonly string[], place: Place, wanted: string | undefined): FoundMove[] {
  return services.map((from) => {
    const own = targetSpecOf(from, place);
    const to = wanted ?? ("spec" in own ? from : activeStorageService(place.installation.environment));
    const found = to === from ? own : targetSpecOf(to, place);
    return {
      from,
      to,
      spec: "spec" in found ? found.spec : undefined,
      outage: "spec" in found ? undefined : found.outage,
      why: wanted === undefined && to !== from && "outage" in own ? own.outage.why : undefined,
    };
  });
}

/** The moves that a restore has begun with, though the place may have been changed since. */
export function sameMoves(kept: readonly Move[], place: Place): FoundMove[] {
  return kept.map(({ from, to }) => {
    const found = targetSpecOf(to, place);
    const isThere = "spec" in found;
    return {
      from,
      to,
      spec: isThere ? found.spec : undefined,
      outage: isThere ? undefined : found.outage,
      why: undefined,
    };
  });
}
