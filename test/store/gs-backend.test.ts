import { after, before } from "node:test";
import { openStore } from "../../src/store/open-store.ts";
import { startGs, type TestGs } from "../harness/gs.ts";
import { testStore } from "./conformance.ts";

let gs: TestGs;
let count = 0;

before(async () => {
  gs = await startGs();
});

after(async () => await gs.stop());

testStore("gs store", async () => {
  count += 1;
  const bucket = `conformance${count}`;
  return {
    store: await openStore(gs.location(bucket, "a/folder"), { env: gs.env }),
    dispose: async () => {},
    fill: async (refs) => {
      for (const { kind, name } of refs) gs.buckets.get(bucket)?.set(`a/folder/${kind}/${name}`, Buffer.alloc(0));
    },
  };
});
