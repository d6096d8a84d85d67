import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { type ErrorCode, isFailure } from "../../src/base/errors.ts";
import { openStore } from "../../src/store/open-store.ts";
import { RemoteStore } from "../../src/store/remote-store.ts";
import { openRestBackend } from "../../src/store/rest-backend.ts";
import {
  lacksPassword,
  parseRestLocation,
  secretsInLocation,
  withoutPassword,
  withPassword,
} from "../../src/store/rest-location.ts";
import type { Store } from "../../src/store/store.ts";
import { startRestServer, type TestRestServer } from "../harness/rclone.ts";
import { freePort } from "../harness/postgres.ts";
import { fillFolder, testStore } from "./conformance.ts";
import { refusal } from "./refusal.ts";

const signal = new AbortController().signal;
const NAME = "ab".repeat(32);
const REF = { kind: "data", name: NAME } as const;
const CONFIG = { kind: "config", name: "" } as const;

let server: TestRestServer;
let count = 0;

before(async () => {
  server = await startRestServer();
});

after(async () => await server[Symbol.asyncDispose]());

testStore(
  "rest store",
  async () => {
    count += 1;
    const path = `conformance${count}`;
    const store = await openStore(server.location(`${path}/`), { env: server.env });
    return { store, dispose: async () => {}, fill: fillFolder(`${server.folder}/${path}`) };
  },
  { showsParts: "rclone writes into the file that readers see", isNarrow: true },
);

async function withStore<T>(
  location: string,
  body: (store: Store) => Promise<T>,
  env: Readonly<Record<string, string>> = server.env,
): Promise<T> {
  // Without the retries: each failure is seen as the place gives it.
  const store = new RemoteStore(openRestBackend({ location, env, settings: {} }), undefined);
  try {
    return await body(store);
  } finally {
    await store.close();
  }
}

test("locations mean what restic takes them for, and are printed without their password", () => {
  const env = { RESTIC_REST_USERNAME: "env", RESTIC_REST_PASSWORD: "of the environment" };
  const table: [string, string, string | undefined, string][] = [
    ["rest:http://host:8000/", "http://host:8000/", "env:of the environment", "rest:http://host:8000/"],
    ["rest:https://host/a/b", "https://host/a/b/", "env:of the environment", "rest:https://host/a/b/"],
    ["rest:https://u:p%40ss%2F@host/x/", "https://host/x/", "u:p@ss/", "rest:https://u:***@host/x/"],
    ["rest:https://u@host/x/", "https://host/x/", "u:", "rest:https://u@host/x/"],
    ["rest:http://[::1]:8000", "http://[::1]:8000/", "env:of the environment", "rest:http://[::1]:8000/"],
  ];
  for (const [location, url, credentials, shown] of table) {
    const place = parseRestLocation(location, env);
    assert.deepEqual({ ...place, url: place.url.href }, { url, credentials, shown });
  }
  assert.equal(parseRestLocation("rest:http://host/").credentials, undefined);
  for (const location of [
    "rest:",
    "rest:host/path",
    "rest:ftp://u:tops3cret@host/",
    "rest:http://u:tops3cret@host:x/",
  ]) {
    assert.throws(
      () => parseRestLocation(location),
      (error) => isFailure(error, "usage/invalid") && !`${error.message}${error.hint}`.includes("tops3cret"),
      location,
    );
  }
});

test("the password of a location is known as it is written and as it is meant", () => {
  assert.deepEqual(secretsInLocation("rest:https://u:p%40ss@host/x/"), ["p%40ss", "p@ss"]);
  assert.deepEqual(secretsInLocation("sftp://u:100%@host/x"), ["100%"]);
  for (const location of [
    "rest:http://host:8000/a@b",
    "rest:http://u@host:80/",
    "sftp:u@host:/a",
    "/a:b@c",
    "s3:https://host/b",
  ]) {
    assert.deepEqual(secretsInLocation(location), [], location);
  }
});

