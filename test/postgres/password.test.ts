import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Failure, isFailure } from "../../src/base/errors.ts";
import type { ServerAddress } from "../../src/postgres/address.ts";
import { connect } from "../../src/postgres/connect.ts";
import { findPrograms } from "../../src/postgres/programs.ts";
import { dumpSchema } from "../../src/postgres/schema-dump.ts";
import { hasTerminal } from "../../src/system/process.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { untilGone } from "../harness/until-gone.ts";

const { signal } = new AbortController();
let server: TestServer;
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let database: ServerAddress;

before(async () => {
  folder = await temporaryFolder();
  server = await startPostgres({ auth: "scram" });
  await server.query("create role clerk login");
  database = { ...(await server.createDatabase("desk", "clerk")), user: "clerk", password: undefined };
});
after(async () => {
  await server.stop();
  await folder[Symbol.asyncDispose]();
});

/** What providers' tokens are: another one after a while, printed by a program. */
async function issue(token: string): Promise<void> {
  await server.query(`alter role clerk password '${token}'`);
  await writeFile(join(folder.path, "token"), `${token}\n`);
}

/** A role whose password a command prints, and how often it was asked. */
function asked(name: string): { address: ServerAddress; times: () => Promise<number> } {
  const count = join(folder.path, name);
  const passwordCommand = `echo >> ${count}; cat ${join(folder.path, "token")}`;
  return {
    address: { ...database, passwordCommand },
    times: async () => (await readFile(count, "utf8")).length,
  };
}

test("a password that a command prints is used again, and asked for anew when the server refuses it", async () => {
  const { address, times } = asked("sessions");
  await issue("first-token");
  await using _ = await connect(address, { signal });
  await using __ = await connect(address, { signal });
  assert.equal(await times(), 1);
  await issue("second-token");
  await using ___ = await connect(address, { signal });
  assert.equal(await times(), 2);
});

test("pg_dump gets the one that counts now, in its environment, also when it changed since", async () => {
  const { address, times } = asked("programs");
  const programs = await findPrograms(server.major, { signal });
  await issue("third-token");
  await dumpSchema(address, programs, { signal });
  await issue("fourth-token");
  await dumpSchema(address, programs, { signal });
  assert.equal(await times(), 2);
});

test("sessions that are opened at once ask once", async () => {
  const { address, times } = asked("together");
  await issue("fifth-token");
  const open = async () => await (await connect(address, { signal })).close();
  await Promise.all([open(), open(), open()]);
  await issue("sixth-token");
  await Promise.all([open(), open(), open()]);
  assert.equal(await times(), 2);
});

test("a command that prints what the server does not take is asked once more, and no more", async () => {
  const { address, times } = asked("wrong");
  await issue("seventh-token");
  await writeFile(join(folder.path, "token"), "s3cret-but-wrong\n");
  await assert.rejects(
    connect(address, { signal }),
    (error) => isFailure(error, "database/denied") && !`${error.message}${error.hint}`.includes("s3cret"),
  );
  assert.equal(await times(), 2);
});

test("a command that fails, or prints no password, is told without what it is or printed", async () => {
  const cases = [
    ["echo s3cret; echo s3cret >&2; exit 3", "program/failed", /password failed$/, /by hand/],
    ["true # s3cret", "config/invalid", /printed nothing/, /password-command/],
    ["echo s3cret; echo s3cret", "config/invalid", /printed several lines/, /password-command/],
  ] as const;
  for (const [passwordCommand, code, message, hint] of cases) {
    await assert.rejects(connect({ ...database, passwordCommand }, { signal }), (error) => {
      assert.ok(isFailure(error, code), String(error));
      assert.match(error.message, message);
      assert.match(error.hint ?? "", hint);
      assert.ok(!`${error.message}${error.hint}`.includes("s3cret"));
      return true;
    });
  }
});

test("a command that is given up is not waited for, and without a terminal all that it started ends with it", async () => {
  const pid = join(folder.path, "pid");
  const stop = new AbortController();
  const passwordCommand = `sleep 600 & echo $! > ${pid}.new; mv ${pid}.new ${pid}; wait`;
  const connecting = connect({ ...database, passwordCommand }, { signal: stop.signal });
  connecting.catch(() => {});
  while (!existsSync(pid)) await sleep(10);
  stop.abort(new Failure("run/cancelled", "enough"));
  await assert.rejects(connecting, /enough/);
  const started = Number(await readFile(pid, "utf8"));
  if (hasTerminal()) process.kill(started, "SIGKILL");
  await untilGone(started);
});
