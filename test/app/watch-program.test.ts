import assert from "node:assert/strict";
import { test } from "node:test";
import { VERSION } from "../../src/app/program.ts";
import { watchProgram } from "../../src/app/watch-program.ts";
import type { Finding } from "../../src/base/findings.ts";
import { HandClock } from "../harness/hand-clock.ts";

test("another version in its place is told when it stays, and no more when the watch's own is back", async () => {
  const { signal } = new AbortController();
  const looks = [VERSION, undefined, "9.0.0", undefined, "9.0.0", "9.0.0", VERSION];
  const told: string[] = [];
  const book = { find: (_key: string, ...found: readonly Finding[]) => void told.push(found[0]?.message ?? "") };
  const installed = () => {
    if (looks.length === 0) throw new Error("enough");
    return looks.shift();
  };
  const clock = new HandClock({ wakesAtOnce: true });
  await assert.rejects(watchProgram({ book, clock, signal }, installed), /enough/);
  const message = `Chatkeep 9.0.0 was installed in the place of ${VERSION}, which this watch still runs`;
  assert.deepEqual(told, ["", "", "", message, ""]);
});
