/** A desk on a server that fails over: it is stopped at once, as a crash would, and started again, while a run is under way. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { appendFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "pg";
import { buildInstallation } from "../../src/demo/installation.ts";
import { callCli, startCli, summaryOf } from "../harness/cli.ts";
import type { RunResult } from "../harness/run.ts";
import { StoppedPostgres } from "../harness/stopped-postgres.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { readFolder } from "../harness/tree.ts";
import { makeCheapToOpen } from "./cheap-key.ts";

/** How a run ends whose server was lost. */
export const LOST = { status: 1, error: /connection|server/, hint: /again|server/ };

export interface FailingDesk extends AsyncDisposable {
  /** The name of Chatwoot's database. */
  readonly live: string;
  chatkeep(...args: string[]): Promise<RunResult>;
  /** The same, which must end with status 0; returns the summary. */
  summary(...args: string[]): Promise<Record<string, unknown>>;
  onServer<T>(act: (client: Client) => Promise<T>, database?: string): Promise<T>;
  failOver(): Promise<void>;
  /** Starts a run, and lets the server fail over as soon as the query finds a row. */
  failOverWhile(args: readonly string[], query: string): Promise<RunResult>;
  /** Names of the repository's files of a kind. */
  filesOf(kind: string): Promise<string[]>;
  /** Databases whose names begin as Chatwoot's or a drill's. */
  databases(): Promise<string[]>;
}

export async function openFailingDesk(): Promise<FailingDesk> {
  const folder = await temporaryFolder();
  const server = await StoppedPostgres.make();
  await server.start();
  const installation = await buildInstallation({
    root: join(folder.path, "home"),
    address: server.address,
    size: { messages: 300, conversations: 30, files: 12 },
    signal: new AbortController().signal,
  });
  const config = join(folder.path, "chatkeep", "chatkeep.yaml");
  const repository = join(folder.path, "repository");
  await mkdir(join(folder.path, "chatkeep"), { mode: 0o700 });
  const onServer = async <T>(act: (client: Client) => Promise<T>, database = "postgres"): Promise<T> => {
    const client = new Client({ ...server.address, database });
    client.on("error", () => {});
    await client.connect();
    try {
      return await act(client);
    } finally {
      await client.end();
    }
  };
  const failOver = async () => {
    await server.crash();
    await server.start();
  };
  const chatkeep = async (...args: string[]) => await callCli(["--config", config, ...args], { cwd: folder.path });
  const summary = async (...args: string[]) => {
    const result = await chatkeep("--json", ...args);
    assert.equal(result.status, 0, `${args.join(" ")}: ${result.stderr}${result.stdout}`);
    return summaryOf(result.stdout);
  };
  await summary("init", "--yes", "--name", "desk", "--root", installation.codeRoot, "--location", repository);
  await makeCheapToOpen({ repository, passwordFile: join(folder.path, "chatkeep", "chatkeep.password") });
  // Drills are held on the server itself.
  await appendFile(config, "drill:\n  servers: [database-url]\n");
  return {
    live: installation.database.database,
    chatkeep,
    summary,
    onServer,
    failOver,
    async failOverWhile(args, query) {
      const child = startCli(["--config", config, ...args], { cwd: folder.path });
      const printed = { stdout: "", stderr: "" };
      child.stdout?.on("data", (data: Buffer) => (printed.stdout += data.toString()));
      child.stderr?.on("data", (data: Buffer) => (printed.stderr += data.toString()));
      const closed = once(child, "close") as Promise<[number | null]>;
      await onServer(async (client) => {
        while ((await client.query(query)).rows.length === 0) {
          assert.equal(child.exitCode, null, `it ended by itself: ${printed.stderr}`);
          await sleep(5);
        }
      });
      await failOver();
      const [status] = await closed;
      return { status: status ?? -1, ...printed, stdoutBytes: Buffer.from(printed.stdout) };
    },
    filesOf: async (kind) => Object.keys(await readFolder(join(repository, kind))),
    async databases() {
      const sql = "select datname as name from pg_database where datname ~ '^chat' order by 1";
      const { rows } = await onServer(async (client) => await client.query<{ name: string }>(sql));
      return rows.map(({ name }) => name);
    },
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}
