/** No secret appears where nobody put it: not in output, not in a command line, not in a repository or a temporary file. */
import assert from "node:assert/strict";
import { appendFile, chmod, copyFile, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { buildInstallation, type DemoInstallation } from "../../src/demo/installation.ts";
import { callCli, CHATKEEP, runCli } from "../harness/cli.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";
import { run } from "../harness/run.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import { isWhole } from "../harness/whole.ts";
import { type Canaries, LeakFinder } from "./leaks.ts";

/** With characters that look different in an address, in JSON and in a shell. */
const CANARIES: Canaries = {
  "the repository's password": `canary "repository" $HOME`,
  "a wrong repository password": "canary/wrong&password",
  "the database's password": `canary@data:base/100%`,
  "a wrong database password": `canary'wrong"database`,
  AWS_SECRET_ACCESS_KEY: "canary+aws/secret=",
  SMTP_PASSWORD: "canary smtp password",
};

let folder: TestFolder;
let server: TestServer;
let demo: DemoInstallation;
let config: string;
let temporaryRoot: TestFolder;
let temporary: string;
let leaks: LeakFinder;

const password = (name: string) => CANARIES[name] ?? "";

function databaseUrl(databasePassword: string, { port = server.address.port, database = "chatwoot_production" } = {}) {
  return `postgres://chatwoot:${encodeURIComponent(databasePassword)}@127.0.0.1:${port}/${database}`;
}

before(async () => {
  folder = await temporaryFolder();
  server = await startPostgres({ auth: "scram" });
  const size = { messages: 100, conversations: 20, files: 6 };
  const { signal } = new AbortController();
  demo = await buildInstallation({ root: folder.at("home"), address: server.address, size, signal });
  const databasePassword = password("the database's password");
  await server.query(`alter role chatwoot password '${databasePassword.replaceAll("'", "''")}'`);
  // As a person would add them: the last one wins.
  const lines = [
    `DATABASE_URL=${databaseUrl(databasePassword)}`,
    `AWS_SECRET_ACCESS_KEY=${password("AWS_SECRET_ACCESS_KEY")}`,
    `SMTP_PASSWORD='${password("SMTP_PASSWORD")}'`,
  ];
  await appendFile(demo.envFile, `${lines.join("\n")}\n`);
  await mkdir(folder.at("chatkeep"), { mode: 0o700 });
  config = folder.at("chatkeep", "chatkeep.yaml");
  temporaryRoot = await temporaryFolder();
  temporary = temporaryRoot.path;
  // Of runs in this process, too.
  process.env["TMPDIR"] = temporary;
  // A drill's server runs as another user, who must get there.
  await chmod(temporary, 0o755);
  await writeFile(folder.at("chatkeep", "password"), `${password("the repository's password")}\n`, { mode: 0o600 });
  const inDatabase = Object.fromEntries(demo.secrets.map((secret, at) => [`secret ${at} of the installation`, secret]));
  leaks = new LeakFinder({ ...CANARIES, ...inDatabase });
});

after(async () => {
  await server.stop();
  await folder[Symbol.asyncDispose]();
  await temporaryRoot[Symbol.asyncDispose]();
});

interface Call {
  env?: Record<string, string>;
  config?: string;
  /** The exit statuses that are right. Default: 0. */
  status?: readonly number[];
  /** In this process, where what Node itself might print is not in question. */
  isHere?: boolean;
}

/** Runs a command with every way of telling things, watching all the while. */
async function chatkeep(args: readonly string[], call: Call = {}): Promise<string> {
  const argv = ["--config", call.config ?? config, ...args];
  const env = { CHATKEEP_DEBUG: "1", ...call.env };
  const running =
    call.isHere === true
      ? callCli(argv, { cwd: folder.path, env })
      : runCli(argv, { cwd: folder.path, env: { TMPDIR: temporary, ...env } });
  // What a person types into our own command line is theirs; what we hand on is not.
  const result = await leaks.watch(running, temporary, (line) => line.includes(CHATKEEP));
  const shown = `chatkeep ${args[0] === "--json" ? args[1] : args[0]}`;
  leaks.scan(result.stdout, `stdout of ${shown}`);
  leaks.scan(result.stderr, `stderr of ${shown}`);
  assert.ok((call.status ?? [0]).includes(result.status), `${shown} ended with ${result.status}:\n${result.stderr}`);
  assert.deepEqual(await readdir(temporary), [], `${shown} left temporary files behind`);
  return result.stdout;
}

test("what looks for secrets finds them: in files, in output and in command lines", async () => {
  const finder = new LeakFinder(CANARIES);
  assert.ok(finder.scanFolder(folder.path) > 0);
  for (const name of Object.keys(CANARIES).filter((known) => !known.startsWith("a wrong"))) {
    assert.ok(
      finder.found.some((found) => found.startsWith(`${name} in ${folder.path}`)),
      name,
    );
  }
  const [name = ""] = Object.keys(CANARIES);
  const running = run(process.execPath, ["-e", "setTimeout(() => {}, 500)", "--", `--password=${password(name)}`]);
  await finder.watch(running, temporary, () => false);
  assert.ok(finder.found.includes(`${name} in argv of ${process.execPath}`), finder.found.join("\n"));
});

test("runs that go well keep every secret to themselves", async () => {
  const repository = folder.at("repository");
  const place = [
    "--root",
    demo.codeRoot,
    "--location",
    repository,
    "--password-file",
    folder.at("chatkeep", "password"),
  ];
  await chatkeep(["init", "--yes", "--name", "desk", ...place]);
  await chatkeep(["doctor"], { status: [0, 3], isHere: true });
  await chatkeep(["--json", "doctor"], { status: [0, 3], isHere: true });
  await chatkeep(["--json", "backup"]);
  await chatkeep(["backup", "--tag", "second"], { isHere: true });
  await chatkeep(["list"], { isHere: true });
  await chatkeep(["--json", "show", "latest"], { isHere: true });
  await chatkeep(["ls", "latest", "config"], { isHere: true });
  await chatkeep(["verify", "--read-data"], { isHere: true });
  await chatkeep(["--json", "drill"]);
  const restore = ["restore", "latest", "--yes", "--to", folder.at("restored"), "--database-url"];
  const target = `postgres://chatwoot@127.0.0.1:${server.address.port}`;
  const PGPASSWORD = password("the database's password");
  await chatkeep([...restore, `${target}/one`, "--plan"], { env: { PGPASSWORD } });
  await chatkeep([...restore, `${target}/one`], { env: { PGPASSWORD } });
  const given = databaseUrl(PGPASSWORD, { database: "two" });
  await chatkeep(["--json", "restore", "latest", "--yes", "--only", "database", "--database-url", given]);
  leaks.scan(server.log(), "the server's log");
  assert.ok(leaks.scanFolder(repository) > 5);
  assert.ok(leaks.commandLines > 1_000 && leaks.temporaryFiles > 0, "nothing was watched");
  assert.deepEqual(leaks.found, []);
});

/** A copy of the environment file with another last line, and a configuration that names it. */
async function configWith(name: string, lastLine: string): Promise<string> {
  const envFile = folder.at(`${name}.env`);
  await copyFile(demo.envFile, envFile);
  await appendFile(envFile, `${lastLine}\n`);
  return await configLike(name, (text) => text.replace(/env-file: .*/, `env-file: ${envFile}`));
}

async function configLike(name: string, change: (text: string) => string): Promise<string> {
  const path = folder.at("chatkeep", `${name}.yaml`);
  const text = await readFile(config, "utf8");
  assert.notEqual(change(text), text);
  await writeFile(path, change(text));
  return path;
}

test("runs that fail keep every secret to themselves", async () => {
  const wrong = password("a wrong database password");
  const failing = [
    await configWith("server-down", `DATABASE_URL=${databaseUrl(password("the database's password"), { port: 1 })}`),
    await configWith("wrong-credentials", `DATABASE_URL=${databaseUrl(wrong)}`),
    await configWith("bad-port", `DATABASE_URL=postgres://chatwoot:${encodeURIComponent(wrong)}@127.0.0.1:x/chatwoot`),
    await configWith("bad-url", `DATABASE_URL=postgres://chatwoot:${encodeURIComponent(wrong)}@[bad/chatwoot`),
    await configWith("no-url", `DATABASE_URL=mysql2://chatwoot:${encodeURIComponent(wrong)}@127.0.0.1/chatwoot`),
  ];
  for (const [at, path] of failing.entries()) {
    await chatkeep(["backup"], { config: path, status: [1, 2], isHere: at > 0 && !isWhole });
    await chatkeep(["--json", "doctor"], { config: path, status: [1, 2, 3], isHere: true });
  }
  const wrongPassword = password("a wrong repository password");
  const location = folder.at("repository");
  await chatkeep(["--json", "list", "--repository", location], {
    config: await configLike("no-password", (text) =>
      text.replace(/password-file: .*/, `password: ${JSON.stringify(wrongPassword)}`),
    ),
    status: [12],
    isHere: true,
  });
  const bad = [
    `password: ${wrongPassword}: no yaml\n    what: is "this`,
    `pasword: ${JSON.stringify(wrongPassword)}`,
    `password: [${JSON.stringify(wrongPassword)}]`,
    `password-command: "echo ${wrongPassword.replace("&", "")} >&2; exit 1"`,
  ];
  for (const line of bad) {
    const path = await configLike("bad", (text) => text.replace(/password-file: .*/, line));
    await chatkeep(["backup"], { config: path, status: [1, 2, 12], isHere: true });
  }
  const restoreInto = async (url: string, isHere: boolean) =>
    await chatkeep(["restore", "latest", "--yes", "--database-url", url], { status: [1, 2], isHere });
  await restoreInto(databaseUrl(password("the database's password"), { database: "one" }), true);
  await restoreInto(databaseUrl(wrong, { database: "three" }), true);
  await restoreInto(`postgres://chatwoot:${encodeURIComponent(wrong)}@no-such-host.invalid/three`, true);
  // Node warns of some addresses, with all that stands in them.
  await restoreInto(`postgres://chatwoot:${encodeURIComponent(wrong)}@127.0.0.1:x/three`, false);
  await restoreInto(`host=127.0.0.1 password=${wrong}`, false);
  assert.deepEqual(leaks.found, []);
});
