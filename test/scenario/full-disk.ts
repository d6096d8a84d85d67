/** Backups onto disks that are too small by a size chosen by chance, and then onto the same disks made larger. */
import assert from "node:assert/strict";
import { cp, mkdir, readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { attachFile } from "../../src/demo/change.ts";
import { onDatabase } from "../../src/demo/database.ts";
import type { SeededRandom } from "../../src/demo/random.ts";
import { CHATKEEP } from "../harness/cli.ts";
import { runWithMounts } from "../harness/namespace.ts";
import { resticPath, resticPaths } from "../harness/restic.ts";
import type { RunResult } from "../harness/run.ts";
import type { Desk } from "./desk.ts";
import { assertRefused, secretsOf } from "./refusal.ts";

/** A disk of each size in the place of the repository, with what was there, and one for temporary files. */
const FULL_DISKS = `
  out=$1; node=$2; chatkeep=$3; config=$4; repository=$5; template=$6; restic=$7; shift 7
  cd "$out"
  run() { name=$1; shift; set +e; "$@" > "$name.out" 2> "$name.err"; echo $? > "$name.status"; set -e; }
  for size in "$@"; do
    mount -t tmpfs -o size=$size tmpfs "$repository"
    cp -a "$template/." "$repository"
    run full-$size "$node" "$chatkeep" --config "$config" backup
    ls "$repository/snapshots" "$repository/locks" > left-$size
    run check-$size "$restic" --no-cache --repo "$repository" check --no-lock
    mount -o remount,size=500m "$repository"
    run again-$size "$node" "$chatkeep" --config "$config" backup
    ls "$repository/snapshots" > points-$size
    run whole-$size "$restic" --no-cache --repo "$repository" check --read-data
    umount "$repository"
  done
  mkdir temporary; mount -t tmpfs -o size=16k tmpfs temporary; export TMPDIR="$PWD/temporary"
  run temporary "$node" "$chatkeep" --config "$config" backup`;

const BLOCK = 4096;

/** What the files need on a disk that gives them out in blocks. */
async function blocksIn(folder: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    bytes += Math.ceil((await stat(join(entry.parentPath, entry.name))).size / BLOCK) * BLOCK;
  }
  return bytes;
}

/**
 * Fills so many disks. Each backup ends with one line and one hint, leaves neither a lock nor half a point, and what was
 * there is sound; with more room the next one goes on. A disk for temporary files that is full is told, too.
 */
export async function fillDisks(
  desk: Desk,
  { disks, random, password }: { disks: number; random: SeededRandom; password: string },
): Promise<void> {
  await desk.summary(["backup"]);
  const out = join(desk.root, "full disks");
  await mkdir(out);
  const template = join(out, "template");
  await cp(desk.repository, template, { recursive: true });
  await onDatabase(desk.installation.database, async (client) => {
    for (let count = 0; count < 12; count += 1) await attachFile(client, random, desk.installation.storageRoot);
  });
  await desk.summary(["backup"]);
  const before = await blocksIn(template);
  const needed = (await blocksIn(desk.repository)) - before;
  const sizes = new Set<string>();
  while (sizes.size < disks) {
    const share = 0.02 + (0.88 * random.below(1000)) / 1000;
    sizes.add(String(before + Math.ceil((share * needed) / BLOCK) * BLOCK));
  }
  const restic = resticPaths().at(-1)?.path ?? resticPath();
  const args = [out, process.execPath, CHATKEEP, desk.config, desk.repository, template, restic, ...sizes];
  const { status, stderr } = await runWithMounts(FULL_DISKS, args, {
    env: { NO_COLOR: "1", RESTIC_PASSWORD: password },
  });
  assert.equal(status, 0, stderr);
  const read = async (name: string) => await readFile(join(out, name), "utf8");
  const resultOf = async (name: string): Promise<RunResult> => ({
    status: Number(await read(`${name}.status`)),
    stdout: await read(`${name}.out`),
    stderr: await read(`${name}.err`),
    stdoutBytes: Buffer.alloc(0),
  });
  const snapshots = await readdir(join(template, "snapshots"));
  const refusal = { status: 20, error: /full|no space/i, hint: /room|space/ };
  for (const size of sizes) {
    assertRefused(await resultOf(`full-${size}`), refusal, await secretsOf(desk));
    const left = (await read(`left-${size}`)).split("\n").filter((line) => /^[0-9a-f]{64}$/.test(line));
    assert.deepEqual(left.toSorted(), snapshots.toSorted(), `a lock or a point was left on ${size} bytes`);
    for (const name of ["check", "again", "whole"]) {
      const result = await resultOf(`${name}-${size}`);
      assert.equal(result.status, 0, `${name}, ${size} bytes: ${result.stderr}${result.stdout}`);
    }
    const points = (await read(`points-${size}`)).trim().split("\n");
    assert.equal(points.length, snapshots.length + 1);
    for (const point of snapshots) assert.ok(points.includes(point), `point ${point} is gone`);
  }
  const temporary = { status: 20, error: /the disk that holds temporary files/, hint: /TMPDIR/ };
  assertRefused(await resultOf("temporary"), temporary, await secretsOf(desk));
}
