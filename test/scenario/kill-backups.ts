/** `kill -9` of a backup into a folder, in each of its stages: the repository stays sound, and the next run goes on from there. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdir, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { attachFile, sendMessage } from "../../src/demo/change.ts";
import { onDatabase } from "../../src/demo/database.ts";
import type { SeededRandom } from "../../src/demo/random.ts";
import { startCli } from "../harness/cli.ts";
import { runRestic } from "../harness/restic.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { type Desk, openDesk } from "./desk.ts";
import { savedPoints } from "./saved-point.ts";

const SMALL = { messages: 100, conversations: 20, files: 10 };

/** A working desk: each backup has something new to save. */
async function work(desk: Desk, random: SeededRandom): Promise<void> {
  await onDatabase(desk.installation.database, async (client) => {
    await sendMessage(client, random);
    await attachFile(client, random, desk.installation.storageRoot);
  });
}

interface Stage {
  readonly name: string;
  lastsMs: number;
}

/** Runs a backup to its end; its stages, the first of which is everything until it says something. */
async function measure(desk: Desk): Promise<Stage[]> {
  const child = startCli(["--config", desk.config, "--json", "backup"], { cwd: desk.root });
  assert.ok(child.stdout && child.stderr);
  child.stderr.resume();
  let began = performance.now();
  let stage: Stage = { name: "start", lastsMs: 0 };
  const stages = [stage];
  for await (const line of createInterface({ input: child.stdout })) {
    const { type, name } = JSON.parse(line) as Record<string, unknown>;
    if (type !== "stage") continue;
    stage.lastsMs = performance.now() - began;
    began = performance.now();
    stages.push((stage = { name: String(name), lastsMs: 0 }));
  }
  stage.lastsMs = performance.now() - began;
  assert.equal(child.exitCode ?? (await once(child, "close"))[0], 0);
  return stages;
}

/** Kills a backup so many ms after the beginning of a stage; true when it was still running then. */
async function killIn(desk: Desk, stage: string, delayMs: number): Promise<boolean> {
  // What a killed run leaves in its temporary files goes with the desk.
  const env = { TMPDIR: join(desk.root, "temporary") };
  const child = startCli(["--config", desk.config, "--json", "backup"], { cwd: desk.root, env });
  assert.ok(child.stdout && child.stderr);
  child.stderr.resume();
  const closed = once(child, "close") as Promise<[number | null, string | null]>;
  const reached = Promise.withResolvers<void>();
  createInterface({ input: child.stdout }).on("line", (line) => {
    if ((JSON.parse(line) as Record<string, unknown>)["name"] === stage) reached.resolve();
  });
  if (stage !== "start") await Promise.race([reached.promise, closed]);
  await Promise.race([sleep(delayMs), closed]);
  child.kill("SIGKILL");
  const [, killedBy] = await closed;
  return killedBy === "SIGKILL";
}

async function bytesOf(folder: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) bytes += (await stat(join(entry.parentPath, entry.name))).size;
  }
  return bytes;
}

/** Kills as many backups of a desk of its own, goes on, and proves every point. */
export async function killBackups({ kills, random }: { kills: number; random: SeededRandom }): Promise<void> {
  await using desk = await openDesk({ hasTwoReaders: true, isCheckout: true, hasServerForDrills: true, size: SMALL });
  await mkdir(join(desk.root, "temporary"));
  const { repository, password } = await makeCheapToOpen(desk);
  const restic = { repo: desk.repository, password };
  await desk.summary(["backup"]);
  await work(desk, random);
  const stages = await measure(desk);
  const data = join(desk.repository, "data");
  let killed = 0;
  for (let number = 0; killed < kills; number++) {
    assert.ok(number < 4 * kills, `only ${killed} of ${number} were killed before they ended`);
    await work(desk, random);
    // As many stages as there are kills, spread over all of them.
    const stage = stages[Math.floor((number * stages.length) / kills) % stages.length];
    assert.ok(stage);
    if (await killIn(desk, stage.name, (random.below(1000) / 1000) * stage.lastsMs)) killed += 1;
    // The machine had less to do than when it was measured.
    else stage.lastsMs /= 3;
    // The dead run's lock is still there; Chatkeep's next run takes it away, restic would be told to.
    await runRestic(["check", "--no-lock"], restic);
  }

  const points = await savedPoints(repository);
  const before = await bytesOf(data);
  const summary = await desk.summary(["backup"]);
  const added = (summary["added"] as { bytes: number }).bytes;
  assert.ok((await bytesOf(data)) - before <= added, "the next backup wrote more than it says");
  // Another one right after it finds everything there: what the killed runs saved was not saved anew.
  const again = (await desk.summary(["backup"]))["added"] as { bytes: number };
  assert.ok(again.bytes < 64 * 1024, `nothing changed, and ${again.bytes} bytes were added`);
  await runRestic(["check", "--read-data"], restic);
  await desk.summary(["verify", "--read-data"]);
  const all = await savedPoints(repository);
  const index = await all[0]?.repository.loadIndex({ signal: new AbortController().signal });
  const chunks = [...(index?.packs() ?? [])].flatMap(({ entries }) => entries.map(({ type, id }) => `${type} ${id}`));
  assert.equal(new Set(chunks).size, chunks.length, "a chunk that a killed run had saved was saved again");
  assert.equal(all.length, points.length + 2);
  for (const { point } of all) {
    const drilled = await desk.summary(["drill", point.id]);
    assert.equal(drilled["proven"], true, JSON.stringify(drilled["checks"]));
  }
}
