/** Reads the log along a line of history for what was committed: from the first byte to the last, a segment at a time. */
import { createReadStream } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { LIMITS } from "../../base/limits.ts";
import type { Leg } from "../../policy/window.ts";
import type { WalSource } from "../../postgres/recovery-wal.ts";
import { openTemporaryFolder } from "../../system/temporary.ts";
import type { TransactionEnd, WalEvent } from "../../wal/events.ts";
import { formatLsn, parseSegmentName, segmentStart } from "../../wal/lsn.ts";
import { describeWalProblem } from "../../wal/problem.ts";
import { createWalReader } from "../../wal/reader.ts";
import type { Continuous } from "./list.ts";

export interface CommitReading extends Pick<Continuous, "histories"> {
  readonly wal: WalSource;
  readonly legs: readonly Leg[];
  readonly major: number;
  readonly systemId: string;
  readonly segmentBytes: number;
}

/**
 * @param options `onCommit`: told each commit whose record lies within a leg, in order. `hasAborts`: and each abort. `onBytes`: told how many were read.
 * @returns of each leg that cannot be read to its end from where on, as a sentence.
 * @throws what `wal` throws.
 */
export async function readCommits(
  reading: CommitReading,
  {
    onCommit,
    hasAborts = false,
    ...options
  }: {
    onCommit: (commit: TransactionEnd, leg: Leg) => void;
    hasAborts?: boolean;
    onBytes: (bytes: number) => void;
    signal: AbortSignal;
  },
): Promise<string[]> {
  // One segment lies in it at a time.
  await using folder = await openTemporaryFolder("chatkeep-search");
  const unread: string[] = [];
  for (const leg of reading.legs) {
    const onEvent = (event: WalEvent) => {
      const isEnd = event.kind === "commit" || (hasAborts && event.kind === "abort");
      // The segments of a leg begin before it.
      if (isEnd && event.startLsn >= leg.from && event.lsn <= leg.to) onCommit(event, leg);
    };
    const problem = await readLeg(reading, { ...options, leg, onEvent, path: join(folder.path, "segment") });
    if (problem !== undefined) unread.push(problem);
  }
  return unread;
}

async function readLeg(
  { wal, major, systemId, segmentBytes, histories }: CommitReading,
  {
    leg,
    path,
    onEvent,
    onBytes,
    signal,
  }: {
    leg: Leg;
    path: string;
    onEvent: (event: WalEvent) => void;
    onBytes: (bytes: number) => void;
    signal: AbortSignal;
  },
): Promise<string | undefined> {
  const history = histories.find((one) => one.systemId === systemId && one.timeline === leg.timeline);
  const from = segmentStart(leg.from, segmentBytes);
  const reader = createWalReader({ from, major, systemId, timeline: history ?? leg.timeline, segmentBytes });
  for (const name of wal.names) {
    const segment = parseSegmentName(name, segmentBytes);
    if (segment === undefined || segment.timeline !== leg.timeline) continue;
    if (segment.start !== reader.position || segment.start >= leg.to) continue;
    signal.throwIfAborted();
    await wal.fetch(name, path);
    // Behind the leg's end lies what belongs to nobody.
    const end = Number(leg.to - segment.start) - 1;
    const highWaterMark = LIMITS.walChunkBytes;
    for await (const bytes of createReadStream(path, { highWaterMark, end, signal }) as AsyncIterable<Buffer>) {
      const { events, problem } = reader.push(bytes);
      for (const event of events) onEvent(event);
      onBytes(bytes.length);
      if (problem !== undefined) break;
    }
    await rm(path, { force: true });
    const { problem } = reader;
    if (problem === undefined) continue;
    return `the log of timeline ${leg.timeline} cannot be read from ${formatLsn(problem.lsn)} on: ${describeWalProblem(problem)}`;
  }
  return undefined;
}
