/** Which version of a key a moment means; and the listing, by a small server of this file that answers with pages. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFailure } from "../../src/base/errors.ts";
import { openStore } from "../../src/store/open-store.ts";
import { chooseVersion, type KeyVersion } from "../../src/store/past.ts";
import type { Store } from "../../src/store/store.ts";

const { signal } = new AbortController();

interface Happening {
  readonly afterMs: number;
  readonly isDeletion: boolean;
}

const history = fc.array(fc.record({ afterMs: fc.integer({ min: 1, max: 5 }), isDeletion: fc.boolean() }), {
  maxLength: 12,
});

/** As a service lists it: the newest first. */
function listed(happenings: readonly Happening[]): KeyVersion[] {
  let atMs = 0;
  const all = happenings.map(({ afterMs, isDeletion }, at) => {
    atMs += afterMs;
    const isLatest = at === happenings.length - 1;
    return { id: `v${at}`, atMs, sizeBytes: isDeletion ? undefined : at, isLatest };
  });
  return all.toReversed();
}

test("a moment means what the last thing before it made of the key", () => {
  fc.assert(
    fc.property(history, fc.integer({ min: 0, max: 70 }), fc.boolean(), (happenings, atMs, isTurned) => {
      const versions = listed(happenings);
      const last = versions.find((version) => version.atMs <= atMs);
      const expected = last?.sizeBytes === undefined ? undefined : last;
      assert.deepEqual(chooseVersion(isTurned ? versions.toReversed() : versions, atMs), expected);
    }),
    { numRuns: 500 },
  );
});

test("nothing that happens later changes what a moment means", () => {
  fc.assert(
    fc.property(history, history, (before, later) => {
      const atMs = before.reduce((sum, { afterMs }) => sum + afterMs, 0);
      const pick = (happenings: readonly Happening[]) => chooseVersion(listed(happenings), atMs)?.id;
      assert.equal(pick([...before, ...later]), pick(before));
    }),
    { numRuns: 500 },
  );
});

function at(id: string, sizeBytes: number | undefined, isLatest = false): KeyVersion {
  return { id, atMs: 5, sizeBytes, isLatest };
}

test("in one instant the latest counts, then a version before a deletion, then the one that is listed first", () => {
  assert.equal(chooseVersion([at("a", 1), at("gone", undefined, true)], 5), undefined);
  assert.equal(chooseVersion([at("gone", undefined), at("a", 1)], 5)?.id, "a");
  assert.equal(chooseVersion([at("b", 1), at("a", 1)], 5)?.id, "b");
});

const DAY = "2026-11-20";

function entry(tag: "Version" | "DeleteMarker", key: string, id: string, time: string): string {
  const body = `<Key>root/${key}</Key><VersionId>${id}</VersionId><LastModified>${DAY}T${time}.000Z</LastModified>`;
  return `<${tag}>${body}<IsLatest>false</IsLatest>${tag === "Version" ? "<Size>4</Size>" : ""}</${tag}>`;
}

const NAME = "ab".repeat(32);
const OTHER = "cd".repeat(32);
/** Of one folder, two to a page. */
const PAGES = [
  [entry("DeleteMarker", `snapshots/${NAME}`, "3", "12:00:00"), entry("Version", `snapshots/${NAME}`, "2", "11:00:00")],
  [entry("Version", `snapshots/${NAME}`, "1", "10:00:00"), entry("Version", `snapshots/${OTHER}`, "9", "11:30:00")],
];