test("where a password was left out of a location, it is known and can be put there again", () => {
  const table: [string, string][] = [
    ["rest:https://u:p%40ss@host/x/", "rest:https://u:***@host/x/"],
    ["rest:HTTPS:/u:p@ss:word@host:8000/x", "rest:HTTPS:/u:***@host:8000/x"],
  ];
  for (const [location, kept] of table) {
    assert.equal(withoutPassword(location), kept);
    assert.ok(lacksPassword(kept) && !lacksPassword(location));
    assert.deepEqual(secretsInLocation(kept), []);
    assert.equal(parseRestLocation(withPassword(kept, "a:b@$&/c")).credentials, "u:a:b@$&/c");
  }
  for (const location of [
    "rest:https://u@host:80/",
    "rest:https://host/a:b@c",
    "azure:c:/a:b@c",
    "/srv/a:b@c",
    "first",
  ]) {
    assert.equal(withoutPassword(location), location);
    assert.ok(!lacksPassword(location));
  }
});

test("files lie where restic puts them on the server", async () => {
  await withStore(server.location("layout"), async (store) => {
    await store.create({ signal });
    await store.put(REF, Buffer.from("x"), { signal });
    assert.ok(existsSync(join(server.folder, "layout", "data", "ab", NAME)));
    assert.equal(store.location, server.location("layout/"));
  });
});

test("a password in the location is used, and a wrong or missing one is store/denied and never said", async () => {
  const { user, password, port } = server;
  const at = (secret: string) => `rest:http://${user}:${encodeURIComponent(secret)}@127.0.0.1:${port}/x/`;
  await withStore(at(password), async (store) => assert.equal(await store.stat(CONFIG, { signal }), undefined), {});
  const wrong = await withStore(
    at("tops3cret"),
    async (store) => await refusal(store.stat(CONFIG, { signal }), "store/denied"),
    {},
  );
  assert.match(wrong, /refuses the user or the password/);
  assert.doesNotMatch(wrong, /tops3cret/);
  const missing = await withStore(
    server.location("x"),
    async (store) => await refusal(store.create({ signal }), "store/denied"),
    {},
  );
  assert.match(missing, /wants a user and a password.*RESTIC_REST_USERNAME/);
});

async function look(store: Store): Promise<{ sizeBytes: number } | undefined> {
  return await store.stat(CONFIG, { signal });
}

test("a server's own CA is believed where RESTIC_CACERT names it, and nowhere else", async () => {
  await using tls = await startRestServer({ tls: true });
  assert.equal(await withStore(tls.location("x"), look, tls.env), undefined);
  const { RESTIC_CACERT: ca = "", ...unknown } = tls.env;
  const said = await withStore(tls.location("x"), async (store) => await refusal(look(store), "store/denied"), unknown);
  assert.match(said, /certificate of '127.0.0.1:\d+' cannot be trusted.*RESTIC_CACERT/);
  assert.doesNotMatch(said, /Node\.js/);
  // The name must be the certificate's.
  const elsewhere = tls.location("x").replace("127.0.0.1", "localhost");
  await withStore(elsewhere, async (store) => await refusal(look(store), "store/denied"), tls.env);
  await refusal(openStore(tls.location("x"), { env: { RESTIC_CACERT: `${ca}.none` } }), "usage/invalid");
  // TLS where the server has none.
  const plain = server.location("x").replace("http:", "https:");
  assert.match(await withStore(plain, async (store) => await refusal(look(store), "usage/invalid")), /plain http/);
});

test("an append-only server takes and gives everything, and removing is store/denied", async () => {
  await using own = await startRestServer({ appendOnly: true });
  await withStore(
    own.location("x"),
    async (store) => {
      await store.create({ signal });
      await store.put(CONFIG, Buffer.from("config"), { signal });
      await store.put(CONFIG, Buffer.from("another"), { signal });
      await store.put(REF, Buffer.from("x"), { signal });
      await store.put(REF, Buffer.from("x"), { signal });
      assert.equal(String(await store.get(CONFIG, { signal })), "config");
      assert.match(
        await refusal(store.remove(REF, { signal }), "store/denied"),
        /does not allow it: removing.*append-only/,
      );
      const lock = { kind: "locks", name: NAME } as const;
      await store.put(lock, Buffer.from("lock"), { signal });
      await store.remove(lock, { signal });
      assert.equal(await store.stat(lock, { signal }), undefined);
    },
    own.env,
  );
});

/** A server that answers what the test wants. */
async function standIn(listener: RequestListener, body: (location: string) => Promise<void>): Promise<void> {
  const http = createServer(listener);
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  try {
    await body(`rest:http://127.0.0.1:${(http.address() as AddressInfo).port}/`);
  } finally {
    http.closeAllConnections();
    http.close();
  }
}

