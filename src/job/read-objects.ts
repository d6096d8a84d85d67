/**
 * One thread's share of the files in buckets: many are fetched at once, straight into this thread's sealer, and of their
 * bytes no more than a bound lies in memory. A task that waits its turn is begun already, so that the line is never idle.
 */
import { Budget } from "../base/budget.ts";
import { isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { Sealer } from "../repo/sealer.ts";
import { type Piece, type StoredFile, storePieces } from "../repo/store-file.ts";
import { openSource } from "../source/open-source.ts";
import type { BlobSource, SourceSpec } from "../source/source.ts";
import { Slots } from "../store/limiting.ts";
import type { ObjectsTask } from "./sealing-tasks.ts";

export class ObjectReader {
  readonly #sealer: Sealer;
  readonly #signal: AbortSignal;
  readonly #sources = new Map<string, Promise<BlobSource>>();
  readonly #begun = new Map<ObjectsTask, Promise<StoredFile[]>>();
  readonly #bytes = new Budget(LIMITS.objectBytesInFlight);
  #slots: Slots | undefined;

  constructor(sealer: Sealer, { signal }: { signal: AbortSignal }) {
    this.#sealer = sealer;
    this.#signal = signal;
  }

  /** Begins a task whose turn has not come; {@link take} has its outcome. */
  foresee(task: ObjectsTask): void {
    const work = this.#fetch(task);
    work.catch(() => {});
    this.#begun.set(task, work);
  }

  /** The task's files, in order. */
  async take(task: ObjectsTask): Promise<StoredFile[]> {
    const work = this.#begun.get(task) ?? this.#fetch(task);
    this.#begun.delete(task);
    return await work;
  }

  async #fetch({ source: spec, files, isNew, inFlight }: ObjectsTask): Promise<StoredFile[]> {
    const slots = (this.#slots ??= new Slots(inFlight));
    const source = await this.#open(spec, inFlight);
    return await Promise.all(
      files.map(
        async (file) => await slots.use(this.#signal, async () => await this.#store(source, { ...file, isNew })),
      ),
    );
  }

  async #open(spec: SourceSpec, connections: number): Promise<BlobSource> {
    const known = this.#sources.get(spec.service);
    if (known !== undefined) return await known;
    // It was looked at before any file of it was asked for.
    const opening = openSource(spec, { connections, wasReached: true });
    this.#sources.set(spec.service, opening);
    return await opening;
  }

  async #store(
    source: BlobSource,
    { key, bytes, isNew }: { key: string; bytes: number; isNew: boolean },
  ): Promise<StoredFile> {
    const held = Math.min(Math.max(bytes, 1), LIMITS.chunkMaxBytes);
    return await this.#bytes.use(held, this.#signal, async () => {
      const pieces = source.read(key, { expectedBytes: bytes, signal: this.#signal })[Symbol.asyncIterator]();
      return await storePieces(this.#sealer, pieceAfterPiece(source, pieces, this.#signal), { isNew });
    });
  }

  async close(): Promise<void> {
    for (const opening of this.#sources.values()) await (await opening.catch(() => undefined))?.close();
  }
}

/** As {@link storePieces} wants them: what is shorter than a piece may be ends the file. */
function pieceAfterPiece(
  source: BlobSource,
  pieces: AsyncIterator<Buffer, void>,
  signal: AbortSignal,
): () => Promise<Piece> {
  return async () => {
    try {
      const { value, done } = await pieces.next();
      if (done === true) return { bytes: Buffer.alloc(0), isLast: true };
      return { bytes: value, isLast: value.length < LIMITS.chunkMaxBytes };
    } catch (error) {
      signal.throwIfAborted();
      return failedPiece(source, error);
    }
  };
}

function failedPiece({ outage }: BlobSource, error: unknown): Piece {
  if (!isFailure(error) || error.code === "internal/bug") throw error;
  if (outage !== undefined) return { kind: "unavailable", reason: outage.message, hint: outage.hint };
  if (error.code === "store/not-found") return { kind: "missing" };
  return { kind: "unreadable", reason: error.message };
}
