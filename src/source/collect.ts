/** Takes a stretch of bytes out of an answer that may be longer than what was asked for. */
import { addAbortSignal, Readable } from "node:stream";
import { Failure } from "../base/errors.ts";
import type { ObjectPart } from "./source.ts";

export interface Answer {
  readonly body: unknown;
  /** What this answer says of its own length; undefined where it does not. */
  readonly contentLength: number | undefined;
  /** The header `Content-Range`; undefined where the whole object was sent. */
  readonly contentRange: string | undefined;
  readonly version: string | undefined;
}

/** @throws Failure `store/unreachable` for an answer that broke off. */
export async function partOf(
  { body, contentLength, contentRange, version }: Answer,
  { offset, length, signal }: { offset: number; length: number; signal: AbortSignal },
): Promise<ObjectPart> {
  const total = contentRange === undefined ? undefined : Number(/\/(\d+)$/.exec(contentRange)?.[1]);
  // A service that ignores the range sends all of it.
  const skip = contentRange === undefined ? offset : 0;
  const bytes = await collect(body, { skip, length, signal });
  const totalBytes = total ?? contentLength ?? offset + bytes.length;
  const due = Math.max(0, Math.min(length, totalBytes - offset));
  if (bytes.length === due) return { bytes, version, totalBytes };
  throw new Failure("store/unreachable", `the answer broke off after ${bytes.length} of ${due} bytes`, {
    hint: "Try again; if it stays so, look at the network and at what lies between.",
  });
}

/** Of what comes, `length` bytes after the first `skip`; the rest is let go of. */
async function collect(
  body: unknown,
  { skip, length, signal }: { skip: number; length: number; signal: AbortSignal },
): Promise<Buffer> {
  if (!(body instanceof Readable)) return Buffer.alloc(0);
  addAbortSignal(signal, body);
  const pieces: Buffer[] = [];
  let passed = 0;
  let taken = 0;
  for await (const piece of body as AsyncIterable<Buffer>) {
    const wanted = piece.subarray(Math.max(0, skip - passed)).subarray(0, length - taken);
    passed += piece.length;
    taken += wanted.length;
    if (wanted.length > 0) pieces.push(wanted);
    // Not at once when all has come: an answer that was read to its end leaves its connection to the next.
    if (taken === length && passed > skip + length) break;
  }
  return pieces.length === 1 && pieces[0] !== undefined ? pieces[0] : Buffer.concat(pieces);
}
