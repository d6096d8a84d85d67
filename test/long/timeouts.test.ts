/** What a session needs of servers that have other timeouts, and other limits of connections, than the one that all else is tried on. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "../../src/postgres/connect.ts";
import { refuseSharedSessions } from "../../src/postgres/pooler.ts";
import { countSpareSessions } from "../../src/postgres/spare-sessions.ts";
import { readTimeouts } from "../../src/postgres/timeouts.ts";
import { embeddedPostgres } from "../harness/embedded.ts";
import { startPostgres } from "../harness/postgres.ts";

const { signal } = new AbortController();
const OLD = ["idle_in_transaction_session_timeout", "lock_timeout", "statement_timeout"];

for (const [major, newer] of [
  [13, []],
  [16, ["idle_session_timeout"]],
  [17, ["idle_session_timeout", "transaction_timeout"]],
] as const) {
  test(`on PostgreSQL ${major} a session outlives every timeout, and is told what is left for others`, async () => {
    const { programs } = await embeddedPostgres(major);
    await using server = await startPostgres({ programs });
    await server.query("create role hasty login connection limit 4");
    for (const name of [...OLD, ...newer]) await server.query(`alter role hasty set ${name} = '1ms'`);
    await using connection = await connect({ ...server.address, user: "hasty" }, { signal });
    await sleep(30);
    await connection.query("begin");
    await sleep(30);
    assert.deepEqual(await connection.query("commit; select 1 as alive"), [{ alive: 1 }]);
    assert.deepEqual((await readTimeouts(connection)).toSorted(), [...OLD, ...newer].toSorted());
    assert.equal(await countSpareSessions(connection), 3);
    assert.equal(await refuseSharedSessions(connection, { signal }), false);
    await using admin = await connect(server.address, { signal });
    assert.equal(await countSpareSessions(admin), 58);
  });
}
