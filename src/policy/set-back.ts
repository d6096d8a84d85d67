/**
 * A server's clock that was set back: it runs ahead and is corrected, or a new server's is behind. Then commits that lie further on in the
 * log have earlier times, and a time may have been twice. What a server that recovers does is to stop at the first commit that is later
 * than the time that is asked for: where a clock ran ahead for a while that is before all that came since. Pure.
 */
import { LIMITS } from "../base/limits.ts";
import type { Lsn } from "../wal/lsn.ts";

export interface TimedPiece {
  readonly from: Lsn;
  readonly to: Lsn;
  /** Of the first and the last commit that ends in it. */
  readonly firstCommitUs: bigint | undefined;
  readonly lastCommitUs: bigint | undefined;
  /** Where the clock was set back within it: the latest time before that, and the earliest one behind it. */
  readonly setBack?: { readonly mostUs: bigint; readonly leastUs: bigint } | undefined;
  /** Where the server wrote too little to be replayed, and the time of the last commit before. */
  readonly minimal?: { readonly from: Lsn; readonly to: Lsn; readonly lastUs?: bigint | undefined } | undefined;
}

/** What is known of the time of a commit, and the piece that it lies in. */
export interface Sample {
  readonly us: bigint;
  readonly from: Lsn;
  readonly to: Lsn;
}

/** Commits do not come in the order of their times: so much earlier is no clock that was set back. */
export const SETTLES_US = BigInt(LIMITS.commitSettlesMs) * 1000n;

/** @param pieces by their beginnings; what two of them have counts once. */
export function samplesOf(pieces: readonly TimedPiece[]): Sample[] {
  const samples: Sample[] = [];
  let end: Lsn | undefined;
  for (const { from, to, firstCommitUs, lastCommitUs, setBack } of pieces) {
    if (end !== undefined && to <= end) continue;
    const first = end === undefined || from >= end ? firstCommitUs : undefined;
    end = to;
    for (const us of [first, setBack?.mostUs, setBack?.leastUs, lastCommitUs]) {
      if (us !== undefined) samples.push({ us, from, to });
    }
  }
  return samples;
}

/** The time at the end of the log: that of its last commit, or of one before it that is a little later. */
export function timeAtEnd(samples: readonly Sample[]): bigint | undefined {
  const last = samples.at(-1)?.us;
  if (last === undefined) return undefined;
  return samples.reduce((most, { us }) => (us > most && us <= last + SETTLES_US ? us : most), last);
}

export function earliest(samples: readonly Sample[]): bigint | undefined {
  return samples.reduce<bigint | undefined>(
    (least, { us }) => (least === undefined || us < least ? us : least),
    undefined,
  );
}

export function latest(samples: readonly Sample[]): bigint | undefined {
  return samples.reduce<bigint | undefined>((most, { us }) => (most === undefined || us > most ? us : most), undefined);
}

/** True where a time was reached, and then passed. @param fromUs when it begins. */
export function passes(fromUs: bigint, samples: readonly Sample[], us: bigint): boolean {
  const begin = fromUs <= us ? 0 : samples.findIndex((sample) => sample.us <= us);
  return begin >= 0 && samples.slice(begin).some((sample) => sample.us > us);
}

/**
 * Where a time was passed, more than once: stretches of the log, the newest first. None where it was passed once.
 */
export function passagesOf(samples: readonly Sample[], us: bigint): { from: Lsn; to: Lsn }[] {
  let most: bigint | undefined;
  let isTwice = false;
  for (const sample of samples) {
    if (sample.us > us) most = most === undefined || sample.us > most ? sample.us : most;
    else if (most !== undefined && most - sample.us > SETTLES_US) isTwice = true;
  }
  if (!isTwice) return [];
  const passages: { from: Lsn; to: Lsn }[] = [];
  for (const [at, next] of samples.entries()) {
    const before = samples[at - 1];
    // Where it begins later than that, it was passed before.
    if (next.us <= us || (before !== undefined && before.us > us)) continue;
    passages.unshift({ from: (before ?? next).from, to: next.to });
  }
  return passages;
}
