import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, statSync } from "node:fs";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import * as fc from "fast-check";
import { Failure, isFailure } from "../../src/base/errors.ts";
import { LIMITS } from "../../src/base/limits.ts";
import { openSftp, type SftpChannel } from "../../src/store/sftp-client.ts";
import { decodePacket, encodePacket, type Field, PacketSplitter } from "../../src/store/sftp-packet.ts";
import { parseSftpLocation } from "../../src/store/sftp-location.ts";
import { explain, splitCommand, sshCommand } from "../../src/store/ssh-channel.ts";
import { temporaryFolder } from "../harness/temporary.ts";

const RUNS = 500;
const SERVER = "/usr/lib/openssh/sftp-server";
const call = { signal: new AbortController().signal };

const attributes: fc.Arbitrary<Field[]> = fc
  .record({
    size: fc.option(fc.bigInt(0n, 2n ** 53n - 1n)),
    owner: fc.boolean(),
    mode: fc.option(fc.nat()),
    time: fc.option(fc.nat()),
    more: fc.option(fc.array(fc.tuple(fc.string(), fc.string()), { maxLength: 3 })),
  })
  .map(({ size, owner, mode, time, more }) => {
    const flags =
      (size === null ? 0 : 1) |
      (owner ? 2 : 0) |
      (mode === null ? 0 : 4) |
      (time === null ? 0 : 8) |
      (more === null ? 0 : 0x8000_0000);
    const fields: Field[] = [flags >>> 0];
    if (size !== null) fields.push(size);
    if (owner) fields.push(1, 2);
    if (mode !== null) fields.push(mode);
    if (time !== null) fields.push(time, time);
    if (more !== null) fields.push(more.length, ...more.flat());
    return fields;
  });

/** What a server may send: type and fields. */
const replies: fc.Arbitrary<{ type: number; fields: Field[] }> = fc.oneof(
  fc.record({ type: fc.constant(101), fields: fc.tuple(fc.nat(20), fc.string(), fc.constant("en")) }),
  fc.record({ type: fc.constantFrom(102, 103), fields: fc.tuple(fc.uint8Array().map((bytes) => Buffer.from(bytes))) }),
  fc.record({ type: fc.constant(105), fields: attributes }),
  fc.array(fc.tuple(fc.string(), attributes), { maxLength: 5 }).map((names) => ({
    type: 104,
    fields: [names.length, ...names.flatMap(([name, fields]): Field[] => [name, `-rw ${name}`, ...fields])],
  })),
);

test("packets are cut and read as they were sent, however the stream is torn", () => {
  fc.assert(
    fc.property(fc.array(replies, { maxLength: 6 }), fc.array(fc.integer({ min: 1, max: 40 })), (sent, cuts) => {
      const stream = Buffer.concat(sent.map(({ type, fields }, at) => encodePacket(type, at, fields)));
      const splitter = new PacketSplitter();
      const packets: Buffer[] = [];
      let at = 0;
      for (const length of [...cuts, stream.length]) {
        packets.push(...splitter.push(stream.subarray(at, at + length)));
        at += length;
      }
      assert.deepEqual(
        packets.map((packet) => decodePacket(packet).id),
        sent.map((_, id) => id),
      );
      for (const [id, { type, fields }] of sent.entries()) {
        const { reply } = decodePacket(packets[id] ?? Buffer.alloc(0));
        if (reply.type === "status") assert.equal(reply.code, fields[0]);
        if (reply.type === "handle") assert.deepEqual(reply.handle, fields[0]);
        if (reply.type === "bytes") assert.deepEqual(reply.bytes, fields[0]);
        if (reply.type === "names") assert.equal(reply.names.length, fields[0]);
        if (reply.type === "attributes" && typeof fields[1] === "bigint") {
          assert.equal(reply.attributes.sizeBytes, Number(fields[1]));
        }
        assert.equal(
          { status: 101, handle: 102, bytes: 103, names: 104, attributes: 105 }[reply.type as "status"],
          type,
        );
      }
    }),
    { numRuns: RUNS },
  );
});

test("whatever a server sends is a packet or a failure of the store, and never more memory than it sent", () => {
  const changed = fc.tuple(replies, fc.nat(), fc.nat(255)).map(([{ type, fields }, at, byte]) => {
    const packet = encodePacket(type, 7, fields).subarray(4);
    packet[at % packet.length] = byte;
    return packet;
  });
  const cut = fc.tuple(replies, fc.nat()).map(([{ type, fields }, at]) => {
    const packet = encodePacket(type, 7, fields).subarray(4);
    return packet.subarray(0, at % packet.length);
  });
  const anything = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes));
  fc.assert(
    fc.property(fc.oneof(changed, cut, anything), (packet) => {
      try {
        decodePacket(packet);
      } catch (error) {
        assert.ok(isFailure(error, "store/unreachable"), String(error));
      }
    }),
    { numRuns: RUNS * 4 },
  );
});

