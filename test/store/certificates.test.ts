import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { openStore } from "../../src/store/open-store.ts";
import { mustRun } from "../harness/run.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";

const { signal } = new AbortController();
const REF = { kind: "keys", name: "ab".repeat(32) } as const;

let folder: TestFolder;
let server: Server;
let host: string;
/** TLS connections that the other side gave up. */
let refused = 0;

before(async () => {
  folder = await temporaryFolder();
  const made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost";
  const named = "-addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem";
  await mustRun("openssl", `${made} ${named}`.split(" "), { cwd: folder.path });
  const [key, cert] = await Promise.all([readFile(folder.at("key.pem")), readFile(folder.at("cert.pem"))]);
  server = createServer({ key, cert }, (_, response) => response.writeHead(404).end());
  server.on("tlsClientError", () => (refused += 1));
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  host = `localhost:${(server.address() as AddressInfo).port}`;
});

after(async () => {
  await new Promise((resolve) => {
    server.close(resolve);
    server.closeAllConnections();
  });
  await folder[Symbol.asyncDispose]();
});

type Place = (host: string) => { location: string; env: Readonly<Record<string, string>> };

const PLACES: Readonly<Record<string, Place>> = {
  s3: (at) => ({
    location: `s3:https://${at}/bucket`,
    env: { AWS_ACCESS_KEY_ID: "AKIDEXAMPLE", AWS_SECRET_ACCESS_KEY: "secret", AWS_DEFAULT_REGION: "us-east-1" },
  }),
  azure: (at) => ({
    location: "azure:box:/",
    env: {
      AZURE_STORAGE_CONNECTION_STRING: `DefaultEndpointsProtocol=https;AccountName=desk;AccountKey=c2VjcmV0;BlobEndpoint=https://${at}/desk;`,
    },
  }),
  gs: (at) => ({ location: "gs:bucket:/", env: { STORAGE_EMULATOR_HOST: `https://${at}` } }),
  rest: (at) => ({ location: `rest:https://${at}/`, env: {} }),
};

for (const [kind, placeAt] of Object.entries(PLACES)) {
  test(`${kind}: a certificate that cannot be verified ends the first try, and one that is named is believed`, async () => {
    const { location, env } = placeAt(host);
    refused = 0;
    const store = await openStore(location, { env, onRetry: ({ message }) => assert.fail(`tried again: ${message}`) });
    await assert.rejects(store.stat(REF, { signal }), (error) => {
      assert.ok(isFailure(error, "store/denied"), String(error));
      assert.match(error.message, /certificate/);
      assert.match(error.hint ?? "", /RESTIC_CACERT/);
      return true;
    });
    await store.close();
    assert.ok(refused <= 1, `${refused} connections were refused`);
    const known = await openStore(location, { env: { ...env, RESTIC_CACERT: folder.at("cert.pem") } });
    assert.equal(await known.stat(REF, { signal }), undefined);
    await known.close();
  });
}
