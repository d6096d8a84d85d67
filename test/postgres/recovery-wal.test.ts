/** A server gets its log file by file, in its order, whatever order the files come in from where they are kept. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { renameSync, writeFileSync } from "node:fs";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "node:test";
import { LIMITS } from "../../src/base/limits.ts";
import { feed, type FeedOptions, prepareFeed, type WalSource } from "../../src/postgres/recovery-wal.ts";
import { segmentName } from "../../src/wal/lsn.ts";
import { type TestFolder, temporaryFolder } from "../harness/temporary.ts";

const SEGMENT = 16 * 1024 * 1024;
const NAMES = Array.from({ length: 20 }, (_, at) => segmentName(1, BigInt(at + 1) * BigInt(SEGMENT), SEGMENT));

/** As the server does it. @returns the exit status. */
async function ask(folder: TestFolder, name: string): Promise<unknown> {
  const server = spawn("sh", ["../give", name, "asked"], { cwd: folder.at("data"), stdio: "ignore" });
  return ((await once(server, "exit")) as unknown[])[0];
}

interface Fed extends AsyncDisposable {
  readonly folder: TestFolder;
  /** What ended it; a failure or nothing. */
  readonly ended: Promise<unknown>;
}

async function start(
  fetch: WalSource["fetch"],
  {
    names = NAMES,
    onFile = () => {},
  }: { names?: readonly string[]; onFile?: (name: string, place: string) => void } = {},
): Promise<Fed> {
  const folder = await temporaryFolder();
  await mkdir(folder.at("data"));
  const stop = new AbortController();
  const source = { names, fetch };
  const options: FeedOptions = {
    source,
    place: folder.path,
    data: folder.at("data"),
    user: undefined,
    segmentBytes: SEGMENT,
    onFile: (name) => onFile(name, folder.path),
  };
  await prepareFeed(options);
  const ended = feed(options, { signal: stop.signal }).then(
    () => undefined,
    (error: unknown) => error,
  );
  return {
    folder,
    ended,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await ended;
      await folder[Symbol.asyncDispose]();
    },
  };
}

test("files are fetched some at once, and given in the order in which they are asked for", async () => {
  const waiting: (() => void)[] = [];
  const full = Promise.withResolvers<void>();
  const fetched: string[] = [];
  let [under, most, ready] = [0, 0, 0];
  await using fed = await start(async (name, path) => {
    under += 1;
    most = Math.max(most, under);
    if (name !== NAMES[0] && waiting.length < LIMITS.walFetches) {
      await new Promise<void>((go) => {
        if (waiting.push(go) === LIMITS.walFetches) full.resolve();
      });
    }
    await writeFile(path, name);
    fetched.push(name);
    under -= 1;
    ready = Math.max(ready, (await readdir(fed.folder.at("wal"))).length);
  });
  const take = async (name: string) => {
    assert.equal(await ask(fed.folder, name), 0);
    assert.equal(await readFile(fed.folder.at("data/asked"), "utf8"), name);
  };
  const [first = "", ...others] = NAMES;
  await take(first);
  await full.promise;
  // The last that was begun comes first.
  const second = take(others[0] ?? "");
  for (const go of waiting.toReversed()) go();
  await second;
  for (const name of others.slice(1)) await take(name);
  assert.equal(most, LIMITS.walFetches);
  assert.ok(ready <= LIMITS.walAheadBytes / SEGMENT, `${ready} lay ready`);
  assert.deepEqual([...new Set(fetched)].toSorted(), NAMES);
  assert.equal(await ask(fed.folder, segmentName(1, 2n ** 40n, SEGMENT)), 1, "the end of the log");
});

test("one that cannot be had ends the recovery, though it was not asked for yet", async () => {
  await using fed = await start(async (name, path) => {
    if (name === NAMES[2]) throw new TypeError("gone");
    await writeFile(path, name);
  });
  assert.equal(await ask(fed.folder, NAMES[0] ?? ""), 0);
  assert.match(String(await fed.ended), /gone/);
  assert.equal(await ask(fed.folder, NAMES[2] ?? ""), 126);
});

test("a history that is asked for again as soon as it is there is given again", async () => {
  const history = "00000002.history";
  const given = { times: 0 };
  const onFile = (name: string, place: string) => {
    given.times += 1;
    if (given.times > 1) return;
    // As a server does that has it at once, and asks anew.
    renameSync(join(place, "wal", name), join(place, "data", "asked"));
    writeFileSync(join(place, "want", name), "");
  };
  await using fed = await start(async (name, path) => await writeFile(path, name), {
    names: [history, ...NAMES],
    onFile,
  });
  writeFileSync(fed.folder.at("want", history), "");
  while (given.times < 2) {
    assert.equal(await Promise.race([fed.ended, sleep(10, "goes on")]), "goes on");
  }
  assert.deepEqual(await readdir(fed.folder.at("wal")), [history]);
});
