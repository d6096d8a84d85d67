/** A live swap and its rollback on each major that Chatwoot may run on, by a role that is no superuser. */
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { Client } from "pg";
import type { Finding } from "../../src/base/findings.ts";
import { liveBlockers } from "../../src/job/restore-live.ts";
import { embeddedPostgres } from "../harness/embedded.ts";
import { newerPostgres } from "../harness/newer-postgres.ts";
import { startPostgres } from "../harness/postgres.ts";
import { makeCheapToOpen } from "../scenario/cheap-key.ts";
import { type Desk, openDesk } from "../scenario/desk.ts";

const signal = new AbortController().signal;

before(async () => {
  // Where a person's shell would find their client programs.
  const clients = [(await newerPostgres(17)).programs, (await newerPostgres(18)).programs];
  process.env["PATH"] = [process.env["PATH"] ?? "", ...clients].join(":");
});

/** Servers without pgvector, which only a superuser may create. */
async function openVersion(server: string): Promise<Desk> {
  const desk = await openDesk({
    isCheckout: true,
    hasProcesses: true,
    size: { messages: 300, conversations: 30, files: 4 },
    server: { programs: server },
  });
  await makeCheapToOpen(desk);
  return desk;
}

for (const major of [13, 16, 17, 18] as const) {
  test(`PostgreSQL ${major}: a database takes the live one's place and gives it back, by a role that is no superuser`, async () => {
    await using desk = await openVersion((await embeddedPostgres(major)).programs);
    const { server, installation } = desk;
    const live = installation.database.database;
    assert.equal(server.major, major);
    // As Chatwoot's own role, which has no other role's rights.
    await server.query("drop extension if exists pg_stat_statements", live);
    await server.query(`alter role chatwoot nosuperuser createdb; alter database ${live} owner to chatwoot`);
    await desk.summary(["backup"]);
    const messages = async () => (await server.query("select count(*)::int as n from messages", live))[0]?.["n"];
    const all = await messages();
    await server.query("delete from messages where id % 2 = 0", live);
    const half = await messages();
    const other = new Client({ ...installation.database, database: live });
    const ended = new Promise<void>((resolve) => other.on("error", () => resolve()));
    await other.connect();
    const restored = await desk.summary(["restore", "latest", "--only", "database", "--yes"]);
    await ended;
    assert.equal(await messages(), all);
    const { previous } = restored["database"] as { previous: string };
    const rolled = await desk.summary(["rollback", "--yes"]);
    assert.deepEqual([rolled["back"], await messages()], [previous, half]);
    const again = await desk.chatkeep(["rollback", "--yes"]);
    assert.equal(again.status, 1);
    assert.match(again.stderr, /the last swap was itself a rollback/);
    assert.equal(await messages(), half);
    await desk.summary(["restore", "--discard-previous", "--yes"]);
  });

  test(`PostgreSQL ${major}: what a role lacks for a swap is told, and the statements of the plan give it`, async () => {
    await using server = await startPostgres({ programs: (await embeddedPostgres(major)).programs });
    const live = "shop_production";
    await server.createDatabase(live);
    await server.query("create role shop; create role keeper login noinherit");
    await server.query(`alter database ${live} owner to shop`);
    // From 16 on a member may be one without the right to inherit, and without the right to give the owner.
    await server.query(major < 16 ? "grant shop to keeper" : "grant shop to keeper with inherit false, set false");
    const address = { ...server.address, user: "keeper", database: live };
    const denied = async (): Promise<Finding[]> => (await liveBlockers(address, { signal })).blockers;
    const [blocker] = await denied();
    assert.equal(blocker?.kind, "database-no-swap");
    assert.match(blocker.message, /may not create databases, and does not inherit the rights of 'shop'/);
    if (major >= 16) {
      await server.query("alter role keeper createdb; grant shop to keeper with inherit true");
      const [owner] = await denied();
      assert.match(owner?.message ?? "", /'keeper' may not give a new database to 'shop'/);
    }
    await server.query(/^Let an administrator run: (.*;) Or restore/.exec(blocker.hint)?.[1] ?? "");
    assert.deepEqual(await denied(), []);
  });
}