test("a length that no packet has is refused at once", () => {
  for (const length of [0, LIMITS.sftpPacketMaxBytes + 1, 0xffff_ffff]) {
    const header = Buffer.alloc(4);
    header.writeUInt32BE(length);
    assert.throws(
      () => new PacketSplitter().push(header),
      (error) => isFailure(error, "store/unreachable"),
    );
  }
  // What a login script prints.
  assert.throws(() => new PacketSplitter().push(Buffer.from("Welcome to files!\n")), /is no SFTP/);
});

/** The system's own SFTP server, without ssh in between. */
function serverChannel(args: readonly string[] = []): SftpChannel {
  const child = spawn(SERVER, args, { stdio: ["pipe", "pipe", "ignore"] });
  return {
    toServer: child.stdin,
    fromServer: child.stdout,
    hold: () => {},
    async end() {
      child.stdin.end();
      child.kill("SIGKILL");
      return new Failure("store/unreachable", "the server is gone");
    },
  };
}

test(
  "OpenSSH's server takes and gives files of every length around a block",
  { skip: !existsSync(SERVER) },
  async () => {
    await using folder = await temporaryFolder();
    const client = await openSftp(serverChannel(), call);
    try {
      for (const extension of ["posixRename", "hardlink", "fsync", "statvfs", "limits"] as const) {
        assert.ok(client.has(extension), extension);
      }
      assert.ok(client.readBlockBytes > LIMITS.sftpBlockBytes && client.readBlockBytes <= LIMITS.sftpBlockMaxBytes);
      const path = folder.at("file");
      const bytes = randomBytes(client.writeBlockBytes + 1);
      const handle = await client.createFile(path, 0o400, call);
      await client.write(handle, bytes.subarray(100), { offset: 100, ...call });
      await client.write(handle, bytes.subarray(0, 100), { offset: 0, ...call });
      await client.sync(handle, call);
      await client.closeHandle(handle, call);
      assert.deepEqual(readFileSync(path), bytes);
      assert.equal(statSync(path).mode & 0o777, 0o400);
      const reading = await client.openFile(path, call);
      assert.equal((await client.statHandle(reading, call)).sizeBytes, bytes.length);
      assert.deepEqual(await client.read(reading, { offset: 1, length: 1000, ...call }), bytes.subarray(1, 1001));
      assert.equal((await client.read(reading, { offset: bytes.length, length: 10, ...call })).length, 0);
      await assert.rejects(client.rename(folder.at("nothing"), folder.at("x"), call), (error) =>
        isFailure(error, "store/not-found"),
      );
      const state = await client.filesystem(folder.path, call);
      assert.ok(state !== undefined && state.freeBytes > 0 && !state.isReadOnly);
    } finally {
      await client.close();
    }
    await assert.rejects(client.stat("/", call), (error) => isFailure(error, "store/unreachable"));
  },
);

test("a call that is given up ends at once, its late answer harms nothing, and the others go on", async () => {
  const [toServer, fromServer] = [new PassThrough(), new PassThrough()];
  const channel = { toServer, fromServer, hold: () => {}, end: async () => new Failure("store/unreachable", "over") };
  const opening = openSftp(channel, call);
  fromServer.write(encodePacket(2, undefined, [3]));
  const client = await opening;
  const stop = new AbortController();
  const given = client.stat("a", { signal: stop.signal });
  const other = client.stat("b", call);
  const reason = new Error("stopped");
  stop.abort(reason);
  await assert.rejects(given, (error) => error === reason);
  for (const id of [1, 2]) fromServer.write(encodePacket(105, id, [1, BigInt(id)]));
  assert.equal((await other)?.sizeBytes, 2);
  const last = client.stat("c", call);
  fromServer.end();
  await assert.rejects(last, /over/);
  assert.equal(client.isOpen, false);
});

test("what a channel sent before it was gone says why, even when a write to it failed first", async () => {
  const [toServer, fromServer] = [new PassThrough(), new PassThrough()];
  const over = Promise.withResolvers<Failure>();
  const channel = { toServer, fromServer, hold: () => {}, end: async () => await over.promise };
  const opening = openSftp(channel, call);
  await new Promise((resolve) => toServer.once("close", resolve).destroy(new Error("EPIPE")));
  await new Promise((resolve) => fromServer.once("data", resolve).write("Welcome to the file server,"));
  over.resolve(new Failure("store/unreachable", "it ended without a word"));
  await assert.rejects(opening, /is no SFTP/);
});

