/**
 * The pods of deploy/kubernetes, run by a real engine within the walls that they have in a cluster: with Chatkeep's own image,
 * from setting it up to a proven backup and files brought back. Chatwoot's environment is handed to the pod instead of asked of
 * an API server, and a folder stands for the repository's place.
 */
import assert from "node:assert/strict";
import { chmodSync, chownSync, readdirSync, readFileSync, statSync } from "node:fs";
import { cp, readFile, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { buildChatkeepImage } from "../harness/chatkeep-image.ts";
import { summaryOf } from "../harness/cli.ts";
import { objectsOf, oneOf, podOf, type PodSpec } from "../harness/kubernetes-objects.ts";
import { debianFolder } from "../harness/newer-postgres.ts";
import { dockerRun, makeSecret, makeVolume, type Volumes } from "../harness/pod.ts";
import { readFolder } from "../harness/tree.ts";
import { type ComposeDesk, openComposeDesk } from "./compose-desk.ts";

const MANIFESTS = resolve(import.meta.dirname, "../../deploy/kubernetes");
const IMAGE = "chatkeep:0.1.0";

let desk: ComposeDesk;
let volumes: Volumes;

function podIn(file: string, kind: string): PodSpec {
  const pod = podOf(oneOf(objectsOf(join(MANIFESTS, file)), kind));
  assert.ok(pod !== undefined);
  return pod.spec;
}

/** With the lines for uploads, which stand there as comments, and with a place for the repository. */
function withClaims(pod: PodSpec, { isReadOnly }: { isReadOnly: boolean }): PodSpec {
  const copy = structuredClone(pod);
  const [container] = copy.containers;
  container.volumeMounts.push({ name: "storage", mountPath: "/app/storage", readOnly: isReadOnly });
  container.volumeMounts.push({ name: "backups", mountPath: "/var/backups/chatkeep" });
  return copy;
}

const setup = withClaims(podIn("setup.yaml", "Pod"), { isReadOnly: true });
const daily = withClaims(podIn("cronjob.yaml", "CronJob"), { isReadOnly: true });
const terminal = withClaims(podIn("terminal.yaml", "Pod"), { isReadOnly: false });

before(async () => {
  desk = await openComposeDesk();
  // What still comes in would lie in the engine's volume alone.
  await desk.engine.compose(desk.site, ["stop", "rails", "sidekiq"]);
  await buildChatkeepImage(desk.engine, { name: IMAGE, debian: debianFolder(17), major: 17 });
  const made: Record<string, string> = {};
  for (const name of ["state", "tmp", "backups", "storage"])
    made[name] = await makeVolume(desk.folder.at("volumes", name), daily);
  await cp(await desk.volume("storage_data"), desk.folder.at("volumes/storage"), { recursive: true });
  volumes = made;
  // What Chatwoot's Secret holds, as a cluster hands it over: without the quotes of a file.
  const environment = (await readFile(join(desk.site, ".env"), "utf8")).replaceAll(/^(\w+)='(.*)'$/gm, "$1=$2");
  await writeFile(desk.folder.at("environment"), `${environment}RAILS_ENV=production\n`);
});

after(async () => await desk[Symbol.asyncDispose]());

const around = () => ["--network=desk_default", `--env-file=${desk.folder.at("environment")}`];

async function start(name: string, pod: PodSpec, own: Volumes): Promise<void> {
  await desk.engine.docker([
    "run",
    "--detach",
    `--name=${name}`,
    ...dockerRun(pod, IMAGE, { ...volumes, ...own }, around()),
  ]);
}

async function exec(name: string, ...args: string[]): Promise<string> {
  return (await desk.engine.docker(["exec", name, ...args])).stdout;
}

test("in the pod to set up in, init writes what goes into the Secret", async () => {
  const config = await makeVolume(desk.folder.at("volumes/empty"), setup);
  await start("setup", setup, { config });
  const said = await exec(
    "setup",
    "chatkeep",
    "init",
    "--yes",
    "--name",
    "chatwoot",
    "--location",
    "/var/backups/chatkeep/chatwoot",
  );
  assert.match(said, /storage 'local' is the folder \/app\/storage/);
  await desk.engine.docker(["rm", "--force", "setup"]);
  assert.deepEqual(readdirSync(config).toSorted(), [
    "chatkeep-recovery-kit.html",
    "chatkeep-recovery-kit.txt",
    "chatkeep.password",
    "chatkeep.yaml",
  ]);
  assert.match(
    readFileSync(join(config, "chatkeep.yaml"), "utf8"),
    /password-file: \/etc\/chatkeep\/chatkeep\.password\n/,
  );
});

test("the daily run backs up and proves within the walls of its pod", async () => {
  const from = desk.folder.at("volumes/empty");
  const files = Object.fromEntries(
    ["chatkeep.yaml", "chatkeep.password"].map((name) => [name, readFileSync(join(from, name), "utf8")]),
  );
  const config = await makeSecret(desk.folder.at("volumes/config"), files, daily);
  volumes = { ...volumes, config };
  const { stdout } = await desk.engine.docker(["run", "--rm", ...dockerRun(daily, IMAGE, volumes, around())]);
  const summary = summaryOf(stdout);
  assert.equal(summary["outcome"], "success", stdout);
  const stages = (summary["stages"] as { stage: string }[]).map(({ stage }) => stage);
  assert.deepEqual(stages.slice(0, 2), ["backup", "drill"]);
  const state = readdirSync(join(volumes["state"] ?? "", ".")).toSorted();
  assert.ok(state.length > 0, "the state lies on its claim");
  // Nothing of a drill's database is left.
  assert.deepEqual(
    readdirSync(volumes["tmp"] ?? "").filter((name) => name.startsWith("chatkeep")),
    [],
  );
});

test("in the pod to work in by hand all is seen, no Secret is called open, and files come back beside the others", async () => {
  await start("terminal", terminal, {});
  const list = summaryOf(await exec("terminal", "chatkeep", "--json", "list"));
  const points = list["points"] as { provenAt: string | null }[];
  assert.equal(points.length, 1);
  assert.ok(points[0]?.provenAt);
  const doctor = await exec("terminal", "sh", "-c", "chatkeep --json doctor || [ $? = 3 ]");
  const kinds = (summaryOf(doctor)["findings"] as { kind: string }[]).map(({ kind }) => kind);
  for (const kind of ["readable-by-others", "writable-by-others"]) assert.equal(kinds.includes(kind), false, doctor);
  await exec(
    "terminal",
    "chatkeep",
    "restore",
    "latest",
    "--only",
    "storage",
    "--to",
    "/app/storage/restored",
    "--yes",
  );
  await desk.engine.docker(["rm", "--force", "terminal"]);
  const folder = volumes["storage"] ?? "";
  const restored = await readFolder(join(folder, "restored/storage"));
  assert.deepEqual(restored, await readFolder(await desk.volume("storage_data")));
  assert.ok(Object.keys(restored).length > 0);
});

test("the walls hold: no root, no other file system to write to, no right to take", async () => {
  await start("walls", terminal, {});
  assert.match(await exec("walls", "id"), /^uid=10027\(chatkeep\) gid=10027\(chatkeep\)/);
  const refused = (command: string) => exec("walls", "sh", "-c", `${command} 2>/dev/null && echo done || echo refused`);
  for (const command of ["touch /opt/chatkeep/x", "touch /etc/chatkeep/x", "chown 0 /tmp", "touch /usr/bin/x"])
    assert.equal(await refused(command), "refused\n", command);
  assert.equal(await refused("touch /tmp/x /var/lib/chatkeep/x"), "done\n");
  assert.match(await exec("walls", "grep", "CapBnd", "/proc/self/status"), /^CapBnd:\s+0+$/m);
  await desk.engine.docker(["rm", "--force", "walls"]);
});

test("a Secret that its group may not read is named, and nothing is begun", async () => {
  const file = join(volumes["config"] ?? "", "..data/chatkeep.password");
  chmodSync(file, 0o400);
  chownSync(file, 0, 0);
  assert.equal(statSync(file).mode & 0o777, 0o400);
  const run = desk.engine.docker(["run", "--rm", ...dockerRun(daily, IMAGE, volumes, around())]);
  await assert.rejects(
    run,
    /cannot read the password of repository 'primary' from '\/etc\/chatkeep\/chatkeep\.password'/,
  );
});
