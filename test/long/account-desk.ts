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
import type { TestAddress } from "../harness/postgres.ts";
import { runCli } from "../harness/cli.ts";
import { followedIn } from "../harness/followed.ts";
import { recoverMoment } from "../harness/recovered.ts";
import { StoppedPostgres } from "../harness/stopped-postgres.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { parseLsn } from "../../src/wal/lsn.ts";
import { ask } from "../job/continuous/following.ts";
import { stateOf, type Watching } from "../scenario/watched-desk.ts";

/** What is acknowledged longer ago than the time to flush and this is safe. */
export const SLACK_MS = 2_000;
const { signal } = new AbortController();

/** What a desk's repository brings back. */
export interface Kept {
  /** As another machine sees the repository. */
  open(): Promise<{ repository: Repository; id: string }>;
  /** The number of the last commit that a moment has, of which nothing is half or left out. */
  lastAt(asked: AskedMoment): Promise<number>;
  /** How many ranges the window has, and its gaps. */
  window(): Promise<{ ranges: number; gaps: readonly string[] }>;
  /** Asserts that what is followed has every file that was uploaded before, byte for byte. */
  assertFollowed(files: readonly UploadedFile[]): Promise<void>;
}

/** A desk on a server that somebody else runs. */
export interface MadeDesk extends Kept {
  readonly root: string;
  readonly config: string;
  readonly installation: DemoInstallation;
  /** What every command needs. */
  readonly env: Readonly<Record<string, string>>;
}

interface DeskPlace {
  readonly root: string;
  readonly address: TestAddress;
  /** Of the repository. */
  readonly location: string;
  readonly env: Readonly<Record<string, string>>;
}

/** Builds an installation, and makes its repository with a first restore point. */
export async function makeDesk({ root, address, location, env }: DeskPlace): Promise<MadeDesk> {
  const size = { messages: 60, conversations: 10, files: 6 };
  const installation = await buildInstallation({ root: join(root, "home"), address, size, signal });
  const config = join(root, "chatkeep", "chatkeep.yaml");
  await mkdir(dirname(config), { mode: 0o700 });
  const must = async (args: readonly string[]) => {
    const result = await runCli(["--config", config, ...args], { cwd: root, env });
    assert.equal(result.status, 0, result.stderr);
  };
  await must(["init", "--yes", "--name", "desk", "--root", installation.codeRoot, "--location", location]);
  await appendFile(config, `state-dir: ${stateOf({ root })}\n`);
  await must(["backup"]);
  const { id } = (parse(await readFile(config, "utf8")) as { installation: { id: string } }).installation;
  const password = (await readFile(join(root, "chatkeep", "chatkeep.password"), "utf8")).trim();
  const open = async () => {
    const store = await openStore(location, { env: { ...process.env, ...env } });
    return { repository: await openRepository(store, { password, signal }), id };
  };
  return { root, config, installation, env, ...keptBy(open, installation.database) };
}

function keptBy(open: Kept["open"], { database }: DemoInstallation["database"]): Kept {
  return {
    open,
    async lastAt(asked) {
      const { repository, id } = await open();
      await using recovered = await recoverMoment({ repository, installation: id, asked, database, signal });
      return await lastIn({ ...recovered.address, database });
    },
    async window() {
      const { repository, id } = await open();
      await repository.loadIndex({ signal });
      const { window } = await lookAtWindow(repository, id, { signal });
      return {
        ranges: window.ranges.length,
        gaps: window.gaps.map(({ reason, from, to }) => `${reason} ${from} ${to}`),
      };
    },
    async assertFollowed(files) {
      const { repository, id } = await open();
      const kept = await followedIn(repository, id);
      const lacking = files.filter(({ sha256 }) => !kept.has(sha256));
      assert.equal(lacking.length, 0, `${lacking.length} of ${files.length} files were not followed`);
    },
  };
}

export interface AccountDesk extends MadeDesk, AsyncDisposable {
  readonly server: StoppedPostgres;
  /** Starts the server. */
  start(): Promise<void>;
  /** Everything as it was made, and the server runs: where the repository is a folder. */
  renew(): Promise<void>;
}

export interface AccountDeskOptions {
  /** Lines of postgresql.conf. */
  settings?: readonly string[];
  /** Where the repository is; by default in a folder. */
  location?: string;
  env?: Readonly<Record<string, string>>;
}

/** Makes all of it, and the first restore point; the server runs. */
export async function openAccountDesk(options: AccountDeskOptions = {}): Promise<AccountDesk> {
  const { settings = ["max_slot_wal_keep_size=1GB"], env = {} } = options;
  const folder = await temporaryFolder();
  const root = folder.path;
  const server = await StoppedPostgres.make();
  const start = async () => await server.start(settings);
  await start();
  const [own, pristine] = [join(root, "repository"), join(root, "pristine")];
  const desk = await makeDesk({ root, address: server.address, location: options.location ?? own, env });
  await server.stop();
  const putBack = await server.remember();
  if (options.location === undefined) await cp(own, pristine, { recursive: true });
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
      await rm(own, { recursive: true });
      await cp(pristine, own, { recursive: true });
      await start();
    },
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** Waits until all that a server has written so far is in every repository; a gap in what is followed fails. */
export async function untilDurable(watching: Watching, address: TestAddress): Promise<void> {
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
