/** A repository at the end of a long line: a bucket, 50 ms and 200 Mbit/s away for both sides alike. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { CHATKEEP } from "../test/harness/cli.ts";
import { startS3, type TestS3 } from "../test/harness/s3.ts";
import type { Desk } from "../test/scenario/desk.ts";
import { addFiles } from "./desk.ts";
import { median, remove, type Side } from "./measure.ts";
import { newestRestic, PASSWORD, quick, restores } from "./sides.ts";

const DELAY_MS = 25;
const BYTES_PER_SECOND = 25_000_000;
const NEW_FILES = 500;

interface Moved {
  up: number;
  down: number;
}

export interface Link extends AsyncDisposable {
  /** Where the bucket lies, at the far end of the line. */
  readonly s3: TestS3;
  location(bucket: string): string;
  /** Bytes since it was asked last. */
  moved(): Promise<Moved>;
}

export async function openLink(): Promise<Link> {
  const s3 = await startS3();
  const server = new URL(s3.endpoint).port;
  const program = resolve(import.meta.dirname, "link-process.ts");
  const child = spawn(process.execPath, ["--no-warnings", program, server, `${DELAY_MS}`, `${BYTES_PER_SECOND}`], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const exited = once(child, "exit");
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const line = async () => String((await lines.next()).value);
  const port = await line();
  return {
    s3,
    location: (bucket) => `s3:http://127.0.0.1:${port}/${bucket}`,
    async moved() {
      child.stdin.write("\n");
      const [up = 0, down = 0] = (await line()).split(" ").map(Number);
      return { up, down };
    },
    async [Symbol.asyncDispose]() {
      child.stdin.end();
      await exited;
      await s3.stop();
    },
  };
}

/** The two sides of the work over a link, in the order in which one leads to the next. */
export function linkSides(desk: Desk, link: Link): Record<"first" | "some" | "none" | "restore", Side[]> {
  const { path, version } = newestRestic();
  const mine = { ...link.s3.env, XDG_CACHE_HOME: join(desk.root, "cache") };
  const theirs = {
    ...link.s3.env,
    ...PASSWORD,
    RESTIC_REPOSITORY: link.location("restic"),
    RESTIC_CACHE_DIR: join(desk.root, "restic-cache"),
  };
  const empty = async (bucket: string) => {
    remove(join(link.s3.folder, bucket));
    await link.s3.createBucket(bucket);
  };
  const chatkeep = (name: string, args: readonly string[]): Side => ({
    name: `Chatkeep, ${name}`,
    command: [process.execPath, CHATKEEP, "--config", desk.config, "--quiet", ...args],
    env: mine,
    allowStatus: [3],
  });
  const restic = (name: string, args: readonly string[]): Side => ({
    name: `restic ${version}, ${name}`,
    command: [path, ...args],
    env: theirs,
  });
  const backups = (name: string): [Side, Side] => [
    chatkeep(name, ["backup"]),
    restic(name, ["backup", "--quiet", desk.installation.storageRoot]),
  ];
  const [ourFirst, theirFirst] = backups("first");
  const first: Side[] = [
    {
      ...ourFirst,
      async prepare() {
        await empty("chatkeep");
        remove(desk.config);
        for (const end of ["txt", "html"]) remove(join(desk.root, "chatkeep", `chatkeep-recovery-kit.${end}`));
        const args = ["init", "--yes", "--name", "desk", "--root", desk.installation.codeRoot];
        await desk.summary([...args, "--location", link.location("chatkeep")], 0, { env: mine });
      },
    },
    {
      ...theirFirst,
      async prepare() {
        await empty("restic");
        await quick(path, ["init", "--quiet"], theirs);
      },
    },
  ];
  let added = 0;
  const some = backups(`${NEW_FILES} new`).map((side) => ({
    ...side,
    // Once a round: each side finds as many that are new to it.
    async prepare() {
      if (added % 2 === 0) await addFiles(desk, NEW_FILES, 20_000);
      added += 1;
    },
  }));
  const restore = restores(desk).map((side, at) => ({
    ...side,
    env: at === 0 ? mine : theirs,
    // As on a machine that never saw the repository.
    async prepare() {
      await side.prepare?.();
      remove(join(desk.root, at === 0 ? "cache" : "restic-cache"));
    },
  }));
  return { first, some, none: backups("nothing new"), restore };
}

/** The same sides, and which part of the line each of them filled. */
export function watched(link: Link, sides: readonly Side[]): { sides: Side[]; told: () => string } {
  const shares = new Map<string, number[]>();
  return {
    sides: sides.map((side) => ({
      ...side,
      async prepare() {
        await side.prepare?.();
        await link.moved();
      },
      async ended(seconds) {
        const { up, down } = await link.moved();
        const share = Math.max(up, down) / BYTES_PER_SECOND / seconds;
        shares.set(side.name, [...(shares.get(side.name) ?? []), share]);
        process.stderr.write(`    ${(up / 1e6).toFixed(2)} MB up, ${(down / 1e6).toFixed(2)} MB down\n`);
      },
    })),
    told() {
      const percent = [...shares].map(([name, all]) => `${name} ${(100 * median(all)).toFixed(0)} %`);
      return `Of the line: ${percent.join(", ")}\n\n`;
    },
  };
}
