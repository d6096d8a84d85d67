/** The single executable on Debian as it is installed, without Node: everything it does, with programs of that Debian's alone. */
import assert from "node:assert/strict";
import { after, before, test, type TestContext } from "node:test";
import { buildExecutable } from "../../deploy/executable/build.ts";
import { bareDebian, type BareDebian } from "../harness/bare-debian.ts";
import { summaryOf } from "../harness/cli.ts";
import { cannotMount, IS_ROOT } from "../harness/namespace.ts";
import { newerPostgres } from "../harness/newer-postgres.ts";
import { assertSameDatabase } from "../harness/pg-dump-diff.ts";
import { startS3 } from "../harness/s3.ts";
import { startSshd } from "../harness/sshd.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import { readFolder } from "../harness/tree.ts";
import { type Desk, openDesk } from "../scenario/desk.ts";

/** Debian's releases, the major of PostgreSQL that each has, and what a whole day's work calls there. */
const RELEASES = [
  { suite: "bookworm", release: "12", major: 15, packages: ["postgresql", "git", "openssh-client"] },
  {
    suite: "trixie",
    release: "13",
    major: 17,
    // The desk on a 17 has pgvector.
    packages: ["postgresql", "postgresql-17-pgvector", "git", "openssh-client"],
  },
] as const;

let folder: TestFolder;
let executable: string;

before(async () => {
  folder = await temporaryFolder();
  executable = await buildExecutable(folder.at("built"));
});

after(async () => {
  await folder[Symbol.asyncDispose]();
});

/** Why it cannot be tried here, or undefined. */
async function hindrance(): Promise<string | undefined> {
  return IS_ROOT ? await cannotMount() : "only root can install a Debian into a folder";
}

/** A desk whose server is of that Debian's major. */
async function openDeskOf(major: 15 | 17): Promise<Desk> {
  return await openDesk(major === 15 ? {} : { server: { programs: (await newerPostgres(major)).programs } });
}

async function summary(debian: BareDebian, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const { status, stdout, stderr } = await debian.run(["chatkeep", "--json", ...args], env);
  assert.equal(status, 0, `chatkeep ${args.join(" ")}\n${stdout}${stderr}`);
  return summaryOf(stdout);
}

async function onBare(suite: string, desk: Desk): Promise<void> {
  const debian = await bareDebian({ suite, executable, place: folder.at(`${suite}-bare`) });
  assert.notEqual(
    (await debian.run(["sh", "-c", "command -v node || command -v pg_dump || command -v git"])).status,
    0,
  );
  assert.deepEqual(await debian.run(["chatkeep", "--version"]).then(({ status, stderr }) => ({ status, stderr })), {
    status: 0,
    stderr: "",
  });
  const config = ["--config", desk.config];
  const looked = await debian.run(["chatkeep", ...config, "doctor"]);
  assert.equal(looked.status, 3, looked.stderr);
  assert.match(looked.stdout, /pg_dump/);
  const backup = await debian.run(["chatkeep", ...config, "backup"]);
  assert.notEqual(backup.status, 0);
  assert.match(backup.stderr, /^error: .*pg_dump.*\nhint: .*postgresql-client/m);
}

async function wholeDay(suite: string, packages: readonly string[], desk: Desk): Promise<void> {
  const debian = await bareDebian({ suite, packages, executable, place: folder.at(`${suite}-added`) });
  await using s3 = await startS3();
  await using sshd = await startSshd();
  const env = { CHATKEEP_CONFIG: desk.config, CHATKEEP_DEBUG: "1", ...s3.env, ...sshd.env };
  await summary(debian, ["backup"], env);
  for (const [name, location] of [
    ["bucket", s3.location("desk", "chatkeep")],
    ["other", sshd.location("desk")],
  ] as const) {
    await summary(debian, ["init", "--add", name, "--location", location, "--yes"], env);
    await summary(debian, ["copy", "--to", name], env);
    assert.deepEqual(
      (await summary(debian, ["verify", "--read-data", "--repository", name], env))["problems"],
      [],
      name,
    );
  }
  const proof = await summary(debian, ["drill"], env);
  assert.equal(proof["proven"], true, JSON.stringify(proof));
  const target = await desk.server.createDatabase("restored");
  const url = `postgres://${target.user}@${target.host}:${target.port}/restored`;
  const to = `${desk.root}/restored`;
  await summary(
    debian,
    ["restore", "latest", "--repository", "bucket", "--to", to, "--database-url", url, "--yes"],
    env,
  );
  await assertSameDatabase(desk.installation.database, target, { programs: desk.server.programs });
  assert.deepEqual(await readFolder(`${to}/storage`), await readFolder(desk.installation.storageRoot));
}

for (const { suite, release, major, packages } of RELEASES) {
  test(`on Debian ${release} with nothing added it runs, and names what a backup needs`, async (t: TestContext) => {
    const why = await hindrance();
    if (why !== undefined) return t.skip(why);
    await using desk = await openDeskOf(major);
    await onBare(suite, desk);
  });

  test(`on Debian ${release} with PostgreSQL it saves, copies to S3 and SFTP, proves and restores`, async (t) => {
    const why = await hindrance();
    if (why !== undefined) return t.skip(why);
    await using desk = await openDeskOf(major);
    await wholeDay(suite, packages, desk);
  });
}
