/** Every kind of place where a repository can lie, as real as it can be had here, for runs that are killed there. */
import { cpSync, type Dirent, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { mapConcurrent } from "../../src/base/concurrent.ts";
import { seededRandom } from "../../src/demo/random.ts";
import type { FileKind, Store } from "../../src/store/store.ts";
import { openStore } from "../../src/store/open-store.ts";
import { startAzure } from "../harness/azure.ts";
import { startGs } from "../harness/gs.ts";
import { startRestServer } from "../harness/rclone.ts";
import { resticPath, resticPaths, runRestic } from "../harness/restic.ts";
import { startS3 } from "../harness/s3.ts";
import { startSshd } from "../harness/sshd.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { signal } from "../repo/small-backup.ts";

export interface KillPlace extends AsyncDisposable {
  readonly name: string;
  /** How it is reached. */
  readonly env: Readonly<Record<string, string>>;
  /** The repository of that name there. */
  location(path: string): string;
  /** Another way to what lies there than ours: the locks of that repository. */
  locks(path: string): string[] | Promise<string[]>;
  /** Runs the newest restic on it, or, where it cannot reach the place, on what was copied out of it. */
  restic(path: string, args: readonly string[], password: string): Promise<void>;
}

/** The newest restic that there is. */
export const NEWEST_RESTIC = resticPaths().at(-1)?.path ?? resticPath();

function namesIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}

async function onFolder(): Promise<KillPlace> {
  const outer = await temporaryFolder("chatkeep-killed");
  return {
    name: "a folder",
    env: {},
    location: (path) => outer.at(path),
    locks: (path) => namesIn(outer.at(path, "locks")),
    restic: async (path, args, password) =>
      void (await runRestic(args, { repo: outer.at(path), password, restic: NEWEST_RESTIC })),
    [Symbol.asyncDispose]: async () => await outer[Symbol.asyncDispose](),
  };
}

async function onSftp(): Promise<KillPlace> {
  const sshd = await startSshd();
  const location = (path: string) => sshd.location(`backups/${path}`);
  return {
    name: "sftp",
    env: sshd.env,
    location,
    locks: (path) => namesIn(join(sshd.folder, "backups", path, "locks")),
    restic: async (path, args, password) => {
      const options = { repo: location(path), password, restic: NEWEST_RESTIC };
      await runRestic(["-o", `sftp.command=${sshd.resticCommand}`, ...args], options);
    },
    [Symbol.asyncDispose]: async () => await sshd[Symbol.asyncDispose](),
  };
}

async function onRest(): Promise<KillPlace> {
  const server = await startRestServer();
  return {
    name: "rest",
    env: server.env,
    location: (path) => server.location(`${path}/`),
    locks: (path) => namesIn(join(server.folder, path, "locks")),
    restic: async (path, args, password) => {
      const login = `${server.user}:${encodeURIComponent(server.password)}@`;
      const repo = server.location(`${path}/`).replace("http://", `http://${login}`);
      await runRestic(args, { repo, password, restic: NEWEST_RESTIC });
    },
    [Symbol.asyncDispose]: async () => await server[Symbol.asyncDispose](),
  };
}

async function onS3(): Promise<KillPlace> {
  const s3 = await startS3();
  await s3.createBucket("backups");
  const location = (path: string) => s3.location("backups", path);
  return {
    name: "s3",
    env: s3.env,
    location,
    // As s3rver keeps its objects.
    locks: (path) => namesIn(join(s3.folder, "backups", path, "locks")),
    restic: async (path, args, password) =>
      void (await runRestic(args, { repo: location(path), password, restic: NEWEST_RESTIC, env: s3.env })),
    [Symbol.asyncDispose]: async () => await s3[Symbol.asyncDispose](),
  };
}

interface Bucket extends AsyncDisposable {
  readonly env: Readonly<Record<string, string>>;
  location(bucket: string, prefix: string): string;
  objects(bucket: string, prefix: string): AsyncIterable<[name: string, bytes: () => Promise<Buffer>]>;
}

