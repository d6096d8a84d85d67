import assert from "node:assert/strict";
import { test } from "node:test";
import { keepNewest } from "../../../src/job/continuous/search-commits.ts";

test("of more commits than are wanted the newest by their times are kept, in whatever order timelines are read", () => {
  const kept: { timeUs: bigint; name: string }[] = [];
  for (const name of ["30 old", "31 old", "1", "2", "32", "31 new", "3"]) {
    keepNewest(kept, { timeUs: BigInt(name.split(" ")[0] ?? ""), name }, 4);
  }
  assert.deepEqual(
    kept.map(({ name }) => name),
    ["30 old", "31 old", "31 new", "32"],
  );
});
