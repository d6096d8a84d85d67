/** A repository on a disk that fills up: it is told before, and what is left to PostgreSQL and Redis is not used. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import type { Finding } from "../../src/base/findings.ts";
import { storagePath } from "../../src/demo/files.ts";
import { CHATKEEP, summaryOf } from "../harness/cli.ts";
import { cannotMount, runWithMounts } from "../harness/namespace.ts";
import { makeCheapToOpen } from "../scenario/cheap-key.ts";
import { openDesk } from "../scenario/desk.ts";
import { assertRefused, secretsOf } from "../scenario/refusal.ts";
import { FILM_KEY, listFilm } from "./film.ts";

const MIB = 1024 ** 2;
const whyNot = await cannotMount();

/** A disk of 100 MiB, of which 2 MiB are left to others, in the place of the repository. */
const SMALL_DISK = `
  node=$1; chatkeep=$2; config=$3; repository=$4; template=$5; big=$6; place=$7; out=$8
  run() { name=$1; shift; set +e; "$@" > "$out/$name.out" 2> "$out/$name.err"; echo $? > "$out/$name.status"; set -e; }
  mount -t tmpfs -o size=100m tmpfs "$repository"; cp -a "$template/." "$repository"
  free=$(($(stat -f -c '%a * %S' "$repository")))
  head -c $((free - 8 * 1024 * 1024)) /dev/zero > "$repository/others"
  run low "$node" "$chatkeep" --config "$config" --json backup
  cp "$big" "$place"
  run stopped "$node" "$chatkeep" --config "$config" backup
  echo $(($(stat -f -c '%a * %S' "$repository"))) > "$out/left"
  free=$(($(stat -f -c '%a * %S' "$repository")))
  head -c $((free - 1536 * 1024)) /dev/zero > "$repository/more"
  run doctor "$node" "$chatkeep" --config "$config" --json doctor
  run list "$node" "$chatkeep" --config "$config" list
  run prune "$node" "$chatkeep" --config "$config" prune --max-unused 0
  rm "$repository/others" "$repository/more"
  run again "$node" "$chatkeep" --config "$config" --json backup`;

test("a disk that is nearly full is told, and a backup stops while there is room for others", async (t) => {
  if (whyNot !== undefined) return t.skip(whyNot);
  await using desk = await openDesk({ hasProcesses: true, size: { messages: 60, conversations: 10, files: 4 } });
  await makeCheapToOpen(desk);
  await desk.summary(["backup"]);
  const [template, out, big] = ["template", "out", "big"].map((name) => join(desk.root, name));
  assert.ok(template && out && big);
  await mkdir(out);
  await cp(desk.repository, template, { recursive: true });
  const content = randomBytes(20 * MIB);
  await writeFile(big, content);
  const place = storagePath(desk.installation.storageRoot, FILM_KEY);
  await mkdir(dirname(place), { recursive: true });
  await listFilm(desk, content);

  const args = [process.execPath, CHATKEEP, desk.config, desk.repository, template, big, place, out];
  const { status, stderr } = await runWithMounts(SMALL_DISK, args, { env: { NO_COLOR: "1" }, cwd: desk.root });
  assert.equal(status, 0, stderr);
  const read = async (name: string) => await readFile(join(out, name), "utf8");
  const resultOf = async (name: string) => ({
    status: Number(await read(`${name}.status`)),
    stdout: await read(`${name}.out`),
    stderr: await read(`${name}.err`),
    stdoutBytes: Buffer.alloc(0),
  });
  const lowOf = async (name: string) => {
    const { stdout } = await resultOf(name);
    return (summaryOf(stdout)["findings"] as Finding[]).filter(({ kind }) => kind === "disk-low");
  };

  const [low] = await lowOf("low");
  assert.equal(low?.level, "warning");
  assert.match(low?.message ?? "", /^the disk of repository 'primary' has [78]\.\d MiB of 100 MiB free$/);
  assert.equal((await resultOf("low")).status, 3);

  const secrets = await secretsOf(desk);
  const refusal = { status: 20, error: /'.*' has only [\d.]+ \wiB left, and 2\.0 MiB stay free/, hint: /Redis/ };
  assertRefused(await resultOf("stopped"), refusal, secrets);
  assert.ok(Number(await read("left")) > MIB, "what was to stay free was used");
  const [full] = await lowOf("doctor");
  assert.equal(full?.level, "alarm");
  assert.match(full?.hint ?? "", /^A backup writes nothing more there\./);

  // What makes room, and what reads, does not mind.
  for (const name of ["list", "prune"]) assert.equal((await resultOf(name)).status, 0, (await resultOf(name)).stderr);
  const again = await resultOf("again");
  assert.equal(again.status, 0, again.stderr);
  assert.equal((summaryOf(again.stdout)["storage"] as { missing: number }).missing, 0);
});
