import { deepEqual, equal, rejects } from "node:assert/strict";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import { array, assert, asyncProperty, integer, uint8Array } from "fast-check";
import { CopyOut } from "../../src/postgres/copy-out.ts";

function message(letter: string, body: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.write(letter, "latin1");
  head.writeUInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

/** A session of the library's, as far as a COPY sees it: what came of it after the data, and before. */
function session() {
  const socket = new PassThrough();
  const heard: Buffer[] = [];
  socket.on("data", (bytes: Buffer) => heard.push(Buffer.from(bytes)));
  const asked: string[] = [];
  return { stream: socket, query: (sql: string) => void asked.push(sql), heard, asked };
}

async function readAll(copy: CopyOut): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of copy) pieces.push(Buffer.from(piece as Buffer));
  return Buffer.concat(pieces);
}

const END = Buffer.concat([
  message("c", Buffer.alloc(0)),
  message("C", Buffer.from("COPY 2\0")),
  message("Z", Buffer.from("I")),
]);

test("rows come out whole and in order, however the messages are cut on their way", async () => {
  const row = uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes));
  const property = asyncProperty(
    array(row, { maxLength: 12 }),
    array(integer({ min: 1, max: 60 }), { minLength: 1 }),
    async (rows, cuts) => {
      const { heard, asked, ...connection } = session();
      const copy = new CopyOut("copy t to stdout");
      copy.submit(connection);
      const notice = message("N", Buffer.from("by the way"));
      const sent = Buffer.concat([
        message("H", Buffer.from([0, 0, 0])),
        ...rows.flatMap((bytes) => [message("d", bytes), notice]),
        END,
      ]);
      const read = readAll(copy);
      for (let at = 0, turn = 0; at < sent.length; turn += 1) {
        const size = cuts[turn % cuts.length] ?? 1;
        connection.stream.write(Buffer.from(sent.subarray(at, at + size)));
        at += size;
        await new Promise(setImmediate);
      }
      deepEqual(await read, Buffer.concat(rows));
      await new Promise(setImmediate);
      deepEqual(Buffer.concat(heard), END);
      deepEqual(asked, ["copy t to stdout"]);
    },
  );
  await assert(property, { numRuns: 60 });
});

test("an error ends the data with that error, and the session is the library's again", async () => {
  const { heard, ...connection } = session();
  const copy = new CopyOut("copy t to stdout");
  copy.submit(connection);
  const error = message("E", Buffer.from("SERROR\0\0"));
  const listener = (bytes: Buffer) => {
    if (bytes[0] === 0x45) copy.handleError(new Error("the row cannot be read"));
  };
  const read = readAll(copy);
  connection.stream.write(Buffer.concat([message("d", Buffer.from("1\n")), error]));
  await new Promise(setImmediate);
  deepEqual(Buffer.concat(heard), error);
  listener(error);
  await rejects(read, /the row cannot be read/);
});

test("what the server counted is known once it has said so", () => {
  const copy = new CopyOut("copy t to stdout");
  copy.handleCommandComplete({ text: "COPY 1234567" });
  equal(copy.rowCount, 1_234_567);
});
