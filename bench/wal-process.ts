/**
 * What the bench times of ours, each in a process of its own: `log PORT USER TIMELINE FROM TO FOLDER` writes the log into whole
 * segments, each durable before the next begins, as pg_receivewal does; `base PORT USER FOLDER` writes a base's files.
 */
import { type FileHandle, mkdir, open } from "node:fs/promises";
import { join } from "node:path";
import { openReplication } from "../src/postgres/replication.ts";
import { parseLsn, segmentName } from "../src/wal/lsn.ts";
import { takeBase } from "../test/harness/physical-base.ts";

/** Written at once. */
const WRITE_BYTES = 1024 ** 2;
const { signal } = new AbortController();

async function openAt(port: string, user: string) {
  const address = { host: "127.0.0.1", port: Number(port), user, database: "postgres" };
  return await openReplication(address, { signal });
}

async function followLog([port, user, timeline, from, to, folder]: readonly string[]): Promise<void> {
  await using session = await openAt(port ?? "", user ?? "");
  const segmentBytes = await session.segmentBytes();
  const end = parseLsn(to ?? "");
  const stream = await session.streamWal({ from: parseLsn(from ?? ""), timeline: Number(timeline) });
  await mkdir(folder ?? "", { recursive: true });
  let file: FileHandle | undefined;
  let left = 0;
  let parts: Buffer[] = [];
  let gathered = 0;
  const write = async () => {
    if (parts.length > 0) await file?.writev(parts);
    parts = [];
    gathered = 0;
  };
  for await (const { start, bytes } of stream) {
    for (let at = 0; at < bytes.length;) {
      if (file === undefined) {
        const position = start + BigInt(at);
        file = await open(join(folder ?? "", segmentName(Number(timeline), position, segmentBytes)), "w");
        left = segmentBytes - Number(position % BigInt(segmentBytes));
      }
      const part = bytes.subarray(at, at + left);
      parts.push(part);
      gathered += part.length;
      at += part.length;
      left -= part.length;
      if (left === 0 || gathered >= WRITE_BYTES) await write();
      if (left > 0) continue;
      await file.sync();
      await file.close();
      file = undefined;
    }
    stream.confirm({ written: stream.received, flushed: stream.received - (stream.received % BigInt(segmentBytes)) });
    if (stream.received >= end) break;
  }
  await write();
  await file?.sync();
  await file?.close();
}

const [what, ...args] = process.argv.slice(2);
if (what === "log") await followLog(args);
else {
  const [port = "", user = "", folder = ""] = args;
  await using session = await openAt(port, user);
  await takeBase(session, folder);
}
