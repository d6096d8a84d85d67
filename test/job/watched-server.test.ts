/** Whoever cannot reach the server that a watch follows has it looked for, and goes where it was found. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { type ErrorCode, Failure } from "../../src/base/errors.ts";
import { WatchedServer, type Whereabouts } from "../../src/job/watched-server.ts";

const at = (host: string) => ({ host, port: 5432, user: "chatwoot", database: "desk" });
const AWAY = failure("database/unreachable");

function failure(code: ErrorCode): Failure {
  return new Failure(code, `it fails with ${code}`);
}

interface Looked extends AsyncDisposable {
  readonly server: WatchedServer;
  readonly said: string[];
  readonly looks: PromiseWithResolvers<Whereabouts>[];
  /** Where is asked now: for Chatwoot's database, and for the log. */
  hosts(): string[];
  fails(times: number, who?: string, failure?: Failure): void;
  finds(address: string, replication?: string): Promise<void>;
}

function watched(): Looked {
  const said: string[] = [];
  const looks: PromiseWithResolvers<Whereabouts>[] = [];
  const server = new WatchedServer({
    address: at("old"),
    replication: at("old"),
    look: async (_now, { signal }) => {
      const look = Promise.withResolvers<Whereabouts>();
      looks.push(look);
      signal.addEventListener("abort", () => look.reject(signal.reason), { once: true });
      return await look.promise;
    },
    say: (line) => void said.push(line),
    signal: new AbortController().signal,
  });
  return {
    server,
    said,
    looks,
    hosts: () => [server.address.host, server.replication.host],
    fails(times, who, trouble = AWAY) {
      for (let time = 0; time < times; time += 1) server.session(trouble, who);
    },
    async finds(address, replication = address) {
      looks.at(-1)?.resolve({ address: at(address), replication: at(replication) });
      await turn();
    },
    [Symbol.asyncDispose]: async () => await server[Symbol.asyncDispose](),
  };
}

test("from the third failure on it is looked anew, once at a time, and what is not a matter of the place does not count", async () => {
  await using one = watched();
  one.fails(2);
  one.server.session(undefined);
  one.fails(2);
  one.fails(5, undefined, failure("wal/slot-in-use"));
  one.fails(5, undefined, failure("repo/damaged"));
  assert.equal(one.looks.length, 0);
  one.fails(3);
  assert.equal(one.looks.length, 1);
  await one.finds("old");
  assert.deepEqual(one.said, []);
  one.fails(1, undefined, failure("wal/other-cluster"));
  assert.equal(one.looks.length, 2);
  // A look that is under way keeps nobody from ending.
});

test("the log goes on where the server was found, and files follow when the log's server proved to be the one", async () => {
  await using one = watched();
  one.fails(3);
  one.fails(3, "files primary");
  await one.finds("new");
  assert.deepEqual(one.hosts(), ["old", "new"]);
  one.server.session(undefined);
  assert.deepEqual(one.hosts(), ["new", "new"]);
  assert.deepEqual(one.said, [
    "the log is asked for elsewhere now: chatwoot@new:5432/desk",
    "Chatwoot's database is elsewhere now: chatwoot@new:5432/desk",
  ]);
});

test("files that alone cannot be followed have the database looked for, while the log goes on by a way of its own", async () => {
  await using one = watched();
  one.fails(3, "files primary");
  await one.finds("new", "old");
  assert.deepEqual(one.hosts(), ["new", "old"]);
});

test("why it could not be looked is said once, and the next failure tries again", async () => {
  await using one = watched();
  one.fails(3);
  for (const time of [1, 2]) {
    one.looks.at(-1)?.reject(new Error("the engine does not answer"));
    await turn();
    one.fails(1);
    assert.equal(one.looks.length, time + 1);
  }
  assert.deepEqual(one.said, ["where the database is now cannot be told: the engine does not answer"]);
  assert.deepEqual(one.hosts(), ["old", "old"]);
});

test("a storage that is refused has the installation looked at anew, soon and then seldom, and one that is had does not", async () => {
  await using one = watched();
  const looked = (isRefused: boolean, times: number) => {
    for (let time = 0; time < times; time += 1) one.server.storage(isRefused, "storage primary");
  };
  looked(true, 2);
  looked(false, 1);
  looked(true, 2);
  assert.equal(one.looks.length, 0);
  looked(true, 1);
  assert.equal(one.looks.length, 1);
  const before = one.server.address;
  await one.finds("old");
  // Who asks by it knows the installation as it was found then.
  assert.notEqual(one.server.address, before);
  looked(true, 50);
  assert.equal(one.looks.length, 1);
  looked(true, 10);
  assert.equal(one.looks.length, 2);
});
