/** `kill -9` of verbs that change a repository, at moments chosen by chance, and what must hold afterwards. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { basename, join } from "node:path";
import { formatInstant } from "../../src/base/clock.ts";
import { silent } from "../../src/base/progress.ts";
import type { SeededRandom } from "../../src/demo/random.ts";
import { encodeLock } from "../../src/format/lock-file.ts";
import { listPoints } from "../../src/job/points.ts";
import { openRepository, type Repository } from "../../src/repo/repository.ts";
import { verifyRepository } from "../../src/repo/verify.ts";
import { callCli } from "../harness/cli.ts";
import { runRestic } from "../harness/restic.ts";
import { mustRun } from "../harness/run.ts";
import { NOW } from "../job/kept-points.ts";
import { PASSWORD, signal } from "../repo/small-backup.ts";
import { type KillPlace, NEWEST_RESTIC, putRepository, withStore } from "./kill-places.ts";
import { type Killing, killSomewhere, workOrKill } from "./killing.ts";
import { ENVIRONMENT, type SmallRepositories } from "./small-repository.ts";

/** What verbs are killed on. */
export interface KillGround {
  readonly made: SmallRepositories;
  /** A folder with copies of all points, and keys of its own. */
  readonly copied: string;
  /** The newest point as a file, and its password. */
  readonly exported: string;
  readonly exportPassword: string;
}

/** Below `root`, where the small repositories lie. */
export async function makeKillGround(made: SmallRepositories, root: string): Promise<KillGround> {
  const ground = {
    made,
    copied: made.copyOf(made.empty, "copied"),
    exported: join(root, "exported.tar"),
    exportPassword: join(root, "exported.password"),
  };
  const run = async (...args: string[]) => await mustRunCli(["--repository", made.full, ...args], root);
  await run("copy", "--all", "--to", ground.copied);
  await run("export", "latest", ground.exported, "--password-file", ground.exportPassword);
  return ground;
}

async function mustRunCli(args: readonly string[], cwd: string): Promise<void> {
  const { status, stderr } = await callCli(args, { env: ENVIRONMENT, cwd });
  assert.equal(status, 0, `chatkeep ${args.join(" ")}\n${stderr}`);
}

/** One run that is killed, and what follows it. */
interface Round extends KillGround {
  readonly place: KillPlace;
  /** The repository that is changed. */
  readonly path: string;
  readonly location: string;
  /** Where the command is run, with whatever lies there. */
  readonly home: string;
  /** A view of the repository that remembers nothing. */
  readonly look: <T>(use: (repository: Repository) => Promise<T>) => Promise<T>;
}

interface KilledVerb {
  readonly changes: "full" | "empty";
  readonly args: (round: Round) => string[];
  /** Gives it something to do. */
  readonly prepare?: (round: Round) => Promise<void> | void;
  /** When it is at work; by default when it has its lock. */
  readonly hasBegun?: (round: Round) => boolean | Promise<boolean>;
  /** The repository is damaged until the verb has ended. */
  readonly mends?: true;
  /** How many points there are at the end, of how many there were. */
  readonly left?: (points: number) => number;
  /** How the next run says that the killed one had done everything. */
  readonly isDone?: RegExp;
  /** What opens the repository now. */
  readonly password?: (round: Round) => Promise<string>;
  readonly assertDone?: (round: Round) => Promise<void> | void;
}

const KEPT = 3;
const LOCKS = 60;
const NEW_PASSWORD = "quite another one";

function at({ location }: Round): string[] {
  return ["--repository", location];
}

function writeNewPassword({ home }: Round): void {
  writeFileSync(join(home, "new.password"), `${NEW_PASSWORD}\n`);
}

async function keysOf({ look }: Round): Promise<string[]> {
  return await look(async ({ store }) => {
    return (await Array.fromAsync(store.list("keys", { signal }))).map(({ name }) => name);
  });
}

