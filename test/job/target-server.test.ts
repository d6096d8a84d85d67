/** A server that is gone, or a new one in its place, is told of with what to do, before anything is recovered for it. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import type { Installation } from "../../src/installation/installation.ts";
import { namesAtTarget } from "../../src/job/target-server.ts";
import type { ServerAddress } from "../../src/postgres/address.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";
import { signal } from "../repo/small-backup.ts";

let server: TestServer;

before(async () => {
  server = await startPostgres();
});
after(async () => {
  await server.stop();
});

function look(more: Partial<ServerAddress>, { isLost = false } = {}) {
  const installation = { kind: "manual", envFile: isLost ? undefined : "/srv/.env" } as unknown as Installation;
  return namesAtTarget({ installation, address: { ...server.address, database: "chatwoot", ...more } }, { signal });
}

/** The hint of what it is refused with. */
async function hintOf(looking: Promise<unknown>, code: string): Promise<string> {
  const error: unknown = await looking.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.ok(isFailure(error), String(error));
  assert.equal(error.code, code);
  return error.hint ?? "";
}

test("names are those of the server's databases, also where Chatwoot's own is gone", async () => {
  assert.ok((await look({})).includes("postgres"));
});

test("a new server that does not know the role, and one that is gone, come with what to make there", async () => {
  const denied = await hintOf(look({ user: "nobody-there" }), "database/denied");
  assert.match(denied, /\? If it is a new server, make the role there first: CREATE ROLE "nobody-there" LOGIN/);
  const gone = { host: "127.0.0.1", port: 1 };
  const unreachable = await hintOf(look(gone), "database/unreachable");
  assert.match(unreachable, /\? If it is gone for good, start a new one of the same major in its place/);
});

test("without the environment file, which says where it is, that comes first", async () => {
  const hint = await hintOf(look({ host: "127.0.0.1", port: 1 }, { isLost: true }), "database/unreachable");
  assert.match(hint, /^If it is lost: /);
});
