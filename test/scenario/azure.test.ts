/**
 * A desk whose repository lies in a bucket: backed up to it, listed, verified to the last byte, its files restored; and
 * stock restic finds the repository whole. restic reaches Azure by TLS and a host of the account's name only, and Google's
 * stand-in not at all, so what lies in the bucket is copied out, and restic judges the copy.
 */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { startAzure } from "../harness/azure.ts";
import { callCli, summaryOf } from "../harness/cli.ts";
import { startGs } from "../harness/gs.ts";
import { resticPath, resticPaths, runRestic } from "../harness/restic.ts";
import { readFolder } from "../harness/tree.ts";
import { firstOf } from "../harness/whole.ts";
import { type Desk, openDesk } from "./desk.ts";

interface Place extends AsyncDisposable {
  readonly env: Readonly<Record<string, string>>;
  location(bucket: string, prefix: string): string;
  /** The objects of the bucket. */
  objects(bucket: string): AsyncIterable<[name: string, bytes: Buffer]>;
}

const PLACES: Readonly<Record<string, () => Promise<Place>>> = {
  async azure() {
    const azure = await startAzure();
    return {
      env: azure.env,
      location: (bucket, prefix) => azure.location(bucket, prefix),
      async *objects(bucket) {
        const container = azure.client.getContainerClient(bucket);
        for await (const { name } of container.listBlobsFlat()) {
          yield [name, await container.getBlobClient(name).downloadToBuffer()];
        }
      },
      [Symbol.asyncDispose]: async () => await azure.stop(),
    };
  },
  async gs() {
    const gs = await startGs();
    return {
      env: gs.env,
      location: (bucket, prefix) => gs.location(bucket, prefix),
      async *objects(bucket) {
        yield* gs.buckets.get(bucket) ?? [];
      },
      [Symbol.asyncDispose]: async () => await gs.stop(),
    };
  },
};

let desk: Desk;

before(async () => {
  desk = await openDesk({
    size: { messages: 100, conversations: 20, files: 10 },
  });
});

after(async () => await desk[Symbol.asyncDispose]());

for (const [scheme, start] of firstOf(Object.entries(PLACES), 1)) {
  test(`a desk is backed up to ${scheme}:, verified there and brought back, and restic finds it whole`, async () => {
    await using place = await start();
    const home = join(desk.root, scheme);
    mkdirSync(home, { mode: 0o700 });
    const chatkeep = async (...args: string[]) => {
      const options = { cwd: home, env: place.env };
      const result = await callCli(["--config", join(home, "chatkeep.yaml"), "--json", ...args], options);
      assert.equal(result.status, 0, `${args.join(" ")}: ${result.stderr}${result.stdout}`);
      return summaryOf(result.stdout);
    };
    const location = place.location("desk", "of/it");
    const { codeRoot, storageRoot } = desk.installation;
    await chatkeep("init", "--yes", "--name", scheme, "--root", codeRoot, "--location", location);
    const { point } = await chatkeep("backup");
    const { points } = await chatkeep("list");
    assert.deepEqual(
      (points as { point: string }[]).map((listed) => listed.point),
      [point],
    );
    assert.equal((await chatkeep("verify", "--read-data"))["errors"], 0);
    await chatkeep("restore", "latest", "--to", "restored", "--only", "storage", "--yes");
    const restored = Object.values(await readFolder(join(home, "restored"))).toSorted();
    const stored = Object.values(await readFolder(storageRoot)).toSorted();
    assert.ok(stored.length > 0);
    assert.deepEqual(restored, stored);

    for await (const [name, bytes] of place.objects("desk")) {
      const path = join(home, "copied", name);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, bytes);
    }
    const password = readFileSync(join(home, "chatkeep.password"), "utf8").trim();
    const restic = resticPaths().at(-1)?.path ?? resticPath();
    await runRestic(["check", "--read-data"], { repo: join(home, "copied/of/it"), password, restic });
  });
}
