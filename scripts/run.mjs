/**
 * The front door: `node scripts/run.mjs demo|test|test:long|bench|build:executable [arguments]`, called by the npm scripts.
 * Installs what is missing, then hands over to the project's own Node. Plain JavaScript for Node 20, because
 * nothing is installed yet when it starts.
 */
import { spawn } from "node:child_process";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { delimiter, dirname, join, relative, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { setUp } from "./setup.mjs";
import { projectNode } from "./setup/modules.mjs";
import { CACHE, ROOT, SetupError, say } from "./setup/say.mjs";

const LONG = join("test", "long");

/** Every test file below a folder of the project, as paths from its root. */
function testFiles(folder) {
  return readdirSync(join(ROOT, folder), { recursive: true })
    .filter((name) => name.endsWith(".test.ts"))
    .map((name) => join(folder, name))
    .toSorted();
}

function isFolder(path) {
  return statSync(join(ROOT, path), { throwIfNoEntry: false })?.isDirectory() === true;
}

/** True for a test that takes a sample, or leaves something out, and tries all of it in the long run: see test/harness/whole.ts. */
function isSampled(file) {
  return /harness\/whole\.ts"|\bjudges\(\)/.test(readFileSync(join(ROOT, file), "utf8"));
}

/** Arguments for `node --test`: options as they are, folders as their test files, otherwise all that belong. */
function testArguments(args, isLong) {
  const options = args.filter((arg) => arg.startsWith("-"));
  const named = args.filter((arg) => !arg.startsWith("-")).map((path) => relative(ROOT, resolve(ROOT, path)));
  const isOfLongRun = (file) => file.startsWith(LONG) || isSampled(file);
  const all = testFiles("test").filter((file) => (isLong ? isOfLongRun(file) : !file.startsWith(LONG)));
  const files = named.length === 0 ? all : named.flatMap((path) => (isFolder(path) ? testFiles(path) : [path]));
  if (files.length === 0) throw new SetupError(`there is no test file in ${named.join(", ") || LONG}`);
  const seed = isLong ? [] : [`--import=${pathToFileURL(join(ROOT, "test", "harness", "same-seed.ts")).href}`];
  // Two more than there are processors: a test waits for a fifth of its time, for locks to settle and servers to start.
  const atOnce = availableParallelism() + (isLong ? 0 : 2);
  return [...seed, "--test", `--test-concurrency=${atOnce}`, ...options, ...files];
}

/** The tests' processes load the same files again and again: their code is kept compiled. */
const TEST_ENV = { NODE_COMPILE_CACHE: join(CACHE, "compiled") };
const LONG_ENV = { ...TEST_ENV, CHATKEEP_TEST_WHOLE: "1" };

/** What to set up for, and what the project's Node is then given. */
const COMMANDS = {
  demo: (args) => ({ purpose: "demo", args: [join("bin", "chatkeep.js"), "demo", ...args] }),
  test: (args) => ({ purpose: "test", args: testArguments(args, false), env: TEST_ENV }),
  "test:long": (args) => ({ purpose: "test", args: testArguments(args, true), env: LONG_ENV }),
  bench: (args) => ({ purpose: "bench", args: [join("bench", "main.ts"), ...args] }),
  "build:executable": () => ({ purpose: "executable", args: [join("deploy", "executable", "build.ts")] }),
};

/** Runs the project's Node in our place: same terminal, same signals, same exit status. */
function handOver(args, added = {}) {
  const node = projectNode();
  const path = [join(ROOT, "node_modules", ".bin"), dirname(node), process.env.PATH ?? ""].join(delimiter);
  const child = spawn(node, args, { cwd: ROOT, stdio: "inherit", env: { ...process.env, ...added, PATH: path } });
  const isTerminal = process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY;
  // A terminal sends Ctrl-C to the child as well; passing it on would make two of one.
  process.on("SIGINT", () => isTerminal || child.kill("SIGINT"));
  for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  child.on("error", (error) => fail(error));
  child.on("close", (code, signal) => {
    if (signal === null) process.exit(code ?? 1);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}

function fail(error) {
  if (!(error instanceof SetupError)) throw error;
  say(error.message);
  process.exit(1);
}

const [name, ...args] = process.argv.slice(2);
const command = COMMANDS[name];
if (command === undefined) {
  say(`usage: node scripts/run.mjs ${Object.keys(COMMANDS).join("|")} [arguments]`);
  process.exit(2);
}
try {
  const { purpose, args: handed, env } = command(args);
  await setUp(purpose);
  handOver(handed, env);
} catch (error) {
  fail(error);
}
