/** The door that strangers come in by: `npm test` and `npm run demo` on a machine that has nothing. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { type RunOptions, run } from "../harness/run.ts";
import { temporaryFolder } from "../harness/temporary.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const RUN = join(ROOT, "scripts/run.mjs");
const SETUP = join(ROOT, "scripts/setup.mjs");

/** A runner inside a runner would report to the outer one. */
const OUTSIDE = { NODE_TEST_CONTEXT: undefined, NODE_OPTIONS: undefined };

async function node(args: readonly string[], options: RunOptions = {}) {
  return await run(process.execPath, args, { cwd: ROOT, ...options, env: { ...OUTSIDE, ...options.env } });
}

const PASSING = `import { test } from "node:test";\ntest("passes", () => {});\n`;
const FAILING = `import { test } from "node:test";\ntest("fails", () => { throw new Error("as it should"); });\n`;

test("the exit status and the last words are the test runner's own", async () => {
  await using folder = await temporaryFolder();
  for (const [name, text, status] of [
    ["passing.test.ts", PASSING, 0],
    ["failing.test.ts", FAILING, 1],
  ] as const) {
    await writeFile(folder.at(name), text);
    const result = await node([RUN, "test", folder.at(name)]);
    assert.equal(result.status, status, result.stderr);
    assert.match(result.stdout, status === 0 ? /ℹ pass 1\n(ℹ .*\n)+$/ : /✖ failing tests:\n[^]*as it should[^]*$/);
  }
});

test("a folder stands for the test files in it, and options reach the runner", async () => {
  await using folder = await temporaryFolder();
  await mkdir(folder.at("tests/deeper"), { recursive: true });
  await writeFile(folder.at("tests/one.test.ts"), PASSING);
  await writeFile(folder.at("tests/deeper/two.test.ts"), PASSING);
  await writeFile(folder.at("tests/helper.ts"), FAILING);
  const all = await node([RUN, "test", folder.at("tests"), "--test-reporter=tap"]);
  assert.equal(all.status, 0);
  assert.match(all.stdout, /^# pass 2$/m);
});

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

test("a signal ends the project's Node as well", async () => {
  await using folder = await temporaryFolder();
  const pidFile = folder.at("pid");
  const text = `import { test } from "node:test";
    import { writeFileSync } from "node:fs";
    test("waits", async () => {
      writeFileSync(${JSON.stringify(pidFile)}, String(process.pid));
      await new Promise((resolve) => setTimeout(resolve, 60_000));
    });`;
  await writeFile(folder.at("waiting.test.ts"), text);
  const door = spawn(process.execPath, [RUN, "test", folder.at("waiting.test.ts")], {
    cwd: ROOT,
    env: { ...process.env, ...OUTSIDE },
    stdio: "ignore",
  });
  const ended = once(door, "close");
  let pid = "";
  while (pid === "") pid = await readFile(pidFile, "utf8").catch(() => "");
  door.kill("SIGTERM");
  const [code, signal] = (await ended) as [number | null, string | null];
  assert.ok(signal === "SIGTERM" || (code !== null && code !== 0), `ended with ${String(code)} ${String(signal)}`);
  // The runner ends its own processes as it goes; they need a moment to be gone.
  for (let tries = 0; tries < 200 && isAlive(Number(pid)); tries++) await sleep(50);
  assert.equal(isAlive(Number(pid)), false);
});

test("an unknown word is answered with the words that are known", async () => {
  const { status, stderr } = await node([RUN, "tset"]);
  assert.equal(status, 2);
  assert.match(stderr, /demo\|test\|test:long\|bench/);
});

test("where everything is there, set-up installs nothing and says nothing", async () => {
  const { status, stdout, stderr } = await node([SETUP, "--for=demo"]);
  assert.deepEqual({ status, stdout, stderr }, { status: 0, stdout: "", stderr: "" });
});

test("where it may not install, set-up names what is missing and stops", async () => {
  const { status, stderr } = await node([SETUP, "--for=demo"], { env: { PATH: "/nonexistent" } });
  assert.equal(status, 1);
  assert.match(stderr, /^set-up: these are missing, .*please do.*\n( {2}.*\n)* {2}git\n/);
});

function lock(packages: Record<string, object>): string {
  return JSON.stringify({ packages });
}

test("node modules are current when they are what the lock asks for, and only then", async () => {
  const modules = (await import(pathToFileURL(join(ROOT, "scripts/setup/modules.mjs")).href)) as {
    areModulesCurrent: (root: string) => boolean;
  };
  const { areModulesCurrent } = modules;
  await using folder = await temporaryFolder();
  const wanted = {
    "": { name: "chatkeep" },
    "node_modules/a": { version: "1.0.0", integrity: "sha512-a" },
    "node_modules/b": { version: "2.0.0", integrity: "sha512-b", optional: true },
  };
  await mkdir(folder.at("node_modules/.bin"), { recursive: true });
  await cp(process.execPath, folder.at("node_modules/.bin/node"));
  await writeFile(folder.at("package-lock.json"), lock(wanted));
  assert.equal(areModulesCurrent(folder.path), false, "nothing was installed");
  const { "node_modules/a": a, "node_modules/b": b } = wanted;
  for (const [installed, isCurrent] of [
    [{ "node_modules/a": a, "node_modules/b": b }, true],
    [{ "node_modules/a": a }, true],
    [{ "node_modules/b": b }, false],
    [{ "node_modules/a": { ...a, version: "1.0.1" } }, false],
    [{ "node_modules/a": { ...a, integrity: "sha512-c" } }, false],
    [{ "node_modules/a": a, "node_modules/b": { ...b, version: "1.9.9" } }, false],
  ] as const) {
    await writeFile(folder.at("node_modules/.package-lock.json"), lock(installed));
    assert.equal(areModulesCurrent(folder.path), isCurrent, JSON.stringify(installed));
  }
});

test("the scripts that run before npm ci use Node's own modules alone", async () => {
  for (const name of [
    "run.mjs",
    "setup.mjs",
    "build.mjs",
    ...(await readdir(join(ROOT, "scripts/setup"))).map((name) => `setup/${name}`),
  ]) {
    const text = await readFile(join(ROOT, "scripts", name), "utf8");
    const imported = [...text.matchAll(/from "([^"]+)"/g)].map((match) => match[1] ?? "");
    assert.notEqual(imported.length, 0);
    for (const specifier of imported) assert.match(specifier, /^(node:|\.)/, name);
  }
});
