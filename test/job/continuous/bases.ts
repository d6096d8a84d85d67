/** A folder as `BASE_BACKUP` would send it, and facts of a base that need no server. */
import { createReadStream, lstatSync, readdirSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { type BaseEntry, saveBase } from "../../../src/job/continuous/save-base.ts";
import type { Written } from "../../../src/job/continuous/writing.ts";
import type { BaseFacts } from "../../../src/point/base-facts.ts";
import type { Base } from "../../../src/point/continuous.ts";
import type { Repository } from "../../../src/repo/repository.ts";
import { LINE, SEGMENT, START, writerOf } from "./spans.ts";

export const BASE_OF_TEST: Base = {
  ...LINE,
  from: START,
  to: START + 1000n,
  major: 15,
  segmentBytes: SEGMENT,
  beganUs: 1_795_449_530_123_456n,
  bytes: 1000,
};

export function factsOf(base: Partial<Base> = {}): BaseFacts {
  return {
    program: "Chatkeep 0.0.0",
    base: { ...BASE_OF_TEST, ...base },
    backupLabel: "START WAL LOCATION: 0/2000028\n",
    tablespaceMap: null,
    serverVersion: "15.14",
    settings: { max_connections: "100", shared_preload_libraries: "" },
    databases: [
      {
        name: "chatwoot",
        oid: 16384,
        encoding: "UTF8",
        provider: "c",
        collate: "C",
        ctype: "C",
        locale: null,
        collationVersion: null,
      },
    ],
  };
}

export async function* entriesOf(root: string, below = ""): AsyncGenerator<BaseEntry> {
  for (const name of readdirSync(join(root, below))) {
    const path = below === "" ? name : `${below}/${name}`;
    const facts = lstatSync(join(root, path));
    const entry = { path, mode: facts.mode & 0o7777, mtimeMs: Math.floor(facts.mtimeMs) };
    if (facts.isDirectory()) {
      yield { ...entry, kind: "folder" };
      yield* entriesOf(root, path);
    } else if (facts.isSymbolicLink()) yield { ...entry, kind: "link", target: readlinkSync(join(root, path)) };
    else yield { ...entry, kind: "file", size: facts.size, bytes: createReadStream(join(root, path)) };
  }
}

export async function putBase(
  repository: Repository,
  root: string,
  {
    facts = factsOf(),
    manifest = Buffer.from("{}"),
    atMs,
  }: { facts?: BaseFacts; manifest?: Buffer; atMs?: number } = {},
): Promise<Written> {
  return await saveBase(writerOf(repository, atMs), {
    files: entriesOf(root),
    expectedBytes: 1_000_000,
    facts: async () => ({ facts, manifest }),
  });
}