test("locations mean what restic takes them for", () => {
  const table: [string, string | undefined, string, number | undefined, string][] = [
    ["sftp:user@host:/srv/restic", "user", "host", undefined, "/srv/restic"],
    ["sftp:host:backups/chatwoot/", undefined, "host", undefined, "backups/chatwoot"],
    ["sftp:user@domain@host:x", "user@domain", "host", undefined, "x"],
    ["sftp:host:", undefined, "host", undefined, "."],
    ["sftp:host:a:b", undefined, "host", undefined, "a:b"],
    ["sftp:user@[::1]:/abs", "user", "::1", undefined, "/abs"],
    ["sftp://user@host:2222//abs/path", "user", "host", 2222, "/abs/path"],
    ["sftp://user@host/rel/path", "user", "host", undefined, "rel/path"],
    ["sftp://user@[::1]:2222//abs/path", "user", "::1", 2222, "/abs/path"],
    ["sftp://host//a%20b/../c", undefined, "host", undefined, "/c"],
  ];
  for (const [location, user, host, port, path] of table) {
    assert.deepEqual(parseSftpLocation(location), { user, host, port, path }, location);
  }
  for (const location of [
    "sftp:",
    "sftp:host",
    "sftp::path",
    "sftp://host",
    "sftp://host/",
    "sftp:host:~/x",
    "sftp:-oProxyCommand=x:path",
    "sftp:-l@host:path",
    "sftp:ho st:path",
    "sftp://host/a?b",
    "sftp://host:99999/x",
  ]) {
    assert.throws(
      () => parseSftpLocation(location),
      (error) => isFailure(error, "usage/invalid"),
      location,
    );
  }
  assert.throws(
    () => parseSftpLocation("sftp://user:tops3cret@host/path"),
    (error) => isFailure(error, "usage/invalid") && !`${error.message}${error.hint}`.includes("tops3cret"),
  );
});

test("ssh is called without a shell, asks nothing, and takes no unknown host key", () => {
  const { program, args } = sshCommand(parseSftpLocation("sftp://u@h:22//p"), {});
  assert.equal(program, "ssh");
  for (const option of ["-oBatchMode=yes", "-oStrictHostKeyChecking=yes"]) assert.ok(args.includes(option), option);
  assert.deepEqual(args.slice(-8), ["-p", "22", "-l", "u", "-s", "--", "h", "sftp"]);
  const own = sshCommand(parseSftpLocation("sftp:h:p"), { CHATKEEP_SFTP_COMMAND: "my-ssh -F '/a b'" });
  assert.equal(own.program, "my-ssh");
  assert.deepEqual(own.args.slice(0, 2), ["-F", "/a b"]);
  assert.deepEqual(splitCommand(`a  'b c' "d \\" e" f\\ g h'i'"j"`), ["a", "b c", 'd " e', "f g", "hij"]);
  assert.deepEqual(splitCommand(" "), []);
  assert.throws(
    () => splitCommand("ssh 'open"),
    (error) => isFailure(error, "usage/invalid"),
  );
});

test("what ssh prints is told in words that help", () => {
  const place = { user: "u", host: "h", port: 2222, path: "p" };
  const table: [string, string, RegExp][] = [
    ["ssh: Could not resolve hostname h: Name or service not known", "store/unreachable", /Could not resolve hostname/],
    ["ssh: connect to host h port 22: Connection refused", "store/unreachable", /Connection refused/],
    ["ssh: connect to host h port 22: Connection timed out\r", "store/unreachable", /timed out/],
    ["Host key verification failed.", "store/denied", /not known/],
    [
      "@@@@\n@  WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!  @\nHost key verification failed.",
      "store/denied",
      /not the one/,
    ],
    ["u@h: Permission denied (publickey).", "store/denied", /not log in/],
    ["subsystem request failed on channel 0", "store/denied", /no SFTP/],
    [
      "/x/config: line 1: Bad configuration option: foo\n/x/config: terminating, 1 bad configuration options",
      "usage/invalid",
      /refuses its configuration/,
    ],
    ["Warning: Permanently added 'h' to the list.\nsomething new", "store/unreachable", /something new/],
    ["", "store/unreachable", /without a word/],
  ];
  for (const [stderr, code, message] of table) {
    const failure = explain(stderr, place);
    assert.equal(failure.code, code, stderr);
    assert.match(failure.message, message);
    assert.ok(failure.hint);
  }
});
