/**
 * How a server that is recovered gets its log. It asks for one file after the other (`restore_command`), and has it from a
 * folder beside its data, where the files that come next are put before it asks: reading them from a repository and
 * replaying them go on at the same time, and no more than a few of them lie on the disk.
 */
import { chown, copyFile, mkdir, readdir, rename, rm, truncate, writeFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../base/clock.ts";
import { LIMITS } from "../base/limits.ts";
import { OwnTablespaces } from "./recovery-tablespaces.ts";
import type { User } from "./scratch-place.ts";

/** Where a server's log comes from. */
export interface WalSource {
  /** All that is there, in the order of positions: names of segments as `pg_wal` has them, and of histories of timelines. */
  readonly names: readonly string[];
  /** Makes the whole file at a path where nothing is yet: a segment as long as every other. It may be asked for again. */
  fetch(name: string, path: string): Promise<void>;
}

const SEGMENT = /^([0-9A-F]{24})(\.partial)?$/;
const HISTORY = /^[0-9A-F]{8}\.history$/;

/**
 * The segments and histories that lie in a folder, as `pg_receivewal` leaves them. One that ends in `.partial` counts where
 * the whole one is not there, and is filled up with zeros, where the log then ends.
 * @param segmentBytes the server's `wal_segment_size`.
 */
export async function walFolder(folder: string, segmentBytes: number): Promise<WalSource> {
  const files = new Map<string, string>();
  for (const file of (await readdir(folder)).toSorted()) {
    const [, name] = SEGMENT.exec(file) ?? [];
    if (name !== undefined && !files.has(name)) files.set(name, file);
    else if (HISTORY.test(file)) files.set(file, file);
  }
  return {
    names: [...files.keys()],
    async fetch(name, path) {
      await copyFile(join(folder, files.get(name) ?? name), path);
      if (!HISTORY.test(name)) await truncate(path, segmentBytes);
    },
  };
}

/**
 * What the server runs for each file, in its data folder: `sh ../give %f %p`. Nothing of where that folder lies gets into a
 * command line. A status above 125 ends the recovery.
 */
const GIVE = `
name=$1; target=$2
case $name in *[!0-9A-Za-z.]*|"") exit 1;; esac
[ -e "../wal/$name" ] && mv -f "../wal/$name" "$target" 2>/dev/null && exit 0
grep -qxF -e "$name" ../names || exit 1
: >"../want/$name" || exit 1
until [ -e "../wal/$name" ] && mv -f "../wal/$name" "$target" 2>/dev/null; do
  [ -d ../want ] || exit 1
  [ -e ../failed ] && exit 126
  sleep 0.01
done
rm -f "../want/$name"
`;
export const RESTORE_COMMAND = "sh ../give %f %p";

const POLL_MS = 10;

export interface FeedOptions {
  source: WalSource;
  /** The folder that holds the server's data folder. */
  place: string;
  data: string;
  /** Whom the server runs as, where that is not us. */
  user: User | undefined;
  segmentBytes: number;
  /** A file was handed over. */
  onFile: (name: string) => void;
}

/** What {@link prepareFeed} puts there, and {@link feed}. */
export const FEED_FILES = ["give", "names", "wal", "want", "coming", "failed"] as const;

/** What the server's `restore_command` needs, in the folder that holds its data folder. */
export async function prepareFeed({ source, place, user }: FeedOptions): Promise<void> {
  await writeFile(join(place, "give"), GIVE, { mode: 0o644 });
  await writeFile(join(place, "names"), source.names.map((name) => `${name}\n`).join(""), { mode: 0o644 });
  for (const folder of ["wal", "want", "coming"]) {
    await mkdir(join(place, folder), { mode: 0o700 });
    if (user !== undefined) await chown(join(place, folder), user.uid, user.gid);
  }
}

/**
 * Hands out what is asked for, and gets what comes next meanwhile, some of it at once, until it is stopped.
 * @throws what fetching a file threw; the server gives up then.
 */
export async function feed(options: FeedOptions, { signal }: { signal: AbortSignal }): Promise<void> {
  const { source, place } = options;
  const order = new Map(source.names.map((name, at) => [name, at]));
  const ahead = Math.max(1, Math.floor(LIMITS.walAheadBytes / options.segmentBytes));
  const fetching = new Fetching(options);
  /** The first of those that were never fetched; unknown until something is asked for. */
  let next: number | undefined;
  try {
    while (!signal.aborted) {
      fetching.throwIfFailed();
      const [asked] = await readdir(join(place, "want"));
      const at = asked === undefined ? undefined : order.get(asked);
      if (asked !== undefined && at !== undefined) {
        // Before it is handed over: a server that has it may ask for the same one again, and that is another question.
        await rm(join(place, "want", asked), { force: true });
        const there = await readdir(join(place, "wal"));
        if (!there.includes(asked)) await fetching.get(asked);
        if (HISTORY.test(asked)) continue;
        next = Math.max(next ?? 0, at + 1);
        // One that was got twice, because it was asked for just then, is asked for no more.
        for (const name of there) if ((order.get(name) ?? at) < at) await rm(join(place, "wal", name), { force: true });
      }
      const count = next === undefined ? 0 : (await readdir(join(place, "wal"))).length + fetching.count;
      const name = next === undefined || count >= ahead ? undefined : source.names[next];
      if (next !== undefined && name !== undefined && fetching.count < LIMITS.walFetches) {
        next += 1;
        if (!HISTORY.test(name)) fetching.begin(name);
      } else if (asked === undefined) await systemClock.sleep(POLL_MS, signal);
    }
  } catch (error) {
    // With the server goes its folder; why it ended, it said itself.
    if (signal.aborted || !existsSync(join(place, "want"))) return;
    await writeFile(join(place, "failed"), "").catch(() => {});
    throw error;
  } finally {
    await fetching.end();
  }
}

/** Files that are on their way. */
class Fetching {
  readonly #options: FeedOptions;
  readonly #tablespaces: OwnTablespaces;
  readonly #under = new Map<string, Promise<void>>();
  #failed: { error: unknown } | undefined;

  constructor(options: FeedOptions) {
    this.#options = options;
    this.#tablespaces = new OwnTablespaces({ ...options, folder: options.place });
  }

  get count(): number {
    return this.#under.size;
  }

  begin(name: string): void {
    void this.get(name).catch(() => {});
  }

  /** Until the file is handed over. One that is on its way already is not fetched again. */
  async get(name: string): Promise<void> {
    const known = this.#under.get(name);
    if (known !== undefined) return await known;
    const fetching = hand(name, this.#options, this.#tablespaces).finally(() => this.#under.delete(name));
    this.#under.set(name, fetching);
    try {
      await fetching;
    } catch (error) {
      this.#failed ??= { error };
      throw error;
    }
  }

  /** @throws what the first that failed threw. */
  throwIfFailed(): void {
    if (this.#failed !== undefined) throw this.#failed.error;
  }

  async end(): Promise<void> {
    await Promise.allSettled(this.#under.values());
  }
}

async function hand(
  name: string,
  { source, place, user, onFile }: FeedOptions,
  tablespaces: OwnTablespaces,
): Promise<void> {
  const path = join(place, "coming", name);
  await rm(path, { force: true });
  await source.fetch(name, path);
  if (!HISTORY.test(name)) await tablespaces.settle(path);
  if (user !== undefined) await chown(path, user.uid, user.gid);
  await rename(path, join(place, "wal", name));
  onFile(name);
}
