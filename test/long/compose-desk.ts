/** A support desk in Chatwoot's production Compose file on an engine of the test's own, and the command line beside it. */
import { cp } from "node:fs/promises";
import type { DemoInstallation } from "../../src/demo/installation.ts";
import { CHATKEEP, summaryOf } from "../harness/cli.ts";
import type { Docker } from "../harness/docker.ts";
import { run, type RunResult } from "../harness/run.ts";
import type { TestFolder } from "../harness/temporary.ts";
import { makeComposeSite, openComposeEngine } from "./compose-site.ts";

export const PROJECT = "desk";

export interface DeskOptions {
  /** The machine has no program of the server's version. */
  isBare?: boolean;
}

export interface ComposeDesk extends AsyncDisposable {
  engine: Docker;
  folder: TestFolder;
  /** Where the Compose file lies. */
  site: string;
  /** What was seeded; its storage is where it was made, and in the volume. */
  seeded: DemoInstallation;
  /** The folder of PostgreSQL's programs, which see the engine's network. */
  programs: string;
  /** With `docker compose`, and with the programs of PostgreSQL. */
  env: Record<string, string | undefined>;
  /** Runs the command line where the engine's networks are. */
  chatkeep(args: readonly string[], options?: DeskOptions): Promise<RunResult>;
  /** The same, which must end with the status; returns the summary. */
  summary(args: readonly string[], options?: DeskOptions & { status?: number }): Promise<Record<string, unknown>>;
  /** Until the server takes connections. */
  databaseReady(): Promise<void>;
  /** The folder of a volume on this machine. */
  volume(name: string): Promise<string>;
}

/** Starts all of it. It takes root, and about a minute. */
export async function openComposeDesk(): Promise<ComposeDesk> {
  const own = await openComposeEngine();
  const { engine, folder, programs } = own;
  try {
    const site = await makeComposeSite(own, {
      project: PROJECT,
      passwords: { postgres: "of-the-superuser", redis: "of-redis" },
      seed: { size: { messages: 3_000, conversations: 200, files: 60 } },
    });
    await cp(site.seeded.storageRoot, await site.volume("storage_data"), { recursive: true });
    await site.up();
    const env = {
      ...own.env,
      DOCKER_HOST: engine.host,
      PATH: `${programs}:${process.env["PATH"] ?? ""}`,
      NO_COLOR: "1",
      NODE_TEST_CONTEXT: undefined,
    };
    const chatkeep = async (args: readonly string[], { isBare = false }: DeskOptions = {}) => {
      const [program = "", ...within] = engine.within;
      const config = ["--config", folder.at("chatkeep.yaml")];
      return await run(program, [...within, process.execPath, CHATKEEP, ...config, ...args], {
        env: isBare ? { ...env, PATH: process.env["PATH"] } : env,
        cwd: folder.path,
      });
    };
    return {
      engine,
      env,
      folder,
      site: site.path,
      seeded: site.seeded,
      programs: own.programsWithin,
      chatkeep,
      async summary(args, { status = 0, ...options } = {}) {
        const result = await chatkeep(["--json", ...args], options);
        if (result.status !== status)
          throw new Error(`chatkeep ${args.join(" ")} ended with ${result.status}:\n${result.stderr}${result.stdout}`);
        return summaryOf(result.stdout);
      },
      databaseReady: async () => await site.databaseReady(),
      volume: async (name) => await site.volume(name),
      [Symbol.asyncDispose]: async () => await own[Symbol.asyncDispose](),
    };
  } catch (error) {
    await own[Symbol.asyncDispose]();
    throw error;
  }
}
