import { after, before } from "node:test";
import { openStore } from "../../src/store/open-store.ts";
import { startSshd, type TestSshd } from "../harness/sshd.ts";
import { testStore } from "./conformance.ts";

let sshd: TestSshd;
let count = 0;

before(async () => {
  sshd = await startSshd();
});

after(async () => await sshd[Symbol.asyncDispose]());

testStore("sftp store", async () => {
  count += 1;
  const store = await openStore(sshd.location(`conformance ${count}`), { env: sshd.env });
  return { store, dispose: async () => await store.close() };
});
