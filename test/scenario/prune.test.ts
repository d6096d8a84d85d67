/** Our prune on repositories that restic wrote too, and restic's verdict on what it leaves. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { callCli, summaryOf } from "../harness/cli.ts";
import { judges, resticPaths, runRestic } from "../harness/restic.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import { readFolder } from "../harness/tree.ts";
import { longTest } from "../harness/whole.ts";
import { assertRefused } from "./refusal.ts";

const PASSWORD = "correct horse battery";

interface Place {
  folder: TestFolder;
  repo: string;
  restic: string;
}

/** Four snapshots of restic's own, each with much that is its own, and two of them forgotten. */
async function fill({ folder, repo, restic }: Place): Promise<void> {
  const options = { repo, password: PASSWORD, restic };
  await runRestic(["init", "--repository-version", "2"], options);
  const source = folder.at("source");
  await mkdir(source);
  await writeFile(folder.at("source", "always"), randomBytes(3 << 20));
  for (let day = 1; day <= 4; day += 1) {
    await writeFile(folder.at("source", "changing"), randomBytes(1 << 20));
    await writeFile(folder.at("source", `text-${day}`), `day ${day}\n`.repeat(10_000 * day));
    await runRestic(["backup", "--time", `2026-01-0${day} 02:00:00`, source], options);
  }
  await runRestic(["forget", "--keep-last", "2"], options);
}

async function chatkeep(
  { folder, repo }: Place,
  args: readonly string[],
  status = 0,
): Promise<Record<string, unknown>> {
  await writeFile(folder.at("password"), PASSWORD);
  const result = await callCli(["--repository", repo, "--json", ...args], {
    cwd: folder.path,
    env: { CHATKEEP_PASSWORD_FILE: folder.at("password") },
  });
  assert.equal(result.status, status, result.stderr + result.stdout);
  return summaryOf(result.stdout);
}

async function ourPrune(place: Place, args: readonly string[] = []): Promise<Record<string, unknown>> {
  return await chatkeep(place, ["prune", ...args]);
}

async function restored({ folder, repo, restic }: Place, to: string): Promise<Record<string, string>> {
  await runRestic(["restore", "latest", "--target", folder.at(to)], { repo, password: PASSWORD, restic });
  return await readFolder(folder.at(to));
}

for (const { path: restic, version } of judges()) {
  test(`restic ${version} finds nothing wrong after our prune, and nothing more to free`, async () => {
    await using folder = await temporaryFolder();
    const place = { folder, repo: folder.at("repository"), restic };
    const options = { repo: place.repo, password: PASSWORD, restic };
    await fill(place);
    const before = await restored(place, "before");
    const planned = await ourPrune(place, ["--dry-run"]);
    assert.equal((await runRestic(["check"], options)).status, 0);
    const done = await ourPrune(place);
    assert.deepEqual(done["bytes"], planned["bytes"]);
    assert.ok((done["bytes"] as { freed: number }).freed > 1 << 20, JSON.stringify(done));
    await runRestic(["check", "--read-data"], options);
    assert.deepEqual(await restored(place, "after"), before);
    const files = await readFolder(place.repo);
    const again = await ourPrune(place);
    assert.equal((again["bytes"] as { freed: number }).freed, 0);
    assert.deepEqual(await readFolder(place.repo), files, "a second prune changes no byte");
    const { stdout } = await runRestic(["prune", "--dry-run"], options);
    assert.match(stdout, /to delete: +0 blobs/);
  });

  longTest(`after a prune of restic ${version} ours finds nothing to free`, async () => {
    await using folder = await temporaryFolder();
    const place = { folder, repo: folder.at("repository"), restic };
    await fill(place);
    await runRestic(["prune"], { repo: place.repo, password: PASSWORD, restic });
    const done = await ourPrune(place);
    assert.equal((done["bytes"] as { freed: number }).freed, 0, JSON.stringify(done));
    await runRestic(["check", "--read-data"], { repo: place.repo, password: PASSWORD, restic });
  });
}

longTest("a pack that is damaged and an index that is gone are mended, and restic finds nothing wrong", async () => {
  await using folder = await temporaryFolder();
  const restic = resticPaths().at(-1)?.path ?? "";
  const place = { folder, repo: folder.at("repository"), restic };
  const options = { repo: place.repo, password: PASSWORD, restic };
  await fill(place);
  await cp(place.repo, folder.at("other"), { recursive: true });
  const before = await restored(place, "before");
  // Of all packs one byte, so that snapshots lose something in any case.
  for (const name of (await readdir(folder.at("repository", "data"), { recursive: true })).filter(isPack)) {
    const path = folder.at("repository", "data", name);
    const bytes = await readFile(path);
    bytes[100] = (bytes[100] ?? 0) ^ 1;
    await rm(path);
    await writeFile(path, bytes);
  }
  const alone = await chatkeep(place, ["repair", "packs"], 13);
  assert.ok((alone["lost"] as unknown[]).length > 0);
  const itself = await callCli(["--repository", place.repo, "repair", "packs", "--from", place.repo], {
    cwd: folder.path,
    env: { CHATKEEP_PASSWORD_FILE: folder.at("password") },
  });
  assertRefused(itself, { status: 2, error: /cannot be mended from itself/ });
  const mended = await chatkeep(place, ["repair", "packs", "--from", folder.at("other")]);
  assert.deepEqual(mended["lost"], []);
  await runRestic(["check", "--read-data"], options);
  await rm(folder.at("repository", "index"), { recursive: true });
  await mkdir(folder.at("repository", "index"));
  await chatkeep(place, ["repair", "index"]);
  await chatkeep(place, ["verify", "--read-data-subset", "1M"]);
  await runRestic(["check", "--read-data"], options);
  assert.deepEqual(await restored(place, "after"), before);
});

function isPack(path: string): boolean {
  return /^..\/[0-9a-f]{64}$/.test(path);
}
