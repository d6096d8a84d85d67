import { after, before } from "node:test";
import { openStore } from "../../src/store/open-store.ts";
import { startRestServer, type TestRestServer } from "../harness/rclone.ts";
import { testStore } from "./conformance.ts";

let server: TestRestServer;
let count = 0;

before(async () => {
  server = await startRestServer();
});

after(async () => await server[Symbol.asyncDispose]());

testStore("rest store", async () => {
  count += 1;
  const store = await openStore(server.location(`conformance${count}/`), { env: server.env });
  return { store, dispose: async () => await store.close() };
});
