/** `kill -9` of backups that go over a network. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { attachFile, sendMessage } from "../../src/demo/change.ts";
import { onDatabase } from "../../src/demo/database.ts";
import type { SeededRandom } from "../../src/demo/random.ts";
import { createKeyFile } from "../../src/format/key-file.ts";
import { openRepository } from "../../src/repo/repository.ts";
import type { Store } from "../../src/store/store.ts";
import { callCli, summaryOf } from "../harness/cli.ts";
import { CHEAP } from "../repo/small-backup.ts";
import type { Desk } from "./desk.ts";
import { type KillPlace, withStore } from "./kill-places.ts";
import { killSomewhere, workOrKill } from "./killing.ts";

const CREATED = { username: "tester", hostname: "test-host", created: "2026-01-01T00:00:00Z" };
const { signal } = new AbortController();

/** Most of a second of scrypt is spared at every start. */
async function makeCheap(store: Store, password: string): Promise<void> {
  const { keys, keyId } = await openRepository(store, { password, signal });
  const bytes = await createKeyFile(password, keys, CREATED, CHEAP);
  await store.put({ kind: "keys", name: createHash("sha256").update(bytes).digest("hex") }, bytes, { signal });
  await store.remove({ kind: "keys", name: keyId }, { signal });
}

/**
 * Each time the repository is sound, the next backup ends what they began, and restic can read every byte of it.
 * `isDrilled`: every point is restored, too.
 */
export async function killRemoteBackups(
  desk: Desk,
  place: KillPlace,
  { kills, random, isDrilled }: { kills: number; random: SeededRandom; isDrilled: boolean },
): Promise<void> {
  const { name } = place;
  const [path, location] = ["desk", place.location("desk")];
  const cwd = join(desk.root, name);
  await mkdir(cwd, { mode: 0o700 });
  const env = { ...place.env, XDG_CACHE_HOME: join(cwd, "cache") };
  const args = (...rest: string[]) => ["--config", join(cwd, "chatkeep.yaml"), "--json", ...rest];
  const summary = async (...rest: string[]) => {
    const { status, stdout, stderr } = await callCli(args(...rest), { cwd, env });
    assert.equal(status, 0, `chatkeep ${rest.join(" ")}\n${stderr}${stdout}`);
    return summaryOf(stdout);
  };
  const work = async () => {
    await onDatabase(desk.installation.database, async (client) => {
      await sendMessage(client, random);
      await attachFile(client, random, desk.installation.storageRoot);
    });
  };
  await summary("init", "--yes", "--name", name, "--root", desk.installation.codeRoot, "--location", location);
  const password = (await readFile(join(cwd, "chatkeep.password"), "utf8")).trim();
  await withStore(place, path, async (store) => await makeCheap(store, password));
  const begin = async () => {
    // Those of runs that were killed lie there, until the next run sees that nobody holds them.
    const before = new Set(await place.locks(path));
    const hasBegun = async () => (await place.locks(path)).some((lock) => !before.has(lock));
    return { args: args("backup"), env, cwd, hasBegun };
  };
  const { lastedMs } = await workOrKill(await begin());
  for (let kill = 0; kill < kills; kill += 1) {
    await work();
    await killSomewhere(begin, random, lastedMs);
    await place.restic(path, ["check", "--no-lock"], password);
  }
  await summary("backup");
  await place.restic(path, ["check", "--read-data"], password);
  const { points } = (await summary("list")) as unknown as { points: { point: string }[] };
  assert.ok(points.length >= 2);
  for (const { point } of isDrilled ? points : []) {
    assert.equal((await summary("drill", point))["proven"], true);
  }
}
