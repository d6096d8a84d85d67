/** Frozen repositories that stock restic wrote: every release must read them, for ever. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { encodeSnapshot } from "../../src/format/snapshot-file.ts";
import { decodeTree, encodeTree } from "../../src/format/tree.ts";
import { permissionsOf } from "../../src/format/node.ts";
import { contentOf, nodesBelow, openRepositoryFiles, type RepositoryFiles } from "./open-repository.ts";

function golden(name: string): RepositoryFiles {
  const path = join(import.meta.dirname, "../golden/format", `${name}.json`);
  const files = JSON.parse(readFileSync(path, "utf8")) as Record<string, string>;
  return new Map(Object.entries(files).map(([file, base64]) => [file, Buffer.from(base64, "base64")]));
}

for (const [name, programVersion] of [
  ["restic-0.14", undefined],
  ["restic-0.19", "restic 0.19.1"],
] as const) {
  test(`the frozen repository of ${name} opens to the last byte`, async () => {
    const repository = await openRepositoryFiles(golden(name), "golden pässword");
    assert.match(repository.config.id, /^[0-9a-f]{64}$/);
    const [first, ...others] = repository.snapshots;
    assert.ok(first !== undefined && others.length === 0);
    const { snapshot, json } = first;
    assert.equal(encodeSnapshot(snapshot), json);
    assert.deepEqual(snapshot.tags, ["a<b", "two"]);
    assert.equal(snapshot.hostname, "example.org");
    assert.equal(snapshot.programVersion, programVersion);
    const found = new Map([...nodesBelow(repository, snapshot.tree)].map(({ path, node }) => [path, node]));
    const folder = "/srv/sample/letters";
    assert.deepEqual(
      [...found.keys()].filter((path) => path.startsWith(`${folder}/`)),
      [
        `${folder}/a"b\\c`,
        `${folder}/empty`,
        `${folder}/hello.txt`,
        `${folder}/link`,
        `${folder}/long.txt`,
        `${folder}/raw\udcff`,
        `${folder}/é`,
      ],
    );
    const node = (name: string) => found.get(`${folder}/${name}`) ?? assert.fail(`no ${name}`);
    assert.equal(contentOf(repository, node("hello.txt")).toString(), "hello, golden repository\n");
    assert.equal(contentOf(repository, node("long.txt")).toString(), "z".repeat(3000));
    assert.deepEqual(node("empty").content, []);
    assert.equal(node("link").linktarget, "hello.txt");
    assert.equal(permissionsOf(node("long.txt").mode), 0o4755);
    assert.equal(node("hello.txt").mtime, "2024-02-29T12:34:56.12Z");
    for (const { entry, bytes } of repository.chunks.values()) {
      if (entry.type === "tree") assert.ok(encodeTree(decodeTree(bytes)).equals(bytes));
    }
  });
}
