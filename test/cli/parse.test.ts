import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { COMMANDS } from "../../src/cli/commands.ts";
import { hasSwitch, namedCommand, parseCall } from "../../src/cli/parse.ts";

function refused(...argv: string[]): string {
  try {
    parseCall(argv);
  } catch (error) {
    assert.ok(isFailure(error, "usage/invalid"), String(error));
    return `${error.message} | ${error.hint ?? ""}`;
  }
  throw new Error(`${argv.join(" ")} was taken`);
}

test("options that every command takes stand before or after the command", () => {
  for (const argv of [
    ["--json", "--config", "a.yaml", "-q", "list", "--all"],
    ["list", "--all", "--json", "--config=a.yaml", "--quiet"],
  ]) {
    const { command, given, globals, mode } = parseCall(argv);
    assert.equal(command.name, "list");
    assert.equal(given.has("all"), true);
    assert.deepEqual(globals, { config: "a.yaml", repository: undefined });
    assert.deepEqual(mode, { json: true, quiet: true, yes: false });
  }
});

test("rates are KiB a second, whole and above 0", () => {
  const { rates } = parseCall(["--limit-upload", "500", "list", "--limit-download=1"]);
  assert.deepEqual(rates, { upload: 512_000, download: 1024 });
  assert.deepEqual(parseCall(["list"]).rates, { upload: undefined, download: undefined });
  for (const wrong of ["0", "-1", "1.5", "fast", "1M", ""]) {
    assert.match(refused("list", `--limit-upload=${wrong}`), /^--limit-upload cannot be '.*' \| It is a whole number/);
  }
});

test("an empty word is refused wherever it stands, for it would be the folder that one is in", () => {
  for (const [name, ...argv] of [
    ["--to", "restore", "latest", "--to", ""],
    ["--location", "init", "--add", "offsite", "--location="],
    ["--password-file", "export", "latest", "x.tar", "--password-file", ""],
    ["FILE", "export", "latest", ""],
    ["POINT", "show", ""],
    ["--config", "--config", "", "list"],
    ["--repository", "list", "--repository="],
    ["--tag", "backup", "--tag", "a", "--tag", ""],
  ]) {
    assert.ok(refused(...argv).startsWith(`${name} is empty | Give it a value`), refused(...argv));
  }
});

test("--at-time is a time with its zone, for what only reads", () => {
  const { atMs } = parseCall(["restore", "latest", "--at-time", "2026-11-23T17:58+01:00"]);
  assert.equal(atMs, Date.UTC(2026, 10, 23, 16, 58));
  assert.equal(parseCall(["list"]).atMs, undefined);
  for (const wrong of ["2026-11-23T16:58:50", "2026-11-23", "yesterday", "2026-13-40T00:00Z", ""]) {
    assert.match(refused("list", `--at-time=${wrong}`), /^--at-time cannot be '.*' \| It is a time with its zone/);
  }
  for (const verb of ["backup", "prune", "forget", "doctor"]) {
    assert.match(refused(verb, "--at-time", "2026-11-23T16:58:50Z"), /unknown option '--at-time'/);
  }
});

test("arguments and options are read by the table", () => {
  const { given } = parseCall([
    "restore",
    "latest",
    "--to",
    "/srv/x",
    "--database-url",
    "postgres:///x",
    "--only",
    "database,storage",
    "--only",
    "code",
    "--yes",
  ]);
  assert.equal(given.argument(0), "latest");
  assert.equal(given.text("to"), "/srv/x");
  assert.equal(given.text("databaseUrl"), "postgres:///x");
  assert.deepEqual(given.list("only"), ["database", "storage", "code"]);
  assert.equal(given.has("plan"), false);
});

test("an option whose value may be left out is told apart from one that is not given", () => {
  assert.equal(parseCall(["verify"]).given.has("readData"), false);
  const all = parseCall(["verify", "--read-data"]).given;
  assert.equal(all.has("readData"), true);
  assert.equal(all.text("readData"), undefined);
  assert.equal(parseCall(["verify", "--read-data=1/7"]).given.text("readData"), "1/7");
  assert.equal(parseCall(["verify", "--read-data", "5%"]).given.text("readData"), "5%");
});

test("tags are kept as they are typed, in order", () => {
  assert.deepEqual(parseCall(["backup", "--tag", "one", "--tag", "two"]).given.list("tag"), ["one", "two"]);
  assert.deepEqual(parseCall(["backup"]).given.list("tag"), []);
});

test("what is wrong is named, with what may have been meant", () => {
  assert.equal(
    refused("bakcup"),
    "unknown command 'bakcup' | Did you mean backup? 'chatkeep help' lists the commands.",
  );
  assert.equal(refused("bakcup", "--full"), refused("bakcup"));
  assert.equal(refused("backup", "--ful"), "unknown option '--ful' | Did you mean --full? See 'chatkeep help backup'.");
  assert.equal(refused("list", "--jsn"), "unknown option '--jsn' | Did you mean --json? See 'chatkeep help list'.");
  assert.match(refused("show", "latest", "--all"), /^unknown option '--all'/);
  assert.equal(refused("list", "x"), "too many arguments for 'list', it takes 0 | See 'chatkeep help list'.");
  assert.equal(refused("dump", "latest"), "missing required argument 'PATH' | See 'chatkeep help dump'.");
  assert.equal(refused("list", "--config"), "option '--config <FILE>' argument missing | See 'chatkeep help list'.");
  assert.equal(
    refused("restore", "latest", "--only", "database,databse"),
    "--only cannot be 'databse' | It can be database, storage, config or code.",
  );
  assert.equal(refused("completion", "tcsh"), "SHELL cannot be 'tcsh' | It can be bash, zsh or fish.");
  assert.match(refused("--json"), /lists the commands/);
});

test("a command line can be searched for switches even where it makes no sense", () => {
  assert.equal(hasSwitch(["restore", "--help"], "--help", "-h"), true);
  assert.equal(hasSwitch(["ls", "latest", "--", "--help"], "--help"), false);
  assert.equal(namedCommand(["--json", "restore", "--help"]), "restore");
  assert.equal(namedCommand(["--help"]), undefined);
});

test("every command of the table can be called and its code loads", async () => {
  for (const command of COMMANDS) {
    const argv = [
      command.name,
      ...command.args.map(({ kind }) => (typeof kind === "object" ? (kind[0] ?? "") : "latest")),
    ];
    assert.equal(parseCall(argv).command, command);
    assert.equal(typeof (await command.load()), "function", command.name);
  }
});

test("every example of the help is a command line that is understood", () => {
  for (const { examples } of COMMANDS) {
    for (const [, line] of examples) {
      const words = line.replace(/ >.*$/, "").match(/"[^"]*"|\S+/g) ?? [];
      const bare = words.slice(1).map((word) => word.replace(/^"(.*)"$/, "$1"));
      assert.doesNotThrow(() => parseCall(bare), line);
    }
  }
});
