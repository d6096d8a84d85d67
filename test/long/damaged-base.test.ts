/**
 * A page that was damaged on the old machine's disk, and came into the base as it was: no row that is read shows it, and nothing of
 * the log. A drill of a moment reads every page of the recovered cluster, and finds it.
 */
import assert from "node:assert/strict";
import { appendFile, open } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { sendMessage } from "../../src/demo/change.ts";
import { seededRandom } from "../../src/demo/random.ts";
import { listPoints } from "../../src/job/points.ts";
import type { WatchStatus } from "../../src/job/watch-book.ts";
import { baseOf } from "../../src/point/continuous.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { reopen, signal } from "../repo/small-backup.ts";
import { makeCheapToOpen } from "../scenario/cheap-key.ts";
import { type Desk, openDesk } from "../scenario/desk.ts";
import { onDatabase } from "../scenario/hostile-installation.ts";
import { FOLLOWED, protect } from "../scenario/protected-desk.ts";
import { isReady, startWatch } from "../scenario/watched-desk.ts";

const PAGE = 8192;
const random = seededRandom("a damaged base");
let desk: Desk;
let repository: Repository;
let installation: { id: string; name: string };
/** Below the cluster's folder; of a database that is not Chatwoot's. */
let file: string;
let folder: string;

interface Outcome {
  point: string;
  proven: boolean;
  checks: { name: string; ok: boolean; detail: string }[];
}

before(async () => {
  desk = await openDesk({
    server: { settings: [...FOLLOWED], hasChecksums: true },
    size: { messages: 60, conversations: 10, files: 6 },
  });
  ({ repository } = await makeCheapToOpen(desk));
  await appendFile(desk.config, `state-dir: ${join(desk.root, "state")}\n`);
  await desk.summary(["backup"]);
  const [point] = (await listPoints(repository, { signal })).points;
  installation = { id: point?.installationId ?? "", name: "desk" };
  await desk.server.createDatabase("aside");
  await desk.server.query(
    "create table filler as select n, repeat('x', 200) t from generate_series(1, 2000) n",
    "aside",
  );
  await desk.server.query("checkpoint");
  const [place] = await desk.server.query(
    "select current_setting('data_directory') as folder, pg_relation_filepath('filler') as file",
    "aside",
  );
  [folder, file] = [String(place?.["folder"]), String(place?.["file"])];
});

after(async () => await desk[Symbol.asyncDispose]());

/** Turns one bit of the fourth page of the file on the server's disk; twice is as before. */
async function turnBit(): Promise<void> {
  await using page = await open(join(folder, file), "r+");
  const at = 3 * PAGE + 5000;
  const byte = Buffer.alloc(1);
  await page.read(byte, 0, 1, at);
  await page.write(Buffer.from([(byte[0] ?? 0) ^ 1]), 0, 1, at);
}

/** The same by a watch, until it has a base and has told what it has to tell of it; then a few commits, and its end. */
async function watchNow(what: string, isTold: (status: WatchStatus) => boolean): Promise<void> {
  await using watching = startWatch(desk, ["--mode", "stream", "--flush-every", "1s"]);
  await watching.until(what, (status) => isReady(status) && isTold(status));
  await onDatabase(desk.installation, async (client) => {
    for (let n = 0; n < 5; n += 1) await sendMessage(client, random);
  });
  assert.equal(await watching.stop(), 130);
}

/** As restic does it; with none that serves, a watch takes one. */
async function forgetBases(): Promise<void> {
  const read = reopen(repository);
  const { continuous } = await listPoints(read, { signal });
  for (const { id, snapshot } of continuous) {
    if (baseOf(snapshot.tags) !== undefined) await read.store.remove({ kind: "snapshots", name: id }, { signal });
  }
}

function tellsOfPages({ findings }: WatchStatus): boolean {
  return findings.some(({ kind }) => kind === "pages-damaged");
}

/** A base as the server has it now, whatever its checksums say, and a few commits after it. */
async function protectNow(): Promise<void> {
  const { database } = desk.installation.database;
  const protection = await protect(desk.server, installation, { database, args: ["--no-verify-checksums"] });
  await onDatabase(desk.installation, async (client) => {
    for (let n = 0; n < 5; n += 1) await sendMessage(client, random);
  });
  await protection.finish(reopen(repository));
}

async function drillAt(moment: string): Promise<Outcome> {
  const { stdout, stderr } = await desk.chatkeep(["--json", "drill", "--at", moment]);
  const last = stdout.trimEnd().split("\n").at(-1) ?? "";
  assert.match(last, /^\{"type":"summary"/, stderr);
  return JSON.parse(last) as Outcome;
}

async function proofOf(id: string): Promise<boolean | undefined> {
  const { moments } = await listPoints(reopen(repository), { signal });
  return moments.find((point) => point.id === id)?.proof?.proven;
}

test("a moment by chance is not proven where a page of its base is damaged, and the page is named", async () => {
  await turnBit();
  await protectNow();
  const { point, proven, checks } = await drillAt("random");
  assert.equal(proven, false);
  assert.deepEqual(
    checks.filter(({ ok }) => !ok),
    [{ name: "page-checksums", ok: false, detail: `damaged: ${file}, page 3` }],
  );
  // The base is what the server sent, and every row of Chatwoot's is there: nothing else would have told.
  for (const name of ["base-files", "rows"]) assert.ok(checks.some((check) => check.name === name && check.ok));
  assert.equal(await proofOf(point), false);
});

test("with the page as it was, a moment of the next base is proven, by its pages too", async () => {
  await turnBit();
  await protectNow();
  const { point, proven, checks } = await drillAt("now");
  assert.equal(proven, true, JSON.stringify(checks));
  const pages = checks.find(({ name }) => name === "page-checksums");
  assert.match(pages?.detail ?? "", /^[\d,]+ pages as their checksums say$/);
  assert.equal(await proofOf(point), true);
});

test("a base that a watch took of a damaged server is told while it is watched, and no moment of it is proven", async () => {
  await turnBit();
  await forgetBases();
  await watchNow("the damaged page is told", tellsOfPages);
  const { point, proven, checks } = await drillAt("now");
  assert.equal(proven, false);
  assert.deepEqual(
    checks.filter(({ ok }) => !ok),
    [{ name: "page-checksums", ok: false, detail: `damaged: ${file}, page 3` }],
  );
  assert.equal(await proofOf(point), false);
});

test("with the page as it was and that base forgotten, a watch takes another, and its moment is proven", async () => {
  await turnBit();
  await forgetBases();
  await watchNow("a base without it is there", (status) => !tellsOfPages(status));
  const { point, proven, checks } = await drillAt("now");
  assert.equal(proven, true, JSON.stringify(checks));
  assert.ok(checks.some(({ name, ok }) => name === "page-checksums" && ok));
  assert.equal(await proofOf(point), true);
});
