/**
 * An S3 service that keeps versions and knows object lock, for tests: moto's server, from Debian's sid in a folder below
 * `.cache` (made once: about two minutes, 450 MB), on loopback.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { installDebian } from "./debian-folder.ts";

const ROOT = resolve(import.meta.dirname, "../../.cache/moto");
/** It ends when its input does, so it never outlives the test that started it. */
const SERVER = `
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
from moto.server import main
main(["-H", "127.0.0.1", "-p", "0"])
`;

export interface TestMoto extends AsyncDisposable {
  /** Credentials, as environment variables. */
  readonly env: Readonly<Record<string, string>>;
  /** The official client, for what owners and intruders do past Chatkeep. */
  readonly client: S3Client;
  /** A location as restic and Chatkeep take it. */
  location(bucket: string, prefix?: string): string;
  /** Makes a bucket; one with object lock keeps versions too. */
  createBucket(bucket: string, options?: { isLocking?: boolean }): Promise<void>;
}

/** @throws Error that says what is lacking: it takes root, Debian and its packages. */
export async function startMoto(): Promise<TestMoto> {
  await installDebian({
    folder: ROOT,
    suite: "sid",
    packages: ["python3-moto", "python3-flask", "python3-flask-cors"],
    proof: "usr/bin/moto_server",
  });
  const child = spawn("chroot", [ROOT, "/usr/bin/python3", "-c", SERVER], { stdio: ["pipe", "ignore", "pipe"] });
  const exited = once(child, "exit");
  const port = await Promise.race([
    portIn(createInterface({ input: child.stderr })),
    exited.then(() => Promise.reject(new Error(`moto did not start: see ${join(ROOT, "usr/bin/moto_server")}`))),
  ]);
  const endpoint = `http://127.0.0.1:${port}`;
  const credentials = { accessKeyId: "AKIDMOTO", secretAccessKey: "moto" };
  const client = new S3Client({ endpoint, region: "us-east-1", forcePathStyle: true, credentials });
  return {
    env: { AWS_ACCESS_KEY_ID: credentials.accessKeyId, AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey },
    client,
    location: (bucket, prefix) => `s3:${endpoint}/${bucket}${prefix === undefined ? "" : `/${prefix}`}`,
    async createBucket(bucket, { isLocking = false } = {}) {
      await client.send(new CreateBucketCommand({ Bucket: bucket, ObjectLockEnabledForBucket: isLocking }));
    },
    async [Symbol.asyncDispose]() {
      client.destroy();
      child.stdin.end();
      await exited;
    },
  };
}

/** The lines go on being read: each request is one. */
async function portIn(lines: ReturnType<typeof createInterface>): Promise<string> {
  const { promise, resolve: found } = Promise.withResolvers<string>();
  lines.on("line", (line) => {
    const [, port] = /http:\/\/127\.0\.0\.1:(\d+)/.exec(line) ?? [];
    if (port !== undefined) found(port);
  });
  return await promise;
}