async function opens({ place, path }: Round, password: string): Promise<boolean> {
  return await withStore(place, path, async (store) => {
    return await openRepository(store, { password, signal }).then(
      () => true,
      () => false,
    );
  });
}

function firstFile(folder: string): string {
  const [found] = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return found === undefined ? "" : join(found.parentPath, found.name);
}

function flipMiddle(file: string): void {
  const bytes = readFileSync(file);
  const middle = Math.floor(bytes.length / 2);
  bytes[middle] = (bytes[middle] ?? 0) ^ 1;
  rmSync(file);
  writeFileSync(file, bytes);
}

async function leaveLocks({ look }: Round): Promise<void> {
  const { pid } = spawnSync(process.execPath, ["-e", ""]);
  const lock = { time: formatInstant(NOW), exclusive: false, hostname: hostname(), username: "you", pid };
  await look(async (repository) => {
    for (let count = 0; count < LOCKS; count += 1) await repository.putUnpacked("locks", encodeLock(lock), { signal });
  });
}

/** The verbs that can be killed wherever a repository lies. */
export const EVERYWHERE: Readonly<Record<"prune" | "forget" | "copy", KilledVerb>> = {
  prune: { args: (round) => [...at(round), "prune", "--max-unused", "0"], changes: "full" },
  forget: {
    args: (round) => [...at(round), "forget", "--all", "--keep-last", String(KEPT)],
    changes: "full",
    left: () => KEPT,
  },
  copy: {
    args: ({ made, location }) => ["--repository", made.full, "copy", "--all", "--to", location],
    changes: "empty",
  },
};

const OLDEST = ({ made }: KillGround) => [...made.points.keys()].at(-1) ?? "";

/** Those that are killed in a folder alone. */
export const IN_A_FOLDER: Readonly<Record<string, KilledVerb>> = {
  "repair index": {
    args: (round) => [...at(round), "repair", "index"],
    prepare: ({ location }) => {
      flipMiddle(firstFile(join(location, "index")));
      rmSync(
        readdirSync(join(location, "index"))
          .map((name) => join(location, "index", name))
          .at(-1) ?? "",
      );
    },
    changes: "full",
    mends: true,
  },
  "repair packs": {
    args: (round) => [...at(round), "repair", "packs", "--from", round.copied],
    prepare: ({ location }) => flipMiddle(firstFile(join(location, "data"))),
    changes: "full",
    mends: true,
  },
  "key add": {
    args: (round) => [...at(round), "key", "add", "--new-password-file", "new.password"],
    prepare: writeNewPassword,
    changes: "full",
    isDone: /opens the repository already/,
    async assertDone(round) {
      assert.equal((await keysOf(round)).length, 2);
      for (const password of [PASSWORD, NEW_PASSWORD]) assert.ok(await opens(round, password));
    },
  },
  "key passwd": {
    args: (round) => [...at(round), "key", "passwd", "--new-password-file", "new.password"],
    prepare: writeNewPassword,
    changes: "full",
    isDone: /password does not open/,
    password: async (round) => ((await opens(round, PASSWORD)) ? PASSWORD : NEW_PASSWORD),
    async assertDone(round) {
      assert.equal((await keysOf(round)).length, 1);
      assert.ok(await opens(round, NEW_PASSWORD));
    },
  },
  hold: {
    args: (round) => [...at(round), "hold", OLDEST(round), "--name", "audit"],
    changes: "full",
    async assertDone(round) {
      const { points } = await round.look(async (repository) => await listPoints(repository, { signal }));
      const held = points.filter(({ holds }) => holds.length > 0);
      assert.deepEqual(
        held.map(({ id, holds }) => [id, holds.length]),
        [[OLDEST(round), 1]],
      );
    },
  },
  unlock: {
    args: (round) => [...at(round), "unlock"],
    prepare: leaveLocks,
    hasBegun: async ({ place, path }) => (await place.locks(path)).length < LOCKS,
    changes: "full",
  },
  export: {
    args: (round) => [...at(round), "export", "latest", "point.tar", "--password-file", "point.password"],
    hasBegun: ({ home }) => existsSync(join(home, "point.tar.part")),
    changes: "full",
    isDone: /exists already/,
    async assertDone({ home }) {
      await mustRun("tar", ["-xf", join(home, "point.tar"), "-C", home]);
      const [unpacked = ""] = readdirSync(home).filter((name) => name.startsWith("chatkeep-"));
      const password = readFileSync(join(home, "point.password"), "utf8").trim();
      await runRestic(["check", "--read-data"], { repo: join(home, unpacked), password, restic: NEWEST_RESTIC });
    },
  },
  import: {
    args: ({ exported, exportPassword, location }) => {
      return ["import", exported, "--password-file", exportPassword, "--to", location];
    },
    changes: "empty",
    left: () => 1,
  },
};

