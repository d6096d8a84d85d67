/** A socket that is read into memory which is used again: nothing is lost, nothing overwritten, and to others it is a socket. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { test } from "node:test";
import { openBlockSocket } from "../../src/postgres/block-socket.ts";
import { borrowSocket } from "../../src/postgres/borrowed-socket.ts";

const MIB = 1024 ** 2;

/** Bytes of which no two places within some MiB are alike. */
function numbered(length: number): Buffer {
  const words = new Uint32Array(length / 4);
  for (let at = 0; at < words.length; at += 1) words[at] = at;
  return Buffer.from(words.buffer);
}

async function pair(): Promise<{ far: Socket; near: Socket } & AsyncDisposable> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const near = openBlockSocket();
  near.connect((server.address() as AddressInfo).port, "127.0.0.1");
  const [[far]] = (await Promise.all([once(server, "connection"), once(near, "connect")])) as [[Socket], unknown];
  return {
    far,
    near,
    async [Symbol.asyncDispose]() {
      for (const socket of [far, near]) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

/** What the library would listen with, and what it heard. */
function library(near: Socket) {
  const heard: Buffer[] = [];
  near.on("data", (bytes: Buffer) => void heard.push(Buffer.from(bytes)));
  return { heard, connection: { stream: near, query: () => {} } };
}

test("what comes is given in order and stays as long as it is lent, in few blocks; what follows is the library's again", async () => {
  await using sockets = await pair();
  const { far, near } = sockets;
  const { heard, connection } = library(near);
  const sent = numbered(24 * MIB);
  const ready = Promise.withResolvers<void>();
  let readable = ready;
  const socket = borrowSocket(connection, { lends: true, onReadable: () => readable.resolve() });
  far.write(sent);
  const memory = new Set<ArrayBufferLike>();
  let lent: Buffer[] = [];
  let at = 0;
  while (at < sent.length) {
    const bytes = socket.read();
    if (bytes === null) {
      await readable.promise;
      readable = Promise.withResolvers();
      continue;
    }
    memory.add(bytes.buffer);
    lent.push(bytes);
    at += bytes.length;
    if (lent.reduce((sum, { length }) => sum + length, 0) < MIB && at < sent.length) continue;
    const from = at - lent.reduce((sum, { length }) => sum + length, 0);
    assert.ok(Buffer.concat(lent).equals(sent.subarray(from, at)));
    for (const each of lent) socket.release(each);
    lent = [];
  }
  assert.ok(memory.size < 16, `${memory.size} blocks`);
  assert.deepEqual(heard, []);
  socket.giveBack(Buffer.from("rest"));
  far.end(", and what follows");
  await once(near, "end");
  assert.equal(Buffer.concat(heard).toString(), "rest, and what follows");
});

test("what is not lent stays, whatever comes after it", async () => {
  await using sockets = await pair();
  const { far, near } = sockets;
  const sent = numbered(4 * MIB);
  const all = Promise.withResolvers<void>();
  const kept: Buffer[] = [];
  let came = 0;
  const onReadable = () => {
    for (let bytes = socket.read(); bytes !== null; bytes = socket.read()) {
      kept.push(bytes);
      socket.release(bytes);
      came += bytes.length;
    }
    if (came === sent.length) all.resolve();
  };
  const socket = borrowSocket(library(near).connection, { onReadable });
  far.write(sent);
  await all.promise;
  assert.ok(Buffer.concat(kept).equals(sent));
});

test("until somebody takes what came nothing more is read, and the sender waits", async () => {
  await using sockets = await pair();
  const { far, near } = sockets;
  const sent = numbered(64 * MIB);
  const first = Promise.withResolvers<void>();
  let calls = 0;
  const socket = borrowSocket(library(near).connection, {
    lends: true,
    onReadable() {
      calls += 1;
      first.resolve();
    },
  });
  let isSent = false;
  far.write(sent, () => (isSent = true));
  await first.promise;
  // Another connection's whole life is time enough for what would come here.
  await using other = await pair();
  other.far.end("x");
  other.near.resume();
  await once(other.near, "end");
  assert.deepEqual([calls, isSent], [1, false]);
  let at = 0;
  const done = Promise.withResolvers<void>();
  const take = () => {
    for (let bytes = socket.read(); bytes !== null; bytes = socket.read()) {
      assert.ok(bytes.equals(sent.subarray(at, at + bytes.length)));
      at += bytes.length;
      socket.release(bytes);
    }
    if (at === sent.length) done.resolve();
    else setImmediate(take);
  };
  take();
  await done.promise;
});

test("a socket that nobody borrows is one like any other", async () => {
  await using sockets = await pair();
  const { far, near } = sockets;
  const sent = numbered(3 * MIB);
  far.end(sent);
  const parts: Buffer[] = [];
  for await (const part of near) parts.push(part as Buffer);
  assert.ok(Buffer.concat(parts).equals(sent));
  const refused = openBlockSocket();
  refused.connect(1, "127.0.0.1");
  const [error] = (await once(refused, "error")) as [NodeJS.ErrnoException];
  assert.equal(error.code, "ECONNREFUSED");
});
