/** What one repository lacks of the log comes from another; what is damaged there is told, and not read again and again. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { test } from "node:test";
import type { Failure } from "../../../src/base/errors.ts";
import { HoleFiller, type HolePlace, type OpenHole } from "../../../src/job/continuous/fill-holes.ts";
import { listContinuous } from "../../../src/job/continuous/list.ts";
import { holeFindings } from "../../../src/job/log-findings.ts";
import type { Repository } from "../../../src/repo/repository.ts";
import { createMemoryStore } from "../../../src/store/memory-store.ts";
import { temporaryFolder } from "../../harness/temporary.ts";
import { hasty, newRepository, reopen, signal } from "../../repo/small-backup.ts";
import { factsOf, putBase } from "./bases.ts";
import { LINE, putSpan, SEGMENT, START } from "./spans.ts";

const RETRY_MS = 1000;
const segments = Array.from({ length: 5 }, () => randomBytes(SEGMENT));

async function put(repository: Repository, at: number): Promise<void> {
  await putSpan(repository, { at: at * SEGMENT, bytes: segments[at] ?? Buffer.alloc(0) });
}

/** The packs with what a span alone has are gone. */
async function damage(repository: Repository, write: () => Promise<void>): Promise<() => Promise<void>> {
  const packs = async () => {
    const names: string[] = [];
    for await (const { name } of repository.store.list("data", { signal })) names.push(name);
    return names;
  };
  const before = new Set(await packs());
  await write();
  const taken = (await packs()).filter((name) => !before.has(name));
  const bytes = new Map<string, Buffer>();
  for (const name of taken) {
    bytes.set(name, Buffer.from(await repository.store.get({ kind: "data", name }, { signal })));
    await repository.store.remove({ kind: "data", name }, { signal });
  }
  return async () => {
    for (const [name, content] of bytes) await repository.store.put({ kind: "data", name }, content, { signal });
  };
}

async function placeOf(name: string, repository: Repository): Promise<HolePlace> {
  const fresh = reopen(repository);
  return { name, repository: fresh, lists: await listContinuous(fresh, LINE.installation, { signal }) };
}

function neverFails({ message }: Failure): void {
  assert.fail(message);
}

test("a damaged span is told once and rests, the others of the hole come, and it comes when it is mended", async () => {
  await using folder = await temporaryFolder();
  await writeFile(folder.at("PG_VERSION"), "15\n");
  const [lacking, whole] = [await newRepository(createMemoryStore()), await newRepository(createMemoryStore())];
  for (const repository of [lacking, whole]) {
    await putBase(repository, folder.path, { facts: factsOf({ from: START, to: START + 1000n }) });
  }
  for (const at of [0, 4]) await put(lacking, at);
  for (const at of [0, 1]) await put(whole, at);
  const mend = await damage(whole, async () => await put(whole, 2));
  for (const at of [3, 4]) await put(whole, at);

  let nowMs = 0;
  const clock = { ...hasty, monotonic: () => nowMs };
  const told: (readonly OpenHole[])[] = [];
  const onHoles = (name: string, holes: readonly OpenHole[]) => {
    if (name === "lacking") told.push(holes);
  };
  const filler = new HoleFiller({ clock, signal, onHoles, retryMs: RETRY_MS });
  let reads = 0;
  const look = async () => {
    const places = [await placeOf("lacking", lacking), await placeOf("whole", whole)];
    const [, source] = places;
    assert.ok(source !== undefined);
    const anew = source.repository.anew.bind(source.repository);
    source.repository.anew = () => {
      reads += 1;
      return anew();
    };
    await filler.look(places, neverFails);
    const { spans } = await listContinuous(reopen(lacking), LINE.installation, { signal });
    return spans.map(({ span }) => Number(span.from - START) / SEGMENT).toSorted((a, b) => a - b);
  };

  assert.deepEqual(await look(), [0, 1, 3, 4]);
  const [[hole] = []] = told;
  assert.deepEqual([hole?.from, hole?.spans.length], ["whole", 1]);
  const [finding] = holeFindings("lacking", told[0] ?? []);
  assert.match(
    finding?.message ?? "",
    /^a gap in repository 'lacking' cannot be filled: the log from 16\/B3200000 to 16\/B3300000 of timeline 1 is damaged in 'whole': /,
  );
  reads = 0;
  assert.deepEqual(await look(), [0, 1, 3, 4]);
  assert.equal(reads, 0, "it rests");
  assert.equal(told[1]?.length, 1, "and is known still");
  nowMs = RETRY_MS;
  assert.deepEqual(await look(), [0, 1, 3, 4]);
  assert.ok(reads > 0);
  await mend();
  nowMs = 2 * RETRY_MS;
  assert.deepEqual(await look(), [0, 1, 2, 3, 4]);
  await look();
  assert.deepEqual(told.at(-1), []);
});
