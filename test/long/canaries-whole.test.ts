/**
 * No secret is in what a restore into Chatwoot's own place, and a guard, keep on this machine for a later call: not the password in
 * a repository's location, not what stands in a person's own commands, not what a command says. What they must keep as it was, old
 * environment files, only its owner reads, and it goes when it is discarded.
 */
import assert from "node:assert/strict";
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { parseDocument } from "yaml";
import { startRestServer, type TestRestServer } from "../harness/rclone.ts";
import type { RunOptions, RunResult } from "../harness/run.ts";
import { LeakFinder } from "../scenario/leaks.ts";
import { assertRefused } from "../scenario/refusal.ts";
import { openWholeDesk, type WholeDesk } from "../scenario/whole-desk.ts";

const IN_COMMANDS = {
  // Nothing tells that it is one.
  "a word of a command": "canary of a command",
  "what a command prints": "canary-that-is-printed",
  "an option of a command": "canary/option+1",
};

let whole: WholeDesk;
let rest: TestRestServer;
let leaks: LeakFinder;
let state: string;
let location: string;

before(async () => {
  whole = await openWholeDesk({ messages: 60, conversations: 10, files: 4 }, { hasServerForDrills: true });
  const { desk } = whole;
  state = join(desk.root, "chatkeep", "state");
  await desk.summary(["backup"]);
  await desk.summary(["drill"]);
  rest = await startRestServer({ folder: desk.root });
  location = rest.location("repository").replace("://", `://${rest.user}:${encodeURIComponent(rest.password)}@`);
  await hideInCommands();
  leaks = new LeakFinder({
    ...IN_COMMANDS,
    "the REST server's password": rest.password,
    "the repository's password": (await readFile(desk.passwordFile, "utf8")).trim(),
    ...Object.fromEntries(desk.installation.secrets.map((secret, at) => [`secret ${at} of the installation`, secret])),
  });
});
after(async () => {
  await rest[Symbol.asyncDispose]();
  await whole[Symbol.asyncDispose]();
});

/** The location is none of the configuration. */
function opens(): Record<string, string> {
  return { CHATKEEP_PASSWORD_FILE: whole.desk.passwordFile };
}

/** Each of the canaries into the commands that stop and start the processes. */
async function hideInCommands(): Promise<void> {
  const { config } = whole.desk;
  const document = parseDocument(await readFile(config, "utf8"));
  for (const what of ["stop", "start"]) {
    const path = ["installation", what, "web"];
    const command = String(document.getIn(path));
    const [word, printed, option] = Object.values(IN_COMMANDS);
    document.setIn(path, `: '${word}'; : --api-token='${option}'; echo ${printed} >&2; ${command}`);
  }
  await writeFile(config, document.toString());
}

async function chatkeep(args: readonly string[], { env }: RunOptions = {}): Promise<RunResult> {
  const result = await whole.desk.chatkeep(args, { env: { ...opens(), ...env } });
  leaks.scan(result.stdout, `stdout of chatkeep ${args.join(" ")}`);
  leaks.scan(result.stderr, `stderr of chatkeep ${args.join(" ")}`);
  return result;
}

/** All that is kept, but old environment files, holds no canary; and nobody but its owner gets at any of it. */
async function assertKept(): Promise<string[]> {
  const files: string[] = [];
  for (const entry of await readdir(state, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const { mode } = await stat(path);
    assert.equal(mode & 0o077, 0, `${path} has mode ${(mode & 0o777).toString(8)}`);
    if (!entry.isFile()) continue;
    files.push(path);
    if (!path.includes("/environment/")) leaks.scan(await readFile(path), path);
  }
  assert.deepEqual(leaks.found, []);
  return files;
}

test("a restore from a location with a password keeps none, asks for it again, and leaves nothing when it is discarded", async () => {
  const { envFile } = whole.desk.installation;
  const environment = await readFile(envFile, "utf8");
  await writeFile(envFile, environment.replace(/^SECRET_KEY_BASE=.*$/m, `SECRET_KEY_BASE=${"0".repeat(64)}`));
  const args = ["restore", "latest", "--repository", location, "--yes"];
  const planned = await chatkeep([...args, "--plan"]);
  assert.equal(planned.status, 0, planned.stderr);
  assert.match(planned.stdout, /stop the web process: command 'stop\.web' of the configuration/);
  // Nobody is there to decide what the worker may send: it stops behind all that it puts aside.
  const held = await chatkeep(args);
  assert.equal(held.status, 3, held.stderr);
  assert.match(held.stderr, /the restore stopped before the end, at 'outbound'/);
  const kept = await assertKept();
  assert.ok(
    kept.some((path) => path.endsWith(".before")),
    kept.join("\n"),
  );
  assert.match((await whole.journal())?.repository ?? "", /^rest:http:\/\/desk:\*\*\*@127\.0\.0\.1:/);
  const resume = ["restore", "--resume", "--yes", "--outbound", "allow"];
  const expected = { status: 2, error: /password in the location .* was left out/, hint: /RESTIC_REST_PASSWORD/ };
  assertRefused(await chatkeep(resume), expected);
  const resumed = await chatkeep(resume, { env: { RESTIC_REST_PASSWORD: rest.password } });
  assert.ok(resumed.status === 0 || resumed.status === 3, resumed.stderr);
  assert.deepEqual(await whole.running(), { web: true, worker: true });
  await assertKept();
  assert.equal((await chatkeep(["rollback", "--plan"])).status, 0);
  assert.equal((await chatkeep(["restore", "--discard-previous", "--yes"])).status, 0);
  const left = await assertKept();
  assert.ok(
    left.every((path) => !path.includes("/restore/")),
    left.join("\n"),
  );
});

test("what a guard keeps has the command that was typed, without what is secret in it", async () => {
  const option = IN_COMMANDS["an option of a command"];
  const command = ["env", `REGISTRY_TOKEN=${option}`, "sh", "-c", `exit 7 # --api-token=${option}`];
  const result = await chatkeep(["--json", "guard", "--point", "proven", "--repository", location, "--", ...command]);
  assert.equal(result.status, 1, result.stderr);
  assert.match(result.stdout, /"command":"env REGISTRY_TOKEN=•••/);
  const guarded = (await assertKept()).find((path) => path.endsWith("guard.json")) ?? "";
  assert.match(await readFile(guarded, "utf8"), /"repository": "rest:http:\/\/desk:\*\*\*@127\.0\.0\.1:/);
  assertRefused(await chatkeep(["guard", "--back", "--yes"]), {
    status: 2,
    error: /password in the location .* was left out/,
    hint: /RESTIC_REST_PASSWORD/,
  });
  const forgotten = await chatkeep(["guard", "--forget"], { env: { RESTIC_REST_PASSWORD: rest.password } });
  assert.equal(forgotten.status, 0, forgotten.stderr);
  await assertKept();
});