async function problemsOf(repository: Repository): Promise<number> {
  return (await verifyRepository(repository, { readData: "all", signal, progress: silent })).problems.length;
}

interface KillOptions {
  name: string;
  place: KillPlace;
  kills: number;
  random: SeededRandom;
  /** A folder for what lies beside the repositories. */
  root: string;
}

function rounds(verb: KilledVerb, ground: KillGround, { name, place, root }: KillOptions) {
  let number = 0;
  return async (): Promise<Killing & { round: Round }> => {
    number += 1;
    const path = `${name.replaceAll(" ", "-")}-${number}`;
    const template = ground.made[verb.changes];
    const home = join(root, `${basename(place.name)}-${path}`);
    mkdirSync(home, { recursive: true });
    await putRepository(place, path, template);
    const round: Round = {
      ...ground,
      place,
      path,
      location: place.location(path),
      home,
      look: async (use) => await withStore(place, path, async (store) => await use(ground.made.open(template, store))),
    };
    await verb.prepare?.(round);
    return {
      args: verb.args(round),
      env: { ...place.env, ...ENVIRONMENT, XDG_CACHE_HOME: join(home, "cache") },
      cwd: home,
      hasBegun: async () => (verb.hasBegun === undefined ? (await place.locks(path)).length > 0 : verb.hasBegun(round)),
      round,
    };
  };
}

/**
 * Kills the verb so many times, each time on repositories as they were: restic finds nothing wrong, every point is there
 * to the byte, and the next run ends it.
 */
export async function killVerb(verb: KilledVerb, ground: KillGround, options: KillOptions): Promise<void> {
  const { made } = ground;
  const { kills, random, place } = options;
  const left = (verb.left ?? ((points) => points))(made.points.size);
  const begin = rounds(verb, ground, options);
  const first = await begin();
  const wrong = verb.mends === true ? await first.round.look(problemsOf) : 0;
  const { lastedMs } = await workOrKill(first);
  for (let kill = 0; kill < kills; kill += 1) {
    const { round, args, env, cwd } = await killSomewhere(begin, random, lastedMs);
    const judge = async (...check: string[]) => {
      await place.restic(round.path, check, (await verb.password?.(round)) ?? PASSWORD);
    };
    if (verb.mends === true) assert.ok((await round.look(problemsOf)) <= wrong, "it is worse than it was");
    else {
      await judge("check", "--no-lock");
      const seen = await round.look(made.readAll);
      if (verb.changes === "full") assert.ok(seen.length >= left, `${seen.length} points are left`);
    }
    const { status, stderr } = await callCli(args, { env, cwd });
    if (verb.isDone === undefined || status === 0) assert.equal(status, 0, stderr);
    else assert.match(stderr, verb.isDone);
    assert.equal(new Set(await round.look(made.readAll)).size, left);
    await verb.assertDone?.(round);
    // Where the killed run had done everything, its lock is the next one's to remove.
    if (status === 0) assert.deepEqual(await place.locks(round.path), []);
    if (verb.mends === true) await judge("check", "--read-data");
  }
}
