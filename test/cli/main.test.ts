/** The command line as a process: what is printed where, and with which exit status it ends. */
import assert from "node:assert/strict";
import { cpSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { jsonLines, runCli } from "../harness/cli.ts";
import { run } from "../harness/run.ts";

const folder = mkdtempSync(join(tmpdir(), "chatkeep-cli-test-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const NO_CONFIG = join(folder, "none.yaml");

test("help goes to stdout with status 0, by any way of asking", async () => {
  const pages = await Promise.all(
    [["help"], ["--help"], ["-h"], ["help", "restore"], ["restore", "--help"], ["restore", "latest", "-h"]].map(
      async (argv) => await runCli(argv),
    ),
  );
  for (const { status, stderr } of pages) assert.deepEqual([status, stderr], [0, ""]);
  const [first, second, third, ...restores] = pages.map(({ stdout }) => stdout);
  assert.match(first ?? "", /usage: chatkeep COMMAND/);
  assert.deepEqual([second, third], [first, first]);
  assert.match(restores[0] ?? "", /usage: chatkeep restore \[POINT\]/);
  assert.equal(new Set(restores).size, 1);
});

test("the version is that of the package", async () => {
  const { stdout, status } = await runCli(["--version"]);
  assert.match(stdout, /^chatkeep \d+\.\d+\.\d+\n$/);
  assert.equal(status, 0);
});

test("a call without a command is not a success: it shows the overview on stderr and ends with 2", async () => {
  const { stdout, stderr, status } = await runCli([]);
  assert.equal(status, 2);
  assert.equal(stdout, "");
  assert.match(stderr, /usage: chatkeep COMMAND/);
});

test("a wrong call is one line, one hint and status 2", async () => {
  for (const [argv, text] of [
    [["bakcup"], "error: unknown command 'bakcup'\nhint: Did you mean backup? 'chatkeep help' lists the commands.\n"],
    [
      ["backup", "--fulll"],
      "error: unknown option '--fulll'\nhint: Did you mean --full? See 'chatkeep help backup'.\n",
    ],
    [["help", "nonsense"], /^error: there is no help about 'nonsense'\nhint: .*\n$/],
    [
      ["restore", "latest"],
      "error: nobody is at a terminal to confirm the restore\nhint: Look at the plan with --plan, then say --yes.\n",
    ],
    [
      ["restore", "latest", "--to", "x"],
      "error: nobody is at a terminal to confirm the restore\nhint: Look at the plan with --plan, then say --yes.\n",
    ],
    [["dump", "latest", "x", "--json"], /^error: dump writes the file itself/],
  ] as const) {
    const { status, stdout, stderr } = await runCli(argv);
    assert.equal(status, 2, argv.join(" "));
    if (!argv.includes("--json" as never)) assert.equal(stdout, "");
    if (typeof text === "string") assert.equal(stderr, text);
    else assert.match(stderr, text);
  }
});

test("with --json an error is the last line of stdout, and a person still reads it on stderr", async () => {
  const { status, stdout, stderr } = await runCli(["lits", "--json"]);
  assert.deepEqual(jsonLines(stdout), [
    {
      type: "error",
      code: "usage/invalid",
      message: "unknown command 'lits'",
      hint: "Did you mean list? 'chatkeep help' lists the commands.",
      exit: 2,
    },
  ]);
  assert.match(stderr, /^error: unknown command 'lits'\n/);
  assert.equal(status, 2);
});

test("a missing configuration is told without a stack trace, and with one only when it is asked for", async () => {
  const { status, stderr } = await runCli(["list", "--config", NO_CONFIG]);
  assert.equal(status, 2);
  assert.match(stderr, /^error: there is no configuration file '.*none\.yaml'\nhint: .*\n$/);
  const debug = await runCli(["list", "--config", NO_CONFIG], { env: { CHATKEEP_DEBUG: "1" } });
  assert.match(debug.stderr, /\n {4}at /);
});

test("a password on the command line or in the environment is never printed", async () => {
  const url = "postgres://chatwoot:canary-one%21@localhost/x";
  const argv = ["restore", "latest", "--to", "canary-two", `--database-ulr=${url}`];
  for (const extra of [[], ["--json"]]) {
    const { stdout, stderr } = await runCli([...argv, ...extra], {
      env: { CHATKEEP_PASSWORD: "canary-two", CHATKEEP_DEBUG: "1" },
    });
    assert.doesNotMatch(stdout + stderr, /canary/);
    assert.match(stderr, /unknown option/);
  }
  const named = await runCli(["help", "canary-two"], { env: { CHATKEEP_PASSWORD: "canary-two" } });
  assert.match(named.stderr, /no help about '•••'/);
});

test("colour only on a terminal", async () => {
  const { stderr } = await runCli(["lst"], { env: { NO_COLOR: undefined } });
  assert.ok(!stderr.includes("\u001B"));
  const command = `${process.execPath} ${join(import.meta.dirname, "../../bin/chatkeep.js")} lst`;
  const terminal = await run("script", ["-qec", command, "/dev/null"], { env: { NO_COLOR: undefined, TERM: "xterm" } });
  assert.ok(terminal.stdout.includes("\u001B[31merror:\u001B[0m"), terminal.stdout);
  const plain = await run("script", ["-qec", command, "/dev/null"], { env: { NO_COLOR: "1", TERM: "xterm" } });
  assert.ok(!plain.stdout.includes("\u001B"), plain.stdout);
});

test("a reader that leaves early is no error", async () => {
  const command = `${process.execPath} ${join(import.meta.dirname, "../../bin/chatkeep.js")} completion fish | true; exit \${PIPESTATUS[0]}`;
  const { status, stderr } = await run("bash", ["-c", command]);
  assert.deepEqual([status, stderr], [0, ""]);
});

test("a full disk below stdout is an error", async () => {
  const command = `${process.execPath} ${join(import.meta.dirname, "../../bin/chatkeep.js")} help > /dev/full`;
  const { status, stderr } = await run("bash", ["-c", command]);
  assert.equal(status, 1);
  assert.match(stderr, /^error: cannot write to the standard output: .*ENOSPC/);
});

test("a fault of our own is one line and status 70", async () => {
  // A copy of the door, in which one command is broken.
  const root = join(import.meta.dirname, "../..");
  const copy = join(folder, "copy");
  cpSync(join(root, "src"), join(copy, "src"), { recursive: true });
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  writeFileSync(join(copy, "package.json"), '{ "type": "module", "version": "0.0.0" }');
  writeFileSync(
    join(copy, "src/cli/verbs/completion.ts"),
    'export const completion = () => { throw new TypeError("x is not a function"); };\n',
  );
  const argv = [join(copy, "src/cli/main.ts"), "completion", "bash"];
  const { status, stderr } = await run(process.execPath, argv);
  assert.equal(status, 70);
  assert.match(stderr, /^error: x is not a function\nhint: This is a fault in Chatkeep itself; .*\n$/);
  const debug = await run(process.execPath, argv, { env: { CHATKEEP_DEBUG: "1" } });
  assert.match(debug.stderr, /TypeError: x is not a function\n {4}at /);
});
