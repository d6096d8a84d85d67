/**
 * Trying out a repository's place: how fast it is, whether it lets anything be removed, what time it is there, and
 * whether it answers anybody.
 *
 * A file of our own under `chatkeep/probe`, where restic does not look, is written, read and removed. Where nothing can
 * be removed one small file stays and later tries make do with it. Where only restic's own names can be written
 * (`rest:`), a foreign file would be taken for a lock or a pack: there it only reads what is there.
 */
import { randomBytes } from "node:crypto";
import { type Clock, formatInstant, parseZonedInstant } from "../base/clock.ts";
import { Failure, isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { Backend, ListedKey } from "./backend.ts";
import { BESIDE } from "./beside.ts";
import type { PublicAccess } from "./public-access.ts";
import type { CallOptions } from "./store.ts";

/** Undefined is what could not be tried. */
export interface StoreProbe {
  /** Of a small request; the median of some. */
  readonly latencyMs: number;
  /** Bytes a second of one file, sent until it is durable. */
  readonly writeRate: number | undefined;
  readonly readRate: number | undefined;
  readonly canDelete: boolean | undefined;
  /** Whether a name that exists is kept by the place itself, when two write it at once. */
  readonly putsOnce: boolean | undefined;
  /** The place's clock less ours; undefined also where the place does not tell. */
  readonly clockAheadMs: number | undefined;
  /** What anybody gets without credentials; undefined also where none are used. */
  readonly publicAccess: PublicAccess | undefined;
  /** The key of the file that stays because it could not be removed. */
  readonly left: string | undefined;
}

export interface ProbeOptions extends CallOptions {
  readonly clock: Clock;
}

/** What is tried: a remote place, or a folder that is made to look like one. */
export interface ProbePlace extends Pick<
  Backend,
  "put" | "get" | "stat" | "list" | "remove" | "isNarrow" | "time" | "publicAccess"
> {
  /** What was just written is read back from this machine's memory, so that reading tells nothing. */
  readonly isRemembered?: boolean;
}

type Tried = Omit<StoreProbe, "latencyMs" | "clockAheadMs" | "publicAccess">;

const FOLDER = `${BESIDE}/probe`;
const NOTHING: Tried = {
  writeRate: undefined,
  readRate: undefined,
  canDelete: undefined,
  putsOnce: undefined,
  left: undefined,
};
const WORDS = Buffer.from(
  "Chatkeep's doctor wrote this to try the place and could not remove it: it may be deleted.\n",
);

/** @throws Failure what the place refuses beyond removing; or the signal's reason. */
export async function probePlace(place: ProbePlace, options: ProbeOptions): Promise<StoreProbe> {
  const latencyMs = await latencyOf(place, options);
  const tried = place.isNarrow === true ? await tryReading(place, options) : await tryAll(place, options);
  return {
    latencyMs,
    ...tried,
    clockAheadMs: await clockAhead(place, options),
    publicAccess: await unlessFailing(options.signal, async () => await place.publicAccess?.(options)),
  };
}

async function latencyOf(place: ProbePlace, { clock, signal }: ProbeOptions): Promise<number> {
  const times: number[] = [];
  for (let count = 0; count < LIMITS.probeRequests; count += 1) {
    const begun = clock.monotonic();
    await place.stat("config", { signal });
    times.push(clock.monotonic() - begun);
  }
  return times.toSorted((a, b) => a - b)[times.length >> 1] ?? 0;
}

async function tryReading(place: ProbePlace, { clock, signal }: ProbeOptions): Promise<Tried> {
  let largest: ListedKey | undefined;
  for await (const file of place.list("data", { signal })) {
    if (largest === undefined || file.sizeBytes > largest.sizeBytes) largest = file;
    if (largest.sizeBytes >= LIMITS.probeBytes) break;
  }
  if (largest === undefined || largest.sizeBytes < LIMITS.probeFirstBytes) return NOTHING;
  const length = Math.min(largest.sizeBytes, LIMITS.probeBytes);
  const begun = clock.monotonic();
  await place.get(largest.key, { offset: 0, length, signal });
  return { ...NOTHING, readRate: rateOf(length, clock.monotonic() - begun) };
}

async function tryAll(place: ProbePlace, options: ProbeOptions): Promise<Tried> {
  const stays = await removeEarlier(place, options);
  if (stays !== undefined) return { ...NOTHING, canDelete: false, left: stays };
  const {
    result: putsOnce,
    key,
    isGone,
  } = await withFile(place, WORDS, options, async (own) => {
    return await keepsFirst(place, own, options);
  });
  // What cannot be removed again is not written for the sake of a number.
  if (!isGone) return { ...NOTHING, canDelete: false, putsOnce, left: key };
  return { ...NOTHING, canDelete: true, putsOnce, ...(await ratesOf(place, options)) };
}

/** Files of doctors that were stopped. Returns the key of one that cannot be removed. */
async function removeEarlier(place: ProbePlace, { clock, signal }: ProbeOptions): Promise<string | undefined> {
  const over: string[] = [];
  for await (const { key } of place.list(FOLDER, { signal })) {
    const madeAt = parseZonedInstant(key.slice(FOLDER.length + 1, key.lastIndexOf("-")).replaceAll("_", ":"));
    // Another doctor may be at work.
    if (madeAt !== undefined && clock.now() - madeAt > LIMITS.probeKeptMs) over.push(key);
  }
  for (const key of over) if (!(await removed(place, key, signal))) return key;
  return undefined;
}

/** Two writers of one name that must be new: the first one's bytes are to stay. */
async function keepsFirst(place: ProbePlace, key: string, { signal }: ProbeOptions): Promise<boolean> {
  try {
    await place.put(key, Buffer.from(WORDS.toString().toUpperCase()), { mustBeNew: true, signal });
  } catch (error) {
    if (!isFailure(error, "store/denied")) throw error;
  }
  return (await place.get(key, { offset: 0, length: undefined, signal })).equals(WORDS);
}

/** A slow line is known after a small file. */
async function ratesOf(place: ProbePlace, options: ProbeOptions): Promise<Pick<Tried, "writeRate" | "readRate">> {
  const { clock, signal } = options;
  let rates: Pick<Tried, "writeRate" | "readRate"> = NOTHING;
  for (const size of [LIMITS.probeFirstBytes, LIMITS.probeBytes]) {
    const bytes = randomBytes(size);
    const begun = clock.monotonic();
    const { result } = await withFile(place, bytes, options, async (key) => {
      const written = clock.monotonic();
      const read = await place.get(key, { offset: 0, length: size, signal });
      if (!read.equals(bytes)) throw changed();
      return { writeMs: written - begun, readMs: clock.monotonic() - written };
    });
    rates = {
      writeRate: rateOf(size, result.writeMs),
      readRate: place.isRemembered === true ? undefined : rateOf(size, result.readMs),
    };
    if (result.writeMs + result.readMs > LIMITS.probeLongMs) break;
  }
  return rates;
}

function changed(): Failure {
  return new Failure("store/unreachable", "what was written to the place came back different", {
    hint: "Something between, or the place's own disk, changes bytes: run 'chatkeep verify --read-data'.",
  });
}

/** Does something with a file of our own, and removes it whatever happens. */
async function withFile<T>(
  place: ProbePlace,
  bytes: Buffer,
  { clock, signal }: ProbeOptions,
  work: (key: string) => Promise<T>,
): Promise<{ result: T; key: string; isGone: boolean }> {
  // A name that tells a person, and a later doctor, when it was made.
  const key = `${FOLDER}/${formatInstant(clock.now()).replaceAll(":", "_")}-${randomBytes(4).toString("hex")}`;
  let result: T;
  try {
    await place.put(key, bytes, { mustBeNew: true, signal });
    result = await work(key);
  } catch (error) {
    await place.remove(key, { signal: AbortSignal.timeout(LIMITS.probeCleanUpMs) }).catch(() => {});
    throw error;
  }
  return { result, key, isGone: await removed(place, key, signal) };
}

/** False where the place does not let it be removed, or only says that it did. */
async function removed(place: ProbePlace, key: string, signal: AbortSignal): Promise<boolean> {
  try {
    await place.remove(key, { signal });
  } catch (error) {
    if (isFailure(error, "store/denied")) return false;
    throw error;
  }
  return (await place.stat(key, { signal })) === undefined;
}

async function clockAhead(place: ProbePlace, { clock, signal }: ProbeOptions): Promise<number | undefined> {
  const before = clock.now();
  return await unlessFailing(signal, async () => {
    const there = await place.time?.({ signal });
    return there === undefined ? undefined : there - (before + clock.now()) / 2;
  });
}

/** What is no reason to give up the rest. */
async function unlessFailing<T>(signal: AbortSignal, ask: () => Promise<T>): Promise<T | undefined> {
  try {
    return await ask();
  } catch (error) {
    signal.throwIfAborted();
    if (!isFailure(error)) throw error;
    return undefined;
  }
}

function rateOf(bytes: number, ms: number): number {
  return (bytes / Math.max(ms, 0.001)) * 1000;
}
