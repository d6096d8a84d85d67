/** Recovery in a container of an image that has the database's server, where this machine itself is not asked for one. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { chmod, copyFile, cp, mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { after, before, test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { silent } from "../../src/base/progress.ts";
import { connect } from "../../src/postgres/connect.ts";
import { recover, type RecoveryOptions } from "../../src/postgres/recovery.ts";
import { walFolder } from "../../src/postgres/recovery-wal.ts";
import { endStanding, isStandingOver, standOn } from "../../src/postgres/standing.ts";
import { type Docker, makeImage, startDocker } from "../harness/docker.ts";
import { serverUser, startPostgres } from "../harness/postgres.ts";
import { mustRun } from "../harness/run.ts";
import { type TestFolder, temporaryFolder } from "../harness/temporary.ts";
import { receiveWal, takeBase } from "../harness/wal.ts";

const signal = new AbortController().signal;
const IMAGE = "recovery/postgres:here";
const SEGMENT = 16 * 1024 * 1024;

let engine: Docker;
let folder: TestFolder;
let options: RecoveryOptions;
let moment: bigint;

/** An image of this machine's own server, and of the few programs that a recovery needs in it. */
async function makeOwnImage(programs: string, major: number): Promise<void> {
  await using root = await temporaryFolder();
  await chmod(root.path, 0o755);
  const tools = ["sh", "cat", "rm", "mv", "sleep", "grep", "ls", "locale"].map((name) => `/usr/bin/${name}`);
  const binaries = [...tools, `${programs}/postgres`, `${programs}/pg_config`];
  for (const path of binaries) {
    const { stdout } = await mustRun("ldd", [path]);
    const libraries = [...stdout.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map(([, library = ""]) => library);
    for (const file of [path, ...libraries]) {
      await mkdir(dirname(root.at(file.slice(1))), { recursive: true });
      await copyFile(file, root.at(file.slice(1)));
    }
  }
  await mkdir(root.at("bin"), { recursive: true });
  await copyFile("/usr/bin/sh", root.at("bin/sh"));
  await chmod(root.at("bin/sh"), 0o755);
  for (const path of [
    `usr/lib/postgresql/${major}/lib`,
    `usr/share/postgresql/${major}`,
    "usr/share/zoneinfo",
    "usr/lib/locale",
  ])
    await cp(`/${path}`, root.at(path), { recursive: true });
  for (const path of ["etc", "tmp", "var"]) await mkdir(root.at(path));
  await mustRun("touch", [root.at("etc/passwd")]);
  await makeImage(engine, { name: IMAGE, folder: root.path, changes: ["ENV PATH=/usr/bin:/bin"] });
}

before(async () => {
  folder = await temporaryFolder();
  await chmod(folder.path, 0o755);
  await using server = await startPostgres({
    settings: ["wal_level=replica", "synchronous_commit=on", "full_page_writes=on", "wal_keep_size=256MB"],
  });
  await server.query("create table account (n int primary key)");
  const receiver = await receiveWal(server, folder.at("wal"));
  await takeBase(server, folder.at("base"));
  await server.query("insert into account select generate_series(1, 1000); select pg_switch_wal()");
  await server.query("insert into account values (1001)");
  const [row] = await server.query("select (extract(epoch from clock_timestamp()) * 1000000)::bigint::text as us");
  moment = BigInt(String(row?.["us"]));
  await server.query("delete from account");
  await receiver.caughtUp();
  await receiver.stop();
  engine = await startDocker();
  process.env["DOCKER_HOST"] = engine.host;
  await makeOwnImage(server.programs, server.major);
  options = {
    cluster: {
      major: server.major,
      segmentBytes: SEGMENT,
      bytes: 50 * 1024 * 1024,
      extensions: ["plpgsql"],
      locales: ["C.UTF-8"],
      settings: {},
      roles: ["postgres"],
    },
    files: async (data) => await cp(folder.at("base"), data, { recursive: true }),
    wal: await walFolder(folder.at("wal"), SEGMENT),
    timeline: 1,
    target: { kind: "time", us: moment },
    places: { kinds: ["container"], image: IMAGE },
    progress: silent,
    signal,
  };
});

after(async () => {
  await engine[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

async function containers(): Promise<string> {
  return (await engine.docker(["ps", "--all", "--quiet"])).stdout;
}

test("a moment comes back in a container of the image, and nothing of it stays", async () => {
  {
    await using recovered = await recover(options);
    assert.match(recovered.server.where, /in a container of recovery\/postgres:here/);
    await using connection = await connect(recovered.address, { signal });
    assert.deepEqual(await connection.query("select count(*)::int as n from account"), [{ n: 1001 }]);
    assert.notEqual(await containers(), "");
  }
  assert.equal(await containers(), "");
});

test("a server of a moment goes on in a container without a network, is asked through its socket, and goes", async () => {
  const place = folder.at("stands");
  await mkdir(place, { mode: 0o700 });
  const user = serverUser();
  if (user !== undefined) await mustRun("chown", [`${user.uid}:${user.gid}`, place]);
  await using recovered = await recover({ ...options, folder: place });
  const looker = { user: "looker", password: "seen", database: "postgres" };
  const stand = { looker, settings: {}, onStart: async () => {}, signal };
  const standing = await standOn(recovered.server, recovered.address, { ...stand, port: undefined });
  await recovered[Symbol.asyncDispose]();
  {
    await using connection = await connect(standing.address, { signal });
    assert.deepEqual(await connection.query("select count(*)::int as n from account"), [{ n: 1001 }]);
    await assert.rejects(connection.query("delete from account"), /read-only transaction/);
  }
  assert.equal(await isStandingOver(standing.process, { signal }), false);
  await endStanding(standing.process);
  assert.equal(await isStandingOver(standing.process, { signal }), true);
  assert.equal(await containers(), "");
  assert.equal(existsSync(place), true, "the folder is its owner's to remove");
});

test("a moment outside of the log, and a locale that the image lacks, are told", async () => {
  await assert.rejects(recover({ ...options, target: { kind: "time", us: moment + 3_600_000_000n } }), (error) =>
    isFailure(error, "moment/outside"),
  );
  const cluster = { ...options.cluster, locales: ["en_US.utf8"] };
  await assert.rejects(
    recover({ ...options, cluster }),
    (error) =>
      isFailure(error, "program/missing") &&
      /a container of recovery\/postgres:here .* does not know the locale en_US\.utf8/.test(error.hint ?? ""),
  );
  assert.equal(await containers(), "");
});
