/** How long files are locked: what is to be extended, and what a service's answers mean, told by a small server of this file. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFailure } from "../../src/base/errors.ts";
import { openStore } from "../../src/store/open-store.ts";
import { extended, type Retained, type RetentionPolicy } from "../../src/store/retention.ts";
import { lockOf } from "../../src/store/s3-retention.ts";

const { signal } = new AbortController();
const DAY = 24 * 3_600_000;
const NOW = Date.UTC(2026, 10, 23);

const mode = fc.constantFrom("governance", "compliance");
const policies: fc.Arbitrary<RetentionPolicy> = fc.record({
  forMs: fc.integer({ min: 1, max: 4000 }).map((days) => days * DAY),
  mode,
});
const states: fc.Arbitrary<Retained | undefined> = fc.option(
  fc.record({ untilMs: fc.integer({ min: NOW - 4000 * DAY, max: NOW + 8000 * DAY }), mode }),
  { nil: undefined },
);

test("afterwards a file is locked for half the time at least, for no shorter than before, and a second look changes nothing", () => {
  fc.assert(
    fc.property(states, policies, (current, policy) => {
      const after = extended(current, policy, NOW) ?? current;
      assert.ok(after !== undefined && after.untilMs >= NOW + policy.forMs / 2);
      assert.ok(after.untilMs >= (current?.untilMs ?? 0));
      assert.equal(after.mode, current?.mode ?? policy.mode);
      assert.equal(extended(after, policy, NOW), undefined);
    }),
    { numRuns: 1000 },
  );
});

test("with a backup in every half of the time a file is never unlocked, and is extended once in a half at most", () => {
  const waits = fc.array(fc.double({ min: 0.001, max: 0.5, noNaN: true }), { minLength: 1, maxLength: 40 });
  fc.assert(
    fc.property(policies, waits, (policy, shares) => {
      let nowMs = NOW;
      let current: Retained = { untilMs: NOW + policy.forMs, mode: policy.mode };
      let lastMs = NOW;
      for (const share of shares) {
        nowMs += share * policy.forMs;
        assert.ok(current.untilMs >= nowMs, "it ran out");
        const next = extended(current, policy, nowMs);
        if (next === undefined) continue;
        assert.ok(nowMs - lastMs >= policy.forMs / 2 - 1);
        lastMs = nowMs;
        current = next;
      }
    }),
    { numRuns: 500 },
  );
});

test("every file but the repository's locks is written locked, where that is wanted", () => {
  const policy = { forMs: 30 * DAY, mode: "compliance" } as const;
  for (const key of ["config", "keys/ab", "snapshots/ab", "index/ab", "data/ab/ab"]) {
    const lock = lockOf(key, policy, NOW);
    assert.equal("ObjectLockMode" in lock && lock.ObjectLockMode, "COMPLIANCE");
    const until = "ObjectLockRetainUntilDate" in lock && lock.ObjectLockRetainUntilDate.toISOString();
    assert.equal(until, "2026-12-23T00:00:00.000Z");
    assert.deepEqual(lockOf(key, undefined, NOW), {});
  }
  for (const key of ["locks/ab", "chatkeep/probe/ab"]) assert.deepEqual(lockOf(key, policy, NOW), {});
});

interface Answer {
  readonly status: number;
  readonly body: string;
}

async function lockingStore(answer: Answer) {
  const server = createServer((request, response) => {
    request.resume();
    response.statusCode = answer.status;
    response.end(answer.body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const store = await openStore(`s3:http://127.0.0.1:${port}/bucket/root`, {
    env: { AWS_ACCESS_KEY_ID: "AKIDEXAMPLE", AWS_SECRET_ACCESS_KEY: "very secret" },
    settings: { retention: { forMs: 30 * DAY, mode: "governance" } },
  });
  return {
    store,
    async [Symbol.asyncDispose]() {
      await store.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function refused(code: string): string {
  return `<Error><Code>${code}</Code><Message>${code} it is.</Message></Error>`;
}

test("a bucket with object lock will do, one without is refused, and so is a service that does not know of it", async () => {
  const enabled = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>";
  const rows: [status: number, body: string, expected: "fine" | "usage/invalid" | "store/not-found"][] = [
    [200, enabled, "fine"],
    [200, "<ListBucketResult></ListBucketResult>", "usage/invalid"],
    [404, refused("ObjectLockConfigurationNotFoundError"), "usage/invalid"],
    [400, refused("InvalidRequest"), "usage/invalid"],
    [501, refused("NotImplemented"), "usage/invalid"],
    [404, refused("NoSuchBucket"), "store/not-found"],
    [403, refused("AccessDenied"), "fine"],
  ];
  for (const [status, body, expected] of rows) {
    await using place = await lockingStore({ status, body });
    assert.ok(place.store.retention !== undefined);
    const checking = place.store.retention.check({ signal });
    if (expected === "fine") await checking;
    else await assert.rejects(checking, (error) => isFailure(error, expected), `${status} ${body}`);
  }
});

test("a place that cannot lock files is not opened as one", async () => {
  const settings = { retention: { forMs: DAY, mode: "governance" } } as const;
  for (const location of ["/tmp/nowhere", "rest:http://localhost:1/", "gs:bucket:/"]) {
    await assert.rejects(openStore(location, { settings }), (error) => isFailure(error, "usage/invalid"));
  }
});
