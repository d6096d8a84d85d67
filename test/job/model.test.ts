/** Sixty random verbs on two repositories, always the same; two thousand of any seed are in test/long. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { runModel } from "./model.ts";

test("after each of sixty verbs, stopped at any write or not, two repositories hold what they must", async () => {
  const done = await runModel({ seed: "sixty one", steps: 60 });
  for (const verb of ["backup", "copy", "prune", "forget by policy", "hold", "repair index"]) {
    assert.ok((done.get(verb) ?? 0) > 0, `no ${verb}`);
  }
  assert.ok([...done].some(([label]) => label.endsWith(", stopped")));
});
