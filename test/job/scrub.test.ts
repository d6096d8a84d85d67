/** Live files that were lost or altered in silence are found, and told apart by what the newest restore point knows. */
import assert from "node:assert/strict";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { after, before, test } from "node:test";
import { systemClock } from "../../src/base/clock.ts";
import { silent } from "../../src/base/progress.ts";
import { blobPath } from "../../src/chatwoot/blobs.ts";
import { onDatabase } from "../../src/demo/database.ts";
import { findParent } from "../../src/job/parent.ts";
import { scrub } from "../../src/job/scrub.ts";
import type { ScrubSummary } from "../../src/job/scrub-summary.ts";
import { reopen, signal } from "../repo/small-backup.ts";
import { backUpInto, IDENTITY, type MemoryDesk, openMemoryDesk } from "./memory-desk.ts";

let desk: MemoryDesk;
let paths: string[];

before(async () => {
  desk = await openMemoryDesk();
  paths = await onDatabase(desk.demo.database, async (client) => {
    // Those of the last minutes are left alone.
    await client.query("update active_storage_blobs set created_at = now() - interval '1 day'");
    const { rows } = await client.query<{ key: string }>(
      "select key from active_storage_blobs order by byte_size desc",
    );
    return rows.map(({ key }) => blobPath(desk.demo.storageRoot, key));
  });
});

after(async () => await desk[Symbol.asyncDispose]());

async function look({ all = true, isCompared = true, other = "" } = {}): Promise<ScrubSummary> {
  const repository = reopen(desk.repository);
  return await scrub({
    address: desk.demo.database,
    installation:
      other === ""
        ? desk.installation
        : {
            ...desk.installation,
            storage: [{ serviceName: "local", kind: "local", roots: [other, desk.demo.storageRoot] }],
          },
    storageSettings: {},
    all,
    newest: async () => {
      if (!isCompared) return { findings: [] };
      const options = { repository, repositoryName: "memory", identity: IDENTITY, clock: systemClock, signal };
      const { parent, findings } = await findParent(options);
      return parent === undefined ? { findings } : { point: parent, findings };
    },
    clock: systemClock,
    progress: silent,
    signal,
  });
}

function told({ findings }: ScrubSummary): string[] {
  return findings.map(({ level, kind }) => `${level} ${kind}`).toSorted();
}

test("files that are as they were uploaded are all read, and nothing is told", async () => {
  for (const all of [true, false]) {
    const { services, problems, findings } = await look({ all });
    assert.deepEqual([problems, findings], [[], []]);
    assert.deepEqual(
      services.map(({ name, files, filesRead }) => [name, files, filesRead]),
      [["local", paths.length, paths.length]],
    );
  }
});

test("a file that is lost or altered is new until a restore point tells of it, and it is said where the right copy is", async () => {
  const [lost = "", altered = "", never = ""] = paths;
  const [good, bad] = [await readFile(lost), await readFile(altered)];
  await rm(never);
  await backUpInto(reopen(desk.repository), desk);
  await rm(lost);
  await writeFile(altered, Buffer.concat([Buffer.from([(bad[0] ?? 0) ^ 1]), bad.subarray(1)]));
  const alone = await look({ isCompared: false });
  assert.deepEqual(told(alone), ["alarm blobs-altered", "alarm blobs-missing"]);
  assert.ok(alone.problems.every(({ isNew, saved, since }) => isNew && saved === null && since === null));

  const { problems, point, ...summary } = await look();
  assert.notEqual(point, null);
  assert.deepEqual(told({ problems, point, ...summary }), [
    "alarm blobs-altered",
    "alarm blobs-missing",
    "note blobs-missing",
  ]);
  const of = (path: string) => problems.find(({ key }) => path.endsWith(key));
  assert.deepEqual([of(lost)?.reason, of(lost)?.isNew, of(lost)?.since], ["missing", true, null]);
  assert.match(of(lost)?.saved ?? "", /^storage\/local\/0\/0\//);
  assert.deepEqual([of(altered)?.reason, of(altered)?.isNew], ["altered", true]);
  assert.notEqual(of(altered)?.saved, null);
  assert.deepEqual([of(never)?.isNew, of(never)?.saved], [false, null]);
  assert.match(of(never)?.since ?? "", /^20\d\d-/);
  await writeFile(lost, good);
  await writeFile(altered, bad);
});

test("where web and worker have folders of their own, a file that is right in one of them is right", async () => {
  const [lost = "", altered = ""] = paths;
  const other = desk.folder.at("worker");
  for (const path of [lost, altered]) {
    const copy = blobPath(other, basename(path));
    await mkdir(dirname(copy), { recursive: true });
    await writeFile(copy, (await readFile(path)).fill(7));
  }
  assert.deepEqual(told(await look({ other })), ["note blobs-missing"]);
});

test("files of a service that is not set up are told once, by the variables that are empty", async () => {
  const key = basename(paths.at(-1) ?? "");
  await onDatabase(desk.demo.database, async (client) => {
    await client.query("update active_storage_blobs set service_name = 'amazon' where key = $1", [key]);
  });
  const summary = await look();
  assert.deepEqual(told(summary), ["alarm storage-not-read", "note blobs-missing"]);
  const [alarm] = summary.findings;
  assert.match(alarm?.message ?? "", /1 uploaded file of storage 'amazon' is not read: .*AWS_ACCESS_KEY_ID/);
  assert.deepEqual(
    summary.problems.filter(({ service }) => service === "amazon"),
    [],
  );
});