test("what a server answers is told apart", async () => {
  const table: [number, ErrorCode][] = [
    [301, "usage/invalid"],
    [400, "store/unreachable"],
    [403, "store/denied"],
    [413, "store/full"],
    [429, "store/unreachable"],
    [500, "store/unreachable"],
    [503, "store/unreachable"],
    [507, "store/full"],
  ];
  let status = 0;
  await standIn(
    (_, response) => response.writeHead(status, { Location: "http://u:tops3cret@elsewhere/" }).end("words"),
    async (location) => {
      await withStore(location, async (store) => {
        for (const [wanted, code] of table) {
          status = wanted;
          for (const call of [store.get(REF, { signal }), store.remove(REF, { signal }), store.create({ signal })]) {
            assert.doesNotMatch(await refusal(call, code), /tops3cret/);
          }
        }
      });
    },
  );
  const gone = `rest:http://127.0.0.1:${await freePort()}/`;
  assert.match(
    await withStore(gone, async (store) => await refusal(store.stat(CONFIG, { signal }), "store/unreachable")),
    /refused/,
  );
});

test("an answer that is cut off is never taken for the file", async () => {
  const bytes = randomBytes(10_000);
  await standIn(
    (request, response) => {
      if (request.method === "HEAD") response.writeHead(200, { "Content-Length": bytes.length }).end();
      else {
        response.writeHead(200, { "Content-Length": bytes.length });
        response.write(bytes.subarray(0, 5_000), () => response.destroy());
      }
    },
    async (location) => {
      await withStore(location, async (store) => {
        await refusal(store.get(REF, { signal }), "store/unreachable");
        await refusal(store.get(REF, { signal, offset: 10, length: 20 }), "store/unreachable");
      });
    },
  );
  // Cut with the right length: fewer bytes than were asked for.
  await standIn(
    (_, response) => response.writeHead(206).end(bytes.subarray(0, 10)),
    async (location) => {
      await withStore(location, async (store) => {
        await refusal(store.get(REF, { signal, offset: 10, length: 20 }), "store/not-found");
      });
    },
  );
});

test("a server without ranges and lists of the first version serve as well", async () => {
  const bytes = randomBytes(1_000);
  await standIn(
    ({ method, url }, response) => {
      if (url?.endsWith("/") === true) response.end(url === "/data/" ? JSON.stringify([NAME]) : "null");
      else response.writeHead(200, { "Content-Length": bytes.length }).end(method === "HEAD" ? undefined : bytes);
    },
    async (location) => {
      await withStore(location, async (store) => {
        assert.deepEqual(await Array.fromAsync(store.list("data", { signal })), [{ name: NAME, sizeBytes: 1_000 }]);
        assert.deepEqual(await Array.fromAsync(store.list("keys", { signal })), []);
        assert.deepEqual(await store.get(REF, { signal, offset: 10, length: 20 }), bytes.subarray(10, 30));
        await refusal(store.get(REF, { signal, offset: 990, length: 20 }), "store/not-found");
      });
    },
  );
  for (const answer of ["<html>", "{}", "[1]"]) {
    await standIn(
      (_, response) => response.end(answer),
      async (location) => {
        await withStore(location, async (store) => {
          await refusal(Array.fromAsync(store.list("data", { signal })), "store/unreachable");
        });
      },
    );
  }
});

test("a kept connection that the server has closed is no failure, and a call can be stopped", async () => {
  const known = new WeakSet<object>();
  const closed: string[] = [];
  const stop = new AbortController();
  const reason = new Error("stopped");
  await standIn(
    ({ socket, url }, response) => {
      if (url === "/data/") stop.abort(reason);
      else if (known.has(socket)) {
        closed.push(url ?? "");
        socket.destroy();
      } else response.writeHead(404, { "Content-Length": 0 }).end();
      known.add(socket);
    },
    async (location) => {
      await withStore(location, async (store) => {
        // When a connection is free to be used again is Node's business.
        while (closed.length === 0) {
          assert.equal(await store.stat(CONFIG, { signal }), undefined);
          await setImmediate();
        }
        await assert.rejects(Array.fromAsync(store.list("data", { signal: stop.signal })), (error) => error === reason);
      });
    },
  );
});
