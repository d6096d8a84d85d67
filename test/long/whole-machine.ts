/** The command line on a machine of its own: with an engine's networks where it has one, and a `/var/lib` that remembers no other's restores. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { globSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { JournalValue } from "../../src/job/stages/journal.ts";
import { CHATKEEP, summaryOf } from "../harness/cli.ts";
import type { Docker } from "../harness/docker.ts";
import { run, type RunResult } from "../harness/run.ts";
import type { TestFolder } from "../harness/temporary.ts";

export interface Machine {
  chatkeep(args: readonly string[]): Promise<RunResult>;
  /** The same, which must end with the status; returns the summary. */
  summary(args: readonly string[], status?: number): Promise<Record<string, unknown>>;
  /** Kills it as soon as the journal of the restore is so; returns false if it ended before. */
  killWhen(args: readonly string[], isSo: (journal: JournalValue) => boolean): Promise<boolean>;
}

const OWN_STATE = `
mount --bind "$1" /var/lib
if [ -n "$2" ]; then mount -t tmpfs tmpfs /home; mkdir /home/chatwoot; mount --bind "$2" /home/chatwoot; fi
shift 2
exec "$@"`;

export interface MachineOptions {
  folder: TestFolder;
  /** The folder of PostgreSQL's programs. */
  programs: string;
  /** Undefined: it has none, and this machine's network. */
  engine?: Docker;
  /** What lies in `/home/chatwoot`; by default that is hidden from nobody. */
  home?: string;
  /** What every command has: the configuration, or the repository. */
  args: readonly string[];
  env?: Readonly<Record<string, string>>;
}

/** @param name Of its folders, below the one of the options. */
export async function machineOf(name: string, options: MachineOptions): Promise<Machine> {
  const { folder, programs, engine, home = "" } = options;
  const cwd = folder.at(`machine-${name}`);
  const [state, temporary] = [join(cwd, "state"), join(cwd, "temporary")];
  for (const path of [cwd, state, temporary]) await mkdir(path);
  const env = {
    ...(engine === undefined ? {} : { DOCKER_HOST: engine.host }),
    PATH: `${programs}:${process.env["PATH"] ?? ""}`,
    // What a killed run leaves of temporary files goes with the folder.
    TMPDIR: temporary,
    NO_COLOR: "1",
    CHATKEEP_CONFIG: "",
    NODE_TEST_CONTEXT: undefined,
    ...options.env,
  };
  const own = ["unshare", "--mount", "sh", "-eu", "-c", OWN_STATE, "sh", state, home];
  const words: string[] = [...(engine?.within ?? []), ...own, process.execPath, CHATKEEP, "--json"];
  const [program = "", ...begin] = words;
  const command = (args: readonly string[]) => [...begin, ...options.args, ...args];
  const chatkeep = async (args: readonly string[]) => await run(program, command(args), { env, cwd });
  const journal = async (): Promise<JournalValue | undefined> => {
    const [newest] = globSync("chatkeep/*/restore/*/journal.json", { cwd: state }).toSorted().toReversed();
    if (newest === undefined) return undefined;
    return JSON.parse(await readFile(`${state}/${newest}`, "utf8")) as JournalValue;
  };
  return {
    chatkeep,
    async summary(args, status = 0) {
      const result = await chatkeep(args);
      if (result.status !== status)
        throw new Error(`chatkeep ${args.join(" ")} ended with ${result.status}:\n${result.stderr}${result.stdout}`);
      return summaryOf(result.stdout);
    },
    async killWhen(args, isSo) {
      const options = { env: { ...process.env, ...env }, cwd, stdio: "ignore" } as const;
      const child = spawn(program, command(args), options);
      const closed = once(child, "close") as Promise<[number | null, string | null]>;
      const ended = new AbortController();
      void closed.then(() => ended.abort());
      while (!ended.signal.aborted) {
        const now = await journal();
        if (now !== undefined && isSo(now)) {
          child.kill("SIGKILL");
          break;
        }
        await sleep(20);
      }
      const [, killedBy] = await closed;
      return killedBy === "SIGKILL";
    },
  };
}
