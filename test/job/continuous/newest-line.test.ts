/** A watch that begins anew follows only what goes on from what the repositories have. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../../../src/base/clock.ts";
import { Failure } from "../../../src/base/errors.ts";
import { type NewestLine, refuseStrangers } from "../../../src/job/continuous/newest-line.ts";

const address = { host: "db.example", port: 5432, user: "chatwoot", database: "chatwoot" };
const { signal } = new AbortController();
const OWN: NewestLine = { systemId: "7", timeline: 2, end: 0x5000n, us: 9n };

function has(line: NewestLine | undefined) {
  return { newest: async () => line };
}

const away = {
  newest: async (): Promise<never> => {
    throw new Failure("store/unreachable", "it does not answer");
  },
};

async function verdict(
  found: { systemId?: string; timeline?: number; flushed?: bigint },
  places: readonly { newest(): Promise<NewestLine | undefined> }[],
  accepted?: string,
): Promise<string> {
  const identity = { systemId: "7", timeline: 2, flushed: 0x5000n, ...found };
  try {
    const isAccepted = async (id: string) => id === accepted;
    await refuseStrangers(identity, { address, places, isAccepted, clock: systemClock, signal });
    return "followed";
  } catch (error) {
    assert.ok(error instanceof Failure && error.code === "wal/other-cluster", String(error));
    assert.match(error.message, /db\.example/);
    return error.message.includes("is behind") ? "behind" : "another";
  }
}

test("a server that has what the repositories have, or more, or a later timeline, is followed", async () => {
  assert.equal(await verdict({}, [has(OWN)]), "followed");
  assert.equal(await verdict({ flushed: 0x9000n }, [has(OWN)]), "followed");
  assert.equal(await verdict({ timeline: 3, flushed: 0x4000n }, [has(OWN)]), "followed");
  assert.equal(await verdict({}, [has(undefined), away]), "followed");
});

test("a server that is behind what any repository has is refused: a disk from before, or an old primary", async () => {
  assert.equal(await verdict({ flushed: 0x4fffn }, [has(OWN)]), "behind");
  assert.equal(await verdict({ timeline: 1, flushed: 0x9000n }, [has(OWN)]), "behind");
  const older = { ...OWN, timeline: 1, end: 0x9000n, us: 20n };
  assert.equal(await verdict({ timeline: 1, flushed: 0x9000n }, [has(older), away, has(OWN)]), "behind");
});

test("another cluster is refused until somebody accepts that one, and then the one before is", async () => {
  assert.equal(await verdict({ systemId: "8" }, [has(OWN)]), "another");
  assert.equal(await verdict({ systemId: "8" }, [has(OWN)], "9"), "another");
  assert.equal(await verdict({ systemId: "8" }, [has(OWN)], "8"), "followed");
  const later: NewestLine = { systemId: "8", timeline: 1, end: 0x100n, us: 30n };
  assert.equal(await verdict({ systemId: "7" }, [has(OWN), has(later)]), "another");
  assert.equal(await verdict({ systemId: "8", timeline: 1 }, [has(OWN), has(later)]), "followed");
});

test("what is behind is not made right by accepting the cluster", async () => {
  assert.equal(await verdict({ flushed: 0x100n }, [has(OWN)], "7"), "behind");
});
