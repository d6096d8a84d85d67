/** An S3 server for tests: s3rver on loopback, in a process of its own, its buckets in a temporary folder. */
import { spawn } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { once } from "node:events";
import { dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { temporaryFolder } from "./temporary.ts";

const SERVER = resolve(import.meta.dirname, "s3-server.ts");

export interface TestS3 extends AsyncDisposable {
  /** `http://127.0.0.1:PORT`. */
  readonly endpoint: string;
  /** The folder where s3rver keeps its buckets. */
  readonly folder: string;
  /** Credentials, as environment variables; s3rver knows no others. */
  readonly env: Readonly<Record<string, string>>;
  /** A location as restic and Chatkeep take it. The bucket need not exist: `init` makes it. */
  location(bucket: string, prefix?: string): string;
  /** Makes a bucket, as its owner would have done before. */
  createBucket(bucket: string): Promise<void>;
  /** Puts empty objects into a bucket at once, past the server. */
  fill(bucket: string, keys: readonly string[]): Promise<void>;
  stop(): Promise<void>;
}

/** Starts one; use it with `await using`, or call `stop`. */
export async function startS3(): Promise<TestS3> {
  const place = await temporaryFolder("chatkeep-s3");
  const folder = place.at("buckets");
  await mkdir(folder);
  // s3rver enciphers the names of its pages with DES, which OpenSSL counts as legacy.
  const child = spawn(process.execPath, ["--openssl-legacy-provider", "--no-warnings", SERVER, folder], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const exited = once(child, "exit");
  const lines = createInterface({ input: child.stdout });
  const [port] = (await Promise.race([
    once(lines, "line"),
    exited.then(() => Promise.reject(new Error("s3rver did not start"))),
  ])) as [string];
  const endpoint = `http://127.0.0.1:${port}`;
  const stop = async () => {
    child.stdin.end();
    child.kill();
    await exited;
    await place[Symbol.asyncDispose]();
  };
  return {
    endpoint,
    folder,
    env: { AWS_ACCESS_KEY_ID: "S3RVER", AWS_SECRET_ACCESS_KEY: "S3RVER" },
    location: (bucket, prefix) => `s3:${endpoint}/${bucket}${prefix === undefined ? "" : `/${prefix}`}`,
    createBucket: async (bucket) => {
      await mkdir(join(folder, bucket), { recursive: true });
    },
    fill: async (bucket, keys) => {
      for (const key of keys) {
        const path = join(folder, bucket, `${key}._S3rver_object`);
        await mkdir(dirname(path), { recursive: true });
        await writeFile(path, "");
      }
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}