/** restic reaches Azure by TLS and a host of the account's name only, and Google's stand-in not at all. */
async function onBucket(name: string, place: Bucket): Promise<KillPlace> {
  const outer = await temporaryFolder("chatkeep-killed");
  let copies = 0;
  return {
    name,
    env: place.env,
    location: (path) => place.location("backups", path),
    locks: async (path) => {
      const found = await Array.fromAsync(place.objects("backups", `${path}/locks/`));
      return found.map(([object]) => object);
    },
    async restic(path, args, password) {
      const repo = outer.at(String((copies += 1)));
      for await (const [object, bytes] of place.objects("backups", `${path}/`)) {
        const file = join(repo, object.slice(path.length + 1));
        mkdirSync(dirname(file), { recursive: true });
        writeFileSync(file, await bytes());
      }
      await runRestic(args, { repo, password, restic: NEWEST_RESTIC });
      rmSync(repo, { recursive: true });
    },
    async [Symbol.asyncDispose]() {
      await place[Symbol.asyncDispose]();
      await outer[Symbol.asyncDispose]();
    },
  };
}

async function onAzure(): Promise<KillPlace> {
  const azure = await startAzure();
  const container = azure.client.getContainerClient("backups");
  await container.create();
  return await onBucket("azure", {
    env: azure.env,
    location: (bucket, prefix) => azure.location(bucket, prefix),
    async *objects(_, prefix) {
      for await (const { name } of container.listBlobsFlat({ prefix })) {
        yield [name, async () => await container.getBlobClient(name).downloadToBuffer()];
      }
    },
    [Symbol.asyncDispose]: async () => await azure.stop(),
  });
}

async function onGs(): Promise<KillPlace> {
  const gs = await startGs();
  gs.buckets.set("backups", new Map());
  return await onBucket("gs", {
    env: gs.env,
    location: (bucket, prefix) => gs.location(bucket, prefix),
    async *objects(bucket, prefix) {
      for (const [name, bytes] of gs.buckets.get(bucket) ?? []) {
        if (name.startsWith(prefix)) yield [name, async () => bytes];
      }
    },
    [Symbol.asyncDispose]: async () => await gs.stop(),
  });
}

export const REMOTE_KINDS = ["sftp", "rest", "s3", "azure", "gs"] as const;

/** The same, from one on that the seed chooses: `npm test` has time for some of what could be killed on each. */
export function remoteKinds(seed: string): (typeof REMOTE_KINDS)[number][] {
  const first = seededRandom(`places/${seed}`).below(REMOTE_KINDS.length);
  return [...REMOTE_KINDS.slice(first), ...REMOTE_KINDS.slice(0, first)];
}

export const PLACES = { folder: onFolder, sftp: onSftp, rest: onRest, s3: onS3, azure: onAzure, gs: onGs } as const;

/** Puts what lies in a repository that is a folder there as it is. */
export async function putRepository(place: KillPlace, path: string, template: string): Promise<void> {
  const location = place.location(path);
  if (location.startsWith("/")) return cpSync(template, location, { recursive: true });
  await withStore(place, path, async (store) => {
    await store.create({ signal });
    const files = readdirSync(template, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    await mapConcurrent(
      files,
      8,
      async (entry: Dirent) => {
        const [kind = ""] = entry.parentPath.slice(template.length + 1).split("/");
        const ref = kind === "" ? { kind: "config" as const, name: "" } : { kind: kind as FileKind, name: entry.name };
        await store.put(ref, readFileSync(join(entry.parentPath, entry.name)), { signal });
      },
      { signal },
    );
  });
}

export async function withStore<T>(place: KillPlace, path: string, use: (store: Store) => Promise<T>): Promise<T> {
  const store = await openStore(place.location(path), { env: place.env });
  try {
    return await use(store);
  } finally {
    await store.close();
  }
}
