/** A repository on the disk that Redis keeps its data on (F23): a backup that does not fit ends before Redis refuses writes. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { cp, mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { writeStorageFile } from "../../src/demo/files.ts";
import { CHATKEEP } from "../harness/cli.ts";
import { cannotMount, runWithMounts } from "../harness/namespace.ts";
import { installRedis, REDIS } from "../harness/redis.ts";
import { resticPath, resticPaths } from "../harness/restic.ts";
import { makeCheapToOpen } from "../scenario/cheap-key.ts";
import { openDesk } from "../scenario/desk.ts";
import { assertRefused, secretsOf } from "../scenario/refusal.ts";
import { FILM_KEY, listFilm } from "./film.ts";

const MIB = 1024 ** 2;
const whyNot = await cannotMount();

/**
 * A disk of 100 MiB with the repository, a Redis that saves there, and 17 MiB of room, in which one pack of the new file
 * would fit, and then Redis no more. At last the disk is filled for the sake of the trial: then Redis refuses.
 */
const SHARED_DISK = `
  out=$1 node=$2 chatkeep=$3 config=$4 repository=$5 template=$6 redis=$7 restic=$8
  run() { name=$1; shift; set +e; "$@" > "$out/$name.out" 2> "$out/$name.err"; echo $? > "$out/$name.status"; set -e; }
  cli() { redis-cli -s "$out/redis.sock" "$@"; }
  value() { head -c $((1536 * 1024)) /dev/urandom; }
  saved() { cli bgsave > /dev/null; while cli info persistence | grep -q '^rdb_bgsave_in_progress:1'; do sleep 0.05; done
    cli info persistence | tr -d '\\r' | sed -n 's/^rdb_last_bgsave_status://p'; }
  free() { echo $(($(stat -f -c '%a * %S' "$repository"))); }
  mount -t tmpfs -o size=100m tmpfs "$repository"; cp -a "$template/." "$repository"; mkdir "$repository/redis"
  "$redis" --port 0 --unixsocket "$out/redis.sock" --dir "$repository/redis" --save 3600 1 --daemonize no > "$out/redis.log" &
  server=$!; trap 'kill $server; wait $server' EXIT
  while [ "$(cli ping 2> /dev/null)" != PONG ]; do sleep 0.05; done
  head -c $(($(free) - 17 * 1024 * 1024)) /dev/zero > "$repository/others"
  run full "$node" "$chatkeep" --config "$config" backup
  ls "$repository/snapshots" > "$out/points"
  value | cli -x set job > "$out/set"; saved > "$out/saved"; cli set more 1 >> "$out/set"
  run check "$restic" --no-cache --repo "$repository" check --no-lock
  cat /dev/zero > "$repository/rest" 2> /dev/null || true
  saved > "$out/saved-on-full"; cli set refused 1 > "$out/set-on-full"
  rm "$repository/rest" "$repository/others"
  saved > "$out/saved-again"
  run again "$node" "$chatkeep" --config "$config" backup
  run whole "$restic" --no-cache --repo "$repository" check --read-data`;

test("on a disk that is shared with Redis a backup stops before Redis does, loses nothing, and goes on with more room", async (t) => {
  if (whyNot !== undefined) return t.skip(whyNot);
  await installRedis();
  await using desk = await openDesk({ hasProcesses: true, size: { messages: 60, conversations: 10, files: 4 } });
  const { password } = await makeCheapToOpen(desk);
  await desk.summary(["backup"]);
  const [template, out] = [join(desk.root, "template"), join(desk.root, "out")];
  await mkdir(out);
  await cp(desk.repository, template, { recursive: true });
  const content = randomBytes(40 * MIB);
  await writeStorageFile(desk.installation.storageRoot, { key: FILM_KEY, content });
  await listFilm(desk, content);

  const restic = resticPaths().at(-1)?.path ?? resticPath();
  const args = [out, process.execPath, CHATKEEP, desk.config, desk.repository, template, REDIS, restic];
  const env = { NO_COLOR: "1", RESTIC_PASSWORD: password };
  const { status, stderr } = await runWithMounts(SHARED_DISK, args, { env, cwd: desk.root });
  assert.equal(status, 0, stderr);
  const read = async (name: string) => (await readFile(join(out, name), "utf8")).trim();
  const resultOf = async (name: string) => ({
    status: Number(await read(`${name}.status`)),
    stdout: await read(`${name}.out`),
    stderr: await read(`${name}.err`),
    stdoutBytes: Buffer.alloc(0),
  });
  const refusal = { status: 20, error: /left, and 2\.0 MiB stay free/, hint: /PostgreSQL and Redis .* Make room/ };
  assertRefused(await resultOf("full"), refusal, await secretsOf(desk));
  assert.deepEqual([await read("set"), await read("saved")], ["OK\nOK", "ok"]);
  assert.deepEqual((await read("points")).split("\n"), await readdir(join(template, "snapshots")));
  // So it would have been: what this is the prevention of.
  assert.equal(await read("saved-on-full"), "err");
  assert.match(await read("set-on-full"), /^MISCONF/);
  assert.equal(await read("saved-again"), "ok");
  for (const name of ["check", "again", "whole"])
    assert.equal((await resultOf(name)).status, 0, (await resultOf(name)).stderr);
});
