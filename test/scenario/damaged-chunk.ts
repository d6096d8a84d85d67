/** Damages what a repository in a folder has stored of a chunk. */
import assert from "node:assert/strict";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ChunkId } from "../../src/base/ids.ts";
import type { ChunkIndex } from "../../src/repo/index.ts";

/** Flips one bit in the pack; the function that comes back puts it right again. */
export function damageChunk(repository: string, index: ChunkIndex, chunk: ChunkId): () => void {
  const [place] = index.find("data", chunk);
  assert.ok(place !== undefined);
  const pack = join(repository, "data", place.pack.slice(0, 2), place.pack);
  const good = readFileSync(pack);
  const bad = Buffer.from(good);
  bad[place.offset + 20] = (bad[place.offset + 20] ?? 0) ^ 1;
  chmodSync(pack, 0o600);
  writeFileSync(pack, bad);
  return () => writeFileSync(pack, good);
}
