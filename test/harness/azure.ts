/** Azurite, Microsoft's own stand-in for Azure Blob Storage: on loopback, in memory, in a process of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";
import { BlobServiceClient } from "@azure/storage-blob";
import { isListening } from "./listening.ts";
import { freePort } from "./postgres.ts";
import { temporaryFolder } from "./temporary.ts";
import { withParent } from "./with-parent.ts";

/** Known to everybody: Azurite's only account. */
const ACCOUNT = "devstoreaccount1";
const KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

export interface TestAzure extends AsyncDisposable {
  /** `http://127.0.0.1:PORT/ACCOUNT`. */
  readonly endpoint: string;
  /** Credentials and endpoint, as environment variables. */
  readonly env: Readonly<Record<string, string>>;
  /** The official client, to look at what lies there. */
  readonly client: BlobServiceClient;
  /** A location as restic and Chatkeep take it. The container need not exist: `init` makes it. */
  location(container: string, prefix?: string): string;
  stop(): Promise<void>;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}

/** Starts one; use it with `await using`, or call `stop`. */
export async function startAzure(): Promise<TestAzure> {
  const folder = await temporaryFolder("chatkeep-azure");
  const program = createRequire(import.meta.url).resolve("azurite/dist/src/blob/main.js");
  const flags = ["--inMemoryPersistence", "--skipApiVersionCheck", "--silent", "--disableTelemetry"];
  for (let attempt = 0; attempt < 5; attempt += 1) {
    const port = await freePort();
    const args = [program, ...flags, "--blobHost", "127.0.0.1", "--blobPort", String(port)];
    const child = spawn(...withParent(process.execPath, args), { cwd: folder.path, stdio: "ignore" });
    for (let tries = 0; tries < 6000 && child.exitCode === null; tries += 1) {
      if (!(await isListening(port))) {
        await sleep(25);
        continue;
      }
      const endpoint = `http://127.0.0.1:${port}/${ACCOUNT}`;
      const connection = `DefaultEndpointsProtocol=http;AccountName=${ACCOUNT};AccountKey=${KEY};BlobEndpoint=${endpoint};`;
      const stop = async () => {
        await end(child);
        await folder[Symbol.asyncDispose]();
      };
      return {
        endpoint,
        env: { AZURE_STORAGE_CONNECTION_STRING: connection },
        client: BlobServiceClient.fromConnectionString(connection),
        location: (container, prefix = "") => `azure:${container}:/${prefix}`,
        stop,
        [Symbol.asyncDispose]: stop,
      };
    }
    await end(child);
  }
  throw new Error("azurite did not start");
}
