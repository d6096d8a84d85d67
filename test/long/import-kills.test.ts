/** An import of a dump that is killed, wherever it was, leaves nothing half: no point, no server, no folder; and the next one succeeds. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { chmod, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { CHATKEEP, startCli, summaryOf } from "../harness/cli.ts";
import { mustRun, run } from "../harness/run.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import { makeCheapToOpen } from "../scenario/cheap-key.ts";
import { type Desk, openDesk } from "../scenario/desk.ts";

let desk: Desk;
let temporary: TestFolder;
let args: string[];

before(async () => {
  desk = await openDesk({ size: { messages: 2_000, conversations: 100, files: 40 } });
  await makeCheapToOpen(desk);
  temporary = await temporaryFolder();
  // The scratch server runs as another user, who must get there.
  await chmod(temporary.path, 0o755);
  const { installation, server, root } = desk;
  const { host, port, user, password, database } = installation.database;
  const [file, uploads] = [join(root, "chatwoot.dump"), join(root, "storage.tgz")];
  await mustRun(join(server.programs, "pg_dump"), ["--format=custom", "-f", file, database], {
    env: { PGHOST: host, PGPORT: String(port), PGUSER: user, PGPASSWORD: password ?? "" },
  });
  await mustRun("tar", ["-czf", uploads, "-C", installation.codeRoot, "storage"]);
  const parts = ["--storage", uploads, "--env", installation.envFile];
  args = ["--config", desk.config, "--json", "import", "--database", file, ...parts];
});
after(async () => {
  await temporary[Symbol.asyncDispose]();
  await desk[Symbol.asyncDispose]();
});

const options = () => ({ cwd: desk.root, env: { TMPDIR: temporary.path } });

/** Begins an import and kills it so long after that stage began; returns the stages that it came to. */
async function killAt(stage: string | undefined, afterMs: number): Promise<string[]> {
  const child = startCli(args, options());
  const closed = once(child, "close");
  const stages: string[] = [];
  child.stderr?.resume();
  assert(child.stdout !== null);
  for await (const line of createInterface({ input: child.stdout })) {
    const { type, name } = line.startsWith("{") ? (JSON.parse(line) as { type: string; name?: string }) : { type: "" };
    if (type !== "stage" || name === undefined) continue;
    stages.push(name);
    if (name !== stage) continue;
    await sleep(afterMs);
    child.kill("SIGKILL");
  }
  const [status, killedBy] = (await closed) as [number | null, string | null];
  assert.ok(
    stage === undefined ? status === 0 : killedBy === "SIGKILL" || status === 0,
    `${stage}: ended with ${status}`,
  );
  return stages;
}

/** Processes of a scratch server, or of what keeps it. */
async function ownProcesses(): Promise<string[]> {
  const found: string[] = [];
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    const line = await readFile(`/proc/${pid}/cmdline`, "latin1").catch(() => "");
    if (line.includes(temporary.path)) found.push(line.replaceAll("\0", " "));
  }
  return found;
}

async function pointIds(): Promise<string[]> {
  return ((await desk.summary(["list", "--all"]))["points"] as { point: string }[]).map(({ point }) => point);
}

test("killed at every stage and within each, an import leaves nothing, and the next one is whole", async () => {
  const all = [...new Set(await killAt(undefined, 0))];
  assert.ok(all.includes("loading the dump") && all.includes("making a scratch server"), all.join());
  let points = await pointIds();
  assert.equal(points.length, 1);
  let killed = 0;
  for (const stage of all) {
    for (const afterMs of [0, 150, 600]) {
      await killAt(stage, afterMs);
      const now = await pointIds();
      // One that was through all but its last words is a whole point.
      if (now.length === points.length) killed += 1;
      points = now;
      // The server ends by itself, and its folder goes.
      for (let tries = 0; tries < 600 && (await ownProcesses()).length > 0; tries += 1) await sleep(100);
      assert.deepEqual(await ownProcesses(), [], `${stage}, ${afterMs} ms`);
    }
  }
  assert.ok(killed >= all.length, `${killed} of ${all.length * 3} were killed`);
  const { status, stdout, stderr } = await run(process.execPath, [CHATKEEP, ...args], options());
  assert.equal(status, 0, stderr);
  assert.deepEqual(await readdir(temporary.path), [], "nothing of the killed ones is left");
  const point = String(summaryOf(stdout)["point"]);
  assert.equal((await pointIds()).length, points.length + 1);
  assert.equal((await desk.summary(["drill", point, "--all"]))["proven"], true);
  for (const earlier of points.slice(0, 3)) assert.equal((await desk.summary(["drill", earlier]))["proven"], true);
  assert.equal((await desk.summary(["verify", "--read-data"]))["errors"], 0);
});