async function versionedStore(time: string, versioning = "<Status>Enabled</Status>") {
  const seen: string[] = [];
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? "", "http://localhost");
    seen.push(`${request.method} ${request.url}`);
    request.resume();
    if (url.searchParams.has("versioning")) {
      response.statusCode = versioning === "denied" ? 403 : 200;
      const word = versioning === "denied" ? "<Error><Code>AccessDenied</Code></Error>" : "";
      response.end(word === "" ? `<VersioningConfiguration>${versioning}</VersioningConfiguration>` : word);
    } else if (url.searchParams.has("versions")) {
      const page = url.searchParams.has("key-marker") ? 1 : 0;
      const isTruncated = page === 0;
      const next = `<NextKeyMarker>root/snapshots/${NAME}</NextKeyMarker><NextVersionIdMarker>2</NextVersionIdMarker>`;
      const inside = `<IsTruncated>${isTruncated}</IsTruncated>${isTruncated ? next : ""}${PAGES[page]?.join("") ?? ""}`;
      response.end(`<ListVersionsResult>${inside}</ListVersionsResult>`);
    } else response.end(`v-${url.searchParams.get("versionId")}`.padEnd(4));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const store: Store = await openStore(`s3:http://127.0.0.1:${port}/bucket/root`, {
    env: { AWS_ACCESS_KEY_ID: "AKIDEXAMPLE", AWS_SECRET_ACCESS_KEY: "very secret" },
    settings: { atMs: Date.parse(`${DAY}T${time}Z`) },
  });
  return {
    store,
    seen,
    async [Symbol.asyncDispose]() {
      await store.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function namesIn(store: Store): Promise<string[]> {
  return (await Array.fromAsync(store.list("snapshots", { signal }))).map(({ name }) => name).toSorted();
}

test("a listing goes through all its pages, and each moment sees its own files and bytes", async () => {
  const moments = [
    ["09:00:00", [], undefined],
    ["10:30:00", [NAME], "v-1 "],
    ["11:15:00", [NAME], "v-2 "],
    ["11:45:00", [NAME, OTHER], "v-2 "],
    ["13:00:00", [OTHER], undefined],
  ] as const;
  for (const [time, names, content] of moments) {
    await using place = await versionedStore(time);
    const { store } = place;
    assert.deepEqual(await namesIn(store), [...names], time);
    const ref = { kind: "snapshots", name: NAME } as const;
    if (content === undefined) {
      assert.equal(await store.stat(ref, { signal }), undefined);
      await assert.rejects(store.get(ref, { signal }), (error) => isFailure(error, "store/not-found"));
      continue;
    }
    assert.equal((await store.get(ref, { signal })).toString(), content);
    assert.equal((await store.get(ref, { signal, offset: 4 })).length, 0);
    await assert.rejects(store.get(ref, { signal, offset: 2, length: 3 }), (error) =>
      isFailure(error, "store/not-found"),
    );
    assert.equal(place.seen.filter((line) => line.includes("versions")).length, 2, "a folder is listed once");
  }
});

test("nothing is written, and the locks of then are no locks", async () => {
  await using place = await versionedStore("11:45:00");
  const { store, seen } = place;
  const ref = { kind: "locks", name: NAME } as const;
  assert.deepEqual(await Array.fromAsync(store.list("locks", { signal })), []);
  for (const work of [
    () => store.put(ref, Buffer.from("x"), { signal }),
    () => store.remove(ref, { signal }),
    () => store.create({ signal }),
  ]) {
    await assert.rejects(work, (error) => isFailure(error, "store/denied") && error.hint === "Leave out --at-time.");
  }
  assert.deepEqual(
    seen.filter((line) => !line.startsWith("GET ")),
    [],
  );
});

test("a bucket that never kept versions is refused; where nobody may ask, what is listed counts", async () => {
  await using never = await versionedStore("11:45:00", "");
  await assert.rejects(namesIn(never.store), (error) => isFailure(error, "usage/invalid"));
  for (const versioning of ["denied", "<Status>Suspended</Status>"]) {
    await using place = await versionedStore("11:45:00", versioning);
    assert.deepEqual(await namesIn(place.store), [NAME, OTHER]);
  }
});

test("a place without versions is not read as of a moment", async () => {
  for (const location of ["/tmp/nowhere", "rest:http://localhost:1/", "gs:bucket:/"]) {
    await assert.rejects(openStore(location, { settings: { atMs: 1 } }), (error) => isFailure(error, "usage/invalid"));
  }
});
