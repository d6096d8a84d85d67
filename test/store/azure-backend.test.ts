import { after, before, test } from "node:test";
import { mapConcurrent } from "../../src/base/concurrent.ts";
import { openStore } from "../../src/store/open-store.ts";
import { startAzure, type TestAzure } from "../harness/azure.ts";
import { testStore } from "./conformance.ts";
import { assertTold, probeOf } from "./probing.ts";

const { signal } = new AbortController();
let azure: TestAzure;
let count = 0;

before(async () => {
  azure = await startAzure();
});

after(async () => await azure.stop());

testStore(
  "azure store",
  async () => {
    count += 1;
    const name = `conformance${count}`;
    const store = await openStore(azure.location(name, "a/folder"), { env: azure.env });
    const container = azure.client.getContainerClient(name);
    return {
      store,
      dispose: async () => {},
      fill: async (refs) => {
        await mapConcurrent(
          refs,
          64,
          async (ref) => await container.getBlockBlobClient(`a/folder/${ref.kind}/${ref.name}`).upload("", 0),
          { signal },
        );
      },
    };
  },
  {
    openDenied: async () => {
      const wrong = Buffer.from("another key").toString("base64");
      const connection = azure.env["AZURE_STORAGE_CONNECTION_STRING"]?.replace(
        /AccountKey=[^;]+/,
        `AccountKey=${wrong}`,
      );
      const env = { AZURE_STORAGE_CONNECTION_STRING: connection };
      return { store: await openStore(azure.location("closed"), { env }), dispose: async () => {} };
    },
  },
);

test("azure store: trying it tells all of it", async () => {
  assertTold(await probeOf(openStore(azure.location("tried", "a"), { env: azure.env })));
});
