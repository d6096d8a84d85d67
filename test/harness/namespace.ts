/** Runs a program as somebody whose world is smaller: without root's right to read everything, or with mounts of its own. */
import { type RunOptions, type RunResult, run } from "./run.ts";

/** True when the tests run as root, who may read what modes forbid. */
export const IS_ROOT = process.getuid?.() === 0;

/** Runs a program that is bound by the modes of files: root keeps its name and loses its right to read past them. */
export async function runBoundByModes(
  program: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  if (!IS_ROOT) return await run(program, args, options);
  return await run("setpriv", ["--bounding-set=-dac_override,-dac_read_search", "--", program, ...args], options);
}

const UNSHARE = IS_ROOT ? ["--mount"] : ["--user", "--map-root-user", "--mount"];

/** Why nothing can be mounted here that others do not see, or undefined where it can. */
export async function cannotMount(): Promise<string | undefined> {
  const { status, stderr } = await run("unshare", [...UNSHARE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]);
  return status === 0 ? undefined : `a private mount is not allowed here: ${stderr.trim()}`;
}

/** Runs a shell script whose mounts only it and its children see; they are gone when it ends. */
export async function runWithMounts(
  script: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  return await run("unshare", [...UNSHARE, "sh", "-eu", "-c", script, "sh", ...args], options);
}

/**
 * Makes a network of its own that has a way out to nowhere: what leaves is counted and lost. The counter of packets is told
 * as the last line of the output.
 */
const COUNTED = `
sysctl -qw net.ipv6.conf.all.disable_ipv6=1
ip link set lo up
ip link add out type veth peer name nowhere
ip addr add 192.0.2.2/24 dev out
ip link set nowhere up
ip link set out up
ip neigh add 192.0.2.1 lladdr 02:00:00:00:00:01 dev out
for last in 53 80; do ip neigh add 192.0.2.$last lladdr 02:00:00:00:00:01 dev out; done
ip route add default via 192.0.2.1
"$@"
cat /sys/class/net/out/statistics/tx_packets`;

/** Why no network of its own can be made here, or undefined where it can. */
export async function cannotCount(): Promise<string | undefined> {
  const { status, stderr } = await runCounted("true", []);
  return status === 0 ? undefined : `a private network is not allowed here: ${stderr.trim()}`;
}

/** Runs a program in a network of its own; the last line of its output says how many packets left it. */
export async function runCounted(
  program: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  const own = IS_ROOT ? ["--net", "--mount"] : ["--user", "--map-root-user", "--net", "--mount"];
  const script = `mount -t sysfs sysfs /sys\n${COUNTED}`;
  return await run("unshare", [...own, "sh", "-eu", "-c", script, "sh", program, ...args], options);
}
