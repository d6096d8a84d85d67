/** Reads a leg of the log for what its records tell: from the first byte to the last, a segment at a time. */
import { createReadStream } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { LIMITS } from "../../base/limits.ts";
import type { Leg } from "../../policy/window.ts";
import type { WalSource } from "../../postgres/recovery-wal.ts";
import type { WalEvent } from "../../wal/events.ts";
import type { TimelineHistory } from "../../wal/history.ts";
import { formatLsn, parseSegmentName, segmentStart } from "../../wal/lsn.ts";
import { describeWalProblem } from "../../wal/problem.ts";
import { createWalReader } from "../../wal/reader.ts";

export interface LegReading {
  readonly leg: Leg;
  readonly history: TimelineHistory | undefined;
  readonly wal: WalSource;
  readonly major: number;
  readonly systemId: string;
  readonly segmentBytes: number;
  /** A private one, in which one segment lies at a time. */
  readonly folder: string;
}

/**
 * @param options `onEvent`: told all that the leg's segments tell, also what lies before its first byte in the first of them.
 * `onBytes`: told how many were read.
 * @returns from where on it cannot be read, as a sentence; undefined where all of it was.
 * @throws what `wal` throws.
 */
export async function readLeg(
  { leg, history, wal, major, systemId, segmentBytes, folder }: LegReading,
  {
    onEvent,
    onBytes,
    signal,
  }: { onEvent: (event: WalEvent) => void; onBytes: (bytes: number) => void; signal: AbortSignal },
): Promise<string | undefined> {
  const from = segmentStart(leg.from, segmentBytes);
  const reader = createWalReader({ from, major, systemId, timeline: history ?? leg.timeline, segmentBytes });
  const path = join(folder, "segment");
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
