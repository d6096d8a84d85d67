/** A desk whose server can die, be made again as it was, and be brought back from its repository, beside an account of what it acknowledged. */
import assert from "node:assert/strict";
import { appendFile, cp, mkdir, readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { parse } from "yaml";
import { LIMITS } from "../../src/base/limits.ts";
import { buildInstallation, type DemoInstallation } from "../../src/demo/installation.ts";
import { lookAtWindow } from "../../src/job/continuous/list.ts";
import type { AskedMoment } from "../../src/point/moment.ts";
import { openRepository, type Repository } from "../../src/repo/repository.ts";
import { openStore } from "../../src/store/open-store.ts";
import { type Account, type Entry, lastIn } from "../harness/account.ts";
import type { UploadedFile } from "../harness/account-files.ts";
import { FLUSH, type TestAddress } from "../harness/postgres.ts";
import { runCli } from "../harness/cli.ts";
import { followedIn } from "../harness/followed.ts";
import { recoverMoment } from "../harness/recovered.ts";
import { StoppedPostgres } from "../harness/stopped-postgres.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { parseLsn } from "../../src/wal/lsn.ts";
import { ask } from "../job/continuous/following.ts";
import { reopen } from "../repo/small-backup.ts";
import { makeCheapToOpen } from "../scenario/cheap-key.ts";
import { stateOf, type Watching } from "../scenario/watched-desk.ts";

/** What is acknowledged longer ago than the time to flush and this is safe. */
export const SLACK_MS = 2_000;
const { signal } = new AbortController();

/** What a desk's repositories bring back. */
export interface Kept {
  /** Of the installation. */
  readonly id: string;
  /** The number of the last commit that a moment has in each repository, of which nothing is half or left out. */
  lastAt(asked: AskedMoment, repository?: number): Promise<number>;
  /** How many ranges the window has, and its gaps. */
  window(): Promise<{ ranges: number; gaps: readonly string[] }>;
  /** Asserts that what is followed has every file that was uploaded before, byte for byte, in each repository. */
  assertFollowed(files: readonly UploadedFile[]): Promise<void>;
}

/** A desk on a server that somebody else runs. */
export interface MadeDesk extends Kept {
  readonly root: string;
  readonly config: string;
  readonly installation: DemoInstallation;
  /** How many it has. */
  readonly repositories: number;
  /** What every command needs. */
  readonly env: Readonly<Record<string, string>>;
}

interface DeskPlace {
  readonly root: string;
  readonly address: TestAddress;
  /** Of the repository. */
  readonly location: string;
  /** Of another one. */
  readonly second?: string | undefined;
  readonly env: Readonly<Record<string, string>>;
}

/** Builds an installation, and makes its repositories with a first restore point. */
export async function makeDesk({ root, address, location, second, env }: DeskPlace): Promise<MadeDesk> {
  const size = { messages: 60, conversations: 10, files: 6 };
  const installation = await buildInstallation({ root: join(root, "home"), address, size, signal });
  const config = join(root, "chatkeep", "chatkeep.yaml");
  await mkdir(dirname(config), { mode: 0o700 });
  const must = async (args: readonly string[]) => {
    const result = await runCli(["--config", config, ...args], { cwd: root, env });
    assert.equal(result.status, 0, result.stderr);
  };
  await must(["init", "--yes", "--name", "desk", "--root", installation.codeRoot, "--location", location]);
  if (second !== undefined) await must(["init", "--add", "second", "--location", second]);
  await appendFile(config, `state-dir: ${stateOf({ root })}\n`);
  await must(["backup"]);
  const { id } = (parse(await readFile(config, "utf8")) as { installation: { id: string } }).installation;
  const repositories = [];
  for (const [place, name] of [
    [location, ""] as const,
    ...(second === undefined ? [] : [[second, "-second"] as const]),
  ]) {
    const passwordFile = join(root, "chatkeep", `chatkeep${name}.password`);
    if (isFolder(place)) await makeCheapToOpen({ repository: place, passwordFile });
    const password = (await readFile(passwordFile, "utf8")).trim();
    repositories.push(opener(place, { password, env: { ...process.env, ...env } }));
  }
  const kept = keptBy(repositories, id, installation.database);
  return { root, config, installation, repositories: repositories.length, env, id, ...kept };
}

function isFolder(location: string): boolean {
  return location.startsWith("/");
}

type Opened = AsyncDisposable & { readonly repository: Repository };

/** A repository as another machine sees it, each time; its password is made a key once. */
function opener(
  location: string,
  { password, env }: { password: string; env: Readonly<Record<string, string | undefined>> },
): () => Promise<Opened> {
  let known: Repository | undefined;
  return async () => {
    const store = await openStore(location, { env });
    try {
      known ??= await openRepository(store, { password, signal });
      return { repository: reopen(known, store), [Symbol.asyncDispose]: async () => await store.close() };
    } catch (error) {
      await store.close();
      throw error;
    }
  };
}

function keptBy(
  repositories: readonly (() => Promise<Opened>)[],
  id: string,
  { database }: DemoInstallation["database"],
): Omit<Kept, "id"> {
  const open = async (index: number): Promise<Opened> => {
    const opening = repositories[index];
    assert.ok(opening !== undefined);
    return await opening();
  };
  return {
    async lastAt(asked, index = 0) {
      await using opened = await open(index);
      const { repository } = opened;
      await using recovered = await recoverMoment({ repository, installation: id, asked, database, signal });
      return await lastIn({ ...recovered.address, database });
    },
    async window() {
      await using opened = await open(0);
      const { repository } = opened;
      await repository.loadIndex({ signal });
      const { window } = await lookAtWindow(repository, id, { signal });
      return {
        ranges: window.ranges.length,
        gaps: window.gaps.map(({ reason, from, to }) => `${reason} ${from} ${to}`),
      };
    },
    async assertFollowed(files) {
      for (const index of repositories.keys()) {
        await using opened = await open(index);
        const kept = await followedIn(opened.repository, id);
        const lacking = files.filter(({ sha256 }) => !kept.has(sha256));
        assert.equal(lacking.length, 0, `${lacking.length} of ${files.length} files were not followed`);
      }
    },
  };
}

export interface AccountDesk extends MadeDesk, AsyncDisposable {
  readonly server: StoppedPostgres;
  /** Starts the server. */
  start(): Promise<void>;
  /** Everything as it was made, and the server runs: where the repositories lie in folders that are known. */
  renew(): Promise<void>;
}

export interface AccountDeskOptions {
  /** Lines of postgresql.conf. */
  settings?: readonly string[];
  /** Where the repository is; by default in a folder. */
  location?: string;
  /** True: there is another one, in a folder. */
  hasSecond?: boolean;
  /** The folder of this machine that a service keeps the repository in. */
  kept?: string;
  env?: Readonly<Record<string, string>>;
  /** The folder of another server's programs. */
  programs?: string;
  /** True: the server has no databases that nobody uses, so that its files are half as many and quicker brought back. */
  isLean?: boolean;
}

async function dropTemplates(address: TestAddress): Promise<void> {
  await ask(address, "update pg_database set datistemplate = false");
  for (const name of ["template0", "template1"]) await ask(address, `drop database ${name}`);
}

/** Makes all of it, and the first restore point; the server runs. */
export async function openAccountDesk(options: AccountDeskOptions = {}): Promise<AccountDesk> {
  const { settings = ["max_slot_wal_keep_size=1GB"] } = options;
  const folder = await temporaryFolder();
  const root = folder.path;
  // Copies of what lies in a bucket are this desk's alone.
  const env = { XDG_CACHE_HOME: join(root, "cache"), ...options.env };
  const server = await StoppedPostgres.make(options.programs);
  const start = async () => await server.start(settings);
  await start();
  const [own, other] = [join(root, "repository"), join(root, "other-repository")];
  const location = options.location ?? own;
  const second = options.hasSecond === true ? other : undefined;
  const desk = await makeDesk({ root, address: server.address, location, second, env });
  if (options.isLean === true) await dropTemplates(server.address);
  await server.stop();
  const putBack = await server.remember();
  const folders = [
    desk.installation.storageRoot,
    ...(options.location === undefined ? [own] : options.kept === undefined ? [] : [options.kept]),
    ...(second === undefined ? [] : [second]),
  ].map((path, index) => ({ path, pristine: join(root, `pristine-${index}`) }));
  for (const { path, pristine } of folders) await cp(path, pristine, { recursive: true });
  await start();
  return {
    ...desk,
    server,
    start,
    async renew() {
      await server.stop();
      await mkdir(server.data, { recursive: true });
      await putBack();
      await rm(stateOf({ root }), { recursive: true, force: true });
      for (const { path, pristine } of folders) {
        await rm(path, { recursive: true, force: true });
        await cp(pristine, path, { recursive: true });
      }
      await start();
    },
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}

/**
 * Waits until all that a server has written so far is in every repository; a gap in what is followed fails.
 * @param options `isFlushed`: the server commits synchronously, and gets no commit more.
 */
export async function untilDurable(
  watching: Watching,
  address: TestAddress,
  { isFlushed = false }: { isFlushed?: boolean } = {},
): Promise<void> {
  if (!isFlushed) await ask(address, FLUSH);
  const [row] = await ask(address, "select pg_current_wal_flush_lsn()::text as lsn");
  const to = parseLsn(String(row?.["lsn"]));
  await watching.until("all is durable", ({ log, findings }) => {
    assert.deepEqual(
      findings.filter(({ kind }) => kind === "log-gap"),
      [],
    );
    return log !== null && parseLsn(log.durable) >= to;
  });
}

/** Ends the account and the watch: everything that was acknowledged is there, and no moment between is lacking. */
export async function assertNothingLost(desk: Kept, account: Account, watching: Watching, address: TestAddress) {
  await account.stop();
  await untilDurable(watching, address);
  await watching.stop();
  assert.equal(await desk.lastAt({ kind: "now" }), account.entries.length, "everything that was acknowledged is there");
  assert.deepEqual(await desk.window(), { ranges: 1, gaps: [] });
}

/** Entries that a copy from now on must have, when the server, and whoever watched it, died at a moment. */
export function safeBefore(entries: readonly Entry[], diedMs: number, flushMs: number): readonly Entry[] {
  return entries.filter(({ acknowledgedMs = Infinity }) => acknowledgedMs < diedMs - flushMs - SLACK_MS);
}

/** Files that must have been followed by then: three looks are enough for any. */
export function followedBefore(files: readonly UploadedFile[], diedMs: number): readonly UploadedFile[] {
  return files.filter(({ doneMs }) => doneMs < diedMs - 3 * LIMITS.followEveryMs);
}
