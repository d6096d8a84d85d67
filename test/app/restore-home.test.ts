import assert from "node:assert/strict";
import { test } from "node:test";
import { chooseRestore, type RememberedRestore, type RememberedRestores } from "../../src/app/restore-home.ts";
import { Failure } from "../../src/base/errors.ts";
import type { JournalState } from "../../src/job/stages/journal.ts";

function remembered(
  restores: readonly (readonly [id: string, state: JournalState])[],
  unreadable: readonly string[] = [],
): RememberedRestores {
  return {
    restores: restores.map(
      ([id, state]) => ({ kept: { id, journal: { value: { state } } } }) as unknown as RememberedRestore,
    ),
    unreadable: unreadable.map((id) => ({ id, failure: new Failure("restore/record", `${id} is damaged`) })),
  };
}

const isNotUndone = ({ state }: { state: JournalState }) => state !== "undone";

function chosen(all: RememberedRestores, isMeant = isNotUndone): [string | undefined, string[]] {
  const found = chooseRestore(all, isMeant);
  return [found?.kept.id, (found?.findings ?? []).map(({ kind, message }) => `${kind}: ${message}`)];
}

test("the newest restore that is meant is found, and an older one that cannot be read is told and passed over", () => {
  const told = ["restore-record-unreadable: 2020 is damaged"];
  assert.deepEqual(chosen(remembered([["2026", "done"]])), ["2026", []]);
  assert.deepEqual(
    chosen(
      remembered(
        [
          ["2026", "undone"],
          ["2025", "done"],
          ["2024", "done"],
        ],
        ["2020"],
      ),
    ),
    ["2025", told],
  );
  // While one is unfinished no other begins, so that what cannot be read is over, whatever it is called.
  const unfinished = remembered([["2025", "restoring"]], ["2026", "2020"]);
  assert.deepEqual(chosen(unfinished)[0], "2025");
  assert.deepEqual(chosen(unfinished, ({ state }) => state === "restoring")[0], "2025");
  assert.deepEqual(chosen(remembered([["2026", "undone"]])), [undefined, []]);
});

test("one that cannot be read and may be the one that is meant is not passed over", () => {
  for (const all of [
    remembered([["2025", "done"]], ["2026"]),
    remembered([["2025", "undone"]], ["2026"]),
    remembered([["2025", "undone"]], ["2020"]),
    remembered([], ["2020"]),
  ]) {
    assert.throws(() => chooseRestore(all, isNotUndone), { code: "restore/record" });
  }
});
