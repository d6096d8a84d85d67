/** A support desk for a scenario: a server, an installation on it, a repository beside it, and the command line. */
import { appendFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { buildInstallation, type DemoInstallation } from "../../src/demo/installation.ts";
import type { DemoSize } from "../../src/demo/seed/seed.ts";
import { callCli, runCli, summaryOf } from "../harness/cli.ts";
import { startPostgres, type TestServer, type TestServerOptions } from "../harness/postgres.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { isWhole } from "../harness/whole.ts";
import type { RunOptions, RunResult } from "../harness/run.ts";

export interface Desk extends AsyncDisposable {
  readonly root: string;
  readonly server: TestServer;
  readonly installation: DemoInstallation;
  readonly repository: string;
  readonly config: string;
  readonly passwordFile: string;
  /** Calls the command line with this desk's configuration. */
  chatkeep(args: readonly string[], options?: RunOptions): Promise<RunResult>;
  /** The same, which must end with status 0 or another named one; returns the summary. */
  summary(args: readonly string[], status?: number, options?: RunOptions): Promise<Record<string, unknown>>;
}

export const SMALL: Partial<DemoSize> = { messages: 600, conversations: 60, files: 40 };

export interface DeskOptions {
  size?: Partial<DemoSize>;
  server?: TestServerOptions;
  seed?: number;
  /** True: the code is a git checkout, which a backup asks git about thirty times. Default: a plain folder. */
  isCheckout?: boolean;
  /** True: drills make their database on the desk's own server. Default: each on a server that it starts, for two seconds of a processor. */
  hasServerForDrills?: boolean;
  /** True: what is kept on the machine between two runs lies below the desk's root, for what keeps something. */
  hasOwnState?: boolean;
  /** True: every command is a process of its own. Default: as `callCli` does. */
  hasProcesses?: boolean;
  /**
   * True: backups read over two connections, each with a thread, as they do by themselves; so does whatever has processes, and the
   * long run. Default: over one, for a fifth less work: a desk of a test is small.
   */
  hasTwoReaders?: boolean;
}

/** Builds all of it and runs `init`. */
export async function openDesk(options: DeskOptions = {}): Promise<Desk> {
  const folder = await temporaryFolder();
  const root = folder.path;
  const server = await startPostgres(options.server);
  try {
    const installation = await buildInstallation({
      root: join(root, "home"),
      address: server.address,
      size: options.size ?? SMALL,
      ...(options.seed === undefined ? {} : { seed: options.seed }),
      isCheckout: options.isCheckout === true,
      signal: new AbortController().signal,
    });
    const config = join(root, "chatkeep", "chatkeep.yaml");
    await mkdir(join(root, "chatkeep"), { mode: 0o700 });
    const repository = join(root, "repository");
    const call = options.hasProcesses === true ? runCli : callCli;
    const chatkeep = async (args: readonly string[], run: RunOptions = {}) =>
      await call(["--config", config, ...args], { cwd: root, ...run });
    const desk: Desk = {
      root,
      server,
      installation,
      repository,
      config,
      passwordFile: join(root, "chatkeep", "chatkeep.password"),
      chatkeep,
      async summary(args, status = 0, options = {}) {
        const result = await chatkeep(["--json", ...args], options);
        if (result.status !== status) {
          throw new Error(`chatkeep ${args.join(" ")} ended with ${result.status}:\n${result.stderr}${result.stdout}`);
        }
        return summaryOf(result.stdout);
      },
      async [Symbol.asyncDispose]() {
        await server.stop();
        await folder[Symbol.asyncDispose]();
      },
    };
    await desk.summary(["init", "--yes", "--name", "desk", ...placeArguments(installation), "--location", repository]);
    if (options.hasServerForDrills === true) await appendFile(config, serverForDrills(server));
    if (options.hasOwnState === true) await appendFile(config, `state-dir: ${join(root, "state")}\n`);
    const isQuick = !isWhole && options.hasProcesses !== true && options.hasTwoReaders !== true;
    if (isQuick) await appendFile(config, "database: { jobs: 1 }\n");
    return desk;
  } catch (error) {
    await server.stop();
    await folder[Symbol.asyncDispose]();
    throw error;
  }
}

function serverForDrills({ address: { user, host, port, database } }: TestServer): string {
  return `drill:\n  servers: [database-url]\n  database-url: postgres://${user}@${host}:${port}/${database}\n`;
}

function placeArguments(installation: DemoInstallation): string[] {
  return ["--root", installation.codeRoot];
}
