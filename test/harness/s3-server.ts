/**
 * One s3rver in a process of its own, started by `s3.ts`: argument: its folder. It prints its port, and ends when its
 * input does, so it never outlives the test that started it.
 *
 * Where s3rver is no S3, it is put right here: an object is taken whole or not at all (s3rver writes into the file that
 * readers see, and keeps what a broken upload sent), a body that was signed in pieces (restic sends such over plain
 * HTTP) is put together, and deleting never races with a write into the same folder.
 */
import { createHash, randomUUID } from "node:crypto";
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import process from "node:process";

interface S3Object {
  readonly bucket: string;
  readonly key: string;
  readonly content: IncomingMessage;
  readonly metadata: Readonly<Record<string, string>>;
}

interface FilesystemStore {
  getResourcePath(bucket: string, key: string, resource: string): string;
  putMetadata(bucket: string, key: string, metadata: Readonly<Record<string, string>>, md5: string): Promise<void>;
  putObject(object: S3Object): Promise<{ size: number; md5: string }>;
  deleteObject(bucket: string, key: string): Promise<void>;
}

interface S3rver {
  readonly store: FilesystemStore;
  run(): Promise<{ port: number }>;
}

const S3RVER = createRequire(import.meta.url)("s3rver") as new (options: Readonly<Record<string, unknown>>) => S3rver;

async function gather({ content }: S3Object): Promise<Buffer> {
  const sent = Buffer.concat(await Array.fromAsync(content as AsyncIterable<Buffer>));
  const isInPieces = content.headers["x-amz-content-sha256"]?.toString().startsWith("STREAMING-") ?? false;
  const bytes = isInPieces ? joinPieces(sent) : sent;
  const announced = content.headers[isInPieces ? "x-amz-decoded-content-length" : "content-length"];
  if (announced !== undefined && bytes.length !== Number(announced)) throw new Error("the upload broke off");
  return bytes;
}

/** Each piece is its length in hex, its signature, and its bytes; one of no length ends them. */
function joinPieces(sent: Buffer): Buffer {
  const pieces: Buffer[] = [];
  let at = 0;
  while (at < sent.length) {
    const end = sent.indexOf("\r\n", at);
    const length = Number.parseInt(sent.toString("latin1", at, end), 16);
    if (!(length > 0)) break;
    pieces.push(sent.subarray(end + 2, end + 2 + length));
    at = end + 2 + length + 2;
  }
  return Buffer.concat(pieces);
}

const [folder = ""] = process.argv.slice(2);
const server = new S3RVER({ address: "127.0.0.1", port: 0, silent: true, directory: folder, vhostBuckets: false });
const { store } = server;
const incoming = join(dirname(folder), `${basename(folder)}.incoming`);
await mkdir(incoming, { recursive: true });

store.putObject = async (object) => {
  const bytes = await gather(object);
  const md5 = createHash("md5").update(bytes).digest("hex");
  const path = store.getResourcePath(object.bucket, object.key, "object");
  const temporary = join(incoming, randomUUID());
  await writeFile(temporary, bytes);
  await mkdir(dirname(path), { recursive: true });
  await store.putMetadata(object.bucket, object.key, object.metadata, md5);
  await rename(temporary, path);
  return { size: bytes.length, md5 };
};

store.deleteObject = async (bucket, key) => {
  for (const resource of ["object", "object.md5", "metadata.json"]) {
    await rm(store.getResourcePath(bucket, key, resource), { force: true });
  }
};

const { port } = await server.run();
process.stdout.write(`${port}\n`);
process.stdin.on("end", () => process.exit(0)).resume();
