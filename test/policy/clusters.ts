/** Small clusters, with a commit at every position and a second for each: for tests of the window. */
import * as fc from "fast-check";
import type { WindowBase, WindowPiece } from "../../src/policy/window.ts";

export const SEGMENT = 8;
const SYSTEM = "7";

interface Numbers {
  from: number;
  to: number;
  timeline?: number;
  systemId?: string;
}

function onLine({ from, to, timeline = 1, systemId = SYSTEM }: Numbers) {
  return { systemId, timeline, from: BigInt(from), to: BigInt(to) };
}

/** A commit at every position, at a second each. */
export function piece(numbers: Numbers): WindowPiece {
  const { from, to } = numbers;
  return { ...onLine(numbers), firstCommitUs: BigInt(from + 1) * 1_000_000n, lastCommitUs: BigInt(to) * 1_000_000n };
}

export function base(id: string, numbers: Numbers): WindowBase {
  const { from, to } = numbers;
  const times = { beganUs: BigInt(from) * 1_000_000n, endedUs: BigInt(to) * 1_000_000n };
  return { id, ...onLine(numbers), segmentBytes: SEGMENT, ...times };
}

export function history(timeline: number, ...parents: [number, number][]) {
  return {
    systemId: SYSTEM,
    timeline,
    parents: parents.map(([parent, at]) => ({ timeline: parent, switchLsn: BigInt(at), reason: "" })),
  };
}

export const POSITIONS = 48;

/** Up to three timelines, each of which left the one before at some place. */
export const cluster = fc
  .record({
    switches: fc.array(fc.integer({ min: 1, max: POSITIONS - 8 }), { maxLength: 2 }),
    pieces: fc.array(
      fc.record({
        timeline: fc.integer({ min: 1, max: 3 }),
        from: fc.nat(40),
        length: fc.integer({ min: 1, max: 20 }),
      }),
      {
        maxLength: 12,
      },
    ),
    bases: fc.array(fc.record({ timeline: fc.integer({ min: 1, max: 3 }), from: fc.nat(40), length: fc.nat(6) }), {
      maxLength: 4,
    }),
  })
  .map(({ switches, pieces, bases }) => {
    const sorted = switches.toSorted((a, b) => a - b);
    const timelines = sorted.length + 1;
    const histories = sorted.map((_, at) =>
      history(at + 2, ...sorted.slice(0, at + 1).map((lsn, index): [number, number] => [index + 1, lsn])),
    );
    const there = <T extends { timeline: number }>(all: readonly T[]) =>
      all.filter(({ timeline }) => timeline <= timelines);
    return {
      histories,
      pieces: there(pieces).map(({ timeline, from, length }) => piece({ timeline, from, to: from + length })),
      bases: there(bases).map(({ timeline, from: asked, length }, at) => {
        // A base is of a timeline that has begun.
        const from = Math.max(asked, sorted[timeline - 2] ?? 0);
        return base(`${at}`, { timeline, from, to: from + length });
      }),
    };
  });
