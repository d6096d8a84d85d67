/** `kill -9` of what a desk runs beside its backups: drills, restores, and the making of a repository. */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { SeededRandom } from "../../src/demo/random.ts";
import { runCli, summaryOf } from "../harness/cli.ts";
import { assertSameDatabase } from "../harness/pg-dump-diff.ts";
import { runRestic } from "../harness/restic.ts";
import { readFolder } from "../harness/tree.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import type { Desk } from "./desk.ts";
import { NEWEST_RESTIC } from "./kill-places.ts";
import { type Killing, killSomewhere, workOrKill } from "./killing.ts";

interface KillOptions {
  kills: number;
  random: SeededRandom;
}

/** A desk with one restore point. */
export async function prepareDesk(desk: Desk): Promise<{ check: () => Promise<void> }> {
  const { password } = await makeCheapToOpen(desk);
  await desk.summary(["backup"]);
  return {
    check: async () =>
      void (await runRestic(["check", "--no-lock"], { repo: desk.repository, password, restic: NEWEST_RESTIC })),
  };
}

function locks({ repository }: Desk): string[] {
  return readdirSync(join(repository, "locks"));
}

/** A run of this desk's, which works from its lock on. */
function running(desk: Desk, args: readonly string[], temporary: string): Killing {
  const before = new Set(locks(desk));
  return {
    args: ["--config", desk.config, "--json", ...args],
    env: { TMPDIR: temporary },
    cwd: desk.root,
    hasBegun: () => locks(desk).some((lock) => !before.has(lock)),
  };
}

async function listed(desk: Desk): Promise<{ provenAt: string | null; failedDrill: boolean }> {
  const { points } = await desk.summary(["list"]);
  const [point] = points as { provenAt: string | null; failedDrill: boolean }[];
  assert.ok(point);
  return point;
}

/** A killed drill says nothing of the point, its server and the data in it go, and the next drill proves the point. */
export async function killDrills(
  desk: Desk,
  check: () => Promise<void>,
  { kills, random }: KillOptions,
): Promise<void> {
  const temporary = join(desk.root, "drills");
  mkdirSync(temporary);
  const begin = () => running(desk, ["drill", "latest"], temporary);
  const { lastedMs } = await workOrKill(begin());
  for (let kill = 0; kill < kills; kill += 1) {
    await killSomewhere(begin, random, lastedMs);
    await check();
    assert.equal((await listed(desk)).failedDrill, false);
    const drilled = await desk.summary(["drill", "latest"], 0, { env: { TMPDIR: temporary } });
    assert.equal(drilled["proven"], true, JSON.stringify(drilled["checks"]));
    // A server whose owner is gone ends by itself, and takes the data with it.
    while (readdirSync(temporary).length > 0) await sleep(20);
    assert.deepEqual(locks(desk), []);
  }
}

/** A killed restore changes nothing in the repository, says what stands in the way, and works in another place. */
export async function killRestores(
  desk: Desk,
  check: () => Promise<void>,
  { kills, random }: KillOptions,
): Promise<void> {
  const { installation, server } = desk;
  const temporary = join(desk.root, "restores");
  mkdirSync(temporary);
  let number = 0;
  const into = () => {
    number += 1;
    const database = `restored_${number}`;
    const { host, port, user } = installation.database;
    const url = `postgresql://${user}@${host}:${port}/${database}`;
    const to = join(desk.root, `restored-${number}`);
    return { database, to, args: ["restore", "latest", "--to", to, "--database-url", url, "--yes"] };
  };
  const begin = () => {
    const target = into();
    return { ...running(desk, target.args, temporary), target };
  };
  const stored = async () =>
    await readFolder(desk.repository, { except: (path) => path === "locks" || path.startsWith("locks/") });
  const before = await stored();
  const { lastedMs } = await workOrKill(begin());
  for (let kill = 0; kill < kills; kill += 1) {
    const { target } = await killSomewhere(begin, random, lastedMs);
    await check();
    const again = await desk.chatkeep(target.args);
    if (again.status !== 0) assert.match(again.stderr, /^error: .*(is not empty|exists already)/m);
    const other = again.status === 0 ? target : into();
    if (again.status !== 0) await desk.summary(other.args);
    await assertSameDatabase(installation.database, { ...installation.database, database: other.database }, server);
    assert.deepEqual(await readFolder(join(other.to, "storage")), await readFolder(installation.storageRoot));
    assert.deepEqual(await stored(), before);
    for (const { datname } of await server.query("select datname from pg_database where datname like 'restored%'"))
      await server.query(`drop database "${String(datname)}" with (force)`);
  }
}

/** A killed `init` can be run again, unless it had made all but the kit; then the repository can be used. */
export async function killInits(desk: Desk, { kills, random }: KillOptions): Promise<void> {
  let number = 0;
  const begin = () => {
    number += 1;
    const home = join(desk.root, `init-${number}`);
    mkdirSync(home, { mode: 0o700 });
    const config = join(home, "chatkeep.yaml");
    const place = ["--root", desk.installation.codeRoot, "--location", join(home, "repository")];
    const args = ["--config", config, "--json", "init", "--yes", "--name", "desk", ...place];
    // From its first file on.
    return { args, env: { TMPDIR: home }, cwd: home, hasBegun: () => readdirSync(home).length > 0, home, config };
  };
  const { lastedMs } = await workOrKill(begin());
  for (let kill = 0; kill < kills; kill += 1) {
    const { args, home, config } = await killSomewhere(begin, random, lastedMs);
    const options = { cwd: home, env: { TMPDIR: home } };
    const again = await runCli(args, options);
    // The configuration is the last that it needs.
    if (again.status !== 0) assert.match(again.stdout, /chatkeep\.yaml' exists already/);
    const made = await runCli(["--config", config, "--json", "list"], options);
    assert.equal(made.status, 0, made.stderr);
    assert.deepEqual(summaryOf(made.stdout)["points"], []);
  }
}
