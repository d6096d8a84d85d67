/** Credentials that may add and not delete: everything but forgetting works, and no lock keeps anybody away. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { systemClock } from "../../src/base/clock.ts";
import { isFailure } from "../../src/base/errors.ts";
import { silent } from "../../src/base/progress.ts";
import { drill } from "../../src/job/drill.ts";
import { forget } from "../../src/job/forget.ts";
import { listVerb } from "../../src/job/look.ts";
import { listPoints } from "../../src/job/points.ts";
import { restore } from "../../src/job/restore.ts";
import { verify } from "../../src/job/verify.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { denyRemovals } from "../job/kept-points.ts";
import { backUpInto, IDENTITY, openMemoryDesk, type MemoryDesk } from "../job/memory-desk.ts";
import { reopen, signal } from "../repo/small-backup.ts";

const COMMON = { clock: systemClock, progress: silent, signal };

let desk: MemoryDesk;

before(async () => {
  desk = await openMemoryDesk();
  denyRemovals(desk.store);
});

after(async () => {
  await desk[Symbol.asyncDispose]();
});

/** The repository as another process sees it. */
function open(): Repository {
  return reopen(desk.repository);
}

async function backUp(): Promise<string> {
  return (await backUpInto(open(), desk)).point ?? "";
}

test("with credentials that cannot delete, backup, list, drill, restore and verify work, and forget says what is missing", async () => {
  const first = await backUp();
  const second = await backUp();
  const repository = open();
  await repository.loadIndex({ signal });
  const { points } = await listPoints(repository, { signal });
  const [newest] = points;
  assert.ok(newest !== undefined);
  const proof = await drill({
    ...COMMON,
    repository,
    repositoryName: "memory",
    choose: () => newest,
    isRecorded: true,
    isEveryFile: false,
    program: "chatkeep test",
  });
  assert.equal(proof.proven, true, JSON.stringify(proof.checks));
  const to = desk.folder.at("restored");
  const options = {
    ...COMMON,
    database: undefined,
    isLive: false,
    withRoles: false,
    to,
    parts: ["storage", "config"],
    isNamed: true,
  } as const;
  const restored = await restore(
    { repository, choose: () => newest },
    {
      ...options,
      parts: [...options.parts],
    },
  );
  assert.equal(restored.storage?.blobs, 6);
  assert.equal((await verify({ ...COMMON, repository: open(), readData: undefined })).errors, 0);
  const listed = await listVerb(open(), "memory", IDENTITY.id, COMMON);
  assert.deepEqual(
    listed.points.map(({ point, provenAt }) => [point, provenAt !== null]),
    [
      [second, true],
      [first, false],
    ],
  );
  const files = new Map([...desk.store.files].filter(([name]) => !name.startsWith("locks/")));
  const request = { by: "policy", policy: { last: 1 }, timeZone: "UTC", installation: { id: IDENTITY.id } } as const;
  await assert.rejects(
    forget({ ...COMMON, repository: open(), repositoryName: "memory", program: "test", request }),
    (error) => {
      return isFailure(error, "store/denied") && /s3:DeleteObject/.test(error.hint ?? "");
    },
  );
  assert.deepEqual(new Map([...desk.store.files].filter(([name]) => !name.startsWith("locks/"))), files);
  // One lock for each that wrote or read under one, none of them exclusive: the next backup goes on.
  const locks = [...desk.store.files.keys()].filter((name) => name.startsWith("locks/"));
  assert.ok(locks.length <= 6, `${locks.length} locks are left`);
  await backUp();
});
