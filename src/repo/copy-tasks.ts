/**
 * The part of a copy that touches bytes: reads stretches of the source's packs, opens each chunk with the source's keys
 * and seals it, still compressed, with the target's. Runs in worker threads, or in this one.
 */
import { messageOf } from "../base/errors.ts";
import type { ChunkId, PackId } from "../base/ids.ts";
import type { ChunkType } from "../format/chunk.ts";
import { unseal, type Keys } from "../format/crypto.ts";
import type { Store, StoreSpec } from "../store/store.ts";
import { isDamage } from "./chunk.ts";
import { ClaimTable } from "./claim-table.ts";
import type { PackRecord } from "./pack-record.ts";
import { Sealer } from "./sealer.ts";
import type { WorkHandler, WorkTools } from "./work.ts";

export interface CopyPart {
  readonly type: ChunkType;
  readonly id: ChunkId;
  /** From the start of the stretch. */
  readonly offset: number;
  readonly length: number;
  readonly uncompressedLength: number;
}

/** A stretch of a pack, read at once. */
export interface CopyRead {
  readonly pack: PackId;
  readonly offset: number;
  readonly length: number;
  readonly parts: readonly CopyPart[];
}

export type CopyTask = { kind: "copy"; reads: readonly CopyRead[] } | { kind: "flush" };

export interface CopyOutcome {
  /** Chunks that this copy of them does not give; another may. */
  readonly damaged: readonly { id: ChunkId; type: ChunkType; reason: string }[];
}

/** What a worker is started with; all of it can be sent to a thread. */
export interface CopyInit {
  readonly from: { readonly spec: StoreSpec | undefined; readonly keys: Keys };
  readonly to: { readonly spec: StoreSpec | undefined; readonly keys: Keys };
}

export interface CopyStores {
  readonly from: Store;
  readonly to: Store;
}

export function makeCopier(
  init: CopyInit,
  stores: CopyStores,
  { post, signal }: WorkTools<PackRecord>,
): WorkHandler<CopyTask, CopyOutcome> {
  // Buffers become plain arrays on their way to a worker.
  const { encrypt, macK, macR } = init.from.keys;
  const keys: Keys = { encrypt: Buffer.from(encrypt), macK: Buffer.from(macK), macR: Buffer.from(macR) };
  const sealer = new Sealer({
    keys: init.to.keys,
    store: stores.to,
    // Which chunks are wanted was decided before: each comes once.
    known: { has: () => false },
    claims: new ClaimTable(1),
    signal,
    onPack: post,
  });

  async function copyStretch(read: CopyRead, bytes: Buffer, damaged: CopyOutcome["damaged"][number][]): Promise<void> {
    for (const { type, id, offset, length, uncompressedLength } of read.parts) {
      try {
        const opened = unseal(keys, bytes.subarray(offset, offset + length));
        await sealer.addPacked(type, id, { bytes: opened, uncompressedLength });
      } catch (error) {
        if (!isDamage(error)) throw error;
        damaged.push({ id, type, reason: messageOf(error) });
      }
    }
  }

  return {
    async run(task) {
      const damaged: CopyOutcome["damaged"][number][] = [];
      if (task.kind === "flush") {
        await sealer.flush();
        return { damaged };
      }
      const under = task.reads.map((read) => ({ read, bytes: readStretch(stores.from, read, signal) }));
      for (const { bytes } of under) bytes.catch(() => {});
      for (const { read, bytes } of under) {
        const found = await bytes;
        if (typeof found !== "string") await copyStretch(read, found, damaged);
        else for (const { id, type } of read.parts) damaged.push({ id, type, reason: found });
      }
      return { damaged };
    },
    close: async () => await sealer.abort(),
  };
}

/** The bytes, or why the pack does not give them. */
async function readStretch(store: Store, read: CopyRead, signal: AbortSignal): Promise<Buffer | string> {
  const { pack, offset, length } = read;
  try {
    return await store.get({ kind: "data", name: pack }, { signal, offset, length });
  } catch (error) {
    if (!isDamage(error)) throw error;
    return messageOf(error);
  }
}
