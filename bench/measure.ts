/** Runs whole processes, in turn, and says how long each took and how much memory it had at its peak. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { availableParallelism, cpus } from "node:os";
import { setTimeout } from "node:timers/promises";

const SETTLE_MS = Number(process.env["BENCH_SETTLE_MS"] ?? "8000");
const BACKEND_ENDS_MS = 500;

export interface Side {
  name: string;
  /** Makes the same start for every run: empty repositories, dropped databases. Not timed. */
  prepare?: () => void | Promise<void>;
  command: readonly [string, ...string[]];
  env?: Record<string, string>;
  /** Exit statuses that are as good as 0. */
  allowStatus?: readonly number[];
  /** Told after each run how long it took. */
  ended?: (seconds: number) => void | Promise<void>;
}

export interface Figure {
  name: string;
  seconds: number[];
  /** Of processors, of the side's own processes, in user mode and in the kernel. */
  cpuSeconds: number[];
  /** The same of the server that it worked with, where that is watched. */
  serverSeconds: number[];
  peakMiB: number;
}

/** What a shell says of the processes that it has waited for: minutes and seconds, in user mode and in the kernel. */
function cpuSecondsOf(times: string): number {
  const last = times.trim().split("\n").at(-1) ?? "";
  return [...last.matchAll(/(\d+)m([\d.]+)s/g)].reduce((sum, [, m, s]) => sum + Number(m) * 60 + Number(s), 0);
}

const TICKS_A_SECOND = 100;

/** Of a process's children that have ended, as the kernel counts them: a server's backends. */
function endedChildrenSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ") ?? [];
  return (Number(fields[13]) + Number(fields[14])) / TICKS_A_SECOND;
}

/** Resident memory of a process and all its children but database servers, in MiB, as the kernel counts it now. */
function residentMiB(pid: number): number {
  let kib = 0;
  const pids = [pid];
  for (let at = pids.pop(); at !== undefined; at = pids.pop()) {
    try {
      const status = readFileSync(`/proc/${at}/status`, "utf8");
      // A drill starts a server of its own: the limit is about us.
      if (!status.startsWith("Name:\tpostgres\n")) kib += Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0);
      for (const task of readdirSync(`/proc/${at}/task`)) {
        const children = readFileSync(`/proc/${at}/task/${task}/children`, "utf8").trim();
        if (children !== "") pids.push(...children.split(" ").map(Number));
      }
    } catch {
      // It has just ended.
    }
  }
  return kib / 1024;
}

/** Runs a command, and says behind it, on the third file, what it took. */
const TIMED = ["sh", "-c", '"$@" 3>&-; status=$?; times >&3; exit $status', "timed"] as const;

async function runOnce(side: Side): Promise<{ seconds: number; cpuSeconds: number; peakMiB: number }> {
  const [program, ...args] = [...TIMED, ...side.command];
  const started = performance.now();
  const child = spawn(program, args, {
    env: { ...process.env, ...side.env },
    stdio: ["ignore", "ignore", "pipe", "pipe"],
  });
  const stderr: Buffer[] = [];
  let times = "";
  child.stdio[3]?.on("data", (data: Buffer) => (times += data.toString("latin1")));
  child.stderr?.on("data", (data: Buffer) => stderr.push(data));
  let peakMiB = 0;
  const watching = setInterval(() => {
    if (child.pid !== undefined) peakMiB = Math.max(peakMiB, residentMiB(child.pid));
  }, 50);
  const status = await new Promise<number | null>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });
  clearInterval(watching);
  const seconds = (performance.now() - started) / 1000;
  if (status !== 0 && !side.allowStatus?.includes(status ?? -1)) {
    throw new Error(`${side.name} ended with ${status}:\n${Buffer.concat(stderr).toString("utf8").slice(-2000)}`);
  }
  return { seconds, cpuSeconds: cpuSecondsOf(times), peakMiB };
}

