import assert from "node:assert/strict";
import { stat, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { HappenedWriter, readHappened } from "../../src/app/watch-happened.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { GIVEN_UP } from "./given-up.ts";

const HAPPENED = { key: "slot", findings: [GIVEN_UP], untilMs: 86_400_000 };

test("what happened is read as it was written, and is gone when it is over", async () => {
  await using folder = await temporaryFolder();
  const writer = new HappenedWriter(folder);
  await writer.write([]);
  await assert.rejects(stat(folder.at("watch-happened.json")), /ENOENT/, "a watch to which nothing happened");
  await writer.write([HAPPENED]);
  assert.deepEqual(await readHappened(folder), [HAPPENED]);
  await writer.write([]);
  assert.deepEqual(await readHappened(folder), []);
});

test("what is no such file, and what of it is no finding, says nothing", async () => {
  await using folder = await temporaryFolder();
  assert.deepEqual(await readHappened(folder), []);
  const until = "1970-01-02T00:00:00.000Z";
  for (const [text, found] of [
    ["half of it", []],
    [JSON.stringify({ schema: 2, happened: [{ key: "slot", until, findings: [GIVEN_UP] }] }), []],
    [JSON.stringify({ schema: 1, happened: [{ key: "slot", until: "soon", findings: [GIVEN_UP] }, { until }] }), []],
    [
      JSON.stringify({ schema: 1, happened: [{ key: "slot", until, findings: [null, { kind: "x" }, GIVEN_UP] }] }),
      [HAPPENED],
    ],
  ] as const) {
    await writeFile(folder.at("watch-happened.json"), text);
    assert.deepEqual(await readHappened(folder), found, text);
  }
});
