/**
 * A bucket that files are put into over a line that may break: what can pass is tried again, a long file part by part,
 * and what was written is compared with what was sent.
 */
import { createHash, randomBytes } from "node:crypto";
import type { Clock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { Slots } from "../store/limiting.ts";
import { watch } from "../store/noticing-stalls.ts";
import { Retries, type Retry } from "../store/retrying.ts";
import { explainService } from "./explain.ts";
import { inParts } from "./parts.ts";
import type { BlobSource, ReadOptions, VariableNames } from "./source.ts";
import type { BlobTarget, ObjectSink, ObjectUpload, PutOptions, StoredBlob, Written } from "./target.ts";

export interface PatientTargetOptions {
  readonly service: string;
  readonly bucket: string;
  readonly names: VariableNames;
  readonly clock: Clock;
  /** Requests under way at once. */
  readonly connections: number;
  readonly onRetry?: ((retry: Retry) => void) | undefined;
  /** How long a call to a bucket that has answered is tried again. */
  readonly patienceMs?: number | undefined;
  /** Reads what lies there. */
  readonly source: BlobSource;
}

const ANY_TYPE = "application/octet-stream";
/** Of what has a key there can be none below a name with '/' and '-'. */
const PROBE = "chatkeep-probe";

export class PatientTarget implements BlobTarget {
  readonly service: string;
  readonly shown: string;
  readonly width: number;
  readonly #sink: ObjectSink;
  readonly #options: PatientTargetOptions;
  readonly #retries: Retries;
  readonly #slots: Slots;

  constructor(sink: ObjectSink, options: PatientTargetOptions) {
    this.service = options.service;
    this.shown = `bucket '${options.bucket}'`;
    this.width = options.connections;
    this.#sink = sink;
    this.#options = options;
    this.#retries = new Retries({ ...options, random: Math.random });
    this.#slots = new Slots(options.connections);
  }

  async stat(key: string, { signal }: ReadOptions): Promise<StoredBlob | undefined> {
    const call = { doing: `looking for '${key}'`, bytes: 0, signal };
    return await this.#call(call, async (limited) => await this.#sink.stat(key, { signal: limited }));
  }

  async *list({ signal }: ReadOptions): AsyncGenerator<readonly (StoredBlob & { key: string })[]> {
    const call = { doing: "listing the bucket", bytes: LIMITS.storeUnknownReadBytes, signal };
    let after: string | undefined;
    do {
      const from = after;
      const page = await this.#call(call, async (limited) => await this.#sink.list(from, { signal: limited }));
      yield page.objects;
      after = page.next;
    } while (after !== undefined);
  }

  async put(key: string, pieces: AsyncIterable<Uint8Array>, options: PutOptions): Promise<void> {
    const { bytes, signal } = options;
    const partBytes = partLength(bytes);
    const parts = inParts(pieces, partBytes);
    const sent = bytes <= partBytes ? await this.#whole(key, parts, options) : await this.#inParts(key, parts, options);
    if (sent.written !== "exists" && sent.written.isChecked) return;
    const there = await this.#digest(key, { bytes, signal });
    if (there?.bytes === bytes && there.md5 === sent.md5.toString("base64")) return;
    if (sent.written === "exists") throw new Failure("store/exists", `'${key}' is there, and is another file`);
    await this.remove(key, { signal });
    throw new Failure("store/unreachable", `what was written as '${key}' to ${this.shown} came back different`, {
      hint: "Something between, or the service itself, changes what is sent. Try again; if it stays so, ask the provider.",
    });
  }

  async #whole(
    key: string,
    parts: AsyncIterable<Buffer>,
    { bytes, md5: expected, type = ANY_TYPE, signal }: PutOptions,
  ): Promise<{ written: Written; md5: Buffer }> {
    const body = Buffer.concat(await Array.fromAsync(parts));
    const md5 = createHash("md5").update(body).digest();
    assertAnnounced(key, { bytes: body.length, md5 }, { bytes, md5: expected });
    const call = { doing: `writing '${key}'`, bytes: body.length, signal };
    const written = await this.#call(call, async (limited) => {
      return await this.#sink.put(key, body, { md5, type, signal: limited });
    });
    return { written, md5 };
  }

  async #inParts(
    key: string,
    parts: AsyncIterable<Buffer>,
    { bytes, md5: expected, type = ANY_TYPE, signal }: PutOptions,
  ): Promise<{ written: Written; md5: Buffer }> {
    const call = (moved: number) => ({ doing: `writing '${key}'`, bytes: moved, signal });
    await this.#call(call(0), async (limited) => await this.#sink.removeParts(key, { signal: limited }));
    const upload = await this.#call(call(0), async (limited) => {
      return await this.#sink.begin(key, { bytes, type, signal: limited });
    });
    const hash = createHash("md5");
    let [offset, number, held]: [number, number, Buffer] = [0, 0, Buffer.alloc(0)];
    const send = async () => {
      if (upload === "exists" || offset + held.length > bytes) return;
      await this.#call(call(held.length), async (limited) => {
        await upload.part(number, held, { offset, signal: limited });
      });
    };
    try {
      for await (const part of parts) {
        hash.update(part);
        if (held.length > 0) {
          await send();
          offset += held.length;
          number += 1;
        }
        held = part;
      }
      const md5 = hash.digest();
      // Before the last part: with it, some services make the file.
      assertAnnounced(key, { bytes: offset + held.length, md5 }, { bytes, md5: expected });
      await send();
      if (upload === "exists") return { written: upload, md5 };
      const written = await this.#call(call(0), async (limited) => await upload.finish({ md5, signal: limited })).catch(
        (error: unknown) => {
          // The answer to a try that succeeded may have been lost: then there is nothing to put together any more.
          if (isFailure(error, "store/not-found")) return "exists" as const;
          throw error;
        },
      );
      // Its parts are nobody's then.
      if (written === "exists") await giveUp(upload);
      return { written, md5 };
    } catch (error) {
      if (upload !== "exists") await giveUp(upload);
      throw error;
    }
  }

  async #digest(key: string, { bytes, signal }: ReadOptions & { bytes: number }): Promise<StoredBlob | undefined> {
    const hash = createHash("md5");
    let read = 0;
    try {
      for await (const piece of this.read(key, { expectedBytes: bytes, signal })) {
        hash.update(piece);
        read += piece.length;
      }
    } catch (error) {
      if (isFailure(error, "store/not-found")) return undefined;
      throw error;
    }
    return { bytes: read, md5: hash.digest("base64") };
  }

  read(key: string, options: ReadOptions & { expectedBytes: number }): AsyncIterable<Buffer> {
    return this.#options.source.read(key, options);
  }

  async remove(key: string, { signal }: ReadOptions): Promise<void> {
    const call = { doing: `removing '${key}'`, bytes: 0, signal };
    await this.#call(call, async (limited) => {
      await this.#sink.remove(key, { signal: limited });
    });
  }

  async flush(): Promise<void> {
    // What a service has answered for is durable.
  }

  async foldersFor(): Promise<string[]> {
    return [];
  }

  async removeFolder(): Promise<void> {
    // A bucket has none.
  }

  async tidy(): Promise<void> {
    // Objects are whole or not there; parts of one are removed before it is sent again.
  }

  async probe({ signal }: ReadOptions): Promise<void> {
    const body = randomBytes(24);
    const key = `${PROBE}/${randomBytes(6).toString("hex")}`;
    try {
      await this.put(key, piecesOf(body), { bytes: body.length, signal });
      const there = await this.#digest(key, { bytes: body.length, signal });
      if (there === undefined) throw new Failure("store/denied", `${this.shown} does not keep what is written to it`);
    } catch (error) {
      await this.#sink.remove(key, { signal: AbortSignal.timeout(LIMITS.probeCleanUpMs) }).catch(() => {});
      throw error;
    }
    await this.remove(key, { signal });
  }

  async close(): Promise<void> {
    this.#sink.close();
    await this.#options.source.close();
  }

  async #call<T>(
    watched: { doing: string; bytes: number; signal: AbortSignal },
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const { clock } = this.#options;
    try {
      return await this.#retries.do(watched.signal, async () => {
        return await this.#slots.use(watched.signal, async () => await watch(clock, watched, work));
      });
    } catch (error) {
      watched.signal.throwIfAborted();
      if (!isFailure(error) || error.code === "internal/bug") throw error;
      throw explainService(error, { ...this.#options, isWritten: true });
    }
  }
}

/** Best effort: the run's own signal may have been given. */
async function giveUp(upload: ObjectUpload): Promise<void> {
  await upload.abandon({ signal: AbortSignal.timeout(LIMITS.probeCleanUpMs) }).catch(() => {});
}

/** Of a whole number of units, which Google wants. */
function partLength(bytes: number): number {
  const unit = LIMITS.objectPartUnitBytes;
  return Math.max(LIMITS.objectPartBytes, Math.ceil(bytes / LIMITS.objectParts / unit) * unit);
}

async function* piecesOf(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

/** @throws Failure `source/unreadable` where what came is not what was announced. */
export function assertAnnounced(
  key: string,
  came: { bytes: number; md5: Buffer },
  announced: { bytes: number; md5: string | undefined },
): void {
  if (came.bytes !== announced.bytes) {
    throw new Failure("source/unreadable", `'${key}' has ${came.bytes} bytes instead of ${announced.bytes}`);
  }
  if (announced.md5 !== undefined && came.md5.toString("base64") !== announced.md5) {
    throw new Failure("source/unreadable", `'${key}' has another MD5 than the database says`);
  }
}