/** For some seconds after much was deleted, ext4 makes new files at a fraction of its speed: whoever came next would pay. */
async function settle(): Promise<void> {
  await once(spawn("sync"), "close");
  await setTimeout(SETTLE_MS);
}

/** borg lets the kernel forget what it read, and whoever came next would read from the disk. */
async function readThrough(folder: string): Promise<void> {
  await once(spawn("sh", ["-c", 'find "$0" -type f -exec cat {} + > /dev/null', folder], { stdio: "ignore" }), "close");
}

/** Every side `runs` times, in another order each round, so that no side always runs after the same one. */
export async function compare(
  sides: readonly Side[],
  runs: number,
  { warm, serverPid }: { warm?: string; serverPid?: number } = {},
): Promise<Figure[]> {
  const figures = sides.map(({ name }): Figure => {
    return { name, seconds: [], cpuSeconds: [], serverSeconds: [], peakMiB: 0 };
  });
  for (let round = 0; round < runs; round += 1) {
    const order = sides.map((_, at) => (at + round) % sides.length);
    for (const at of order) {
      const side = sides[at];
      const figure = figures[at];
      if (side === undefined || figure === undefined) continue;
      if (side.prepare !== undefined) {
        await side.prepare();
        await settle();
      }
      if (warm !== undefined) await readThrough(warm);
      const before = serverPid === undefined ? 0 : endedChildrenSeconds(serverPid);
      const { seconds, cpuSeconds, peakMiB } = await runOnce(side);
      figure.seconds.push(seconds);
      figure.cpuSeconds.push(cpuSeconds);
      if (serverPid !== undefined) {
        // A backend ends a moment after whoever it served.
        await setTimeout(BACKEND_ENDS_MS);
        figure.serverSeconds.push(endedChildrenSeconds(serverPid) - before);
      }
      figure.peakMiB = Math.max(figure.peakMiB, peakMiB);
      process.stderr.write(
        `  ${side.name}: ${seconds.toFixed(2)} s, ${cpuSeconds.toFixed(2)} s of processors, ${peakMiB.toFixed(0)} MiB\n`,
      );
      await side.ended?.(seconds);
    }
  }
  return figures;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

/** A table in Markdown: seconds, the ratio of ours (the first) to each, seconds of processors, and the peak. */
function table(title: string, figures: readonly Figure[]): string {
  const ours = median(figures[0]?.seconds ?? []);
  const rows = figures.map(({ name, seconds, cpuSeconds, serverSeconds, peakMiB }) => {
    const [low, high] = [Math.min(...seconds), Math.max(...seconds)];
    const ratio = (ours / median(seconds)).toFixed(2);
    const server = serverSeconds.length === 0 ? "" : ` + ${median(serverSeconds).toFixed(2)}`;
    const cpu = `${median(cpuSeconds).toFixed(2)}${server}`;
    return `| ${name} | ${median(seconds).toFixed(2)} (${low.toFixed(2)}–${high.toFixed(2)}) | ${ratio} | ${cpu} | ${peakMiB.toFixed(0)} |`;
  });
  return [
    `### ${title}`,
    "",
    "| | seconds: median (lowest–highest) | ours / this | of processors (+ the server's) | peak MiB |",
    "|---|---|---|---|---|",
    ...rows,
    "",
  ].join("\n");
}

export function print(title: string, figures: readonly Figure[]): void {
  process.stdout.write(`${table(title, figures)}\n`);
}

export function machine(): string {
  return `${availableParallelism()} cores (${cpus()[0]?.model.trim() ?? "unknown"}), Node ${process.versions.node}`;
}

export function remove(path: string): void {
  rmSync(path, { recursive: true, force: true });
}

/** What the files below a folder hold together. */
export function folderMiB(path: string): number {
  let bytes = 0;
  for (const entry of readdirSync(path, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) bytes += statSync(join(entry.parentPath, entry.name)).size;
  }
  return bytes / (1024 * 1024);
}
