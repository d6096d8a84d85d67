/** Restores into a server whose disk is too small for another database: one line, and the live database as it was. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { cannotMount, IS_ROOT } from "../harness/namespace.ts";
import { dumpLines } from "../harness/pg-dump-diff.ts";
import { mustRun } from "../harness/run.ts";
import { makeCheapToOpen } from "../scenario/cheap-key.ts";
import { openDesk } from "../scenario/desk.ts";
import { assertRefused, secretsOf } from "../scenario/refusal.ts";

const MIB = 1024 ** 2;

const whyNot = IS_ROOT ? await cannotMount() : "only root can mount a disk for the server alone";

test("a restore that fills the server's disk says so, drops what it made, and touches no other database", async (t) => {
  if (whyNot !== undefined) return t.skip(whyNot);
  const size = { messages: 100, conversations: 10, files: 4 };
  await using desk = await openDesk({
    size,
    server: { smallDiskBytes: 100 * MIB },
  });
  const { server, installation } = desk;
  await makeCheapToOpen(desk);
  await desk.summary(["backup"]);
  const live = installation.database;
  const [lines, secrets] = [await dumpLines(live), await secretsOf(desk)];
  const [empty] = await server.query("select pg_database_size('template0')::int as bytes");
  await server.query(`create tablespace small location '${server.smallDisk}'`);
  // From now on every new database lies there, whoever makes it.
  await server.query("alter database template0 set tablespace small");
  const databases = async () => {
    const rows = await server.query("select datname from pg_database where not datistemplate");
    return rows.map(({ datname }) => String(datname)).toSorted();
  };
  /** @param roomBytes beside the template and an empty database. */
  const restore = async (roomBytes: number, args: readonly string[], hint: RegExp) => {
    const bytes = 2 * Number(empty?.["bytes"]) + roomBytes;
    const remount = ["mount", "-o", `remount,size=${bytes}`, server.smallDisk];
    await mustRun("nsenter", [`--mount=/proc/${server.pid}/ns/mnt`, ...remount]);
    const result = await desk.chatkeep(["restore", "latest", "--only", "database", ...args, "--yes"]);
    const error =
      /^error: the database server's disk is full \(.*\): could not .*(?:No space left on device|wrote only)/;
    assertRefused(result, { status: 1, error, hint }, secrets);
  };
  const into = (name: string) => [
    "--database-url",
    `postgresql://postgres@${server.address.host}:${server.address.port}/${name}`,
  ];
  const before = await databases();
  // Full in the middle of the rows, of the indexes, and of the tables.
  await restore(-2 * MIB, into("made"), /'made', which was made for this, is dropped again.*room for about [\d.]+ MiB/);
  await restore(
    0,
    [],
    /Nothing was swapped: '.*' is as it was, and what was loaded beside it is dropped\..*--discard-/,
  );
  assert.deepEqual(await databases(), before);
  await server.createDatabase("given");
  await restore(-4 * MIB, into("given"), /'given' is half filled .*: DROP DATABASE "given";/);
  assert.deepEqual(await databases(), [...before, "given"].toSorted());
  assert.deepEqual(await dumpLines(live), lines);
});
