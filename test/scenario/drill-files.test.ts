/** Which uploaded files a drill reads: new ones and a part of the others, but all of them wherever no proof holds. */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { after, before, test } from "node:test";
import { systemClock } from "../../src/base/clock.ts";
import { silent } from "../../src/base/progress.ts";
import { makeFile, storagePath } from "../../src/demo/files.ts";
import { seededRandom } from "../../src/demo/random.ts";
import { checkBlobs } from "../../src/job/check-blobs.ts";
import { chooseFiles, isInTurn, SLICES } from "../../src/job/files-to-read.ts";
import { PointReader } from "../../src/job/point-reader.ts";
import { listPoints } from "../../src/job/points.ts";
import { connect } from "../../src/postgres/connect.ts";
import { openRepository } from "../../src/repo/repository.ts";
import { openLocalStore } from "../../src/store/local-store.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { damageChunk } from "./damaged-chunk.ts";
import { type Desk, openDesk } from "./desk.ts";
import { onDatabase } from "./hostile-installation.ts";
import { longTest } from "../harness/whole.ts";

/** Together more than what is always read whole. */
const FILES = 68;
const BYTES = 1024 * 1024;
const signal = new AbortController().signal;
let desk: Desk;

before(async () => {
  desk = await openDesk({
    hasServerForDrills: true,
    size: { messages: 60, conversations: 8, files: FILES, fileBytes: BYTES },
  });
  await makeCheapToOpen(desk);
  await desk.summary(["backup"]);
});
after(async () => await desk[Symbol.asyncDispose]());

interface Outcome {
  point: string;
  proven: boolean;
  files: string;
}

async function drill(args: string[] = [], status = 0): Promise<Outcome> {
  const summary = await desk.summary(["drill", ...args], status);
  const checks = summary["checks"] as { name: string; detail: string }[];
  return {
    point: String(summary["point"]).slice(0, 8),
    proven: summary["proven"] === true,
    files: checks.find(({ name }) => name === "files")?.detail ?? "",
  };
}

/** Uploads one more file, as Chatwoot does. */
async function upload(): Promise<void> {
  const file = makeFile(seededRandom(7), 1, 5_000);
  const path = storagePath(desk.installation.storageRoot, file.key);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, file.content);
  await onDatabase(desk.installation, async (client) => {
    await client.query(
      `insert into active_storage_blobs (key, filename, content_type, byte_size, checksum, service_name, created_at)
       select $1, $2, $3, $4, $5, service_name, now() from active_storage_blobs order by id limit 1`,
      [file.key, file.filename, file.contentType, file.content.length, file.checksum],
    );
  });
}

/** The newest point, and the file of one blob in it. */
async function openFile(blob: number) {
  const password = readFileSync(desk.passwordFile, "utf8").trim();
  const repository = await openRepository(openLocalStore(desk.repository), { password, signal });
  const index = await repository.loadIndex({ signal });
  const list = await listPoints(repository, { signal });
  const [point] = list.points;
  assert(point !== undefined);
  const [row] = await desk.server.query(
    `select key, service_name as service from active_storage_blobs where id = ${blob}`,
    desk.installation.database.database,
  );
  const reader = new PointReader(repository, point, { signal });
  const node = await reader.find(`storage/${String(row?.["service"])}/0/0/${String(row?.["key"])}`);
  const chunk = node?.content?.[0];
  assert(chunk !== undefined);
  return { repository, index, list, point, reader, chunk };
}

/** Damages what is stored of the file of one blob, and gives the way back. */
async function damage(blob: number): Promise<() => void> {
  const { index, chunk } = await openFile(blob);
  return damageChunk(desk.repository, index, chunk);
}

test("every file's turn comes once in so many drills", () => {
  for (const id of [0n, 1n, 15n, 16n, 999n, 1_048_576n, 9_007_199_254_740_993n]) {
    const turns = Array.from({ length: SLICES }, (_, slice) => isInTurn(id, slice)).filter(Boolean);
    assert.equal(turns.length, 1, String(id));
  }
});

test("the first drill reads every file, the next what is new and what is in its turn, and says so", async () => {
  const first = await drill();
  assert.equal(first.files, `${FILES} files compared with size and MD5`);
  await upload();
  await desk.summary(["backup"]);
  // The first slice: ids below 16.
  const second = await drill();
  assert.equal(
    second.files,
    `16 of ${FILES + 1} files compared with size and MD5: 1 new since the proof of ${first.point}, 15 in their turn; the others are those that were compared before`,
  );
  const mend = await damage(60);
  const third = await drill();
  mend();
  assert.match(
    third.files,
    new RegExp(`^16 of ${FILES + 1} .*: 0 new since the proof of ${second.point}, 16 in their turn; `),
  );
});

test("a file that is not read is found all the same when its bytes are in no pack", async () => {
  const { index, chunk, reader, ...found } = await openFile(60);
  const files = await chooseFiles({ ...found, bytes: FILES * BYTES, isAll: false, clock: systemClock, signal });
  assert.equal(files.basis?.point.id, found.point.id);
  // Were all proofs of a clock that is ahead, they would stay the newest.
  const early = { now: () => 0 };
  assert.equal(
    (await chooseFiles({ ...found, bytes: FILES * BYTES, isAll: false, clock: early, signal })).basis,
    undefined,
  );
  const has = index.has.bind(index);
  await using connection = await connect(desk.installation.database, { signal });
  const check = async () => await checkBlobs(reader, connection, { files, progress: silent, signal });
  const [good] = (await check()).checks;
  assert.equal(good?.ok, true);
  index.has = (type, id) => id !== chunk && has(type, id);
  const [bad] = (await check()).checks;
  assert.match(bad?.detail ?? "", /^1 file wrong: blob 60: 1 chunk is in no pack$/);
});

longTest(
  "what is damaged in a file that is not in its turn is found with --all, and from then on by every drill",
  async () => {
    const mend = await damage(60);
    try {
      assert.match((await drill(["--all"], 1)).files, /^\d+ files? wrong: blob 60: /);
      // Nothing that was proven before counts after a failure.
      assert.match((await drill([], 1)).files, /^\d+ files? wrong: blob 60: /);
    } finally {
      mend();
    }
  },
);
