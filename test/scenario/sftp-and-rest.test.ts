/**
 * A repository on a file server, and one behind a REST server: made, filled, proven whole and restored by Chatkeep, and
 * read by stock restic over the same way. The servers are those that people run: OpenSSH's sshd, and rclone.
 */
import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { callCli, summaryOf } from "../harness/cli.ts";
import { startRestServer, type TestRestServer } from "../harness/rclone.ts";
import { judges, runRestic } from "../harness/restic.ts";
import { startSshd, type TestSshd } from "../harness/sshd.ts";
import { readFolder } from "../harness/tree.ts";
import { type Desk, openDesk } from "./desk.ts";

const SIZE = { messages: 300, conversations: 30, files: 20 };

let desk: Desk;
let sshd: TestSshd;
let rest: TestRestServer;

before(async () => {
  desk = await openDesk({ size: SIZE });
  sshd = await startSshd();
  rest = await startRestServer({ appendOnly: true });
});

after(async () => {
  await rest[Symbol.asyncDispose]();
  await sshd[Symbol.asyncDispose]();
  await desk[Symbol.asyncDispose]();
});

interface Place {
  name: string;
  location: string;
  env: Readonly<Record<string, string>>;
  /** The same, for restic. */
  restic: { repo: string; args: readonly string[] };
}

/** The whole way, from an empty place to what came back. */
async function wholeWay({ name, location, env, restic }: Place): Promise<string> {
  const home = join(desk.root, name);
  await mkdir(home, { mode: 0o700 });
  let printed = "";
  const chatkeep = async (...args: string[]) => {
    const options = ["--config", join(home, "chatkeep.yaml"), "--json", ...args];
    const { status, stdout, stderr } = await callCli(options, { cwd: home, env });
    printed += stdout + stderr;
    assert.equal(status, 0, `chatkeep ${args.join(" ")}\n${stderr}${stdout}`);
    return summaryOf(stdout);
  };
  const { codeRoot } = desk.installation;
  await chatkeep("init", "--yes", "--name", name, "--root", codeRoot, "--location", location);
  const { point } = await chatkeep("backup");
  const { points } = (await chatkeep("list")) as unknown as { points: { point: string }[] };
  assert.deepEqual(
    points.map((listed) => listed.point),
    [point],
  );
  assert.equal((await chatkeep("verify", "--read-data"))["errors"], 0);
  const to = join(home, "restored");
  await chatkeep("restore", "latest", "--to", to, "--only", "storage", "--yes");
  const saved = await readFolder(desk.installation.storageRoot);
  const restored = Object.entries(await readFolder(join(to, "storage")));
  assert.ok(restored.length >= SIZE.files);
  for (const [path, content] of restored) assert.equal(content, saved[path], path);

  const password = (await readFile(join(home, "chatkeep.password"), "utf8")).trim();
  for (const { path, version } of judges()) {
    const { stdout } = await runRestic([...restic.args, "check", "--read-data"], {
      repo: restic.repo,
      password,
      restic: path,
    });
    assert.match(stdout, /no errors were found/, version);
  }
  return printed;
}

test("an installation is saved to a file server and comes back, and restic reads the same place", async () => {
  const location = sshd.location("backups/desk");
  await wholeWay({
    name: "sftp",
    location,
    env: sshd.env,
    restic: { repo: location, args: ["-o", `sftp.command=${sshd.resticCommand}`] },
  });
});

test("an installation is saved to an append-only REST server and comes back, and no password is printed", async () => {
  const secret = encodeURIComponent(rest.password);
  const location = rest.location("desk/").replace("http://", `http://${rest.user}:${secret}@`);
  const printed = await wholeWay({ name: "rest", location, env: {}, restic: { repo: location, args: [] } });
  for (const form of [rest.password, secret]) assert.ok(!printed.includes(form));
});
