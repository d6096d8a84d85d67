/** `kill -9` of backups that go over a network, to OpenSSH's sshd and to an S3 server. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, readdirSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { attachFile, sendMessage } from "../../src/demo/change.ts";
import { onDatabase } from "../../src/demo/database.ts";
import type { SeededRandom } from "../../src/demo/random.ts";
import { createKeyFile } from "../../src/format/key-file.ts";
import { openRepository } from "../../src/repo/repository.ts";
import { openStore } from "../../src/store/open-store.ts";
import type { Store } from "../../src/store/store.ts";
import { runCli, summaryOf } from "../harness/cli.ts";
import { runRestic } from "../harness/restic.ts";
import type { TestS3 } from "../harness/s3.ts";
import type { TestSshd } from "../harness/sshd.ts";
import type { Desk } from "./desk.ts";
import { killSomewhere, NEWEST_RESTIC, workOrKill } from "./kill-verbs.ts";

/** A place for a repository: how Chatkeep and how restic reach it, and where its files lie. */
export interface RemotePlace {
  readonly name: string;
  readonly location: string;
  readonly env: Readonly<Record<string, string>>;
  readonly restic: { readonly args: readonly string[]; readonly env: Readonly<Record<string, string>> };
  /** The locks that lie there. */
  readonly locks: () => string[];
}

function listIn(folder: string): () => string[] {
  return () => (existsSync(folder) ? readdirSync(folder) : []);
}

export function onSftp(sshd: TestSshd): RemotePlace {
  return {
    name: "sftp",
    location: sshd.location("backups/desk"),
    env: sshd.env,
    restic: { args: ["-o", `sftp.command=${sshd.resticCommand}`], env: {} },
    locks: listIn(join(sshd.folder, "backups/desk/locks")),
  };
}

export function onS3(s3: TestS3): RemotePlace {
  return {
    name: "s3",
    location: s3.location("backups", "desk"),
    env: s3.env,
    restic: { args: [], env: s3.env },
    // As s3rver keeps its objects.
    locks: listIn(join(s3.folder, "backups/desk/locks")),
  };
}

const CHEAP = { N: 1024, r: 8, p: 1 };
const CREATED = { username: "tester", hostname: "test-host", created: "2026-01-01T00:00:00Z" };
const { signal } = new AbortController();

/** Most of a second of scrypt is spared at every start. */
async function makeCheap(store: Store, password: string): Promise<void> {
  const { keys, keyId } = await openRepository(store, { password, signal });
  const bytes = await createKeyFile(password, keys, CREATED, CHEAP);
  await store.put({ kind: "keys", name: createHash("sha256").update(bytes).digest("hex") }, bytes, { signal });
  await store.remove({ kind: "keys", name: keyId }, { signal });
}

/**
 * Each time the repository is sound, the next backup ends what they began, and restic can read every byte of it.
 * `isDrilled`: every point is restored, too.
 */
export async function killRemoteBackups(
  desk: Desk,
  place: RemotePlace,
  { kills, random, isDrilled }: { kills: number; random: SeededRandom; isDrilled: boolean },
): Promise<void> {
  const { name, location, env, locks } = place;
  const cwd = join(desk.root, name);
  await mkdir(cwd, { mode: 0o700 });
  const args = (...rest: string[]) => ["--config", join(cwd, "chatkeep.yaml"), "--json", ...rest];
  const summary = async (...rest: string[]) => {
    const { status, stdout, stderr } = await runCli(args(...rest), { cwd, env });
    assert.equal(status, 0, `chatkeep ${rest.join(" ")}\n${stderr}${stdout}`);
    return summaryOf(stdout);
  };
  const work = async () => {
    await onDatabase(desk.installation.database, async (client) => {
      await sendMessage(client, random);
      await attachFile(client, random, desk.installation.storageRoot);
    });
  };
  await summary("init", "--yes", "--name", name, "--root", desk.installation.codeRoot, "--location", location);
  const password = (await readFile(join(cwd, "chatkeep.password"), "utf8")).trim();
  const store = await openStore(location, { env });
  try {
    await makeCheap(store, password);
  } finally {
    await store.close();
  }
  const begin = () => {
    // Those of runs that were killed lie there, until the next run sees that nobody holds them.
    const before = new Set(locks());
    return { args: args("backup"), env, cwd, hasBegun: () => locks().some((lock) => !before.has(lock)) };
  };
  const { lastedMs } = await workOrKill(begin());
  const restic = { repo: location, password, restic: NEWEST_RESTIC, env: place.restic.env };
  for (let kill = 0; kill < kills; kill += 1) {
    await work();
    await killSomewhere(begin, random, lastedMs);
    await runRestic([...place.restic.args, "check", "--no-lock"], restic);
  }
  await summary("backup");
  await runRestic([...place.restic.args, "check", "--read-data"], restic);
  const { points } = (await summary("list")) as unknown as { points: { point: string }[] };
  assert.ok(points.length >= 2);
  for (const { point } of isDrilled ? points : []) {
    assert.equal((await summary("drill", point))["proven"], true);
  }
}
