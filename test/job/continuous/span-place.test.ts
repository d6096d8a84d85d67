/** What a keeper has stored in a repository is read back with no more requests than it needs. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { repositoryPlace } from "../../../src/job/continuous/repository-place.ts";
import { createMemoryStore } from "../../../src/store/memory-store.ts";
import { FaultyStore } from "../../harness/faulty-store.ts";
import { hasty, newRepository, reopen, signal } from "../../repo/small-backup.ts";
import { LINE, putJournal, putSpan, SEGMENT, START } from "./spans.ts";

test("the journal that a run wrote itself is read back without a list, whatever else the repository has", async () => {
  const memory = createMemoryStore();
  const repository = await newRepository(memory);
  for (let at = 0; at < 10; at += 1) await putSpan(repository, { at: at * SEGMENT, bytes: randomBytes(SEGMENT) });
  const store = new FaultyStore(memory);
  const options = { identity: { id: LINE.installation, name: "desk" }, program: "Chatkeep 0.0.0", clock: hasty };
  const opened = repositoryPlace({ ...options, name: "primary", open: async () => reopen(repository, store) });
  const place = await opened.spanPlace({ segmentBytes: SEGMENT, histories: new Map() });
  const bytes = randomBytes(2 * SEGMENT);
  const start = START + BigInt(10 * SEGMENT);
  const at = (offset: number) => start + BigInt(offset);
  const ends = [0, 300_000, SEGMENT, 1_500_000, 2 * SEGMENT];
  for (const [index, to] of ends.slice(1).entries()) {
    const from = ends[index] ?? 0;
    const times = { firstCommitUs: undefined, lastCommitUs: undefined };
    const span = { ...LINE, from: at(from), to: at(to), ...times };
    const entry = { span, commits: [], bytes: [bytes.subarray(from, to)] };
    await place.putJournal(entry, { signal, onStored() {} });
  }
  const read = async (from: number, to: number) => {
    store.calls.length = 0;
    const found = await place.readJournal(LINE, { from: at(from), to: at(to) }, { signal });
    assert.ok(found.equals(bytes.subarray(from, to)), `${from} to ${to}`);
    return store.calls.map(({ verb, kind }) => `${verb} ${kind ?? "beside"}`);
  };
  assert.deepEqual(await read(0, SEGMENT), ["get beside", "get beside"]);
  assert.deepEqual(await read(SEGMENT - 1000, 2 * SEGMENT - 1000), ["get beside", "get beside", "get beside"]);

  // What went there, another run may have put there before.
  const [gone = ""] = [...memory.files.keys()].filter((name) => name.includes("journal")).toSorted();
  memory.files.delete(gone);
  await putJournal(repository, { at: 10 * SEGMENT, bytes: bytes.subarray(0, 300_000) });
  assert.ok((await read(0, SEGMENT)).includes("list beside"));
  await place.close?.();
});
